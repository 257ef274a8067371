//! The values of the index. What concerns a record of a chunk says which by its distance from the chunk's first.

use crate::ledger::record::{Head, LinePlace};
use hallpass_core::base::{ids::RevocationId, time::Timestamp};

/// Where a record stands and when it was decided. A chunk's value has one of these after the other.
pub(super) fn located(place: LinePlace, at: Timestamp) -> Vec<u8> {
    let mut value = place.segment.to_be_bytes().to_vec();
    value.extend_from_slice(&place.offset.to_be_bytes());
    value.extend_from_slice(&at.unix_millis().to_be_bytes());
    value
}

/// The records of a chunk, in order; `None` when it is damaged.
pub(super) fn read_located(value: &[u8]) -> Option<Vec<(LinePlace, Timestamp)>> {
    let (entries, rest) = value.as_chunks();
    if rest.is_empty() {
        entries.iter().map(read_one_located).collect()
    } else {
        None
    }
}

/// The record at this distance from a chunk's first, if there is one; `None` when the chunk is damaged.
pub(super) fn read_located_at(
    value: &[u8],
    distance: usize,
) -> Option<Option<(LinePlace, Timestamp)>> {
    let (entries, rest) = value.as_chunks();
    rest.is_empty()
        .then(|| entries.get(distance).and_then(read_one_located))
}

fn read_one_located(entry: &[u8; 20]) -> Option<(LinePlace, Timestamp)> {
    let (segment, rest) = entry.split_first_chunk()?;
    let (offset, at) = rest.split_first_chunk()?;
    let place = LinePlace {
        segment: u32::from_be_bytes(*segment),
        offset: u64::from_be_bytes(*offset),
    };
    Some((
        place,
        Timestamp::from_unix_millis(i64::from_be_bytes(at.try_into().ok()?)),
    ))
}

/// The earliest and the latest time of a chunk's records.
pub(super) fn span(from: Timestamp, to: Timestamp) -> Vec<u8> {
    [
        from.unix_millis().to_be_bytes(),
        to.unix_millis().to_be_bytes(),
    ]
    .concat()
}

pub(super) fn read_span(value: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (from, to) = value.split_first_chunk()?;
    let at = |bytes| Timestamp::from_unix_millis(i64::from_be_bytes(bytes));
    Some((at(*from), at(to.try_into().ok()?)))
}

/// One record of a chunk. A subject's value has one of these after the other.
pub(super) fn offset(chunk: u64, sequence: u64) -> [u8; 2] {
    // A chunk is never that long.
    u16::try_from(sequence.saturating_sub(chunk))
        .unwrap_or(u16::MAX)
        .to_be_bytes()
}

/// The records that are listed, in order.
pub(super) fn read_offsets(chunk: u64, value: &[u8]) -> Option<Vec<u64>> {
    let (offsets, rest) = value.as_chunks::<2>();
    let read = |offset: &[u8; 2]| chunk.saturating_add(u64::from(u16::from_be_bytes(*offset)));
    rest.is_empty().then(|| offsets.iter().map(read).collect())
}

/// A token, and the record of a chunk that issued it. A task's value has one of these after the other.
pub(super) fn issued(chunk: u64, sequence: u64, token: &RevocationId) -> Vec<u8> {
    let mut value = offset(chunk, sequence).to_vec();
    value.extend_from_slice(token.as_bytes());
    value
}

/// The tokens that are listed, each with its record.
pub(super) fn read_issued(chunk: u64, value: &[u8]) -> Option<Vec<(u64, RevocationId)>> {
    let (entries, rest) = value.as_chunks::<66>();
    let read = |entry: &[u8; 66]| {
        let (offset, token) = entry.split_first_chunk()?;
        let sequence = chunk.saturating_add(u64::from(u16::from_be_bytes(*offset)));
        Some((sequence, RevocationId::from_bytes(token.try_into().ok()?)))
    };
    if rest.is_empty() {
        entries.iter().map(read).collect()
    } else {
        None
    }
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
    Some(Head {
        sequence: u64::from_be_bytes(*sequence),
        hash,
    })
}

/// Changes with the form of keys or values, or with what is indexed: the index is then rebuilt.
const FORMAT: u8 = 4;
