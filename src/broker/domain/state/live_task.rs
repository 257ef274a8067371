//! Tasks, as in the records.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::domain::event::{LedgerEvent, RevocationRecord, Subject, TaskRecord, TokenRecord};
use hallpass_core::base::{
    ids::{AgentId, RevocationId, ServerUri},
    time::Timestamp,
};

/// A task that is open, or whose passes may still be alive.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveTask {
    /// As it was opened.
    pub record: TaskRecord,
    /// What was minted in it.
    pub tokens: Vec<TokenRecord>,
    /// Chains of block ids that its agent reported, block 0 first.
    pub delegations: Vec<Reported>,
    /// Blocks of its tokens that were revoked.
    pub revoked: BTreeSet<RevocationId>,
    /// Why it ended early, if it did.
    pub end: Option<(TaskEnd, Timestamp)>,
}

/// What an agent reported to have handed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// The longer token's block ids, block 0 first.
    pub blocks: Vec<RevocationId>,
    /// To whom, as the agent says.
    pub asserted: Option<String>,
    /// To whom, by the key.
    pub registered: Option<AgentId>,
}

/// Why a task ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskEnd {
    /// Its agent said so.
    Completed,
    /// It, the first block of one of its passes, or who answered for it was revoked; or what it came of has ended.
    Revoked,
}

impl LiveTask {
    pub(crate) fn new(record: TaskRecord) -> Self {
        Self {
            record,
            tokens: Vec::new(),
            delegations: Vec::new(),
            revoked: BTreeSet::new(),
            end: None,
        }
    }

    /// The servers that its passes name.
    #[must_use]
    pub fn servers(&self) -> BTreeSet<ServerUri> {
        self.tokens
            .iter()
            .flat_map(|token| &token.rights)
            .map(|detail| detail.server.clone())
            .collect()
    }

    /// When the last of its passes ends.
    #[must_use]
    pub fn passes_end(&self) -> Timestamp {
        self.tokens
            .iter()
            .map(|token| token.expires_at)
            .max()
            .unwrap_or(self.record.opened_at)
    }

    /// When it, and the last of its passes, has ended.
    pub(crate) fn over_at(&self) -> Timestamp {
        let ended = self.end.map_or(self.record.ends_at, |(_, at)| at);
        ended.max(self.passes_end())
    }

    pub(crate) fn note(&mut self, event: &LedgerEvent, at: Timestamp) {
        match event {
            LedgerEvent::TokenIssued { token, .. } => self.tokens.push(token.clone()),
            LedgerEvent::DelegationReported {
                blocks,
                delegate,
                registered,
                ..
            } => self.delegations.push(Reported {
                blocks: blocks.clone(),
                asserted: delegate.clone(),
                registered: registered.clone(),
            }),
            LedgerEvent::TaskCompleted { .. } => self.end = Some((TaskEnd::Completed, at)),
            LedgerEvent::Revoked { revocation } => {
                if let Subject::RevocationId(id) = &revocation.subject {
                    self.revoked.insert(*id);
                }
                if self.is_ended_by(revocation) {
                    self.end = Some((TaskEnd::Revoked, at));
                }
            }
            _ => {}
        }
    }

    fn is_ended_by(&self, revocation: &RevocationRecord) -> bool {
        match &revocation.subject {
            Subject::Task(task) => *task == self.record.task,
            Subject::RevocationId(id) => {
                !revocation.only_token && self.tokens.iter().any(|token| token.revocation_id == *id)
            }
            _ => false,
        }
    }
}
