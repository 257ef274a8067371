//! What may be used once: assertions of agents, ID-JAGs, and tokens of workloads that are configured so.
//!
//! [`OneTime`] remembers what this broker has accepted, so that two requests at once cannot use one thing. The ledger
//! remembers it across brokers and restarts: each use is recorded with the first thing that it is used for, and a use
//! that another broker recorded first is a replay (see [`Changes`](crate::change::Changes)).
//!
//! Three mechanisms are not built upon it, since it would make each of them worse:
//!
//! - Authorization codes, sign-in codes and refresh tokens are good because the state has them, not because no memory
//!   has them: an unknown one is refused. A change takes them out of the state, and decides again when another broker
//!   did so first. A used one must be recognised for as long as its task lives, since its use ends the task.
//! - An idempotency key must give the former answer again. The views find it, by the record that it is in. A memory
//!   that only says "replay" would have to be asked beside them, and could disagree.
//! - Proofs of possession are not recorded: they live for a minute, and a restart refuses those that were made before
//!   it. [`ReplayGuard`](hallpass_core::possession::ReplayGuard) remembers them at the token endpoint and at
//!   verifiers, which have no ledger. All proofs live equally long, so it needs neither an end nor an order for each,
//!   and a fifth of the memory. It keeps the same three rules: bounded, refuses when full, evicts nothing early.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
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
    /// It was not used before, as far as is known, and cannot be remembered: it must be refused.
    Full,
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
///
/// The memory is bounded: when it is full, or one agent has its share of it, further uses are refused until earlier
/// ones expire. Nothing is evicted before it expires. Time is passed in, and may be set back.
#[derive(Debug)]
pub(crate) struct OneTime {
    seen: Mutex<Seen>,
    capacity: usize,
}

#[derive(Debug)]
struct Seen {
    uses: HashMap<Digest, Use>,
    /// The same by their ends, so that those that have expired are found without looking at the others.
    ends: BTreeSet<(Timestamp, Digest)>,
    /// How many are each agent's, of those that were used since the start.
    by_agent: HashMap<AgentKey, usize>,
    /// The latest end of those that were forgotten. What ends no later may have been used and forgotten.
    floor: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    expires_at: Timestamp,
    /// `None`: it was recorded before the start.
    agent: Option<AgentKey>,
    is_recorded: bool,
}

/// Half a SHA-256 of an agent's id.
type AgentKey = [u8; 16];

impl OneTime {
    /// Those that the ledger knows. All of them are remembered, even when they are more than may be.
    pub(crate) fn recorded(known: impl IntoIterator<Item = (Digest, Timestamp)>) -> Self {
        Self::with_capacity(CAPACITY, known)
    }

    fn with_capacity(
        capacity: usize,
        known: impl IntoIterator<Item = (Digest, Timestamp)>,
    ) -> Self {
        let mut seen = Seen {
            uses: HashMap::new(),
            ends: BTreeSet::new(),
            by_agent: HashMap::new(),
            floor: Timestamp::EPOCH,
        };
        for (jti, expires_at) in known {
            let used = Use {
                expires_at,
                agent: None,
                is_recorded: true,
            };
            seen.uses.insert(jti, used);
            seen.ends.insert((expires_at, jti));
        }
        Self {
            seen: Mutex::new(seen),
            capacity,
        }
    }

    /// Uses it up, and remembers that until it expires.
    pub(crate) fn consume(&self, used: &UsedAssertion, now: Timestamp) -> Consumed {
        let mut seen = self.seen();
        seen.forget_expired(now);
        // SECURITY: one that has expired may have been used and forgotten, also when the clock was ahead and is set
        // back: `an_expired_one_is_never_first_again_whatever_the_clock_does`.
        if used.expires_at <= now.max(seen.floor) {
            return Consumed::Replay;
        }
        let Seen {
            uses,
            ends,
            by_agent,
            ..
        } = &mut *seen;
        let count = uses.len();
        let place = match uses.entry(used.jti) {
            Entry::Vacant(place) => place,
            Entry::Occupied(mut old) => {
                // SECURITY: another assertion with the same id must not shorten the memory of the first.
                let old = old.get_mut();
                if used.expires_at > old.expires_at {
                    ends.remove(&(old.expires_at, used.jti));
                    ends.insert((used.expires_at, used.jti));
                    old.expires_at = used.expires_at;
                }
                return Consumed::Replay;
            }
        };
        let agent = key(&used.agent);
        let of_agent = by_agent.get(&agent).copied().unwrap_or(0);
        // SECURITY: refused and not evicted, or a caller that fills the memory could use an earlier one again.
        if count >= self.capacity || of_agent >= self.capacity / SHARE {
            return Consumed::Full;
        }
        place.insert(Use {
            expires_at: used.expires_at,
            agent: Some(agent),
            is_recorded: false,
        });
        ends.insert((used.expires_at, used.jti));
        by_agent.insert(agent, of_agent.saturating_add(1));
        Consumed::First
    }

