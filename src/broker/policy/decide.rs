//! Decisions: a question in, what is granted or every reason why not out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;

use crate::policy::{
    Catalogue, PolicySet,
    assemble::{Covered, assemble},
    engine::{Asked, Decider, Verdict},
    expand::{Expansion, expand},
    fit::obligations_fit,
    grant_file::PlacedGrant,
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{AgentId, GrantId, GroupName, ServerUri, StewardId, ToolName},
    },
    token::{GrantedDetail, RequestedDetail, manifest::Manifest, path::ResourceTree, rights::Kind},
};

/// What an agent asks for, and what is known about it. The caller has made sure who the agent is,
/// which groups it is in and who its steward is.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who asks.
    pub agent: AgentId,
    /// The groups that the agent is in.
    pub groups: BTreeSet<GroupName>,
    /// The human who answers for the agent.
    pub steward: StewardId,
    /// The human on whose behalf it asks.
    pub behalf: Behalf,
    /// What for, in the agent's words.
    pub purpose: String,
    /// What is asked for; names may be patterns.
    pub requested: Vec<RequestedDetail>,
    /// How long the task is to last, in seconds.
    pub ttl_seconds: u64,
    /// The task's context: strings, 64-bit integers and booleans by name.
    pub context: BTreeMap<String, Value>,
    /// Whether the pass will be bound to a holder key.
    pub holder_bound: bool,
    /// Whether rights that are refused may be left out of the answer.
    pub allow_partial: bool,
}

/// The human on whose behalf an agent asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behalf {
    /// Who.
    pub steward: StewardId,
    /// Whether that person proved it; otherwise the agent says so.
    pub verified: bool,
    /// The groups of the person, as a trusted issuer has them; none when it is not verified.
    pub groups: BTreeSet<String>,
}

/// One exact right on one server: what is decided, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The server, by its canonical URI.
    pub server: ServerUri,
    /// The tool, prompt or resource subtree.
    pub name: RightName,
}

impl Right {
    /// Which kind of thing it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.name {
            RightName::Tool(_) => Kind::Tool,
            RightName::Prompt(_) => Kind::Prompt,
            RightName::Resource(_) => Kind::Resource,
        }
    }
}

/// The right in words, without its server: `tool read_ledger`.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name.as_str())
    }
}

/// What a right names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RightName {
    /// A tool.
    Tool(ToolName),
    /// A resource subtree.
    Resource(ResourceTree),
    /// A prompt.
    Prompt(ToolName),
}

impl RightName {
    /// The name or URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Prompt(name) => name.as_str(),
            Self::Resource(tree) => tree.as_str(),
        }
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, to what is listed.
    Granted(Granted),
    /// No, for every reason listed; never empty.
    Refused(Vec<Reason>),
}

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The rights, with exact names. Several entries may name the same server and tool: the
    /// constraints of all of them hold.
    pub rights: Vec<GrantedDetail>,
    /// Which grant gave which right, ordered by server, kind and name.
    pub decided_by: Vec<DecidedBy>,
    /// How long one pass may live at most.
    pub max_ttl: Duration,
    /// What was left out and why; empty unless the question allows it.
    pub dropped: Vec<Reason>,
}

/// Which grant gave a right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedBy {
    /// The right.
    pub right: Right,
    /// The grant.
    pub grant: GrantId,
    /// The file that the grant stands in: `policy/research.toml`.
    pub file: String,
}

/// One reason why something is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The stable code.
    pub code: ReasonCode,
    /// What it is about and what decided, in words for the agent's developer.
    pub detail: String,
    /// The right that is refused, when it is about one.
    pub right: Option<Right>,
    /// The grant or guardrail that decided, when one did.
    pub decided_by: Option<Source>,
}

impl Reason {
    /// A reason that no grant or guardrail gave.
    #[must_use]
    pub fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            right: None,
            decided_by: None,
        }
    }

    pub(super) fn about(mut self, right: &Right) -> Self {
        self.right = Some(right.clone());
        self
    }

    pub(super) fn decided_by(mut self, source: Source) -> Self {
        self.decided_by = Some(source);
        self
    }
}

/// A grant or guardrail and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The grant's id or the guardrail's name.
    pub name: String,
    /// Its file: `policy/risk.cedar`.
    pub file: String,
}

