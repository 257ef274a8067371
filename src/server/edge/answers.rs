//! Remembered answers: what is returned again for the same idempotency key.

use std::{
    collections::HashMap,
    fmt,
    sync::{self, Arc, Weak},
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::sync::Mutex;

use crate::server::edge::answer::Answer;
use hallpass_core::base::{digest::Digest, sync::MutexExt as _};

/// The answers to requests with an idempotency key, and a lock for each key that is being worked on.
pub(crate) struct Answers {
    /// What was asked under a key, and the answer. A request that fails leaves nothing, and those that
    /// waited try for themselves.
    made: Cache<Digest, (Digest, Answer)>,
    /// SECURITY: the keys of requests under way are not in the cache: whatever it forgets, two requests
    /// with one key never work at once.
    turns: sync::Mutex<HashMap<Digest, Weak<Mutex<()>>>>,
}

impl Answers {
    pub(crate) fn new(repeated: Duration) -> Self {
        let weigh = |_: &Digest, (_, answer): &(Digest, Answer)| {
            u32::try_from(answer.len())
                .unwrap_or(u32::MAX)
                .saturating_add(ENTRY_BYTES)
        };
        // The oldest leave first: an answer that was just made is the one that is asked for again.
        let made = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .weigher(weigh);
        let made = made
            .max_capacity(MAX_ANSWER_BYTES)
            .time_to_live(repeated)
            .build();
        Self {
            made,
            turns: sync::Mutex::default(),
        }
    }

    /// The digest of what was asked under `key`, and the answer, if it is still remembered.
    pub(crate) fn made(&self, key: &Digest) -> Option<(Digest, Answer)> {
        self.made.get(key)
    }

    /// Remembers what was asked under `key`, and the answer.
    pub(crate) fn remember(&self, key: Digest, made: (Digest, Answer)) {
        self.made.insert(key, made);
    }

    /// The lock of a key: the request that holds it works, the others wait.
    pub(crate) fn turn(&self, digest: Digest) -> Arc<Mutex<()>> {
        let mut turns = self.turns.locked();
        if let Some(turn) = turns.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= MANY_TURNS {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        turns.insert(digest, Arc::downgrade(&turn));
        turn
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

/// Answers take at most this much room; the journal answers for those that were pushed out.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// What an answer takes besides its own bytes, in the cache and on the heap.
const ENTRY_BYTES: u32 = 600;
/// More turns than requests can be under way: those that are over are forgotten.
const MANY_TURNS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_under_way_keeps_its_turn_whatever_else_is_asked() {
        let answers = Answers::new(Duration::from_secs(600));
        let key = |number: usize| Digest::of(&number.to_be_bytes());
        let turn = answers.turn(key(0));
        for number in 1..3 * MANY_TURNS {
            drop(answers.turn(key(number)));
        }
        assert!(Arc::ptr_eq(&turn, &answers.turn(key(0))));
        assert!(answers.turns.lock().unwrap().len() <= MANY_TURNS + 1);
    }

    #[test]
    fn the_latest_answer_is_remembered_however_many_there_are() {
        let answers = Answers::new(Duration::from_secs(600));
        let answer = Answer::ok(&"x".repeat(1024 * 1024)).unwrap();
        for number in 0..200_usize {
            let key = Digest::of(&number.to_be_bytes());
            answers.made.insert(key, (key, answer.clone()));
            answers.made.run_pending_tasks();
            assert!(answers.made.contains_key(&key), "{number}");
        }
        assert!(answers.made.weighted_size() <= MAX_ANSWER_BYTES);
    }
}
