//! The keys of the index: a view's letter, what it is about, and big-endian numbers, so that
//! sled's order is the journal's order.

use crate::{
    base::{
        digest::Digest,
        ids::{RevocationId, TaskId},
        time::Timestamp,
    },
    journal::{Head, Place},
};

/// The views whose keys are a subject and the sequence numbers that concern it.
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

/// The beginning of the keys of the view by sequence.
pub(super) const BY_SEQUENCE: &[u8] = b"s";

/// The beginning of the keys of the view by time.
pub(super) const BY_TIME: &[u8] = b"c";

pub(super) fn with_sequence(mut prefix: Vec<u8>, sequence: u64) -> Vec<u8> {
    prefix.extend_from_slice(&sequence.to_be_bytes());
    prefix
}

pub(super) fn by_sequence(sequence: u64) -> Vec<u8> {
    with_sequence(BY_SEQUENCE.to_vec(), sequence)
}

pub(super) fn by_time(at: Timestamp, sequence: u64) -> Vec<u8> {
    let mut key = BY_TIME.to_vec();
    key.extend_from_slice(&sortable(at));
    with_sequence(key, sequence)
}

/// What a key is for, as far as it matters for how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Of this record alone.
    Record(u64),
    /// Of a task, told by this record.
    Task(&'a str, u64),
    /// Of the index as a whole.
    Index,
}

/// What `key` is for; `None` when it is none that is written here.
pub(super) fn kind<'a>(key: &'a [u8], value: &'a [u8]) -> Option<Kind<'a>> {
    let (letter, rest) = key.split_first()?;
    match letter {
        b'!' => Some(Kind::Index),
        b's' | b'c' | b'a' | b'w' | b't' | b'v' | b'd' => sequence_of(key).map(Kind::Record),
        b'k' => {
            let (task, _) = split_text(rest)?;
            Some(Kind::Task(task, u64::from_be_bytes(value.try_into().ok()?)))
        }
        b'o' => {
            let task = str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
            Some(Kind::Task(task, read_numbered(value)?.0))
        }
        b'r' | b'i' => {
            let (sequence, task) = read_numbered(value)?;
            Some(if task.is_empty() { Kind::Record(sequence) } else { Kind::Task(task, sequence) })
        }
        _ => None,
    }
}

/// Task to its agent and steward.
pub(super) fn owner(task: &TaskId) -> Vec<u8> {
    text_key(b'o', task.as_str())
}

/// The beginning of the keys of a task's tokens.
pub(super) fn tokens_of(task: &TaskId) -> Vec<u8> {
    text_key(b'k', task.as_str())
}

/// A token of a task to its record. It is found by its block, so that one whose record is gone is known but once.
pub(super) fn token_of(task: &TaskId, token: &RevocationId) -> Vec<u8> {
    let mut key = tokens_of(task);
    key.extend_from_slice(token.as_bytes());
    key
}

/// The token in a key of [`token_of`].
pub(super) fn read_token_of(key: &[u8]) -> Option<RevocationId> {
    let (_, token) = split_text(key.get(1..)?)?;
    Some(RevocationId::from_bytes(token.try_into().ok()?))
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

/// Where a record stands and when it was decided.
pub(super) fn located(place: Place, at: Timestamp) -> Vec<u8> {
    let mut value = place.segment.to_be_bytes().to_vec();
    value.extend_from_slice(&place.offset.to_be_bytes());
    value.extend_from_slice(&at.unix_millis().to_be_bytes());
    value
}

pub(super) fn read_located(value: &[u8]) -> Option<(Place, Timestamp)> {
    let (segment, rest) = value.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let place = Place { segment: u32::from_be_bytes(*segment), offset: u64::from_be_bytes(*offset) };
    Some((place, Timestamp::from_unix_millis(i64::from_be_bytes(rest.try_into().ok()?))))
}

/// A number, then text.
pub(super) fn numbered(sequence: u64, text: &str) -> Vec<u8> {
    let mut value = sequence.to_be_bytes().to_vec();
    value.extend_from_slice(text.as_bytes());
    value
}

pub(super) fn read_numbered(value: &[u8]) -> Option<(u64, &str)> {
    let (sequence, text) = value.split_first_chunk()?;
    Some((u64::from_be_bytes(*sequence), str::from_utf8(text).ok()?))
}

pub(super) fn head(head: Head) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend_from_slice(&head.sequence.to_be_bytes());
    value.extend_from_slice(head.hash.as_bytes());
    value
}

/// `None` as well for a head that another form of index wrote.
pub(super) fn read_head(value: &[u8]) -> Option<Head> {
    let (sequence, hash) = value.strip_prefix(&[FORMAT])?.split_first_chunk()?;
    let hash = hex::encode(hash).parse().ok()?;
    Some(Head { sequence: u64::from_be_bytes(*sequence), hash })
}

/// The sequence number at the end of a key.
pub(super) fn sequence_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Signed milliseconds so that their bytes sort as they do.
fn sortable(at: Timestamp) -> [u8; 8] {
    (at.unix_millis() ^ i64::MIN).to_be_bytes()
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

/// Changes with the form of keys or values, or with what is indexed: the index is then rebuilt.
const FORMAT: u8 = 3;
