//! The time of day that a broker believes.
//!
//! What is recorded never goes back in time, so a clock that is wrong for seconds would be believed for as long as it
//! was ahead. The time of day is therefore held against the time that has passed since the start: a jump forward is not
//! followed, and the broker goes on with the time that it had. A restart takes the machine's time anew.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use hallpass_core::base::{
    sync::MutexExt,
    time::{Clock, SystemClock, Timestamp},
};

/// The machine's clocks, where the time that passes includes the time that the machine sleeps.
#[derive(Debug, Default)]
pub struct MachineClock(SystemClock);

/// What is wrong with the machine's time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// It jumped forward by this much since the start, which is not followed.
    JumpedAhead(Duration),
    /// It jumped back by this much since the start.
    JumpedBack(Duration),
    /// The last record is this much later: time stands still until then.
    BehindRecords(Duration),
}

/// Holds the time of day against the time that passes.
#[derive(Debug)]
pub(crate) struct WallClock {
    anchor: Mutex<Anchor>,
    /// Which kind of fault was logged last.
    logged: AtomicU8,
}

/// When both clocks were read and agreed.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    wall: Timestamp,
    passed: Duration,
}

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        // The other clock stands still while the machine sleeps, and waking up would look like a jump.
        let boot = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(boot.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

impl WallClock {
    pub(crate) fn started(clock: &dyn Clock) -> Self {
        let anchor = Anchor {
            wall: clock.now(),
            passed: clock.monotonic(),
        };
        Self {
            anchor: Mutex::new(anchor),
            logged: AtomicU8::new(0),
        }
    }

    /// The time that decides, never before `last`, the last record's; and what is wrong with the clock.
    pub(crate) fn read(
        &self,
        clock: &dyn Clock,
        last: Timestamp,
    ) -> (Timestamp, Option<ClockFault>) {
        let mut anchor = self.anchor.locked();
        let (wall, passed) = (clock.now(), clock.monotonic());
        let since = passed.saturating_sub(anchor.passed);
        let expected = anchor.wall.plus(since);
        let ahead = wall.since(expected);
        let back = expected.since(wall);
        if ahead > TOLERANCE {
            return (expected.max(last), Some(ClockFault::JumpedAhead(ahead)));
        }
        let behind = last.since(wall);
        let fault = if behind > TOLERANCE {
            Some(ClockFault::BehindRecords(behind))
        } else if back > TOLERANCE {
            Some(ClockFault::JumpedBack(back))
        } else {
            // Small corrections are followed, but no faster than this: many of them are a jump.
            if since >= TOLERANCE {
                *anchor = Anchor { wall, passed };
            }
            None
        };
        (wall.max(last), fault)
    }

    /// Logs `fault` when it is of another kind than the one before.
    pub(crate) fn log(&self, fault: Option<ClockFault>) {
        let kind = match fault {
            None => 0,
            Some(ClockFault::JumpedAhead(_)) => 1,
            Some(ClockFault::JumpedBack(_)) => 2,
            Some(ClockFault::BehindRecords(_)) => 3,
        };
        if self.logged.swap(kind, Ordering::SeqCst) == kind {
            return;
        }
        match fault {
            Some(fault) => tracing::error!("{fault}"),
            None => tracing::info!("the machine's clock is right again"),
        }
    }
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JumpedAhead(by) => write!(
                f,
                "the machine's clock jumped {} s ahead, which is not followed: set the clock; if it is right, restart the broker",
                by.as_secs()
            ),
            Self::JumpedBack(by) => write!(
                f,
                "the machine's clock jumped {} s back: set the clock; if it is right, restart the broker",
                by.as_secs()
            ),
            Self::BehindRecords(by) => write!(
                f,
                "the last record is {} s later than the machine's clock, so time stands still until then: set the clock; if it is right, the record was made with a wrong one: wait, or restore a backup from before it",
                by.as_secs()
            ),
        }
    }
}

/// How far the clocks may be apart: more than NTP corrects in one step while it is in order.
const TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use hallpass_core::base::time::ManualClock;

    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn start() -> Timestamp {
        "2026-12-01T10:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_jump_ahead_is_not_followed_and_ends_when_the_clock_is_set_back() {
        let clock = ManualClock::new(start());
        let wall = WallClock::started(&clock);
        clock.advance(seconds(30));
        clock.set(start().plus(seconds(30 + 3600)));
        let (now, fault) = wall.read(&clock, start());
        assert_eq!(now, start().plus(seconds(30)));
        assert_eq!(fault, Some(ClockFault::JumpedAhead(seconds(3600))));
        clock.advance(seconds(5));
        assert_eq!(wall.read(&clock, start()).0, start().plus(seconds(35)));
        clock.set(start().plus(seconds(35)));
        assert_eq!(
            wall.read(&clock, start()),
            (start().plus(seconds(35)), None)
        );
    }

    #[test]
    fn small_corrections_are_followed_and_many_at_once_are_a_jump() {
        let clock = ManualClock::new(start());
        let wall = WallClock::started(&clock);
        for _ in 0..10 {
            clock.advance(seconds(60));
            clock.set(clock.now().plus(seconds(20)));
            assert_eq!(wall.read(&clock, start()), (clock.now(), None));
        }
        for _ in 0..4 {
            clock.set(clock.now().plus(seconds(20)));
        }
        assert!(matches!(
            wall.read(&clock, start()).1,
            Some(ClockFault::JumpedAhead(_))
        ));
    }

    #[test]
    fn a_jump_back_and_a_record_of_the_future_are_told_apart() {
        let clock = ManualClock::new(start());
        let wall = WallClock::started(&clock);
        clock.set("2026-12-01T09:00:00Z".parse().unwrap());
        let (now, fault) = wall.read(&clock, Timestamp::EPOCH);
        assert_eq!(
            (now, fault),
            (clock.now(), Some(ClockFault::JumpedBack(seconds(3600))))
        );
        let (now, fault) = wall.read(&clock, start());
        assert_eq!(
            (now, fault),
            (start(), Some(ClockFault::BehindRecords(seconds(3600))))
        );
    }
}
