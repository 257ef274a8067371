//! Questions to the index. Answers are sequence numbers and places; the records are in the journal.

use std::{collections::BTreeSet, ops::Bound, sync::atomic::Ordering};

use super::{
    Index, IndexError,
    keys::{self, View},
};
use crate::{
    base::{
        digest::Digest,
        ids::{AgentId, RevocationId, ServerUri, StewardId, TaskId},
        time::Timestamp,
    },
    journal::{Event, Place, ReadError, Reader, Record},
    verify::report::Decision,
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

/// What a record of the chain of decisions tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// A call was let through.
    Allowed,
    /// A call was not.
    Refused,
    /// Reports were lost.
    Lost,
}

impl Verdict {
    /// What `event` tells; `None` for events of other chains.
    #[must_use]
    pub const fn of(event: &Event) -> Option<Self> {
        match event {
            Event::CallDecided { call, .. } => Some(match call.decision {
                Decision::Allowed => Self::Allowed,
                Decision::Refused(_) => Self::Refused,
            }),
            Event::ReportsLost { .. } => Some(Self::Lost),
            _ => None,
        }
    }

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
        [Self::Allowed, Self::Refused, Self::Lost].into_iter().find(|verdict| verdict.as_str() == word)
    }
}

/// In which order records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "there is no third direction")]
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

/// What the index knows of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskSummary {
    /// The record that opened it; 0 when that is not known any more.
    pub opened: u64,
    /// Whose it is.
    pub agent: AgentId,
    /// For whom.
    pub steward: StewardId,
    /// Its tokens, each with its record: 0 where that is not known any more. Those first, in no order; the others in
    /// the order of their minting.
    pub tokens: Vec<(u64, RevocationId)>,
}

