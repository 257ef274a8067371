//! One record as one line, and the chain over the lines: the only place that writes or reads them.

use std::{io::Write as _, marker::PhantomData};

use serde_json::Value;

use crate::{
    domain::event::{ChainEvent, Entry, LedgerEvent},
    ledger::{
        file::error::{Damage, Flaw, JournalError, MAX_ENTRY_BYTES},
        record::{Head, LinePlace, Record},
    },
};
use hallpass_core::base::{digest::Digest, json};

/// An entry as a JSON object, whose members go between `prev` and `hash`.
#[derive(Debug)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Writes `entry`, and reads it back: a record that no start could read must never be written.
    pub(super) fn of<E: ChainEvent>(entry: &Entry<E>) -> Result<Self, JournalError> {
        let unreadable = |detail: String| JournalError::Unreadable {
            detail: detail.into(),
        };
        let bytes = serde_json::to_vec(entry).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(JournalError::TooLarge { bytes: bytes.len() });
        }
        json::read_back_as::<Entry<E>>(&bytes, MAX_ENTRY_BYTES)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(Self(bytes))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the line that follows `head` to `buffer` and returns the new head.
    pub(super) fn encode(&self, head: Head, buffer: &mut Vec<u8>) -> Head {
        // 2^64 records do not fit on any disk, so the sum is exact.
        let sequence = head.sequence.saturating_add(1);
        let start = buffer.len();
        // Writing to memory does not fail.
        let _ = write!(buffer, "{{\"seq\":{sequence},\"prev\":\"{}\",", head.hash);
        // Without the braces of the entry's object.
        buffer.extend_from_slice(
            self.0
                .get(1..self.0.len().saturating_sub(1))
                .unwrap_or_default(),
        );
        let hash = Digest::of(buffer.get(start..).unwrap_or_default());
        let _ = writeln!(buffer, "{HASH_MEMBER}{hash}\"}}");
        Head { sequence, hash }
    }
}

/// The chain while it is read: knows what the next line must be.
#[derive(Debug, Clone)]
pub struct Chain<E = LedgerEvent> {
    head: Head,
    next: LinePlace,
    line: u64,
    known: Known,
    events: PhantomData<fn() -> E>,
}

/// What is known of the record before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// All.
    Record,
    /// Its number: reading began in the middle.
    Number,
    /// Nothing: reading begins with the oldest segment that was kept.
    Nothing,
}

impl<E: ChainEvent> Chain<E> {
    /// A chain at its very beginning.
    #[must_use]
    pub const fn genesis() -> Self {
        Self {
            head: Head::GENESIS,
            next: LinePlace {
                segment: 1,
                offset: 0,
            },
            line: 1,
            known: Known::Record,
            events: PhantomData,
        }
    }

    /// A chain that is read from the beginning of `segment`, the oldest that is there: it begins with
    /// record 1, or with the event that began the segment.
    #[must_use]
    pub const fn oldest(segment: u32) -> Self {
        Self {
            head: Head::GENESIS,
            next: LinePlace { segment, offset: 0 },
            line: 1,
            known: Known::Nothing,
            events: PhantomData,
        }
    }

    /// A chain that is read from the middle, beginning with record `sequence` at `place`, in a segment
    /// whose first record is `first`.
    #[must_use]
    pub const fn from_middle(sequence: u64, place: LinePlace, first: u64) -> Self {
        let head = Head {
            sequence: sequence.saturating_sub(1),
            hash: Digest::ZERO,
        };
        let known = if sequence <= 1 {
            Known::Record
        } else {
            Known::Number
        };
        Self {
            head,
            next: place,
            line: sequence.saturating_sub(first).saturating_add(1),
            known,
            events: PhantomData,
        }
    }

    /// Goes on with the next segment, from its first byte.
    pub fn begin_segment(&mut self) {
        self.next = LinePlace {
            segment: self.next.segment.saturating_add(1),
            offset: 0,
        };
        self.line = 1;
    }

    /// The last record that was accepted.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Where the next line begins.
    #[must_use]
    pub const fn next_place(&self) -> LinePlace {
        self.next
    }

    /// `flaw` at the place where the next line begins.
    #[must_use]
    pub const fn damage(&self, flaw: Flaw) -> Damage {
        Damage {
            segment: self.next.segment,
            line: self.line,
            offset: self.next.offset,
            flaw,
        }
    }

    /// Takes the next line, without its newline.
    ///
    /// # Errors
    ///
    /// Refuses a line whose hash, form, sequence number or predecessor is not right; the chain then
    /// stays where it was.
    pub fn accept(&mut self, line: &[u8]) -> Result<Record<E>, Damage> {
        let record = self.read(line).map_err(|flaw| self.damage(flaw))?;
        self.advance(record.head(), line);
        Ok(record)
    }

