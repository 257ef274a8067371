//! A ledger in memory that several brokers share: for tests of what they do to one another.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::watch;

use crate::{
    domain::event::{ChainEvent as _, Entry},
    ledger::{
        AppendError, Appending, Ledger, Position, ReadRecords, Receipt,
        file::{Apply, JournalError, ReadError},
        record::{Head, LinePlace, Record},
    },
};
use hallpass_core::base::digest::Digest;
use hallpass_core::base::sync::MutexExt as _;

/// The records that the handles share.
#[derive(Debug, Default)]
pub(crate) struct SharedLog(Mutex<Vec<Stored>>);

#[derive(Debug, Clone)]
struct Stored {
    record: Record,
    /// The handle that appended it.
    by: usize,
}

/// What an append is to do before it is decided whether it conflicts, and before it is answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Step {
    /// How often other tasks run before it is appended.
    pub(crate) yields_before: u8,
    /// Whether it conflicts, whatever else was appended.
    pub(crate) conflicts: bool,
    /// How often other tasks run before it is answered.
    pub(crate) yields_after: u8,
}

/// One broker's handle.
pub(crate) struct MemoryLedger {
    log: Arc<SharedLog>,
    by: usize,
    seen: Mutex<Seen>,
    steps: Mutex<VecDeque<Step>>,
    applied: watch::Sender<Position>,
}

struct Seen {
    count: usize,
    apply: Apply,
}

impl SharedLog {
    /// All records, in order.
    pub(crate) fn records(&self) -> Vec<Record> {
        let stored = self.lock();
        stored.iter().map(|stored| stored.record.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.0.locked()
    }
}

impl MemoryLedger {
    /// Handle number `by` to `log`, which applies records with `apply`.
    pub(crate) fn new(log: Arc<SharedLog>, by: usize, apply: Apply) -> Self {
        Self {
            log,
            by,
            seen: Mutex::new(Seen { count: 0, apply }),
            steps: Mutex::default(),
            applied: watch::Sender::new(Position::default()),
        }
    }

    /// What the next appends do.
    pub(crate) fn plan(&self, steps: impl IntoIterator<Item = Step>) {
        let mut planned = self.steps.locked();
        planned.extend(steps);
    }

    /// Applies what others appended, as a ledger does that is notified of it.
    pub(crate) fn follow(&self) {
        self.catch_up(&self.log.lock());
    }

    fn catch_up(&self, log: &[Stored]) {
        let mut seen = self.seen.locked();
        let new: Vec<Record> = log
            .iter()
            .skip(seen.count)
            .map(|stored| stored.record.clone())
            .collect();
        if let Some(last) = new.last() {
            (seen.apply)(&new);
            seen.count = log.len();
            self.applied.send_replace(Position::after(last.sequence));
        }
    }

    /// Appends now, or conflicts.
    fn append_now(
        &self,
        expected: Position,
        entries: Vec<Entry>,
        conflicts: bool,
    ) -> Result<Receipt, AppendError> {
        let mut log = self.log.lock();
        let is_foreign =
            |stored: &Stored| stored.by != self.by && stored.record.sequence > expected.sequence();
        if conflicts || log.iter().any(is_foreign) {
            self.catch_up(&log);
            return Err(AppendError::Conflict);
        }
        let mut tokens = Vec::new();
        let mut head = Head::GENESIS;
        for entry in entries {
            let last = log.last().map(|stored| stored.record.head());
            let last = last.unwrap_or(Head::GENESIS);
            let text = serde_json::to_vec(&entry).unwrap();
            head = Head {
                sequence: last.sequence.saturating_add(1),
                hash: Digest::of_parts(&[last.hash.as_bytes(), &text]),
            };
            tokens.extend(entry.event.made_token());
            log.push(Stored {
                record: Record {
                    sequence: head.sequence,
                    prev: last.hash,
                    hash: head.hash,
                    place: LinePlace::default(),
                    entry,
                },
                by: self.by,
            });
        }
        self.catch_up(&log);
        Ok(Receipt::of_durable_records(
            head.sequence,
            head.hash,
            tokens,
        ))
    }
}

impl Ledger for MemoryLedger {
    fn append(&self, expected: Position, entries: Vec<Entry>) -> Appending<'_> {
        Box::pin(async move {
            let step = {
                let mut steps = self.steps.locked();
                steps.pop_front().unwrap_or_default()
            };
            for _ in 0..step.yields_before {
                tokio::task::yield_now().await;
            }
            let appended = self.append_now(expected, entries, step.conflicts);
            for _ in 0..step.yields_after {
                tokio::task::yield_now().await;
            }
            appended
        })
    }

    fn read_from(&self, sequence: u64) -> Result<ReadRecords, ReadError> {
        let records = self.log.records().into_iter().map(Ok);
        let later = move |record: &Result<Record, ReadError>| {
            record
                .as_ref()
                .is_ok_and(|record| record.sequence >= sequence)
        };
        Ok(Box::new(records.filter(later)))
    }

    fn head(&self) -> Head {
        let last = self.log.lock().last().map(|stored| stored.record.head());
        last.unwrap_or(Head::GENESIS)
    }

    fn subscribe(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    fn is_healthy(&self) -> bool {
        true
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger")
            .field("by", &self.by)
            .field("head", &self.head())
            .finish_non_exhaustive()
    }
}
