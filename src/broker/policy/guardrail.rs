//! Guardrails: Cedar `forbid` policies, strictly validated against the schema we ship.

use std::collections::BTreeMap;

use cedar_policy::{
    Effect, EntityUid, ParseErrors, Policy, PolicyId, PolicySet, Schema, ValidationMode,
    ValidationWarning, Validator,
};
use miette::Diagnostic;

use crate::policy::{Catalogue, Finding, finding::Lines};
use hallpass_core::base::ids::{AgentId, GroupName, ServerUri, StewardId, ToolName};

/// A guardrail and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Guardrail {
    /// Its `@id`, or `policyN` by its place in the file.
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) policy: Policy,
}

impl Guardrail {
    fn finding(&self, line: Option<usize>, reason: &str) -> Finding {
        Finding::at(
            &self.file,
            line.unwrap_or(self.line),
            format!("guardrail `{}`: {reason}", self.name),
        )
    }
}

/// Reads every guardrail of `text`; their policies are numbered on from `first`.
pub(super) fn read_guardrails(
    file: &str,
    text: &str,
    first: usize,
) -> (Vec<Guardrail>, Vec<Finding>) {
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => return (Vec::new(), parse_findings(file, text, &errors)),
    };
    let mut findings = Vec::new();
    let lines = Lines::of(text);
    for template in set.templates() {
        let line = template.as_ref().loc().map(|loc| lines.at(loc.start()));
        findings.push(Finding::new(
            file,
            line,
            "a guardrail has no slots such as `?principal`; write them out",
        ));
    }
    let mut policies: Vec<_> = set
        .policies()
        .map(|policy| (policy.as_ref().loc().map_or(0, |loc| loc.start()), policy))
        .collect();
    policies.sort_by_key(|(start, _)| *start);
    let mut guardrails = Vec::new();
    for (at, (start, policy)) in policies.into_iter().enumerate() {
        let line = lines.at(start);
        let name = match policy.annotation("id") {
            None => Ok(format!("policy{at}")),
            Some(name) if is_plain_name(name) => Ok(name.to_owned()),
            Some(_) => Err("`@id` takes 1 to 64 of A-Z a-z 0-9 . _ -, in quotes"),
        };
        let reason = match (policy.effect(), name) {
            (Effect::Forbid, Ok(name)) => {
                let id = PolicyId::new(format!(
                    "guardrail:{}",
                    first.saturating_add(guardrails.len())
                ));
                guardrails.push(Guardrail {
                    name,
                    file: file.to_owned(),
                    line,
                    policy: policy.new_id(id),
                });
                continue;
            }
            (Effect::Forbid, Err(reason)) => reason,
            (Effect::Permit, _) => {
                "a guardrail only forbids; what may be given is said by grants, in .toml files"
            }
        };
        findings.push(Finding::at(file, line, reason));
    }
    (guardrails, findings)
}

/// Everything that is wrong with the guardrails taken together, then what is odd.
pub(super) fn check_guardrails(
    guardrails: &[Guardrail],
    texts: &BTreeMap<String, String>,
    schema: &Schema,
    catalogue: &Catalogue,
) -> (Vec<Finding>, Vec<Finding>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let mut names: BTreeMap<&str, &Guardrail> = BTreeMap::new();
    for guardrail in guardrails
        .iter()
        .filter(|guardrail| guardrail.policy.annotation("id").is_some())
    {
        if let Some(first) = names.insert(&guardrail.name, guardrail) {
            let reason = format!("the same `@id` stands at {}:{}", first.file, first.line);
            errors.push(guardrail.finding(None, &reason));
        }
    }
    for guardrail in guardrails {
        for entity in guardrail.policy.entity_literals() {
            match look_at_entity(&entity, catalogue) {
                Literal::Fits => {}
                Literal::Odd(reason) => {
                    warnings.push(guardrail.finding(None, &format!("`{entity}` {reason}")))
                }
                Literal::Wrong(reason) => {
                    errors.push(guardrail.finding(None, &format!("`{entity}` {reason}")))
                }
            }
        }
    }
    let Ok(set) =
        PolicySet::from_policies(guardrails.iter().map(|guardrail| guardrail.policy.clone()))
    else {
        errors.push(Finding::new(
            "guardrails",
            None,
            "two policies got the same id; this is a fault of hallpass",
        ));
        return (errors, warnings);
    };
    let result = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
    let find = |id: &PolicyId| {
        guardrails
            .iter()
            .find(|guardrail| guardrail.policy.id() == id)
    };
    for error in result.validation_errors() {
        if let Some(guardrail) = find(error.policy_id()) {
            let line = texts
                .get(&guardrail.file)
                .and_then(|text| line_of_diagnostic(text, error));
            errors.push(guardrail.finding(
                line,
                &with_help(&after_policy_id(&error.to_string()), error),
            ));
        }
    }
    for warning in result.validation_warnings() {
        let Some(guardrail) = find(warning.policy_id()) else {
            continue;
        };
        // SECURITY: a forbid that can never apply guards nothing, whatever its author believes.
        let never_applies = matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
        );
        if never_applies {
            errors.push(guardrail.finding(None, "it can never apply, so it would guard nothing"));
        } else {
            warnings.push(guardrail.finding(None, &after_policy_id(&warning.to_string())));
        }
    }
    (errors, warnings)
}

