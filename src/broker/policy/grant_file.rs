//! Grant files: TOML in, grants with their places out, or everything that is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error, ValueDeserializer},
};

use crate::policy::{AgentSelector, Finding, Grant, ServerSelector, finding::Lines};
use hallpass_core::{
    base::{ids::GrantId, text::quote},
    token::{
        constraint::Constraint,
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// A grant and where it stands.
#[derive(Debug, Clone)]
pub(super) struct PlacedGrant {
    pub(super) grant: Grant,
    pub(super) file: String,
    pub(super) line: usize,
    /// The lines of what can be wrong by itself, by the words of [`Spot`].
    spots: BTreeMap<Spot, usize>,
}

/// A place inside a grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    Server,
    Agents,
    Names,
    Closed(NamePattern),
    Pin(Pointer),
    Tool(NamePattern),
    Constraint(NamePattern, Pointer),
}

impl PlacedGrant {
    /// The grant as answers name it.
    pub(super) fn source(&self) -> crate::policy::Source {
        crate::policy::Source {
            name: self.grant.id.to_string(),
            file: self.file.clone(),
        }
    }

    /// Something wrong at `spot`.
    pub(super) fn finding(&self, spot: &Spot, reason: impl Into<String>) -> Finding {
        let line = self.spots.get(spot).copied().unwrap_or(self.line);
        Finding::at(
            &self.file,
            line,
            format!("grant `{}`: {}", self.grant.id, reason.into()),
        )
    }
}

/// Reads every grant of `text`, collecting everything that is wrong: at least one finding for
/// each grant that cannot be read.
pub(super) fn read_grants(file: &str, text: &str) -> (Vec<PlacedGrant>, Vec<Finding>) {
    let mut grants = Vec::new();
    let mut findings = Vec::new();
    let lines = Lines::of(text);
    let source = Text {
        file,
        text,
        lines: &lines,
    };
    for (span, value) in grant_tables(&source, &mut findings) {
        let line = lines.at(span.start);
        match RawGrant::deserialize(ValueDeserializer::from(Spanned::new(span, value))) {
            Ok(raw) => {
                let source = Source {
                    file,
                    lines: &lines,
                    line,
                };
                grants.extend(raw.place(&source, &mut findings));
            }
            Err(error) => findings.push(source.finding(line, &error)),
        }
    }
    (grants, findings)
}

/// A grant file as it was read.
struct Text<'t> {
    file: &'t str,
    text: &'t str,
    lines: &'t Lines,
}

impl Text<'_> {
    /// A fault of TOML, at `line` unless it says where.
    fn finding(&self, line: usize, error: &Error) -> Finding {
        let line = error.span().map_or(line, |span| self.lines.at(span.start));
        Finding::at(self.file, line, error.message().replace('\n', ", "))
    }
}

fn grant_tables<'t>(
    source: &Text<'t>,
    findings: &mut Vec<Finding>,
) -> Vec<(Range<usize>, DeValue<'t>)> {
    let file = source.file;
    let root = match DeTable::parse(source.text) {
        Ok(root) => root.into_inner(),
        Err(error) => {
            findings.push(source.finding(1, &error));
            return Vec::new();
        }
    };
    let mut tables = Vec::new();
    for (key, value) in root {
        let line = source.lines.at(key.span().start);
        match (key.get_ref().as_ref(), value.into_inner()) {
            ("grant", DeValue::Array(items)) => {
                tables.extend(
                    items
                        .into_iter()
                        .map(|item| (item.span(), item.into_inner())),
                );
            }
            ("grant", _) => findings.push(Finding::at(
                file,
                line,
                "a grant begins with `[[grant]]`, in two brackets",
            )),
            (other, _) => {
                let reason = format!(
                    "unknown key `{}`: a grant file holds `[[grant]]` only",
                    quote(other)
                );
                findings.push(Finding::at(file, line, reason));
            }
        }
    }
    tables
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrant {
    id: GrantId,
    agents: Spanned<Vec<AgentSelector>>,
    server: Spanned<ServerSelector>,
    #[serde(default)]
    tools: Vec<NamePattern>,
    #[serde(default)]
    prompts: Vec<NamePattern>,
    #[serde(default)]
    resources: Vec<ResourceTree>,
    max_ttl: Spanned<String>,
    #[serde(default)]
    constraints: BTreeMap<Spanned<NamePattern>, BTreeMap<Spanned<Pointer>, Constraint>>,
    #[serde(default)]
    closed_arguments: Vec<Spanned<NamePattern>>,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    require_proof: bool,
    #[serde(default)]
    require_call_proof: bool,
    #[serde(default)]
    pin: Vec<Spanned<Pointer>>,
}

struct Source<'s> {
    file: &'s str,
    lines: &'s Lines,
    line: usize,
}

impl Source<'_> {
    fn line<T>(&self, spanned: &Spanned<T>) -> usize {
        self.lines.at(spanned.span().start)
    }
}

