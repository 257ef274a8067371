//! From what was asked to exact rights: patterns become the catalogue's names, subtrees find their root.

use std::{collections::BTreeSet, sync::Arc};

use crate::policy::{Catalogue, Question, Reason, Right, RightName, fit::constraint_fits};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{ServerUri, ToolName},
        text::quote,
    },
    token::{
        RequestedDetail, constraint::Scalar, manifest::Manifest, path::ResourceTree,
        rights::NamePattern,
    },
};

/// One exact right, by which entry of the request it was asked.
#[derive(Debug)]
pub(super) struct Item<'c> {
    pub(super) detail: usize,
    pub(super) right: Right,
    pub(super) manifest: &'c Arc<Manifest>,
}

/// A request, expanded.
#[derive(Debug, Default)]
pub(super) struct Expansion<'c> {
    /// What is to be decided; may hold a right twice when two entries ask for it.
    pub(super) items: Vec<Item<'c>>,
    /// What was asked for and does not exist: left out when the question allows that.
    pub(super) missing: Vec<Reason>,
    /// Why the request cannot be answered at all. Leaving out a demand would widen the answer.
    pub(super) malformed: Vec<Reason>,
}

pub(super) fn expand<'c>(question: &Question, catalogue: &'c Catalogue) -> Expansion<'c> {
    let mut expansion = Expansion {
        malformed: malformed_question(question),
        ..Expansion::default()
    };
    for (at, detail) in question.requested.iter().enumerate() {
        refuse_unsupported(at, detail, &mut expansion.malformed);
        let Some(manifest) = catalogue.get(&detail.server) else {
            let reason = format!("server `{}` is not registered", detail.server);
            expansion
                .missing
                .push(Reason::new(ReasonCode::NotFound, reason));
            continue;
        };
        let mut expander = Expander {
            at,
            detail,
            manifest,
            expansion: &mut expansion,
        };
        let tools = expander.tools();
        expander.prompts();
        expander.resources();
        expander.check_demands(&tools);
        if expansion.items.len() > MAX_RIGHTS {
            let reason = format!(
                "more than {MAX_RIGHTS} rights for one pass; ask for less or open several tasks"
            );
            expansion
                .malformed
                .push(Reason::new(ReasonCode::PassTooLarge, reason));
            break;
        }
    }
    expansion
}

fn malformed_question(question: &Question) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut refuse = |detail: String| reasons.push(Reason::new(ReasonCode::InvalidRequest, detail));
    if question.requested.is_empty() {
        refuse("`authorization_details` is empty; name at least one right".to_owned());
    }
    if question.ttl_seconds == 0 || i64::try_from(question.ttl_seconds).is_err() {
        refuse("`ttl_seconds` must be at least 1 and fit into 63 bits".to_owned());
    }
    for (name, _) in question
        .context
        .iter()
        .filter(|(_, value)| Scalar::from_json(value).is_none())
    {
        // Guardrails and pins see scalars only; a value that they cannot see must not slip past them.
        refuse(format!(
            "context value `{}` must be a string, a 64-bit integer or a boolean",
            quote(name)
        ));
    }
    reasons
}

fn refuse_unsupported(at: usize, detail: &RequestedDetail, malformed: &mut Vec<Reason>) {
    if detail.names_nothing() {
        let reason = format!("`authorization_details[{at}]` names no tool, resource or prompt");
        malformed.push(Reason::new(ReasonCode::InvalidRequest, reason));
    }
    for name in detail.unsupported_obligations() {
        let reason = format!(
            "`authorization_details[{at}].{name}`: no verifier of `{}` honours it",
            detail.server
        );
        malformed.push(Reason::new(ReasonCode::UnsupportedObligation, reason));
    }
}

struct Expander<'e, 'c> {
    at: usize,
    detail: &'e RequestedDetail,
    manifest: &'c Arc<Manifest>,
    expansion: &'e mut Expansion<'c>,
}

impl Expander<'_, '_> {
    fn server(&self) -> &ServerUri {
        &self.manifest.server
    }

    fn add(&mut self, name: RightName) {
        let right = Right {
            server: self.server().clone(),
            name,
        };
        self.expansion.items.push(Item {
            detail: self.at,
            right,
            manifest: self.manifest,
        });
    }

    fn miss(&mut self, code: ReasonCode, detail: String, name: Option<RightName>) {
        let reason = Reason::new(code, detail);
        let right = name.map(|name| Right {
            server: self.server().clone(),
            name,
        });
        self.expansion.missing.push(Reason { right, ..reason });
    }

