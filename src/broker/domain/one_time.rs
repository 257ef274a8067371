//! What may be used once: assertions of agents, ID-JAGs, and tokens of workloads that are configured so.
//!
//! [`OneTime`] remembers what this broker has accepted, so that two requests at once cannot use one thing. The ledger
//! remembers it across brokers and restarts: each use is recorded with the first thing that it is used for, and a use
//! that another broker recorded first is a replay (see [`Changes`](crate::change::Changes)).
//!
//! The other things that count once need no memory of this kind:
//!
//! - Authorization codes, sign-in codes and refresh tokens are in the state until they are used. A change takes them
//!   out, and decides again when another broker did so first. A code that comes again must be recognised, since its
//!   task then ends.
//! - An idempotency key must give the former answer again. The views find it, by the record that it is in.
//! - Proofs of possession are not recorded: they live for a minute, and a restart refuses those that were made before
//!   it. [`ReplayGuard`](hallpass_core::possession::ReplayGuard) remembers them in bounded memory, at the token endpoint
//!   and at verifiers.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard},
};

use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::{digest::Digest, ids::AgentId, time::Timestamp};

/// Whether a use was the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Consumed {
    First,
    /// It was used before, or has expired and may have been.
    Replay,
}

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

/// What was used and has not expired.
#[derive(Debug)]
pub(crate) struct OneTime(Mutex<Seen>);

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

impl OneTime {
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

    /// Uses it up, and remembers that until it expires.
    pub(crate) fn consume(&self, used: &UsedAssertion, now: Timestamp) -> Consumed {
        // SECURITY: one that has expired since it was verified may have been used and forgotten.
        if used.expires_at <= now {
            return Consumed::Replay;
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
                return Consumed::Replay;
            }
            Entry::Vacant(place) => drop(place.insert(new)),
        }
        Consumed::First
    }

    /// Whether a durable record has it.
    pub(crate) fn is_recorded(&self, used: &UsedAssertion) -> bool {
        self.seen()
            .assertions
            .get(&used.jti)
            .is_some_and(|seen| seen.is_recorded)
    }

    /// Notes that a durable record has it.
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
        let seen = OneTime::recorded([]);
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        assert_eq!(seen.consume(&used(1, 60), at(0)), Consumed::First);
        // An earlier end does not make the first be forgotten earlier.
        assert_eq!(seen.consume(&used(1, 10), at(0)), Consumed::Replay);
        assert_eq!(seen.consume(&used(1, 60), at(20)), Consumed::Replay);
        assert_eq!(seen.consume(&used(1, 120), at(60)), Consumed::First);
    }

    #[test]
    fn an_assertion_that_was_forgotten_has_expired() {
        let seen = OneTime::recorded([]);
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        assert_eq!(seen.consume(&used(1, 60), at(59)), Consumed::First);
        assert_eq!(seen.consume(&used(1, 60), at(60)), Consumed::Replay);
        assert_eq!(seen.consume(&used(2, 60), at(61)), Consumed::Replay);
    }

    #[test]
    fn many_living_assertions_are_not_looked_through_for_each_request() {
        let seen = OneTime::recorded([]);
        for jti in 0..FEW + 2 {
            assert_eq!(
                seen.consume(&used(jti, 60), Timestamp::EPOCH),
                Consumed::First
            );
        }
        assert_eq!(seen.seen().prune_at, 2 * FEW);
        let later = Timestamp::EPOCH.plus(Duration::from_secs(61));
        for jti in 0..FEW {
            let _ = seen.consume(&used(FEW + 2 + jti, 120), later);
        }
        assert!(
            seen.seen().assertions.len() <= FEW + 2,
            "expired ones are forgotten"
        );
    }
}
