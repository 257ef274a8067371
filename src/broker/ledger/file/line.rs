//! One record as one line, and the chain over the lines: the only place that writes or reads them.

use std::{fmt, io::Write as _, str::FromStr};

use serde::Deserialize as _;
use serde_json::Value;

use crate::{
    domain::event::{Entry, Event},
    ledger::file::JournalError,
};
use hallpass_core::base::{digest::Digest, json};

/// An entry that is longer than this as JSON is refused.
pub const MAX_ENTRY_BYTES: usize = 4 * 1024 * 1024;

/// One record of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its place in the chain, counted from 1 without a gap.
    pub sequence: u64,
    /// The hash of the record before; [`Digest::ZERO`] for the first.
    pub prev: Digest,
    /// Its own hash.
    pub hash: Digest,
    /// Where its line stands.
    pub place: Place,
    /// What it says.
    pub entry: Entry,
}

impl Record {
    /// The head of a chain that ends with this record.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            sequence: self.sequence,
            hash: self.hash,
        }
    }
}

/// The last record of a chain: everything before it follows from its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The last record's sequence number; 0 for an empty chain.
    pub sequence: u64,
    /// The last record's hash; [`Digest::ZERO`] for an empty chain.
    pub hash: Digest,
}

impl Head {
    /// The head of an empty chain.
    pub const GENESIS: Self = Self {
        sequence: 0,
        hash: Digest::ZERO,
    };
}

impl FromStr for Head {
    type Err = HeadError;

    /// Reads `SEQUENCE:HASH`.
    fn from_str(text: &str) -> Result<Self, HeadError> {
        let (sequence, hash) = text.split_once(':').ok_or(HeadError)?;
        let sequence = sequence.parse().map_err(|_| HeadError)?;
        Ok(Self {
            sequence,
            hash: hash.parse().map_err(|_| HeadError)?,
        })
    }
}

/// A text that is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected SEQUENCE:HASH, as `hallpass audit verify` prints it")]
pub struct HeadError;

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} with hash {}", self.sequence, self.hash)
    }
}

/// Where a line stands: the number of its segment and its first byte's offset in that file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The segment's number, counted from 1.
    pub segment: u32,
    /// The offset in bytes.
    pub offset: u64,
}

/// A place where the bytes are not those that were written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {offset}: {flaw}")]
pub struct Damage {
    /// The segment.
    pub segment: u32,
    /// The line in it, counted from 1.
    pub line: u64,
    /// The offset of the line's first byte.
    pub offset: u64,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The line does not end as a record does.
    #[error("not a record: it does not end with a hash")]
    NotARecord,
    /// The bytes do not have the hash that stands at their end.
    #[error("the record's hash does not match its bytes")]
    Hash,
    /// The hash matches and the content is not one that this build can read.
    #[error("the record cannot be read: {0}")]
    Content(String),
    /// A record is missing, doubled or out of order.
    #[error("expected record {expected}, found record {found}")]
    Sequence {
        /// The number that had to follow.
        expected: u64,
        /// The number that stands there.
        found: u64,
    },
    /// The record follows on a record other than the one before it.
    #[error(
        "the record does not continue the chain: its `prev` is not the hash of the record before it"
    )]
    Prev,
    /// Longer than any record.
    #[error("longer than any record can be")]
    TooLong,
    /// The last line has no end, in a place where it must have one.
    #[error("the last line does not end with a newline")]
    Unterminated,
    /// The chain ends before the head that it is known to have had.
    #[error("the chain ends with record {found}, but it is known to have had {expected}")]
    TailCut {
        /// The known head.
        expected: Head,
        /// The last record found.
        found: u64,
    },
    /// The chain begins after the head that it is known to have had.
    #[error(
        "the chain begins with record {begins}, so whether it had {expected} is in the segments that were archived"
    )]
    Archived {
        /// The known head.
        expected: Head,
        /// The first record found.
        begins: u64,
    },
    /// The chain holds another record where a known head was.
    #[error("the chain is another one: it is known to have had {expected}")]
    OtherChain {
        /// The known head.
        expected: Head,
    },
}

/// An entry as a JSON object, whose members go between `prev` and `hash`.
#[derive(Debug)]
pub(super) struct Body(Vec<u8>);

impl Body {
    /// Writes `entry`, and reads it back: a record that no start could read must never be written.
    pub(super) fn of(entry: &Entry) -> Result<Self, JournalError> {
        let unreadable = |detail: String| JournalError::Unreadable {
            detail: detail.into(),
        };
        let bytes = serde_json::to_vec(entry).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(JournalError::TooLarge { bytes: bytes.len() });
        }
        json::read_back_as::<Entry>(&bytes, MAX_ENTRY_BYTES)
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
pub struct Chain {
    head: Head,
    next: Place,
    line: u64,
    known: Known,
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

impl Chain {
    /// A chain at its very beginning.
    #[must_use]
    pub const fn genesis() -> Self {
        Self {
            head: Head::GENESIS,
            next: Place {
                segment: 1,
                offset: 0,
            },
            line: 1,
            known: Known::Record,
        }
    }

    /// A chain that is read from the beginning of `segment`, the oldest that is there: it begins with
    /// record 1, or with the event that began the segment.
    #[must_use]
    pub const fn oldest(segment: u32) -> Self {
        Self {
            head: Head::GENESIS,
            next: Place { segment, offset: 0 },
            line: 1,
            known: Known::Nothing,
        }
    }

    /// A chain that is read from the middle, beginning with record `sequence` at `place`, in a segment
    /// whose first record is `first`.
    #[must_use]
    pub const fn from_middle(sequence: u64, place: Place, first: u64) -> Self {
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
        }
    }

    /// Goes on with the next segment, from its first byte.
    pub fn begin_segment(&mut self) {
        self.next = Place {
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
    pub const fn next_place(&self) -> Place {
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
    pub fn accept(&mut self, line: &[u8]) -> Result<Record, Damage> {
        let record = self.read(line).map_err(|flaw| self.damage(flaw))?;
        self.advance(record.head(), line);
        Ok(record)
    }

    /// [`accept`](Self::accept) for a record that nobody wants: hash, number and predecessor are checked,
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

    fn read(&self, line: &[u8]) -> Result<Record, Flaw> {
        let hash = hash_of(line)?;
        let (sequence, prev, entry) = parse(line).map_err(Flaw::Content)?;
        if self.known == Known::Nothing
            && sequence != 1
            && !matches!(entry.event, Event::SegmentBegun { .. })
        {
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

fn parse(line: &[u8]) -> Result<(u64, Digest, Entry), String> {
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
    let prev = Digest::deserialize(prev).map_err(|error| format!("`prev`: {error}"))?;
    members.remove("hash");
    let entry = Entry::deserialize(Value::Object(members)).map_err(|error| error.to_string())?;
    Ok((sequence, prev, entry))
}

const HASH_MEMBER: &str = ",\"hash\":\"";
const HASH_DIGITS: usize = 64;

/// An entry, and what stands around it.
pub(super) const MAX_LINE_BYTES: usize = MAX_ENTRY_BYTES + 512;