    /// Whether a durable record has it.
    pub(crate) fn is_recorded(&self, used: &UsedAssertion) -> bool {
        self.seen()
            .uses
            .get(&used.jti)
            .is_some_and(|seen| seen.is_recorded)
    }

    /// Notes that a durable record has it.
    pub(crate) fn note_recorded(&self, used: &UsedAssertion) {
        if let Some(seen) = self.seen().uses.get_mut(&used.jti) {
            seen.is_recorded = true;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.locked()
    }
}

impl Seen {
    fn forget_expired(&mut self, now: Timestamp) {
        while let Some((end, jti)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, jti));
            self.floor = self.floor.max(end);
            let agent = self.uses.remove(&jti).and_then(|used| used.agent);
            let Some(agent) = agent else { continue };
            if let Entry::Occupied(mut count) = self.by_agent.entry(agent) {
                match count.get().saturating_sub(1) {
                    0 => drop(count.remove()),
                    fewer => drop(count.insert(fewer)),
                }
            }
        }
    }
}

fn key(agent: &AgentId) -> AgentKey {
    let mut key = AgentKey::default();
    key.iter_mut()
        .zip(Digest::of(agent.as_str().as_bytes()).as_bytes())
        .for_each(|(to, from)| *to = *from);
    key
}

/// So many uses are remembered at once, in about 200 bytes each: 3,000 a second that live five minutes, the longest
/// that an agent's assertion may.
const CAPACITY: usize = 1 << 20;
/// One agent's uses get this share of the capacity, so that no agent can exhaust it.
const SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH.plus(Duration::from_secs(seconds))
    }

    fn used_by(agent: &str, jti: usize, seconds: u64) -> UsedAssertion {
        UsedAssertion {
            agent: agent.parse().unwrap(),
            jti: Digest::of(&jti.to_be_bytes()),
            expires_at: at(seconds),
        }
    }

    fn used(jti: usize, seconds: u64) -> UsedAssertion {
        used_by("a", jti, seconds)
    }

    #[test]
    fn a_second_use_is_refused_until_the_latest_end_is_over() {
        let seen = OneTime::recorded([]);
        assert_eq!(seen.consume(&used(1, 60), at(0)), Consumed::First);
        // An earlier end does not make the first be forgotten earlier.
        assert_eq!(seen.consume(&used(1, 10), at(0)), Consumed::Replay);
        assert_eq!(seen.consume(&used(1, 60), at(20)), Consumed::Replay);
        assert_eq!(seen.consume(&used(1, 120), at(60)), Consumed::First);
        // A later one makes it be remembered longer.
        assert_eq!(seen.consume(&used(1, 180), at(60)), Consumed::Replay);
        assert_eq!(seen.consume(&used(1, 200), at(120)), Consumed::Replay);
    }

    #[test]
    fn an_assertion_that_was_forgotten_has_expired() {
        let seen = OneTime::recorded([]);
        assert_eq!(seen.consume(&used(1, 60), at(59)), Consumed::First);
        assert_eq!(seen.consume(&used(1, 60), at(60)), Consumed::Replay);
        assert_eq!(seen.consume(&used(2, 60), at(61)), Consumed::Replay);
    }

    #[test]
    fn a_clock_that_was_ahead_and_is_set_back_makes_nothing_usable_again() {
        let seen = OneTime::recorded([]);
        assert_eq!(seen.consume(&used(1, 60), at(0)), Consumed::First);
        assert_eq!(seen.consume(&used(2, 2000), at(1000)), Consumed::First);
        assert_eq!(seen.consume(&used(1, 60), at(0)), Consumed::Replay);
        // What cannot have been used meanwhile is taken all the same.
        assert_eq!(seen.consume(&used(3, 61), at(0)), Consumed::First);
    }

    #[test]
    fn a_full_memory_refuses_and_forgets_nothing_early() {
        let seen = OneTime::with_capacity(8, []);
        // Two of each agent: its share.
        for jti in 0..8 {
            let agent = ["a", "b", "c", "d"][jti % 4];
            assert_eq!(
                seen.consume(&used_by(agent, jti, 60), at(0)),
                Consumed::First
            );
        }
        assert_eq!(seen.consume(&used_by("e", 8, 60), at(59)), Consumed::Full);
        for jti in 0..8 {
            assert_eq!(seen.consume(&used(jti, 60), at(59)), Consumed::Replay);
        }
        // What was refused for want of memory is not used up.
        assert_eq!(seen.consume(&used_by("e", 8, 61), at(60)), Consumed::First);
    }

    #[test]
    fn one_agent_fills_only_its_share() {
        let seen = OneTime::with_capacity(8, []);
        assert_eq!(seen.consume(&used(0, 60), at(0)), Consumed::First);
        assert_eq!(seen.consume(&used(1, 90), at(0)), Consumed::First);
        assert_eq!(seen.consume(&used(2, 90), at(0)), Consumed::Full);
        assert_eq!(seen.consume(&used(0, 60), at(0)), Consumed::Replay);
        assert_eq!(seen.consume(&used_by("b", 2, 90), at(0)), Consumed::First);
        assert_eq!(seen.consume(&used(3, 90), at(60)), Consumed::First);
        assert_eq!(seen.consume(&used(4, 90), at(60)), Consumed::Full);
        let _ = seen.consume(&used(5, 200), at(100));
        assert_eq!(
            seen.seen().by_agent.len(),
            1,
            "counts of nothing are dropped"
        );
    }

    #[test]
    fn all_recorded_ones_are_remembered_though_they_are_more_than_may_be() {
        let known = (0..12_usize).map(|jti| (Digest::of(&jti.to_be_bytes()), at(60)));
        let seen = OneTime::with_capacity(8, known);
        for jti in 0..12 {
            assert_eq!(seen.consume(&used(jti, 60), at(0)), Consumed::Replay);
            assert!(seen.is_recorded(&used(jti, 60)));
        }
        assert_eq!(seen.consume(&used(12, 90), at(59)), Consumed::Full);
        assert_eq!(seen.consume(&used(12, 90), at(60)), Consumed::First);
        assert!(!seen.is_recorded(&used(12, 90)));
        seen.note_recorded(&used(12, 90));
        assert!(seen.is_recorded(&used(12, 90)));
    }

    #[test]
    fn of_requests_at_once_one_is_the_first() {
        let seen = OneTime::recorded([]);
        let firsts = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        (0..500)
                            .filter(|jti| seen.consume(&used(*jti, 60), at(0)) == Consumed::First)
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(firsts, 500);
    }

    proptest! {
        #[test]
        fn an_expired_one_is_never_first_again_whatever_the_clock_does(
            uses in prop::collection::vec((0..4_usize, 0..6_usize, 1..40_u64, 0..40_u64), 1..120),
        ) {
            let seen = OneTime::with_capacity(8, []);
            let mut latest: HashMap<usize, u64> = HashMap::new();
            for (agent, jti, expires, now) in uses {
                let used = used_by(["a", "b", "c", "d"][agent], jti, expires);
                let consumed = seen.consume(&used, at(now));
                let before = latest.get(&jti).copied().unwrap_or(0);
                if consumed == Consumed::First {
                    prop_assert!(expires > now);
                    prop_assert!(expires > before, "{jti} was used until {before}");
                    latest.insert(jti, expires);
                }
                let inside = seen.seen();
                prop_assert!(inside.uses.len() <= 8);
                prop_assert_eq!(inside.uses.len(), inside.ends.len());
                prop_assert_eq!(inside.uses.len(), inside.by_agent.values().sum::<usize>());
                prop_assert!(inside.by_agent.values().all(|count| (1..=2).contains(count)));
            }
        }
    }
}
