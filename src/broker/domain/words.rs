//! How actors and subjects are named, wherever they are shown.

use std::fmt;

use crate::domain::event::{Actor, KeyState, Subject};

impl fmt::Display for Actor {
    /// `agent research-bot`, `client of tsk_…`.
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

impl Subject {
    /// Its kind, in one word.
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

impl KeyState {
    /// The word for it.
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
