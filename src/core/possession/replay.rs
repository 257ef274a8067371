//! The replay guard: proofs that were used, for as long as they could be used again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    base::{digest::Digest, holder::HolderKey, ids::AgentId, time::Timestamp},
    possession::{PROOF_LIFETIME, proof::PROOF_SKEW},
};

/// Remembers the proofs that were used, in bounded memory, and never forgets one early: when it is
/// full it says so, and the request is refused.
#[derive(Debug)]
pub struct ReplayGuard {
    seen: Mutex<Seen>,
    room: usize,
}

/// Two generations: what was used in this one and in the one before. A proof that is older than
/// both is refused by its time.
#[derive(Debug)]
struct Seen {
    /// What was made before this may have been used unseen; `None` before it began.
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

/// Half a SHA-256 of a `jti`: two that are equal by chance are not to be expected.
type Name = [u8; 16];

/// Why a proof cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the verifier and the token endpoint answer both"
)]
pub enum ReplayError {
    /// It was used before.
    Seen,
    /// No more can be remembered, of this holder or at all.
    Full,
}

impl ReplayGuard {
    /// With room for so many proofs in each generation.
    pub fn new(room: usize) -> Self {
        Self {
            seen: Mutex::default(),
            room,
        }
    }

    /// Begins to remember at `now`, the first time that this is called.
    pub fn begin(&self, now: Timestamp) {
        let mut seen = self.seen();
        if seen.floor.is_none() {
            (seen.floor, seen.begun) = (Some(now.floor_second()), now);
        }
    }

    /// What was made before this may have been used unseen.
    pub fn since(&self) -> Timestamp {
        self.seen()
            .floor
            .unwrap_or(Timestamp::from_unix_millis(i64::MAX))
    }

    /// Takes note of `jti`, which `holder` uses now for a pass that was issued to `agent`.
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
        // Nothing in here can panic between two changes that belong together.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
            // Should the clock go back, what is forgotten now must not look fresh again.
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
/// The passes of one agent, whoever they were handed to, get this part of the room, so that none can use
/// up that of all.
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
    fn a_proof_is_taken_once_for_as_long_as_its_time_would_let_it_pass() {
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
    fn a_clock_set_back_revives_nothing_that_was_forgotten() {
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
    fn what_was_made_before_it_began_is_too_early_and_beginning_again_changes_nothing() {
        let guard = ReplayGuard::new(64);
        assert!(guard.since() > Timestamp::from_unix_seconds(250_000_000_000));
        let start = Timestamp::from_unix_seconds(1_000_000);
        guard.begin(start.plus(Duration::from_millis(700)));
        guard.begin(start.minus(Duration::from_secs(100)));
        assert_eq!(guard.since(), start);
    }

    #[test]
    fn one_agent_fills_its_own_room_whoever_holds_its_passes_and_is_refused_instead_of_forgotten() {
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
