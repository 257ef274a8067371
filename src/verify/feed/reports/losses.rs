//! Losses: counts lost reports until the broker has received their number.

use std::sync::{Mutex, MutexGuard};

use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::{
    base::{ids::ServerUri, time::Timestamp},
    wire::report::LostReports,
};

/// A period of time.
pub(super) type Times = (Timestamp, Timestamp);

/// The losses that are not in a batch yet; shared by reference.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    open: Option<Loss>,
    total: u64,
}

/// Lost reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// `None` when the number is unknown.
    pub(super) count: Option<u64>,
    pub(super) times: Times,
}

impl Loss {
    pub(super) fn report(self, server: ServerUri) -> LostReports {
        LostReports::new(server, self.count, self.times)
    }

    pub(super) fn and(self, other: Self) -> Self {
        let count = self
            .count
            .zip(other.count)
            .map(|(one, other)| one.saturating_add(other));
        let times = (
            self.times.0.min(other.times.0),
            self.times.1.max(other.times.1),
        );
        Self { count, times }
    }
}

impl Losses {
    /// Records the loss of `count` reports.
    pub(super) fn add(&self, count: u64, times: Times) {
        let mut counted = self.lock();
        counted.total = counted.total.saturating_add(count);
        counted.merge(Loss {
            count: Some(count),
            times,
        });
    }

    /// Records the loss of an unknown number of reports, perhaps none.
    pub(super) fn add_unknown(&self, from: Timestamp, to: Timestamp) {
        self.lock().merge(Loss {
            count: None,
            times: (from.min(to), to),
        });
    }

    /// Takes the loss to report.
    pub(super) fn take(&self) -> Option<Loss> {
        self.lock().open.take()
    }

    /// Puts back a loss that could not be reported.
    pub(super) fn put_back(&self, loss: Option<Loss>) {
        if let Some(loss) = loss {
            self.lock().merge(loss);
        }
    }

    /// Whether there is a loss to report.
    pub(super) fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    /// The number of reports known to be lost, reported or not.
    pub(super) fn total(&self) -> u64 {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Nothing in here can panic.
        self.0.locked()
    }
}

impl Counted {
    fn merge(&mut self, loss: Loss) {
        self.open = Some(self.open.map_or(loss, |open| open.and(loss)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_seconds(second)
    }

    #[test]
    fn losses_add_up_until_they_are_reported() {
        let losses = Losses::default();
        assert_eq!(losses.take(), None);
        losses.add(2, (at(5), at(7)));
        losses.add(1, (at(4), at(4)));
        let taken = losses.take();
        assert_eq!(
            taken,
            Some(Loss {
                count: Some(3),
                times: (at(4), at(7))
            })
        );
        assert_eq!((losses.take(), losses.total()), (None, 3));
        losses.put_back(taken);
        losses.add_unknown(at(1), at(2));
        assert_eq!(
            losses.take(),
            Some(Loss {
                count: None,
                times: (at(1), at(7))
            })
        );
        assert_eq!(losses.total(), 3);
    }
}
