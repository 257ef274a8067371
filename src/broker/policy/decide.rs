//! Decisions: a question in, what is granted or every reason why not out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::policy::{
    Catalogue,
    assemble::{Covered, assemble},
    compiled::Compiled,
    engine::{Asked, Decider, Verdict},
    expand::{Expansion, expand},
    fit::obligations_fit,
    grant_file::PlacedGrant,
    question::{Question, Right},
    reason::{Reason, Source},
};
use hallpass_core::{
    base::{ReasonCode, ids::GrantId},
    token::{GrantedDetail, manifest::Manifest},
};

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

pub(super) fn decide(set: &Compiled, question: &Question, catalogue: &Catalogue) -> Decision {
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
    let evaluation = Evaluation {
        set,
        question,
        asked,
    };
    let mut refused = missing;
    let mut covered: BTreeMap<&Right, Covered<'_>> = BTreeMap::new();
    for (right, manifest) in &manifests {
        match evaluation.cover(right, manifest) {
            Ok(by) => drop(covered.insert(right, by)),
            Err(reasons) => refused.extend(reasons),
        }
    }
    // A fault means that the policy could not be evaluated; leaving the right out would hide that.
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

struct Evaluation<'d> {
    set: &'d Compiled,
    question: &'d Question,
    asked: Asked<'d>,
}

impl<'d> Evaluation<'d> {
    /// The grant that gives `right`, with what it demands; otherwise every reason why none does.
    fn cover(&self, right: &Right, manifest: &Manifest) -> Result<Covered<'d>, Vec<Reason>> {
        let verdict = self.asked.decide(right);
        if let Verdict::Permit(at, all) = &verdict {
            let no_such_grant = || {
                vec![refusal(
                    right,
                    ReasonCode::PolicyError,
                    "the grant is gone".to_owned(),
                )]
            };
            let placed = self.set.grants.get(*at).ok_or_else(no_such_grant)?;
            // Who wrote one narrow grant for what cannot be undone does not mean a wide one to undo it.
            let mut grants = all.iter().filter_map(|at| self.set.grants.get(*at));
            let call_proof = grants.any(|placed| placed.grant.require_call_proof);
            return obligations_fit(placed, self.question, (right, manifest), call_proof);
        }
        let reasons = self.set.refusals(right, &verdict);
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let detail = format!(
            "no grant gives `{right}` on `{}` to agent `{}`",
            right.server, self.question.agent
        );
        Err(vec![refusal(right, ReasonCode::NoGrant, detail)])
    }
}

impl Compiled {
    /// Every guardrail that forbids `right` by this verdict, or what could not be evaluated.
    pub(super) fn refusals(&self, right: &Right, verdict: &Verdict) -> Vec<Reason> {
        let on = &right.server;
        match verdict {
            Verdict::Permit(..) => Vec::new(),
            Verdict::Forbid(guardrails) => guardrails
                .iter()
                .map(|at| {
                    let source = self.source(Decider::Guardrail(*at));
                    let detail = match &source {
                        Some(Source { name, file }) => {
                            format!("guardrail `{name}` ({file}) forbids `{right}` on `{on}`")
                        }
                        None => format!("a guardrail forbids `{right}` on `{on}`"),
                    };
                    Reason { decided_by: source, ..refusal(right, ReasonCode::Guardrail, detail) }
                })
                .collect(),
            Verdict::Fault(faults) => faults
                .iter()
                .map(|(decider, words)| {
                    let source = decider.and_then(|decider| self.source(decider));
                    let place = source.as_ref().map(|s| format!(" in `{}` ({})", s.name, s.file)).unwrap_or_default();
                    let detail = format!("`{right}` on `{on}` could not be decided: evaluation failed{place}: {words}");
                    Reason { decided_by: source, ..refusal(right, ReasonCode::PolicyError, detail) }
                })
                .collect(),
        }
    }

    fn source(&self, decider: Decider) -> Option<Source> {
        match decider {
            Decider::Grant(at) => self.grants.get(at).map(PlacedGrant::source),
            Decider::Guardrail(at) => self.guardrails.get(at).map(|guardrail| Source {
                name: guardrail.name.clone(),
                file: guardrail.file.clone(),
            }),
        }
    }
}

fn refusal(right: &Right, code: ReasonCode, detail: String) -> Reason {
    Reason::new(code, detail).about(right)
}
