//! Answers that may be repeated: a client that lost one sends the same request again.
//!
//! FAPI 2.0 Security Profile section 5.3.2.1 has refresh tokens rotate only if a client whose answer was lost can retry
//! with the old one. RFC 9700 section 4.14.2 has a token that comes again revoke what it was for; a retry and a theft
//! look the same then, so what is given again is what was given already, for a few seconds.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use hallpass_core::base::{digest::Digest, sync::MutexExt as _, time::Timestamp};

/// What was just answered, by the digest of the token that was presented. In memory only: after a restart a token that
/// comes again is one that was used.
pub(crate) struct Repeats<Q, A>(Mutex<HashMap<Digest, Answered<Q, A>>>);

struct Answered<Q, A> {
    request: Q,
    answer: Arc<A>,
    at: Timestamp,
}

impl<Q: PartialEq, A> Repeats<Q, A> {
    /// What was answered up to [`REPEATED_FOR`] before `now`, to the same request with the token of this digest.
    pub(crate) fn answer(&self, token: &Digest, request: &Q, now: Timestamp) -> Option<Arc<A>> {
        let mut all = self.0.locked();
        forget(&mut all, now);
        let found = all.get(token).filter(|it| it.request == *request)?;
        Some(Arc::clone(&found.answer))
    }

    /// Remembers what was answered at `at`.
    pub(crate) fn remember(&self, token: Digest, request: Q, answer: Arc<A>, at: Timestamp) {
        let mut all = self.0.locked();
        forget(&mut all, at);
        // Full: a client that loses this answer asks the person again.
        if all.len() < MAX_REMEMBERED {
            let answered = Answered {
                request,
                answer,
                at,
            };
            all.insert(token, answered);
        }
    }
}

/// Also when the clock was set back: nothing is repeated for longer by that.
fn forget<Q, A>(all: &mut HashMap<Digest, Answered<Q, A>>, now: Timestamp) {
    all.retain(|_, it| it.at <= now && now.since(it.at) <= REPEATED_FOR);
}

impl<Q, A> Default for Repeats<Q, A> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Q, A> fmt::Debug for Repeats<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repeats")
    }
}

/// The same refresh gets the same answer for this long.
pub const REPEATED_FOR: Duration = Duration::from_secs(10);

const MAX_REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_request_is_repeated_and_not_for_long() {
        let (token, start) = (Digest::of(b"token"), Timestamp::from_unix_seconds(1_000));
        let repeats = Repeats::default();
        repeats.remember(token, "one", Arc::new("answer"), start);
        let asked = |request, now| repeats.answer(&token, &request, now).is_some();
        let end = start.plus(REPEATED_FOR);
        assert!(asked("one", start) && asked("one", end));
        assert!(!asked("two", start));
        assert!(
            repeats
                .answer(&Digest::of(b"other"), &"one", start)
                .is_none()
        );
        assert!(!asked("one", end.plus(Duration::from_millis(1))));
        assert!(!asked("one", end), "it is forgotten");
        repeats.remember(token, "one", Arc::new("answer"), start);
        assert!(!asked("one", start.minus(Duration::from_millis(1))));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let repeats = Repeats::default();
        let start = Timestamp::from_unix_seconds(1_000);
        for number in 0..2 * MAX_REMEMBERED {
            let token = Digest::of(&number.to_be_bytes());
            repeats.remember(token, (), Arc::new(()), start);
        }
        assert_eq!(repeats.0.locked().len(), MAX_REMEMBERED);
        let later = start.plus(REPEATED_FOR).plus(Duration::from_millis(1));
        repeats.remember(Digest::of(b"x"), (), Arc::new(()), later);
        assert_eq!(repeats.0.locked().len(), 1);
    }
}
