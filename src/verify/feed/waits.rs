//! Back-off: how long the client waits before it retries.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

pub(super) fn waits() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(MIN_STEP)
        .with_max_delay(MAX_STEP)
        .with_jitter()
        .without_max_times()
        .build()
}

/// The first back-off; jitter adds up to as much again.
const MIN_STEP: Duration = Duration::from_millis(100);

/// The longest back-off; jitter adds up to as much again. A verifier recovers at most five seconds
/// after the link returns: three of waiting, and two between the last attempts of a connection
/// that is being opened and its timeout.
pub(super) const MAX_STEP: Duration = Duration::from_millis(1500);

/// The wait after the broker refused the token: only an administrator can change that.
pub(super) const LASTING_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_their_bounds_and_never_end() {
        let all: Vec<Duration> = waits().take(200).collect();
        assert_eq!(all.len(), 200);
        assert!(all[0] >= MIN_STEP && all[0] < MIN_STEP * 2, "{:?}", all[0]);
        assert!(
            all.iter()
                .skip(10)
                .all(|wait| (MAX_STEP..MAX_STEP * 2).contains(wait)),
            "{all:?}"
        );
    }
}
