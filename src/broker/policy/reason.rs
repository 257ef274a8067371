//! Reasons: why something is refused, and which grant or guardrail decided.

use crate::policy::question::Right;
use hallpass_core::base::ReasonCode;

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