impl RawGrant {
    fn place(self, source: &Source<'_>, findings: &mut Vec<Finding>) -> Option<PlacedGrant> {
        let before = findings.len();
        let spots = self.spots(source);
        let max_ttl = read_ttl(self.max_ttl.get_ref()).unwrap_or_else(|reason| {
            let reason = format!("grant `{}`: {reason}", self.id);
            findings.push(Finding::at(source.file, source.line(&self.max_ttl), reason));
            Duration::ZERO
        });
        let inner = |arguments: BTreeMap<Spanned<Pointer>, Constraint>| {
            arguments
                .into_iter()
                .map(|(pointer, constraint)| (pointer.into_inner(), constraint))
                .collect()
        };
        let grant = Grant {
            id: self.id,
            agents: self.agents.into_inner(),
            server: self.server.into_inner(),
            tools: self.tools,
            prompts: self.prompts,
            resources: self.resources,
            max_ttl,
            closed_arguments: self
                .closed_arguments
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
            read_only: self.read_only,
            require_proof: self.require_proof,
            require_call_proof: self.require_call_proof,
            pin: self.pin.into_iter().map(Spanned::into_inner).collect(),
            constraints: self
                .constraints
                .into_iter()
                .map(|(tool, of)| (tool.into_inner(), inner(of)))
                .collect(),
        };
        let placed = PlacedGrant {
            grant,
            file: source.file.to_owned(),
            line: source.line,
            spots,
        };
        findings.extend(placed.contradictions());
        (findings.len() == before).then_some(placed)
    }

    fn spots(&self, source: &Source<'_>) -> BTreeMap<Spot, usize> {
        let mut spots = BTreeMap::from([
            (Spot::Server, source.line(&self.server)),
            (Spot::Agents, source.line(&self.agents)),
            (Spot::Names, source.line),
        ]);
        spots.extend(
            self.closed_arguments
                .iter()
                .map(|tool| (Spot::Closed(tool.get_ref().clone()), source.line(tool))),
        );
        spots.extend(
            self.pin
                .iter()
                .map(|pin| (Spot::Pin(pin.get_ref().clone()), source.line(pin))),
        );
        for (tool, arguments) in &self.constraints {
            spots.insert(Spot::Tool(tool.get_ref().clone()), source.line(tool));
            for pointer in arguments.keys() {
                let spot = Spot::Constraint(tool.get_ref().clone(), pointer.get_ref().clone());
                spots.insert(spot, source.line(pointer));
            }
        }
        spots
    }
}

impl PlacedGrant {
    /// What is wrong with the grant whatever servers there are.
    fn contradictions(&self) -> Vec<Finding> {
        let grant = &self.grant;
        let mut findings = Vec::new();
        let mut refuse = |spot: &Spot, reason: String| findings.push(self.finding(spot, reason));
        if grant.agents.is_empty() {
            refuse(
                &Spot::Agents,
                "`agents` is empty; name agents, group:NAME, or * for every agent".to_owned(),
            );
        }
        if grant.tools.is_empty() && grant.prompts.is_empty() && grant.resources.is_empty() {
            refuse(
                &Spot::Names,
                "it gives nothing; name `tools`, `prompts` or `resources`".to_owned(),
            );
        }
        if grant
            .tools
            .len()
            .max(grant.prompts.len())
            .max(grant.resources.len())
            > MAX_NAMES
        {
            refuse(
                &Spot::Names,
                format!("more than {MAX_NAMES} names of one kind; split the grant"),
            );
        }
        for pointer in grant
            .pin
            .iter()
            .filter(|pointer| pointer.with_ancestors().nth(1).is_some())
        {
            refuse(
                &Spot::Pin(pointer.clone()),
                format!("`pin` takes arguments at the top level, not `{pointer}`"),
            );
        }
        if let Some(pointer) = grant.pin.first().filter(|_| grant.tools.is_empty()) {
            refuse(
                &Spot::Pin(pointer.clone()),
                "`pin` without `tools` does nothing".to_owned(),
            );
        }
        let may_be_given: BTreeSet<_> = grant.tools.iter().collect();
        let given = |named: &NamePattern| {
            // Whether two patterns overlap is left to the check against the manifest.
            may_be_given.contains(named)
                || named
                    .exact()
                    .is_none_or(|name| grant.tools.iter().any(|tools| tools.matches(&name)))
        };
        for tool in grant.constraints.keys().filter(|tool| !given(tool)) {
            refuse(
                &Spot::Tool(tool.clone()),
                format!("it constrains `{tool}` but does not give it"),
            );
        }
        for tool in grant.closed_arguments.iter().filter(|tool| !given(tool)) {
            refuse(
                &Spot::Closed(tool.clone()),
                format!("it closes the arguments of `{tool}` but does not give it"),
            );
        }
        findings
    }
}

fn read_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| {
        format!(
            "`max_ttl`: `{}` is not a duration such as \"10m\": {error}",
            quote(text)
        )
    })?;
    if ttl.subsec_nanos() != 0 || ttl.is_zero() || ttl > MAX_TTL {
        return Err(format!(
            "`max_ttl` is whole seconds, from 1s to {}; a longer task asks for a new pass",
            humantime::format_duration(MAX_TTL)
        ));
    }
    Ok(ttl)
}

/// No pass lives longer than this; what takes longer renews.
const MAX_TTL: Duration = Duration::from_hours(24);

/// The most patterns or subtrees of one kind in a grant.
const MAX_NAMES: usize = 200;
