//! The state that a broker shares among its use cases: written by the ledger alone, read by everything else.

use std::sync::{
    RwLock, RwLockReadGuard,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use crate::{
    State,
    ledger::{Position, record::Record},
};
use hallpass_core::base::sync::RwLockExt as _;
use hallpass_core::base::time::Timestamp;

/// The state, with what is read of it too often to wait for it.
#[derive(Debug)]
pub(crate) struct StateCell {
    state: RwLock<State>,
    /// When the last record was decided, in milliseconds.
    last_at: AtomicI64,
    /// The last record that was applied.
    applied: AtomicU64,
}

impl StateCell {
    pub(crate) fn new(state: State) -> Self {
        Self {
            last_at: AtomicI64::new(state.last_at().unix_millis()),
            applied: AtomicU64::new(state.last_sequence()),
            state: RwLock::new(state),
        }
    }

    /// The state. A thread that holds it must not ask for it again: once the ledger waits in between to apply
    /// records, both wait for ever.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // Whole records are applied, and without a panic in between; a poisoned lock is a state that is whole all
        // the same.
        self.state.read_locked()
    }

    /// Applies records that follow on those applied before; returns the last that verifiers must learn of.
    pub(crate) fn apply(&self, records: &[Record]) -> Option<u64> {
        let mut news = None;
        let mut state = self.state.write_locked();
        for record in records {
            if state.apply(record) {
                news = Some(record.sequence);
            }
        }
        // While nothing else reads the state: a thread that sees a record sees its time, and one that reads the
        // position finds a state that is at least as far.
        self.last_at
            .store(state.last_at().unix_millis(), Ordering::SeqCst);
        self.applied.store(state.last_sequence(), Ordering::SeqCst);
        news
    }

    /// Drops what no living pass is concerned by.
    pub(crate) fn forget(&self) {
        let mut state = self.state.write_locked();
        // Recorded time: a clock that jumped ahead and back must not make anything forgotten for good.
        let now = state.last_at();
        state.forget(now);
    }

    /// When the last record was decided.
    pub(crate) fn last_at(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.last_at.load(Ordering::SeqCst))
    }

    /// Up to which record a state that is read from now on has seen everything.
    pub(crate) fn position(&self) -> Position {
        Position::after(self.applied.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
impl StateCell {
    /// The state, to be changed without a record.
    pub(crate) fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write_locked()
    }

    /// Whether it could be read without waiting.
    pub(crate) fn is_free(&self) -> bool {
        self.state.try_read().is_ok()
    }
}
