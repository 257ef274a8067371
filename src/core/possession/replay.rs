//! The replay guard: remembers used proofs for as long as they could be replayed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use crate::base::sync::MutexExt as _;
use crate::{
    base::{digest::Digest, holder::HolderKey, ids::AgentId, time::Timestamp},
    possession::{PROOF_LIFETIME, proof::PROOF_SKEW},
};

/// Remembers used proofs in bounded memory and never evicts one early: when it is full, further
/// proofs are refused.
#[derive(Debug)]
pub struct ReplayGuard {
    seen: Mutex<Seen>,
    room: usize,
}

/// Two generations of used proofs, the current and the previous. A proof that is older than
/// both is refused by its time.
#[derive(Debug)]
struct Seen {
    /// Proofs made before this may have been used unrecorded; `None` before the guard has begun.
    floor: Option<Timestamp>,
    begun: Timestamp,
    current: Generation,
    previous: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    by_agent: HashMap<Digest, HashSet<Name>>,
    count: usize,
}

/// Half a SHA-256 of a `jti`: long enough that accidental collisions do not occur.
type Name = [u8; 16];

/// Why a proof cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the verifier and the token endpoint answer both"
)]
pub enum ReplayError {
    /// It was used before.
    Seen,
    /// The store is full, for this agent or altogether.
    Full,
}

impl ReplayGuard {
    /// A guard with room for `room` proofs in each generation.
    pub fn new(room: usize) -> Self {
        Self {
            seen: Mutex::default(),
            room,
        }
    }

    /// Begins to record at `now`. Only the first call has an effect.
    pub fn begin(&self, now: Timestamp) {
        let mut seen = self.seen();
        if seen.floor.is_none() {
            (seen.floor, seen.begun) = (Some(now.floor_second()), now);
        }
    }

    /// Proofs made before this may have been used unrecorded.
    pub fn since(&self) -> Timestamp {
        self.seen()
            .floor
            .unwrap_or(Timestamp::from_unix_millis(i64::MAX))
    }

    /// Records that `holder` uses `jti` now, for a pass that was issued to `agent`.
    pub fn admit(
        &self,
        agent: &AgentId,
        (holder, jti): (&HolderKey, &str),
        now: Timestamp,
    ) -> Result<(), ReplayError> {
        let agent = Digest::of(agent.as_str().as_bytes());
        let mut name = Name::default();
        let digest = Digest::of_parts(&[holder.to_string().as_bytes(), b"\0", jti.as_bytes()]);
        name.iter_mut()
            .zip(digest.as_bytes())
            .for_each(|(to, from)| *to = *from);
        let mut seen = self.seen();
        seen.turn(now);
        if seen.current.holds(&agent, &name) || seen.previous.holds(&agent, &name) {
            return Err(ReplayError::Seen);
        }
        seen.current.take(agent, name, self.room)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // No panic can occur between two changes that belong together.
        self.seen.locked()
    }
}

impl Default for Seen {
    fn default() -> Self {
        let (current, previous) = (Generation::default(), Generation::default());
        Self {
            floor: None,
            begun: Timestamp::EPOCH,
            current,
            previous,
        }
    }
}

impl Seen {
    fn turn(&mut self, now: Timestamp) {
        if now.since(self.begun) > GENERATION {
            // If the clock is set back, proofs that are evicted now must not look fresh again.
            self.floor = self.floor.max(Some(self.begun.plus(PROOF_SKEW)));
            self.previous = std::mem::take(&mut self.current);
            self.begun = now;
        }
    }
}

impl Generation {
    fn holds(&self, agent: &Digest, name: &Name) -> bool {
        self.by_agent
            .get(agent)
            .is_some_and(|names| names.contains(name))
    }

    fn take(&mut self, agent: Digest, name: Name, room: usize) -> Result<(), ReplayError> {
        if self.count >= room {
            return Err(ReplayError::Full);
        }
        let names = self.by_agent.entry(agent).or_default();
        if names.len() >= room / SHARE {
            return Err(ReplayError::Full);
        }
        names.insert(name);
        self.count = self.count.saturating_add(1);
        Ok(())
    }
}

/// A proof can be used until its lifetime after it was made, at the latest this long after it was
/// first used.
const GENERATION: Duration = PROOF_LIFETIME.saturating_add(PROOF_SKEW);