    /// [`accept`](Self::accept) for a record that is not read further: hash, number and predecessor are checked,
    /// and what it says is not read.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept), but for its form.
    pub fn check(&mut self, line: &[u8]) -> Result<Head, Damage> {
        let head = self.read_frame(line).map_err(|flaw| self.damage(flaw))?;
        self.advance(head, line);
        Ok(head)
    }

    fn advance(&mut self, head: Head, line: &[u8]) {
        self.head = head;
        self.known = Known::Record;
        self.line = self.line.saturating_add(1);
        let length = u64::try_from(line.len())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        self.next.offset = self.next.offset.saturating_add(length);
    }

    /// Judges `tail`, the bytes after the last newline of the file.
    ///
    /// # Errors
    ///
    /// Refuses a tail that holds a whole record and then something other than a newline: a write
    /// that was interrupted leaves the beginning of a line (or zeros), and that is neither.
    pub fn accept_unterminated(&self, tail: &[u8]) -> Result<(), Damage> {
        match tail.split_last() {
            Some((last, line)) if *last != 0 && self.read(line).is_ok() => {
                Err(self.damage(Flaw::Unterminated))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, line: &[u8]) -> Result<Record<E>, Flaw> {
        let hash = hash_of(line)?;
        let (sequence, prev, entry) = parse::<E>(line).map_err(Flaw::Content)?;
        if self.known == Known::Nothing && sequence != 1 && !entry.event.begins_segment() {
            return Err(Flaw::Sequence {
                expected: 1,
                found: sequence,
            });
        }
        self.expect(sequence, prev)?;
        Ok(Record {
            sequence,
            prev,
            hash,
            place: self.next,
            entry,
        })
    }

    fn read_frame(&self, line: &[u8]) -> Result<Head, Flaw> {
        if self.known == Known::Nothing {
            return self.read(line).map(|record| record.head());
        }
        let hash = hash_of(line)?;
        let (sequence, prev) = frame(line)
            .ok_or_else(|| Flaw::Content("it does not begin as a record does".into()))?;
        self.expect(sequence, prev)?;
        Ok(Head { sequence, hash })
    }

    fn expect(&self, sequence: u64, prev: Digest) -> Result<(), Flaw> {
        let expected = self.head.sequence.saturating_add(1);
        if self.known == Known::Nothing && sequence > 1 {
            return Ok(());
        }
        if sequence != expected {
            return Err(Flaw::Sequence {
                expected,
                found: sequence,
            });
        }
        if self.known != Known::Number && prev != self.head.hash {
            return Err(Flaw::Prev);
        }
        Ok(())
    }
}

/// The hash at the end of `line`, which is that of the bytes before it.
fn hash_of(line: &[u8]) -> Result<Digest, Flaw> {
    let hashed_length = line
        .len()
        .checked_sub(HASH_MEMBER.len() + HASH_DIGITS + 2)
        .ok_or(Flaw::NotARecord)?;
    let (hashed, end) = line
        .split_at_checked(hashed_length)
        .ok_or(Flaw::NotARecord)?;
    let hash = end
        .strip_prefix(HASH_MEMBER.as_bytes())
        .and_then(|end| end.strip_suffix(b"\"}"))
        .and_then(|digits| str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<Digest>().ok())
        .ok_or(Flaw::NotARecord)?;
    if Digest::of(hashed) == hash {
        Ok(hash)
    } else {
        Err(Flaw::Hash)
    }
}

/// The number and the predecessor's hash at the beginning of `line`.
fn frame(line: &[u8]) -> Option<(u64, Digest)> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let (number, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b',')?)?;
    let (prev, rest) = rest
        .strip_prefix(b",\"prev\":\"")?
        .split_at_checked(HASH_DIGITS)?;
    rest.strip_prefix(b"\",")?;
    Some((
        str::from_utf8(number).ok()?.parse().ok()?,
        str::from_utf8(prev).ok()?.parse().ok()?,
    ))
}

fn parse<E: ChainEvent>(line: &[u8]) -> Result<(u64, Digest, Entry<E>), String> {
    let value = json::parse(line, MAX_LINE_BYTES).map_err(|error| error.to_string())?;
    let Value::Object(mut members) = value else {
        return Err("not an object".to_owned());
    };
    let sequence = members
        .remove("seq")
        .as_ref()
        .and_then(Value::as_u64)
        .ok_or("`seq` is not a number")?;
    let prev = members.remove("prev").ok_or("`prev` is missing")?;
    let prev =
        serde_json::from_value::<Digest>(prev).map_err(|error| format!("`prev`: {error}"))?;
    members.remove("hash");
    let entry =
        serde_json::from_value(Value::Object(members)).map_err(|error| error.to_string())?;
    Ok((sequence, prev, entry))
}

const HASH_MEMBER: &str = ",\"hash\":\"";
const HASH_DIGITS: usize = 64;

/// An entry, and what stands around it.
pub(super) const MAX_LINE_BYTES: usize = MAX_ENTRY_BYTES + 512;
