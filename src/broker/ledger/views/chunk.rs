//! The chunk: records that follow on one another in one segment, and what the views say of them.
//!
//! sled pays for each key, in time, in memory and on the disk. So where a view would have a key for each record it has
//! one for each chunk, and the chunk of the newest records is filled in memory. It is sealed, which is to go to sled in one
//! piece, before the first record that is not its own; a start fills it again from the journal.

use std::collections::BTreeMap;

use crate::ledger::{
    record::{Head, LinePlace, Record},
    views::{keys, values},
};
use hallpass_core::base::{ids::RevocationId, time::Timestamp};

/// A chunk while it is being filled.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    first: u64,
    segment: u32,
    last: Head,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Chunk {
    /// One without records, which follows on `last`.
    pub(super) const fn after(last: Head) -> Self {
        Self {
            first: last.sequence.saturating_add(1),
            segment: 0,
            last,
            pairs: BTreeMap::new(),
        }
    }

    /// Its first record, which is its name too.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// Its last record; the one before it when it has none.
    pub(super) const fn last(&self) -> Head {
        self.last
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.last.sequence < self.first
    }

    /// Whether a record that stands at `place` belongs to the next one. Where chunks end follows from the journal
    /// alone, so that equal journals have equal indexes.
    pub(super) const fn is_closed_to(&self, place: LinePlace) -> bool {
        let length = self
            .last
            .sequence
            .saturating_add(1)
            .saturating_sub(self.first);
        !self.is_empty() && (place.segment != self.segment || length >= CHUNK_RECORDS)
    }

    /// Takes note of where `record`, which follows, stands and that it happened at `at`.
    pub(super) fn take<E>(&mut self, record: &Record<E>, at: Timestamp) {
        self.segment = record.place.segment;
        self.last = record.head();
        self.append(
            keys::BY_SEQUENCE.to_vec(),
            &values::located(record.place, at),
        );
        let known = self
            .pairs
            .get(&keys::by_time(self.first))
            .and_then(|value| values::read_span(value));
        let (from, to) = known.unwrap_or((at, at));
        self.insert(
            keys::by_time(self.first),
            values::span(from.min(at), to.max(at)),
        );
    }

    /// Lists the record that was taken last under `prefix`.
    pub(super) fn list(&mut self, prefix: Vec<u8>) {
        let listed = values::offset(self.first, self.last.sequence);
        self.append(prefix, &listed);
    }

    /// Lists a token under `prefix` that the record that was taken last issued.
    pub(super) fn list_token(&mut self, prefix: Vec<u8>, token: &RevocationId) {
        let listed = values::issued(self.first, self.last.sequence, token);
        self.append(prefix, &listed);
    }

    pub(super) fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.pairs.insert(key, value);
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.pairs.get(key).map(Vec::as_slice)
    }

    /// All that it holds.
    pub(super) const fn pairs(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.pairs
    }

    fn append(&mut self, prefix: Vec<u8>, bytes: &[u8]) {
        self.pairs
            .entry(keys::in_chunk(prefix, self.first))
            .or_default()
            .extend_from_slice(bytes);
    }
}

/// A chunk's longest: so many records are read from the journal again at a start, and more after a kill.
const CHUNK_RECORDS: u64 = if cfg!(test) { 16 } else { 256 };
