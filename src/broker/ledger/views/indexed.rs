//! What the views need to know of an event, of either chain.

use crate::{
    domain::{
        decision::DecisionEvent,
        event::{ChainEvent, LedgerEvent, TaskRecord},
    },
    ledger::views::window::Verdict,
};
use hallpass_core::{
    base::{
        ids::{RevocationId, TaskId},
        time::Timestamp,
    },
    wire::report::Decision,
};

/// An event that views can be kept of.
pub trait Indexed: ChainEvent {
    /// The verdict that it reports; `None` for what reports none.
    fn verdict(&self) -> Option<Verdict> {
        None
    }

    /// When it happened, where that is earlier than when it was recorded.
    fn happened_at(&self) -> Option<Timestamp> {
        None
    }

    /// What it adds to what is looked up by id.
    fn lookup(&self) -> Lookup<'_> {
        Lookup::Nothing
    }
}

/// What an event adds to what is looked up by id.
#[derive(Debug, Clone, Copy)]
pub enum Lookup<'e> {
    /// Nothing.
    Nothing,
    /// Whose a task is.
    Task(&'e TaskRecord),
    /// A token of a task.
    Token(&'e TaskId, &'e RevocationId),
    /// Blocks that were appended to a token of a task.
    Blocks(&'e TaskId, &'e [RevocationId]),
}

impl Indexed for LedgerEvent {
    fn lookup(&self) -> Lookup<'_> {
        match self {
            Self::TaskOpened { task } => Lookup::Task(task),
            Self::TokenIssued { task, token } => Lookup::Token(task, &token.revocation_id),
            Self::DelegationReported { task, blocks, .. } => Lookup::Blocks(task, blocks),
            _ => Lookup::Nothing,
        }
    }
}

impl Indexed for DecisionEvent {
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::CallDecided { call, .. } => Some(match call.decision {
                Decision::Allowed => Verdict::Allowed,
                Decision::Refused(_) => Verdict::Refused,
            }),
            Self::ReportsLost { .. } => Some(Verdict::Lost),
            Self::SegmentBegun { .. } => None,
        }
    }

    /// Reports come later than the calls that they are about.
    fn happened_at(&self) -> Option<Timestamp> {
        match self {
            Self::CallDecided { call, .. } => Some(call.at),
            Self::ReportsLost { lost } => Some(lost.from),
            Self::SegmentBegun { .. } => None,
        }
    }
}
