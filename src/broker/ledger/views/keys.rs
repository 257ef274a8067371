//! The keys of the index: a view's letter, what it is about, and for most views the chunk of its records, as
//! a big-endian number, so that sled's order is the journal's order.

use crate::ledger::views::values;
use hallpass_core::base::{
    digest::Digest,
    ids::{RevocationId, TaskId},
};

/// The views that list, for a subject and a chunk, the records of the chunk that concern the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Agent,
    Steward,
    Task,
    Server,
    Verdict,
}

impl View {
    const fn letter(self) -> u8 {
        match self {
            Self::Agent => b'a',
            Self::Steward => b'w',
            Self::Task => b't',
            Self::Server => b'v',
            Self::Verdict => b'd',
        }
    }

    /// The beginning of all keys about `subject`. No id holds a zero byte, so none is the beginning of another.
    pub(super) fn prefix(self, subject: &str) -> Vec<u8> {
        text_key(self.letter(), subject)
    }
}

/// The last record that was applied.
pub(super) const APPLIED: &[u8] = b"!applied";

/// The last record of the last chunk that is whole.
pub(super) const SEALED: &[u8] = b"!sealed";

/// The prefix of the view of where a chunk's records stand.
pub(super) const BY_SEQUENCE: &[u8] = b"s";

/// The prefix of the view of when a chunk's records were decided.
pub(super) const BY_TIME: &[u8] = b"c";

pub(super) fn in_chunk(mut prefix: Vec<u8>, chunk: u64) -> Vec<u8> {
    prefix.extend_from_slice(&chunk.to_be_bytes());
    prefix
}

pub(super) fn by_sequence(chunk: u64) -> Vec<u8> {
    in_chunk(BY_SEQUENCE.to_vec(), chunk)
}

/// A chunk's span of time.
pub(super) fn by_time(chunk: u64) -> Vec<u8> {
    in_chunk(BY_TIME.to_vec(), chunk)
}

/// The chunk at the end of a key of [`in_chunk`].
pub(super) fn chunk_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// What a key is for, as far as it matters for how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Of the records of this chunk alone.
    Chunk(u64),
    /// Of this record alone.
    Record(u64),
    /// Of a task, in this record, or in records of the chunk that begins with it.
    Task(&'a str, u64),
    /// Of the index as a whole.
    Index,
}

/// What `key` is for; `None` when it is none that is written here.
pub(super) fn kind<'a>(key: &'a [u8], value: &'a [u8]) -> Option<Kind<'a>> {
    let (letter, rest) = key.split_first()?;
    match letter {
        b'!' => Some(Kind::Index),
        b's' | b'c' | b'a' | b'w' | b't' | b'v' | b'd' => chunk_of(key).map(Kind::Chunk),
        b'k' => {
            let (task, chunk) = split_text(rest)?;
            Some(Kind::Task(task, u64::from_be_bytes(chunk.try_into().ok()?)))
        }
        b'o' => {
            let task = str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
            Some(Kind::Task(task, values::read_numbered(value)?.0))
        }
        b'r' | b'i' => {
            let (sequence, task) = values::read_numbered(value)?;
            Some(if task.is_empty() {
                Kind::Record(sequence)
            } else {
                Kind::Task(task, sequence)
            })
        }
        _ => None,
    }
}

/// Task to its agent and steward.
pub(super) fn owner(task: &TaskId) -> Vec<u8> {
    text_key(b'o', task.as_str())
}

/// The beginning of the keys of a task's tokens, which are listed by their first blocks.
pub(super) fn tokens_of(task: &TaskId) -> Vec<u8> {
    text_key(b'k', task.as_str())
}

/// Block of a token to its task.
pub(super) fn token(id: &RevocationId) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(id.as_bytes());
    key
}

/// Idempotency digest to the record that answered.
pub(super) fn idempotency(digest: &Digest) -> Vec<u8> {
    let mut key = vec![b'i'];
    key.extend_from_slice(digest.as_bytes());
    key
}

fn text_key(letter: u8, text: &str) -> Vec<u8> {
    let mut key = vec![letter];
    key.extend_from_slice(text.as_bytes());
    key.push(0);
    key
}

/// The text of a [`text_key`] without its letter, and what follows.
fn split_text(key: &[u8]) -> Option<(&str, &[u8])> {
    let (text, rest) = key.split_at_checked(key.iter().position(|byte| *byte == 0)?)?;
    Some((str::from_utf8(text).ok()?, rest.get(1..)?))
}
