//! Which records are wanted, in which order, and how many.

use hallpass_core::base::{
    ids::{AgentId, ServerUri, StewardId, TaskId},
    time::Timestamp,
};

/// Which records are wanted: those that satisfy every member that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// About this agent.
    pub agent: Option<AgentId>,
    /// About this steward.
    pub steward: Option<StewardId>,
    /// About this task.
    pub task: Option<TaskId>,
    /// About this server.
    pub server: Option<ServerUri>,
    /// Decided then or later.
    pub from: Option<Timestamp>,
    /// Decided before then.
    pub to: Option<Timestamp>,
    /// With this verdict; for the chain of decisions.
    pub verdict: Option<Verdict>,
}

/// What a record of the chain of decisions reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A call was let through.
    Allowed,
    /// A call was not.
    Refused,
    /// Reports were lost.
    Lost,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }

    /// The verdict that `word` names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Allowed, Self::Refused, Self::Lost]
            .into_iter()
            .find(|verdict| verdict.as_str() == word)
    }
}

/// In which order records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The last record first.
    #[default]
    NewestFirst,
    /// The first record first.
    OldestFirst,
}

/// Which part of the records that a filter wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// In which order.
    pub order: Order,
    /// Only those that follow this record in that order.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

impl Window {
    /// The first and the last sequence number that it can show.
    pub(super) const fn ends(self) -> (u64, u64) {
        match (self.order, self.after) {
            (Order::OldestFirst, Some(after)) => (after.saturating_add(1), u64::MAX),
            (Order::NewestFirst, Some(after)) => (0, after.saturating_sub(1)),
            (_, None) => (0, u64::MAX),
        }
    }
}
