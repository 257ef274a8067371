//! Times: how long things may take.

use std::time::Duration;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A request's head must have arrived, and then its body within the same time.
    pub head: Duration,
    /// A request must be answered; streams only begin within it.
    pub request: Duration,
    /// Requests under way may go on after a stop was asked for.
    pub drain: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: seconds(10),
            request: seconds(10),
            drain: seconds(10),
        }
    }
}