impl Index {
    /// The sequence numbers of the records that `filter` wants, as far as `window` shows them. The last
    /// one is the next page's `after`; a page with fewer than the limit is the last.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn query(&self, filter: &Filter, window: Window) -> Result<Vec<u64>, IndexError> {
        self.whole()?;
        let views = views_of(filter);
        match views.split_first() {
            None if filter.from.is_some() || filter.to.is_some() => self.query_time(filter, window),
            None => self.walk(keys::BY_SEQUENCE, window, |_| Ok(true)),
            Some((first, others)) => self.walk(first, window, |sequence| {
                for other in others {
                    if !self.db().contains_key(keys::with_sequence(other.clone(), sequence))? {
                        return Ok(false);
                    }
                }
                self.is_in_time(filter, sequence)
            }),
        }
    }

    /// Where the line of record `sequence` stands.
    ///
    /// # Errors
    ///
    /// When the index is damaged or fails.
    pub fn place(&self, sequence: u64) -> Result<Option<Place>, IndexError> {
        self.catch_up_with_announced();
        Ok(self.located(sequence)?.map(|(place, _)| place))
    }

    /// Record `sequence` of `journal`; `None` when it is not kept any more, perhaps since a moment ago. Blocks on the
    /// disk.
    ///
    /// # Errors
    ///
    /// When the index does not know a record that is kept, is damaged or fails, or the journal cannot be read.
    pub fn record(&self, journal: &Reader, sequence: u64) -> Result<Option<Record>, IndexError> {
        let Some(place) = self.place(sequence)? else {
            let kept_from = self.kept_from.load(Ordering::SeqCst).max(journal.first());
            return if sequence < kept_from { Ok(None) } else { Err(IndexError::Damaged) };
        };
        match journal.read_at(sequence, place) {
            Err(ReadError::Archived { .. }) => Ok(None),
            read => Ok(Some(read?)),
        }
    }

    /// The task that a block of a token belongs to, and the record that told so.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn token(&self, token: &RevocationId) -> Result<Option<(TaskId, u64)>, IndexError> {
        self.whole()?;
        self.find_token(token)
    }

    /// What is known of a task.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn task(&self, task: &TaskId) -> Result<Option<TaskSummary>, IndexError> {
        self.whole()?;
        let Some(owner) = self.owner(task)? else { return Ok(None) };
        let mut tokens = Vec::new();
        for pair in self.db().scan_prefix(keys::tokens_of(task)) {
            let (key, value) = pair?;
            let sequence = keys::sequence_of(&value).ok_or(IndexError::Damaged)?;
            tokens.push((sequence, keys::read_token_of(&key).ok_or(IndexError::Damaged)?));
        }
        tokens.sort_unstable_by_key(|(sequence, _)| *sequence);
        Ok(Some(TaskSummary { opened: owner.opened, agent: owner.agent, steward: owner.steward, tokens }))
    }

    /// The last record with this idempotency digest, and its task when it has one.
    ///
    /// # Errors
    ///
    /// When the index is behind, damaged or fails.
    pub fn idempotency(&self, digest: &Digest) -> Result<Option<(u64, Option<TaskId>)>, IndexError> {
        self.whole()?;
        let Some(value) = self.db().get(keys::idempotency(digest))? else { return Ok(None) };
        let (sequence, task) = keys::read_numbered(&value).ok_or(IndexError::Damaged)?;
        let task = if task.is_empty() { None } else { Some(task.parse().map_err(|_| IndexError::Damaged)?) };
        Ok(Some((sequence, task)))
    }

    /// Refuses when records were missed: a part of an answer looks like the whole.
    pub(super) fn whole(&self) -> Result<(), IndexError> {
        self.catch_up_with_announced();
        if self.broken.load(Ordering::SeqCst) { Err(IndexError::Behind) } else { Ok(()) }
    }

    fn located(&self, sequence: u64) -> Result<Option<(Place, Timestamp)>, IndexError> {
        let value = self.db().get(keys::by_sequence(sequence))?;
        value.map(|value| keys::read_located(&value).ok_or(IndexError::Damaged)).transpose()
    }

    fn is_in_time(&self, filter: &Filter, sequence: u64) -> Result<bool, IndexError> {
        if filter.from.is_none() && filter.to.is_none() {
            return Ok(true);
        }
        // It may have been removed since the walk found it.
        let Some((_, at)) = self.located(sequence)? else { return Ok(false) };
        Ok(filter.from.is_none_or(|from| at >= from) && filter.to.is_none_or(|to| at < to))
    }

    /// Walks one view whose keys are `prefix` and a sequence number.
    fn walk(
        &self,
        prefix: &[u8],
        window: Window,
        wanted: impl Fn(u64) -> Result<bool, IndexError>,
    ) -> Result<Vec<u64>, IndexError> {
        let key = |sequence| keys::with_sequence(prefix.to_vec(), sequence);
        let (low, high) = window.bounds();
        let mut range = self.db().range::<Vec<u8>, _>((low.map(key), high.map(key))).keys();
        let mut found = Vec::new();
        while found.len() < window.limit {
            let next = match window.order {
                Order::OldestFirst => range.next(),
                Order::NewestFirst => range.next_back(),
            };
            let Some(key) = next else { break };
            let sequence = keys::sequence_of(&key?).ok_or(IndexError::Damaged)?;
            if wanted(sequence)? {
                found.push(sequence);
            }
        }
        Ok(found)
    }

    /// By time alone: walks the whole span of time and keeps the records that come first.
    ///
    /// A clock may be set back, so the order of times is not the order of records and the walk
    /// cannot end early.
    fn query_time(&self, filter: &Filter, window: Window) -> Result<Vec<u64>, IndexError> {
        let from =
            filter.from.map_or(Bound::Included(keys::BY_TIME.to_vec()), |at| Bound::Included(keys::by_time(at, 0)));
        let latest = Timestamp::from_unix_millis(i64::MAX);
        let to = match filter.to {
            Some(at) => Bound::Excluded(keys::by_time(at, 0)),
            None => Bound::Included(keys::by_time(latest, u64::MAX)),
        };
        if filter.from.zip(filter.to).is_some_and(|(from, to)| from >= to) {
            return Ok(Vec::new());
        }
        let (low, high) = window.bounds();
        let mut found = BTreeSet::new();
        for key in self.db().range::<Vec<u8>, _>((from, to)).keys() {
            let sequence = keys::sequence_of(&key?).ok_or(IndexError::Damaged)?;
            if !std::ops::RangeBounds::contains(&(low, high), &sequence) {
                continue;
            }
            found.insert(sequence);
            if found.len() > window.limit {
                match window.order {
                    Order::OldestFirst => found.pop_last(),
                    Order::NewestFirst => found.pop_first(),
                };
            }
        }
        Ok(match window.order {
            Order::OldestFirst => found.into_iter().collect(),
            Order::NewestFirst => found.into_iter().rev().collect(),
        })
    }
}

impl Window {
    /// The sequence numbers that it can show.
    const fn bounds(self) -> (Bound<u64>, Bound<u64>) {
        match (self.order, self.after) {
            (Order::OldestFirst, Some(after)) => (Bound::Excluded(after), Bound::Included(u64::MAX)),
            (Order::NewestFirst, Some(after)) => (Bound::Included(0), Bound::Excluded(after)),
            (_, None) => (Bound::Included(0), Bound::Included(u64::MAX)),
        }
    }
}

/// The views that `filter` names, the narrowest first.
fn views_of(filter: &Filter) -> Vec<Vec<u8>> {
    let task = filter.task.as_ref().map(|id| View::Task.prefix(id.as_str()));
    let agent = filter.agent.as_ref().map(|id| View::Agent.prefix(id.as_str()));
    let steward = filter.steward.as_ref().map(|id| View::Steward.prefix(id.as_str()));
    let server = filter.server.as_ref().map(|id| View::Server.prefix(id.as_str()));
    let verdict = filter.verdict.map(|verdict| View::Verdict.prefix(verdict.as_str()));
    [task, agent, steward, server, verdict].into_iter().flatten().collect()
}
