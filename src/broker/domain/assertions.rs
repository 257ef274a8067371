//! Assertions that were seen: single use, each in one record, until they have expired.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard},
};

use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::{digest::Digest, ids::AgentId, time::Timestamp};

/// An assertion that an agent proved itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedAssertion {
    /// The agent.
    pub agent: AgentId,
    /// Digest of its `jti`.
    pub jti: Digest,
    /// Until when it must be remembered.
    pub expires_at: Timestamp,
}

/// The assertions that were seen and have not expired.
#[derive(Debug)]
pub(crate) struct Assertions(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    assertions: HashMap<Digest, Use>,
    /// At so many it is looked for expired ones: twice what was left the last time, so that a busy
    /// broker does not look at all of them for each request.
    prune_at: usize,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    expires_at: Timestamp,
    is_recorded: bool,
}

impl Assertions {
    /// Those that the journal knows.
    pub(crate) fn recorded(known: impl IntoIterator<Item = (Digest, Timestamp)>) -> Self {
        let used = |(jti, expires_at)| {
            (
                jti,
                Use {
                    expires_at,
                    is_recorded: true,
                },
            )
        };
        let assertions = known.into_iter().map(used).collect();
        Self(Mutex::new(Seen {
            assertions,
            prune_at: FEW,
        }))
    }

    /// Remembers an assertion; says whether it is good for its first use.
    pub(crate) fn remember(&self, used: &UsedAssertion, now: Timestamp) -> bool {
        // SECURITY: one that has ended since it was verified may have been used and forgotten.
        if used.expires_at <= now {
            return false;
        }
        let mut seen = self.seen();
        if seen.assertions.len() >= seen.prune_at {
            seen.assertions.retain(|_, used| used.expires_at > now);
            seen.prune_at = seen.assertions.len().saturating_mul(2).max(FEW);
        }
        let new = Use {
            expires_at: used.expires_at,
            is_recorded: false,
        };
        match seen.assertions.entry(used.jti) {
            Entry::Occupied(mut old) if old.get().expires_at <= now => drop(old.insert(new)),
            Entry::Occupied(mut old) => {
                // SECURITY: another assertion with the same id must not shorten the memory of the first.
                let old = old.get_mut();
                old.expires_at = old.expires_at.max(used.expires_at);
                return false;
            }
            Entry::Vacant(place) => drop(place.insert(new)),
        }
        true
    }

    /// Whether a durable record tells of it.
    pub(crate) fn is_recorded(&self, used: &UsedAssertion) -> bool {
        self.seen()
            .assertions
            .get(&used.jti)
            .is_some_and(|seen| seen.is_recorded)
    }

    /// Notes that a durable record tells of it.
    pub(crate) fn note_recorded(&self, used: &UsedAssertion) {
        if let Some(seen) = self.seen().assertions.get_mut(&used.jti) {
            seen.is_recorded = true;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.locked()
    }
}

const FEW: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn used(jti: usize, seconds: u64) -> UsedAssertion {
        let expires_at = Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        UsedAssertion {
            agent: "a".parse().unwrap(),
            jti: Digest::of(&jti.to_be_bytes()),
            expires_at,
        }
    }

    #[test]
    fn a_second_use_is_refused_until_the_latest_end_is_over() {
        let seen = Assertions::recorded([]);
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        assert!(seen.remember(&used(1, 60), at(0)));
        // An earlier end does not make the first be forgotten earlier.
        assert!(!seen.remember(&used(1, 10), at(0)));
        assert!(!seen.remember(&used(1, 60), at(20)));
        assert!(seen.remember(&used(1, 120), at(60)));
    }

    #[test]
    fn whoever_waits_until_it_is_forgotten_finds_it_ended() {
        let seen = Assertions::recorded([]);
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        assert!(seen.remember(&used(1, 60), at(59)));
        assert!(!seen.remember(&used(1, 60), at(60)));
        assert!(!seen.remember(&used(2, 60), at(61)));
    }

    #[test]
    fn many_living_assertions_are_not_looked_through_for_each_request() {
        let seen = Assertions::recorded([]);
        for jti in 0..FEW + 2 {
            assert!(seen.remember(&used(jti, 60), Timestamp::EPOCH));
        }
        assert_eq!(seen.seen().prune_at, 2 * FEW);
        let later = Timestamp::EPOCH.plus(Duration::from_secs(61));
        for jti in 0..FEW {
            seen.remember(&used(FEW + 2 + jti, 120), later);
        }
        assert!(
            seen.seen().assertions.len() <= FEW + 2,
            "expired ones are forgotten"
        );
    }
}