pub(super) fn decide(set: &PolicySet, question: &Question, catalogue: &Catalogue) -> Decision {
    let Expansion {
        items,
        missing,
        malformed,
    } = expand(question, catalogue);
    if !malformed.is_empty() {
        return Decision::Refused(malformed);
    }
    let manifests: BTreeMap<Right, &Manifest> = items
        .iter()
        .map(|item| (item.right.clone(), Arc::as_ref(item.manifest)))
        .collect();
    let asked = match set.engine.ask(question, &manifests) {
        Ok(asked) => asked,
        Err(fault) => {
            return Decision::Refused(vec![Reason::new(
                ReasonCode::PolicyError,
                fault.to_string(),
            )]);
        }
    };
    let court = Court {
        set,
        question,
        asked,
    };
    let mut refused = missing;
    let mut covered: BTreeMap<&Right, Covered<'_>> = BTreeMap::new();
    for (right, manifest) in &manifests {
        match court.cover(right, manifest) {
            Ok(by) => drop(covered.insert(right, by)),
            Err(reasons) => refused.extend(reasons),
        }
    }
    // A fault means that nobody knows what the policy says; leaving the right out would hide that.
    let faulty = refused
        .iter()
        .any(|reason| reason.code == ReasonCode::PolicyError);
    if covered.is_empty() || faulty || !(refused.is_empty() || question.allow_partial) {
        return Decision::Refused(refused);
    }
    let mut granted = Granted {
        rights: Vec::new(),
        decided_by: Vec::new(),
        max_ttl: Duration::MAX,
        dropped: refused,
    };
    for (at, detail) in question.requested.iter().enumerate() {
        let rights = items
            .iter()
            .filter(|item| item.detail == at)
            .map(|item| &item.right);
        granted.rights.extend(assemble(detail, rights, &covered));
    }
    for (right, by) in &covered {
        granted.max_ttl = granted.max_ttl.min(by.placed.grant.max_ttl);
        let (grant, file) = (by.placed.grant.id.clone(), by.placed.file.clone());
        granted.decided_by.push(DecidedBy {
            right: (*right).clone(),
            grant,
            file,
        });
    }
    Decision::Granted(granted)
}

struct Court<'d> {
    set: &'d PolicySet,
    question: &'d Question,
    asked: Asked<'d>,
}

impl<'d> Court<'d> {
    /// The grant that gives `right`, with what it demands; otherwise every reason why none does.
    fn cover(&self, right: &Right, manifest: &Manifest) -> Result<Covered<'d>, Vec<Reason>> {
        let refuse = |code, detail: String| Reason::new(code, detail).about(right);
        let on = &right.server;
        match self.asked.decide(right) {
            Verdict::Permit(at, all) => {
                let no_such_grant = || vec![refuse(ReasonCode::PolicyError, "the grant is gone".to_owned())];
                let placed = self.set.grants.get(at).ok_or_else(no_such_grant)?;
                // Who wrote one narrow grant for what cannot be undone does not mean a wide one to undo it.
                let mut grants = all.iter().filter_map(|at| self.set.grants.get(*at));
                let call_proof = grants.any(|placed| placed.grant.require_call_proof);
                obligations_fit(placed, self.question, (right, manifest), call_proof)
            }
            Verdict::Forbid(guardrails) if guardrails.is_empty() => {
                let detail = format!("no grant gives `{right}` on `{on}` to agent `{}`", self.question.agent);
                Err(vec![refuse(ReasonCode::NoGrant, detail)])
            }
            Verdict::Forbid(guardrails) => Err(guardrails
                .into_iter()
                .map(|at| {
                    let source = self.source(Decider::Guardrail(at));
                    let detail = match &source {
                        Some(Source { name, file }) => {
                            format!("guardrail `{name}` ({file}) forbids `{right}` on `{on}`")
                        }
                        None => format!("a guardrail forbids `{right}` on `{on}`"),
                    };
                    Reason { decided_by: source, ..refuse(ReasonCode::Guardrail, detail) }
                })
                .collect()),
            Verdict::Fault(faults) => Err(faults
                .into_iter()
                .map(|(decider, words)| {
                    let source = decider.and_then(|decider| self.source(decider));
                    let place = source.as_ref().map(|s| format!(" in `{}` ({})", s.name, s.file)).unwrap_or_default();
                    let detail = format!("`{right}` on `{on}` could not be decided: evaluation failed{place}: {words}");
                    Reason { decided_by: source, ..refuse(ReasonCode::PolicyError, detail) }
                })
                .collect()),
        }
    }

    fn source(&self, decider: Decider) -> Option<Source> {
        match decider {
            Decider::Grant(at) => self.set.grants.get(at).map(PlacedGrant::source),
            Decider::Guardrail(at) => self.set.guardrails.get(at).map(|guardrail| Source {
                name: guardrail.name.clone(),
                file: guardrail.file.clone(),
            }),
        }
    }
}