enum Literal {
    Fits,
    Odd(&'static str),
    Wrong(&'static str),
}

/// SECURITY: a forbid that names what cannot exist never applies, and that would go unnoticed; so a
/// misspelt id is found here.
fn look_at_entity(entity: &EntityUid, catalogue: &Catalogue) -> Literal {
    let id: &str = entity.id().unescaped();
    let is_known_server = |uri: &str| match uri.parse::<ServerUri>() {
        Err(_) => Literal::Wrong("is not a server's canonical URI"),
        Ok(uri) => match catalogue.get(&uri) {
            None => Literal::Odd("is not registered; the guardrail waits for it"),
            Some(manifest) if manifest.server != uri => Literal::Wrong(
                "is an alias, which the guardrail would never meet; write the canonical URI",
            ),
            Some(_) => Literal::Fits,
        },
    };
    let is_listed = |server: &str, name: &str| {
        let manifest = server.parse().ok().and_then(|uri| catalogue.get(&uri));
        let name = name.parse::<ToolName>().ok();
        manifest
            .zip(name)
            .is_some_and(|(manifest, name)| match entity.type_name().basename() {
                "Prompt" => manifest.prompts.contains_key(&name),
                _ => manifest.tools.contains_key(&name),
            })
    };
    let fits_if = |valid: bool, reason: &'static str| {
        if valid {
            Literal::Fits
        } else {
            Literal::Wrong(reason)
        }
    };
    match entity.type_name().to_string().as_str() {
        "Agent" => fits_if(id.parse::<AgentId>().is_ok(), "is not an agent id"),
        "Group" => fits_if(id.parse::<GroupName>().is_ok(), "is not a group name"),
        "Steward" => fits_if(
            id.parse::<StewardId>().is_ok(),
            "is not a steward id such as stw_…",
        ),
        "Server" => is_known_server(id),
        "Tool" | "Prompt" => match id.split_once(' ') {
            Some((server, name)) if name.parse::<ToolName>().is_ok() => {
                match is_known_server(server) {
                    Literal::Fits if !is_listed(server, name) => {
                        Literal::Odd("is not in the server's manifest")
                    }
                    verdict => verdict,
                }
            }
            _ => Literal::Wrong("is not a server's canonical URI, a space and a name"),
        },
        "ResourceTree" | "GrantedTree" => Literal::Wrong(
            "cannot be named, since a request for a wider subtree would step over it; register a root and use \
             `resource.root`",
        ),
        "Task" => Literal::Wrong("cannot be named; use `context.task`"),
        _ => Literal::Fits,
    }
}

fn parse_findings(file: &str, text: &str, errors: &ParseErrors) -> Vec<Finding> {
    let find = |error| {
        Finding::new(
            file,
            line_of_diagnostic(text, error),
            with_help(&error.to_string(), error),
        )
    };
    errors.iter().map(|error| find(error)).collect()
}

fn line_of_diagnostic(text: &str, diagnostic: &dyn Diagnostic) -> Option<usize> {
    diagnostic
        .labels()?
        .next()
        .map(|label| Lines::of(text).at(label.offset()))
}

fn with_help(message: &str, diagnostic: &dyn Diagnostic) -> String {
    match diagnostic.help() {
        Some(help) => format!("{message} ({help})"),
        None => message.to_owned(),
    }
}

/// Cedar's message without the policy id in front, which is ours and means nothing to people.
fn after_policy_id(message: &str) -> String {
    let without = message
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "));
    without.map_or(message, |(_, rest)| rest).to_owned()
}

fn is_plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
