//! The results of a decision: a permit for one call, or a denial with every reason.

use std::fmt;

use serde::Serialize;

use hallpass_core::{
    base::{
        ReasonCode,
        holder::HolderKey,
        ids::{AgentId, RevocationId, ServerUri, StewardId, TaskId},
        time::Timestamp,
    },
    token::{FailedCheck, Hop, VerifiedPass, rights::Kind},
};

/// The proof that one call was cleared. Only [`Verifier::clear`](crate::Verifier::clear) makes one.
///
/// ```compile_fail,E0451
/// fn widen(permit: crate::Permit) -> crate::Permit {
///     crate::Permit { name: "delete_ledger".to_owned(), ..permit }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    pub(super) server: ServerUri,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) task: TaskId,
    pub(super) agent: AgentId,
    pub(super) steward: StewardId,
    pub(super) chain: Vec<RevocationId>,
    pub(super) delegates: Vec<Hop>,
    pub(super) holder: Option<HolderKey>,
    pub(super) cleared_at: Timestamp,
    pub(super) valid_until: Timestamp,
}

impl Permit {
    /// The called server.
    #[must_use]
    pub const fn server(&self) -> &ServerUri {
        &self.server
    }

    /// The kind of thing that may be called.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The name of the tool or prompt, or the URI of the resource.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The task that the call belongs to.
    #[must_use]
    pub const fn task(&self) -> &TaskId {
        &self.task
    }

    /// The agent that the pass was issued to.
    #[must_use]
    pub const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// The person for whom the agent acts: its steward, or the proven subject of the task.
    #[must_use]
    pub const fn steward(&self) -> &StewardId {
        &self.steward
    }

    /// The ids of the token's blocks, block 0 first, one for each narrowing.
    #[must_use]
    pub fn chain(&self) -> &[RevocationId] {
        &self.chain
    }

    /// The delegates, as each holder before signed; empty for a pass that was not handed on.
    #[must_use]
    pub fn delegates(&self) -> &[Hop] {
        &self.delegates
    }

    /// The key whose possession was proven; `None` for a pass that is not bound to a key.
    #[must_use]
    pub const fn holder(&self) -> Option<&HolderKey> {
        self.holder.as_ref()
    }

    /// When the call was cleared.
    #[must_use]
    pub const fn cleared_at(&self) -> Timestamp {
        self.cleared_at
    }

    /// When the pass ends: a stream that outlives this must end.
    #[must_use]
    pub const fn valid_until(&self) -> Timestamp {
        self.valid_until
    }
}

/// Why a token or a call was denied.
///
/// It is exhaustive on purpose: if a third kind of denial is ever added, every caller should stop
/// compiling and handle it. The kinds of refusal and of fault below it may grow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Denial {
    /// Refused, with every reason. Never empty.
    Refused(Vec<Refusal>),
    /// It cannot be decided, so it is refused.
    Fault(Fault),
}

impl Denial {
    pub(super) fn because(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self::Refused(vec![Refusal::new(code, None, detail)])
    }

    /// The first reason's code.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Refused(refusals) => refusals
                .first()
                .map_or(ReasonCode::Internal, |refusal| refusal.code),
            Self::Fault(fault) => fault.code(),
        }
    }

    /// Every reason's code.
    #[must_use]
    pub fn codes(&self) -> Vec<ReasonCode> {
        match self {
            Self::Refused(refusals) => refusals.iter().map(|refusal| refusal.code).collect(),
            Self::Fault(fault) => vec![fault.code()],
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusals) => {
                let all: Vec<_> = refusals.iter().map(ToString::to_string).collect();
                write!(f, "refused: {}", all.join("; "))
            }
            Self::Fault(fault) => write!(f, "cannot decide: {fault}"),
        }
    }
}

impl std::error::Error for Denial {}

/// One reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The stable reason code.
    pub code: ReasonCode,
    /// The block of the token that refused, counted from 0; `None` when no block did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// The delegation in that block, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<RefusingHop>,
    /// The explanation, for people. Holds names from the token and the manifest, never the token.
    pub detail: String,
}

/// The delegation that refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RefusingHop {
    /// The delegator.
    pub from: AgentId,
    /// The delegate's name, as asserted by `from`.
    pub to: AgentId,
}

impl Refusal {
    pub(super) fn new(code: ReasonCode, block: Option<usize>, detail: impl Into<String>) -> Self {
        Self {
            code,
            block,
            hop: None,
            detail: detail.into(),
        }
    }

    /// The refusals of `pass`, each with the hop that it came from.
    pub(super) fn of(pass: &VerifiedPass, failed: FailedCheck) -> Self {
        let hop = failed
            .block
            .and_then(|block| pass.holder()?.hop_at(block, &pass.claims().agent));
        let hop = hop.map(|(from, hop)| RefusingHop {
            from: from.clone(),
            to: hop.agent.clone(),
        });
        Self {
            code: failed.code,
            block: failed.block,
            hop,
            detail: failed.detail,
        }
    }

    /// The block and the rule that refused, as a sentence: ``block 2 (delegated by `planner` to `researcher`)
    /// allows only tool `search_code` ``.
    #[must_use]
    pub fn explain(&self) -> String {
        let who = match (self.block, &self.hop) {
            (None, _) => return self.detail.clone(),
            (Some(0), _) => "issued by the broker".to_owned(),
            (Some(_), Some(hop)) => format!("delegated by `{}` to `{}`", hop.from, hop.to),
            (Some(_), None) => "added by a holder".to_owned(),
        };
        let block = self.block.unwrap_or_default();
        let says = if self.detail.starts_with("allows only") {
            ""
        } else {
            ":"
        };
        format!("block {block} ({who}){says} {}", self.detail)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.explain())
    }
}

/// Why no decision is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No frame from the broker yet, or the newest is older than the staleness bound.
    #[error("no recent frame from the broker; revocations could be missing")]
    FeedStale,
    /// The store of used proofs of possession is full.
    #[error("too many proofs of possession in the last minute")]
    ProofGuardFull,
    /// The engine exceeded its limits.
    #[error("the token took too long to evaluate")]
    RunLimit,
    /// The engine could not evaluate a check of the token.
    #[error("a check of the token cannot be evaluated")]
    Evaluation,
}

impl Fault {
    /// The stable reason code.
    #[must_use]
    pub const fn code(self) -> ReasonCode {
        match self {
            Self::FeedStale => ReasonCode::FeedStale,
            Self::ProofGuardFull => ReasonCode::ProofGuardFull,
            Self::RunLimit => ReasonCode::RunLimit,
            Self::Evaluation => ReasonCode::Evaluation,
        }
    }
}
