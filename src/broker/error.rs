//! Why the broker did not do something.

use std::fmt;

use crate::{
    DecisionsError,
    domain::event::KeyPurpose,
    ledger::{file::JournalError, receipt::NotRecorded},
    policy::Reason,
};
use hallpass_core::{
    base::{ReasonCode, ids::KeyId},
    token::MintError,
};

/// Why the broker did not do something.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Policy said no, or the pass cannot be made; every reason.
    #[error("refused: {}", .0.iter().map(|reason| reason.detail.as_str()).collect::<Vec<_>>().join("; "))]
    Refused(Vec<Reason>),
    /// A member of the request is wrong.
    #[error("`{field}`: {detail}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// There is no such thing, or the caller may not know of it.
    #[error("there is no {0}")]
    NotFound(Missing),
    /// It exists already or cannot be changed so.
    #[error("{0}")]
    Conflict(String),
    /// The agent, steward, server or key is revoked until it is reinstated.
    #[error("{0}")]
    Suspended(String),
    /// The task is over.
    #[error("{0}")]
    TaskEnded(String),
    /// The assertion was used before.
    #[error("the assertion was used before: make a new one for every request")]
    Replay,
    /// Nothing can be recorded, so nothing is done.
    #[error("nothing can be recorded now: {0}")]
    Journal(#[from] JournalError),
    /// What is asked about has left the journal.
    #[error("{0}")]
    Archived(String),
    /// The disk is nearly full: only revocations and completions are recorded until space is freed.
    #[error(
        "the disk is nearly full: only revocations and completions are recorded until space is freed"
    )]
    StorageLow,
    /// Reading the past failed.
    #[error("the audit trail cannot be read: {0}")]
    Trail(String),
    /// As many others as may at once are reading through the audit trail.
    #[error("too many reports over the audit trail are being made")]
    Busy,
    /// Other brokers of the same ledger recorded first, time after time.
    #[error("other brokers recorded first, time after time, so nothing was done: try again")]
    Contended,
    /// A limit is reached; retry later.
    #[error("{0}")]
    Full(String),
    /// Something that cannot be, unless the broker is wrong.
    #[error("the broker is wrong: {0}")]
    Internal(String),
    /// The chain of decisions.
    #[error(transparent)]
    Decisions(#[from] DecisionsError),
    /// A file of the broker's could not be read or written.
    #[error("{0}")]
    Files(String),
}

impl BrokerError {
    /// The stable reason code.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Refused(reasons) => reasons
                .first()
                .map_or(ReasonCode::NoGrant, |reason| reason.code),
            Self::Invalid { .. } => ReasonCode::InvalidRequest,
            Self::NotFound(_) | Self::Archived(_) => ReasonCode::NotFound,
            Self::Conflict(_) => ReasonCode::Conflict,
            Self::Suspended(_) => ReasonCode::Suspended,
            Self::TaskEnded(_) => ReasonCode::TaskEnded,
            Self::Replay => ReasonCode::Unauthenticated,
            Self::StorageLow => ReasonCode::StorageLow,
            Self::Internal(_) => ReasonCode::Internal,
            Self::Journal(_)
            | Self::Trail(_)
            | Self::Busy
            | Self::Contended
            | Self::Full(_)
            | Self::Decisions(_)
            | Self::Files(_) => ReasonCode::Unavailable,
        }
    }

    /// There is no `kind` of this name.
    pub(crate) fn not_found(kind: ObjectKind, name: impl fmt::Display) -> Self {
        Self::NotFound(Missing {
            kind,
            name: Some(name.to_string()),
        })
    }

    /// There is no such `kind`; its name is not known or not repeated.
    #[must_use]
    pub fn no_such(kind: ObjectKind) -> Self {
        Self::NotFound(Missing { kind, name: None })
    }

    pub(crate) fn invalid(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            detail: detail.into(),
        }
    }
}

/// What was not found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// What kind of thing.
    pub kind: ObjectKind,
    /// Its name as the caller sent it, which may be anything: not for answers and logs.
    pub name: Option<String>,
}

/// What kind of thing was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectKind {
    /// An agent.
    Agent,
    /// The agent that an OAuth client's document makes.
    AgentOf,
    /// A task.
    Task,
    /// A task that is not forgotten.
    OpenTask,
    /// A pass that is not forgotten.
    Pass,
    /// An MCP server.
    Server,
    /// A steward.
    Steward,
    /// The name of a steward.
    StewardName,
    /// The identity of a steward at an issuer.
    StewardIdentity,
    /// An operator.
    Operator,
    /// A client secret.
    Secret,
    /// A code to sign in with.
    SignInCode,
    /// One of the broker's keys.
    Key(KeyPurpose, KeyId),
    /// A route of the API.
    Route,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::AgentOf => "agent of",
            Self::Task => "task",
            Self::OpenTask => "open task",
            Self::Pass => "pass",
            Self::Server => "server",
            Self::Steward => "steward",
            Self::StewardName => "name for steward",
            Self::StewardIdentity => "identity of steward",
            Self::Operator => "operator",
            Self::Secret => "secret",
            Self::SignInCode => "sign-in code",
            Self::Key(purpose, id) => return write!(f, "{} key {id}", purpose.as_str()),
            Self::Route => "route",
        })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.name) {
            (kind, Some(name)) => write!(f, "{kind} `{name}`"),
            (kind @ ObjectKind::Key(..), None) => write!(f, "{kind}"),
            (kind, None) => write!(f, "such {kind}"),
        }
    }
}

impl From<NotRecorded> for BrokerError {
    fn from(error: NotRecorded) -> Self {
        Self::Internal(error.to_string())
    }
}

/// The reason to refuse a request whose pass cannot be minted.
pub(crate) fn not_mintable(error: &MintError) -> Reason {
    Reason::new(error.code(), error.to_string())
}

/// Reading the past failed.
pub(crate) fn trail(error: impl fmt::Display) -> BrokerError {
    BrokerError::Trail(error.to_string())
}

/// A file of the broker's could not be read or written.
pub(crate) fn files(error: impl fmt::Display) -> BrokerError {
    BrokerError::Files(error.to_string())
}
