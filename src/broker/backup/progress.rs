//! How far a backup or a restore is.

use std::cell::Cell;

/// How far the work is, in bytes that are copied and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// What there is to do; more, when the journal grows meanwhile.
    pub total: u64,
}

/// Adds up what is done, and reports it.
pub(super) struct Meter<'r> {
    done: Cell<u64>,
    total: u64,
    report: &'r dyn Fn(Progress),
}

impl<'r> Meter<'r> {
    pub(super) const fn new(total: u64, report: &'r dyn Fn(Progress)) -> Self {
        Self {
            done: Cell::new(0),
            total,
            report,
        }
    }

    pub(super) fn add(&self, bytes: u64) {
        let done = self.done.get().saturating_add(bytes);
        self.done.set(done);
        (self.report)(Progress {
            done,
            total: self.total.max(done),
        });
    }
}
