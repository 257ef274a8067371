//! Checking a journal or an export of it, record by record, from the bytes of the files.
//! Where the oldest segments were archived the check begins with the first that is left.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    domain::event::ChainEvent as _,
    ledger::{
        audit::{
            Anchor, ExportStatement, KeptError, Signed, Signer, TreeHead, VerifyError,
            either::EitherEvent,
        },
        file::{Chain, Damage, Flaw, Head, Line, LinePlace, Lines, Record, segments_of},
        tree::merkle::{Frontier, Inclusion},
    },
};
use hallpass_core::base::{digest::Digest, json, time::Timestamp};

/// What is known about a file besides its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// A head that this journal is known to have had: noted or exported earlier.
    pub head: Option<Head>,
    /// A signed head that this journal is known to have had, its signature checked.
    pub tree_head: Option<TreeHead>,
    /// The head that came before the first record: of the archived segments.
    pub follows: Option<Head>,
    /// Whose signature an export must bear; without one no signature is believed or asked for.
    pub anchor: Option<Anchor>,
    /// Whether a broker may be writing to it.
    pub file: FileState,
}

/// Whether a broker may be writing to the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileState {
    /// A broker may be running: an unterminated last line is in flight.
    #[default]
    Live,
    /// An export, or the journal of a broker that stopped cleanly: every line must end.
    Closed,
}

/// The last line of an export: what it holds, signed, and that its last record is in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// The signed [`ExportStatement`].
    pub export: Signed,
    /// The proof that the last record is in the tree.
    pub inclusion: Inclusion,
}

/// What a sound file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// The first record's sequence number; 0 when there is none. What came before it is not in the file.
    pub from: u64,
    /// When the first was decided.
    pub first: Option<Timestamp>,
    /// When the last was decided.
    pub last: Option<Timestamp>,
    /// The last record: worth noting somewhere else, for the next check.
    pub head: Head,
    /// Whether bytes after the last record are still being written.
    pub in_flight: bool,
    /// Who stands for it.
    pub signature: Signature,
    /// Which key that is by the key document; `None` when it is in none.
    pub signer: Option<Signer>,
}

/// Who stands for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// No trusted key: who can write the file can write another sound one.
    None,
    /// A checkpoint key that was not given as trusted: the file is whole if that key is the broker's.
    Unanchored(ExportStatement),
    /// A trusted checkpoint key.
    Verified(ExportStatement),
}

/// Checks every record that `reader` gives, from the first to the last, and the seal when there is one.
/// Holds one line in memory.
///
/// # Errors
///
/// Names the first line that is not as it was written, or what of the signature does not hold.
pub fn verify(reader: impl BufRead, claims: &Claims) -> Result<Summary, VerifyError> {
    verify_segments([Ok((1, reader))], claims)
}

/// [`verify`] for a chain in many files: the numbers of the segments, in order, and what is in them.
///
/// # Errors
///
/// As [`verify`]; only the last segment may have a line in flight.
pub fn verify_segments<R: BufRead>(
    segments: impl IntoIterator<Item = io::Result<(u32, R)>>,
    claims: &Claims,
) -> Result<Summary, VerifyError> {
    let mut check = Check::new(claims);
    let mut seal = None;
    for segment in segments {
        let (number, reader) = segment?;
        if seal.is_some() {
            return Err(check.bad_seal("something follows it"));
        }
        check.begin(number)?;
        seal = check.read(reader)?;
    }
    check.finish(seal.as_ref())
}

/// [`verify_segments`] for `path`: one file, or a directory of segments.
///
/// # Errors
///
/// As [`verify_segments`].
pub fn verify_file(path: &Path, claims: &Claims) -> Result<Summary, VerifyError> {
    let open = |(number, path): (u32, PathBuf)| {
        Ok((
            number,
            BufReader::with_capacity(READ_BUFFER_BYTES, File::open(path)?),
        ))
    };
    verify_segments(segments_of(path)?.into_iter().map(open), claims)
}

/// A file as far as it was read.
struct Check<'c> {
    claims: &'c Claims,
    chain: Chain<EitherEvent>,
    tree: Frontier,
    lines: u64,
    /// The first record's sequence number.
    from: u64,
    /// Whether the first record began a segment: those before it may have been archived.
    begins_segment: bool,
    /// The segment that is read; 0 before the first.
    segment: u32,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    in_flight: bool,
}

impl<'c> Check<'c> {
    fn new(claims: &'c Claims) -> Self {
        let (chain, tree, first, last) = (Chain::genesis(), Frontier::default(), None, None);
        let (begins_segment, in_flight) = (false, false);
        Self {
            claims,
            chain,
            tree,
            lines: 0,
            from: 0,
            begins_segment,
            segment: 0,
            first,
            last,
            in_flight,
        }
    }