/// In one generation; about 4,000 a second and 20 MB at the most.
pub const DEFAULT_ROOM: usize = 1 << 18;
/// The passes of one agent, delegated ones included, get this share of the room, so that no agent can
/// exhaust it.
const SHARE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::PrivateKey;

    fn holder(seed: u8) -> HolderKey {
        HolderKey::Ed25519(PrivateKey::from_seed(&[seed; 32]).public())
    }

    fn agent(name: &str) -> AgentId {
        name.parse().unwrap()
    }

    fn began(now: Timestamp) -> ReplayGuard {
        let guard = ReplayGuard::new(64);
        guard.begin(now);
        guard
    }

    #[test]
    fn a_proof_is_accepted_once_within_its_lifetime() {
        let start = Timestamp::from_unix_seconds(1_000_000);
        let guard = began(start);
        let mut now = start;
        for step in 0..40_u64 {
            let jti = step.to_string();
            let admit = |at| guard.admit(&agent("a"), (&holder(1), &jti), at);
            assert_eq!(admit(now), Ok(()));
            for later in [0, 1, 30, 64] {
                assert_eq!(
                    admit(now.plus(Duration::from_secs(later))),
                    Err(ReplayError::Seen)
                );
            }
            now = now.plus(Duration::from_secs(64 + step));
        }
    }

    #[test]
    fn holders_do_not_share_names() {
        let now = Timestamp::from_unix_seconds(1_000_000);
        let guard = began(now);
        assert_eq!(guard.admit(&agent("a"), (&holder(1), "a"), now), Ok(()));
        assert_eq!(guard.admit(&agent("a"), (&holder(2), "a"), now), Ok(()));
        assert_eq!(
            guard.admit(&agent("a"), (&holder(1), "a"), now),
            Err(ReplayError::Seen)
        );
    }

    #[test]
    fn a_clock_set_back_revives_no_evicted_proof() {
        let start = Timestamp::from_unix_seconds(1_000_000);
        let guard = began(start);
        assert_eq!(guard.admit(&agent("a"), (&holder(1), "old"), start), Ok(()));
        let earlier = start.minus(Duration::from_hours(1));
        assert_eq!(
            guard.admit(&agent("a"), (&holder(1), "old"), earlier),
            Err(ReplayError::Seen)
        );
        // Two early turns, while the clock was ahead, forget it; its own time is then too early.
        for (jti, later) in [("x", 66), ("y", 132), ("z", 198)] {
            guard
                .admit(
                    &agent("a"),
                    (&holder(1), jti),
                    start.plus(Duration::from_secs(later)),
                )
                .unwrap();
        }
        assert_eq!(
            guard.admit(&agent("a"), (&holder(1), "old"), start),
            Ok(()),
            "it was forgotten"
        );
        assert!(guard.since() > start, "and is refused for its age");
    }

    #[test]
    fn a_proof_from_before_the_start_is_too_early_and_a_second_start_has_no_effect() {
        let guard = ReplayGuard::new(64);
        assert!(guard.since() > Timestamp::from_unix_seconds(250_000_000_000));
        let start = Timestamp::from_unix_seconds(1_000_000);
        guard.begin(start.plus(Duration::from_millis(700)));
        guard.begin(start.minus(Duration::from_secs(100)));
        assert_eq!(guard.since(), start);
    }

    #[test]
    fn one_agent_fills_only_its_own_share_and_nothing_is_evicted_early() {
        let now = Timestamp::from_unix_seconds(1_000_000);
        let guard = began(now);
        let keys = [holder(1), holder(2), holder(3), holder(4)];
        for number in 0..16 {
            guard
                .admit(&agent("a"), (&keys[number % 4], &number.to_string()), now)
                .unwrap();
        }
        for key in &keys {
            assert_eq!(
                guard.admit(&agent("a"), (key, "more"), now),
                Err(ReplayError::Full)
            );
        }
        assert_eq!(
            guard.admit(&agent("a"), (&keys[0], "0"), now),
            Err(ReplayError::Seen)
        );
        assert_eq!(guard.admit(&agent("b"), (&keys[0], "more"), now), Ok(()));
        let later = now.plus(Duration::from_secs(66));
        assert_eq!(guard.admit(&agent("a"), (&keys[0], "more"), later), Ok(()));
        assert_eq!(
            guard.admit(&agent("a"), (&keys[0], "0"), later),
            Err(ReplayError::Seen)
        );
    }
}