    /// The exact tools asked for. A read-only request means read-only tools.
    fn tools(&mut self) -> BTreeSet<ToolName> {
        let manifest = self.manifest;
        let mut found = BTreeSet::new();
        for pattern in &self.detail.tools {
            let named = pattern
                .exact()
                .filter(|name| manifest.tools.contains_key(name));
            if let Some(name) = named
                && self.detail.read_only
                && manifest
                    .tools
                    .get(&name)
                    .is_some_and(|tool| !tool.read_only)
            {
                let reason = format!(
                    "`tool {name}` on `{}` is not read-only, as the request wants",
                    self.server()
                );
                self.miss(ReasonCode::ReadOnly, reason, Some(RightName::Tool(name)));
                continue;
            }
            let fitting = manifest
                .tools
                .iter()
                .filter(|(_, tool)| tool.read_only || !self.detail.read_only);
            self.matching("tool", pattern, fitting.map(|(name, _)| name), &mut found);
        }
        for name in &found {
            self.add(RightName::Tool(name.clone()));
        }
        found
    }

    fn prompts(&mut self) {
        let manifest = self.manifest;
        let mut found = BTreeSet::new();
        for pattern in &self.detail.prompts {
            self.matching("prompt", pattern, manifest.prompts.keys(), &mut found);
        }
        for name in found {
            self.add(RightName::Prompt(name));
        }
    }

    fn matching<'n>(
        &mut self,
        kind: &str,
        pattern: &NamePattern,
        names: impl Iterator<Item = &'n ToolName>,
        found: &mut BTreeSet<ToolName>,
    ) {
        let mut matches = names
            .filter(|name| pattern.matches(name))
            .cloned()
            .peekable();
        if matches.peek().is_none() {
            let reason = match pattern.exact() {
                Some(name) => format!("server `{}` has no {kind} `{name}`", self.server()),
                None => format!(
                    "no {kind} of server `{}` matches `{pattern}`",
                    self.server()
                ),
            };
            self.miss(ReasonCode::NotInManifest, reason, None);
        }
        found.extend(matches);
    }

    fn resources(&mut self) {
        let manifest = self.manifest;
        let trees: BTreeSet<&ResourceTree> = self.detail.resources.iter().collect();
        for tree in trees {
            if manifest.root_of(tree).is_some() {
                self.add(RightName::Resource(tree.clone()));
                continue;
            }
            // SECURITY: a subtree that holds another root would step over the guardrails on that root's labels.
            let inner = manifest
                .resources
                .iter()
                .find(|root| tree.contains(&root.uri) && root.uri != *tree);
            let reason = match inner {
                Some(inner) => format!(
                    "`{tree}` on `{}` holds the root `{}`; ask for subtrees that hold no other root",
                    manifest.server, inner.uri
                ),
                None => format!(
                    "`{tree}` lies in no registered root of `{}`",
                    manifest.server
                ),
            };
            self.miss(
                ReasonCode::NotInManifest,
                reason,
                Some(RightName::Resource(tree.clone())),
            );
        }
    }

    /// The request's own constraints must be about tools that it asks for, and be enforceable.
    fn check_demands(&mut self, tools: &BTreeSet<ToolName>) {
        let mut refuse = |field: String, reason: String| {
            let detail = format!("`authorization_details[{}].{field}`: {reason}", self.at);
            self.expansion
                .malformed
                .push(Reason::new(ReasonCode::ConstraintMismatch, detail));
        };
        // A tool that was asked for by name and does not exist is refused, or dropped, as such.
        let asked = |tool: &ToolName| {
            tools.contains(tool)
                || self
                    .detail
                    .tools
                    .iter()
                    .any(|t| t.as_str() == tool.as_str())
        };
        for (tool, arguments) in &self.detail.constraints {
            if !asked(tool) {
                refuse(
                    format!("constraints.{tool}"),
                    format!("`{tool}` is not among the requested tools"),
                );
            }
            let Some(pinned) = self.manifest.tools.get(tool) else {
                continue;
            };
            for (pointer, constraint) in arguments {
                if let Err(reason) = constraint_fits(pinned, pointer, constraint) {
                    refuse(format!("constraints.{tool}"), reason);
                }
            }
        }
        for (field, named) in [
            ("closed_arguments", &self.detail.closed_arguments),
            ("call_proof", &self.detail.call_proof),
        ] {
            for tool in named.iter().filter(|tool| !asked(tool)) {
                refuse(
                    field.to_owned(),
                    format!("`{tool}` is not among the requested tools"),
                );
            }
        }
    }
}

/// A pass names at most this many rights (token format 1).
const MAX_RIGHTS: usize = 200;