    /// Goes on with segment `number`.
    fn begin(&mut self, number: u32) -> Result<(), VerifyError> {
        if self.in_flight {
            return Err(self.chain.damage(Flaw::Unterminated).into());
        }
        if self.segment == 0 {
            self.chain = Chain::oldest(number);
        } else if self.segment.saturating_add(1) == number {
            self.chain.begin_segment();
        } else {
            return Err(VerifyError::Gap {
                after: self.segment,
                found: number,
            });
        }
        self.segment = number;
        Ok(())
    }

    /// Takes every record that `reader` gives; returns the seal when it ends with one.
    fn read(&mut self, reader: impl BufRead) -> Result<Option<Seal>, VerifyError> {
        let mut lines = Lines::new(reader);
        loop {
            match lines.next_line()? {
                Line::Complete(line) if line.starts_with(SEAL) => {
                    let seal = self.read_seal(line)?;
                    if lines.next_line()? != Line::End {
                        return Err(self.bad_seal("something follows it"));
                    }
                    return Ok(Some(seal));
                }
                Line::Complete(line) => self.take(line)?,
                Line::TooLong => return Err(self.chain.damage(Flaw::TooLong).into()),
                Line::Unterminated(tail) => {
                    self.chain.accept_unterminated(tail)?;
                    if self.claims.file == FileState::Closed || self.claims.anchor.is_some() {
                        return Err(self.chain.damage(Flaw::Unterminated).into());
                    }
                    self.in_flight = true;
                    return Ok(None);
                }
                Line::End => return Ok(None),
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), VerifyError> {
        if self.lines == 0
            && let Some(sequence) = claimed_sequence(line)
        {
            // A page of the journal. Only a seal makes it one, which is seen at the end.
            self.chain = Chain::from_middle(sequence, self.chain.next_place(), sequence);
        }
        let before = self.chain.clone();
        let record = self.chain.accept(line)?;
        self.lines = self.lines.saturating_add(1);
        self.tree.push(record.hash);
        if self.first.is_none() {
            (self.first, self.from) = (Some(record.entry.at), record.sequence);
            self.begins_segment = record.entry.event.begins_segment();
            let before_it = Head {
                sequence: record.sequence.saturating_sub(1),
                hash: record.prev,
            };
            let same = self
                .known_heads()
                .filter(|head| head.sequence == before_it.sequence);
            if let Some(expected) = self
                .claims
                .follows
                .into_iter()
                .chain(same)
                .find(|head| *head != before_it)
            {
                return Err(before.damage(Flaw::OtherChain { expected }).into());
            }
        }
        self.last = Some(record.entry.at);
        self.compare(&before, &record)
    }

    /// The heads that this journal is known to have had.
    fn known_heads(&self) -> impl Iterator<Item = Head> + use<> {
        let signed = self.claims.tree_head.as_ref().map(TreeHead::chain_head);
        [self.claims.head, signed].into_iter().flatten()
    }

    /// Holds a record against the heads that are known.
    fn compare(
        &self,
        before: &Chain<EitherEvent>,
        record: &Record<EitherEvent>,
    ) -> Result<(), VerifyError> {
        for expected in self.known_heads() {
            if expected.sequence == record.sequence && expected.hash != record.hash {
                return Err(before.damage(Flaw::OtherChain { expected }).into());
            }
        }
        match &self.claims.tree_head {
            Some(head) if head.size == record.sequence => self.compare_root(head),
            _ => Ok(()),
        }
    }

    fn compare_root(&self, head: &TreeHead) -> Result<(), VerifyError> {
        if self.from == 1 && self.tree.root() != head.root {
            let detail = format!(
                "their root is {}, and {} was signed",
                self.tree.root(),
                head.root
            );
            return Err(VerifyError::Other {
                from: 1,
                to: head.size,
                detail,
            });
        }
        Ok(())
    }

    fn read_seal(&self, line: &[u8]) -> Result<Seal, VerifyError> {
        json::parse_as(line, MAX_SEAL_BYTES).map_err(|error| self.bad_seal(&error.to_string()))
    }

    fn bad_seal(&self, detail: &str) -> VerifyError {
        VerifyError::Seal {
            line: self.lines.saturating_add(1),
            detail: detail.to_owned(),
        }
    }

    fn finish(self, seal: Option<&Seal>) -> Result<Summary, VerifyError> {
        let head = self.chain.head();
        let signature = match seal {
            Some(seal) => self.judge(seal)?,
            None if self.claims.anchor.is_some() => {
                return Err(VerifyError::Unsealed { line: self.lines });
            }
            None if self.from > 1 && !self.begins_segment => {
                let flaw = Flaw::Sequence {
                    expected: 1,
                    found: self.from,
                };
                return Err(Damage {
                    segment: self.segment,
                    line: 1,
                    offset: 0,
                    flaw,
                }
                .into());
            }
            None => Signature::None,
        };
        for expected in self.known_heads() {
            let sealed = match &signature {
                Signature::Verified(export) | Signature::Unanchored(export) => {
                    Some(export.head.chain_head())
                }
                Signature::None => None,
            };
            if sealed == Some(expected) {
                // The tree in which the last record was proven to be is the very one that is known.
                continue;
            }
            if expected.sequence > head.sequence && seal.is_some() {
                return Err(VerifyError::Ends {
                    expected,
                    ends: head.sequence,
                });
            }
            if expected.sequence > head.sequence {
                return Err(self
                    .chain
                    .damage(Flaw::TailCut {
                        expected,
                        found: head.sequence,
                    })
                    .into());
            }
            if expected.sequence == 0 && expected != Head::GENESIS {
                return Err(self.chain.damage(Flaw::OtherChain { expected }).into());
            }
            let begins = self.from;
            if seal.is_none() && expected.sequence < begins && begins > 1 {
                return Err(self
                    .chain
                    .damage(Flaw::Archived { expected, begins })
                    .into());
            }
            // The first record's `prev` was held against a head right before it; nothing says what came before.
            if expected.sequence.saturating_add(1) < begins {
                return Err(VerifyError::Begins { expected, begins });
            }
        }
        let signer = seal.map(|seal| seal.export.signer(self.claims.anchor.as_ref()));
        let Self {
            from,
            first,
            last,
            in_flight,
            lines,
            ..
        } = self;
        Ok(Summary {
            records: lines,
            from,
            first,
            last,
            head,
            in_flight,
            signature,
            signer,
        })
    }

    /// Holds what was read against what was signed.
    fn judge(&self, seal: &Seal) -> Result<Signature, VerifyError> {
        let line = self.lines.saturating_add(1);
        let believed = |source| VerifyError::Statement { line, source };
        let (export, signature): (ExportStatement, fn(ExportStatement) -> Signature) =
            match &self.claims.anchor {
                Some(anchor) => (
                    seal.export.verify(anchor).map_err(believed)?,
                    Signature::Verified,
                ),
                None => (
                    seal.export.without_trust().map_err(believed)?,
                    Signature::Unanchored,
                ),
            };
        match self
            .claims
            .tree_head
            .as_ref()
            .map(|kept| export.head.hold_against(kept))
        {
            // At another size the records are compared, one by one.
            None | Some(Ok(()) | Err(KeptError::Size { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
        }
        let Head { sequence: to, hash } = self.chain.head();
        if self.from != export.from {
            let flaw = Flaw::Sequence {
                expected: export.from,
                found: self.from,
            };
            return Err(Damage {
                segment: 1,
                line: 1,
                offset: 0,
                flaw,
            }
            .into());
        }
        if to != export.to {
            let flaw = Flaw::Sequence {
                expected: export.to,
                found: to,
            };
            return Err(self.chain.damage(flaw).into());
        }
        let other = |detail: String| VerifyError::Other {
            from: self.from,
            to,
            detail,
        };
        if (seal.inclusion.sequence, seal.inclusion.size) != (export.to, export.head.size) {
            return Err(self.bad_seal("its proof is about another record or tree"));
        }
        seal.inclusion
            .verify(hash, export.head.root)
            .map_err(|error| other(error.to_string()))?;
        if to == export.head.size {
            if hash != export.head.hash {
                return Err(other(format!(
                    "the last has the hash {hash}, and {} was signed",
                    export.head.hash
                )));
            }
            self.compare_root(&export.head)?;
        }
        Ok(signature(export))
    }
}

/// The sequence number that a line says it has, when that is not the first.
fn claimed_sequence(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"seq\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let sequence = str::from_utf8(digits.get(..end)?).ok()?.parse().ok()?;
    (sequence > 1).then_some(sequence)
}

/// The hash of the record in `line`, when it is one by itself.
pub(super) fn record_hash(line: &[u8]) -> Result<(u64, Digest), Flaw> {
    let sequence = claimed_sequence(line).unwrap_or(1);
    let mut chain = Chain::<EitherEvent>::from_middle(
        sequence,
        LinePlace {
            segment: 1,
            offset: 0,
        },
        sequence,
    );
    let record = chain.accept(line).map_err(|damage| damage.flaw)?;
    Ok((record.sequence, record.hash))
}

/// How an export's last line begins.
const SEAL: &[u8] = b"{\"export\":";

const MAX_SEAL_BYTES: usize = 1024 * 1024;
const READ_BUFFER_BYTES: usize = 256 * 1024;
