//! The replay guard: proofs that were used, for as long as they could be used again.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::proof::{PROOF_LIFETIME, PROOF_SKEW};
use crate::base::{digest::Digest, holder::HolderKey, time::Timestamp};

/// Remembers the proofs that were used, in bounded memory, and never forgets one early: when it is
/// full it says so, and the request is refused.
#[derive(Debug)]
pub(in crate::verify) struct ReplayGuard {
    since: Timestamp,
    seen: Mutex<Seen>,
}

/// Two generations: what was used in this one and in the one before. A proof that is older than
/// both is refused by its time.
#[derive(Debug)]
struct Seen {
    begun: Timestamp,
    current: Generation,
    previous: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    by_holder: HashMap<Digest, HashSet<Name>>,
    count: usize,
}

/// Half a SHA-256 of a `jti`: two that are equal by chance are not to be expected.
type Name = [u8; 16];

/// Why a proof cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verify) enum ReplayError {
    /// It was used before.
    Seen,
    /// No more can be remembered, of this holder or at all.
    Full,
}

impl ReplayGuard {
    pub(in crate::verify) fn new(now: Timestamp) -> Self {
        let seen = Seen { begun: now, current: Generation::default(), previous: Generation::default() };
        Self { since: now.floor_second(), seen: Mutex::new(seen) }
    }

    /// What was made before this may have been used unseen.
    pub(in crate::verify) const fn since(&self) -> Timestamp {
        self.since
    }

    /// Takes note of `jti`, which `holder` uses now.
    pub(in crate::verify) fn admit(&self, holder: &HolderKey, jti: &str, now: Timestamp) -> Result<(), ReplayError> {
        let holder = Digest::of(holder.to_string().as_bytes());
        let mut name = Name::default();
        name.iter_mut().zip(Digest::of(jti.as_bytes()).as_bytes()).for_each(|(to, from)| *to = *from);
        // Nothing in here can panic between two changes that belong together.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.turn(now);
        if seen.current.holds(&holder, &name) || seen.previous.holds(&holder, &name) {
            return Err(ReplayError::Seen);
        }
        seen.current.take(holder, name)
    }
}

impl Seen {
    fn turn(&mut self, now: Timestamp) {
        if now.since(self.begun) > GENERATION {
            self.previous = std::mem::take(&mut self.current);
            self.begun = now;
        }
    }
}

impl Generation {
    fn holds(&self, holder: &Digest, name: &Name) -> bool {
        self.by_holder.get(holder).is_some_and(|names| names.contains(name))
    }

    fn take(&mut self, holder: Digest, name: Name) -> Result<(), ReplayError> {
        if self.count >= MAX_PROOFS {
            return Err(ReplayError::Full);
        }
        let names = self.by_holder.entry(holder).or_default();
        if names.len() >= MAX_PROOFS_OF_ONE {
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
const MAX_PROOFS: usize = 1 << 18;
/// Of one holder, so that none can use up the room of all; about 1,000 a second.
const MAX_PROOFS_OF_ONE: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::PrivateKey;

    fn holder(seed: u8) -> HolderKey {
        HolderKey::Ed25519(PrivateKey::from_seed(&[seed; 32]).public())
    }

    #[test]
    fn a_proof_is_taken_once_for_as_long_as_its_time_would_let_it_pass() {
        let start = Timestamp::from_unix_seconds(1_000_000);
        let guard = ReplayGuard::new(start);
        let mut now = start;
        for step in 0..40_u64 {
            let jti = step.to_string();
            assert_eq!(guard.admit(&holder(1), &jti, now), Ok(()));
            for later in [0, 1, 30, 64] {
                assert_eq!(guard.admit(&holder(1), &jti, now.plus(Duration::from_secs(later))), Err(ReplayError::Seen));
            }
            now = now.plus(Duration::from_secs(64 + step));
        }
    }

    #[test]
    fn holders_do_not_share_names_and_a_clock_set_back_forgets_nothing() {
        let start = Timestamp::from_unix_seconds(1_000_000);
        let guard = ReplayGuard::new(start);
        assert_eq!(guard.admit(&holder(1), "a", start), Ok(()));
        assert_eq!(guard.admit(&holder(2), "a", start), Ok(()));
        let earlier = start.minus(Duration::from_hours(1));
        assert_eq!(guard.admit(&holder(1), "a", earlier), Err(ReplayError::Seen));
    }

    #[test]
    fn one_holder_fills_its_own_room_and_is_refused_instead_of_forgotten() {
        let now = Timestamp::from_unix_seconds(1_000_000);
        let guard = ReplayGuard::new(now);
        for number in 0..MAX_PROOFS_OF_ONE {
            guard.admit(&holder(1), &number.to_string(), now).unwrap();
        }
        assert_eq!(guard.admit(&holder(1), "more", now), Err(ReplayError::Full));
        assert_eq!(guard.admit(&holder(1), "0", now), Err(ReplayError::Seen));
        assert_eq!(guard.admit(&holder(2), "more", now), Ok(()));
        let later = now.plus(Duration::from_secs(66));
        assert_eq!(guard.admit(&holder(1), "more", later), Ok(()));
        assert_eq!(guard.admit(&holder(1), "0", later), Err(ReplayError::Seen));
    }
}
