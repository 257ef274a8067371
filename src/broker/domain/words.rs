//! How actors, subjects and the states of records are spelled: once, for records, answers, tables and metrics.

use std::fmt;

use crate::domain::event::{Actor, KeyPurpose, KeyState, Role, Subject};

impl fmt::Display for Actor {
    /// As the audit trail shows it, and as quotas and idempotency keys are kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("broker"),
            Self::Agent(agent) => write!(f, "agent {agent}"),
            Self::Operator(operator) => write!(f, "operator {operator}"),
            Self::TaskClient(task) => write!(f, "client of {task}"),
            Self::Steward(steward) => write!(f, "steward {steward}"),
        }
    }
}

impl KeyPurpose {
    /// Every purpose.
    pub const ALL: [Self; 4] = [Self::Root, Self::Feed, Self::Operator, Self::Checkpoint];

    /// The purpose as paths and file names spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Feed => "feed",
            Self::Operator => "operator",
            Self::Checkpoint => "checkpoint",
        }
    }
}

impl KeyState {
    /// The state as records and answers spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        }
    }
}

impl Role {
    /// The role as operators' tokens spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Verifier => "verifier",
        }
    }
}

impl Subject {
    /// The kind in one word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RevocationId(_) => "token",
            Self::Task(_) => "task",
            Self::Agent(_) => "agent",
            Self::Steward(_) => "steward",
            Self::Server(_) => "server",
            Self::Key(_) => "key",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: &dyn fmt::Display = match self {
            Self::RevocationId(id) => id,
            Self::Task(id) => id,
            Self::Agent(id) => id,
            Self::Steward(id) => id,
            Self::Server(id) => id,
            Self::Key(id) => id,
        };
        write!(f, "{} {name}", self.kind())
    }
}
