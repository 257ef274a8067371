//! Records and the chain over them: what every ledger keeps, wherever it keeps it.

use std::{fmt, str::FromStr};

use crate::domain::event::{Entry, LedgerEvent};
use hallpass_core::base::digest::Digest;

/// One record of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<E = LedgerEvent> {
    /// Its place in the chain, counted from 1 without a gap.
    pub sequence: u64,
    /// The hash of the record before; [`Digest::ZERO`] for the first.
    pub prev: Digest,
    /// Its own hash.
    pub hash: Digest,
    /// Where the ledger keeps it: for the ledger alone to read.
    pub place: LinePlace,
    /// What it says.
    pub entry: Entry<E>,
}

impl<E> Record<E> {
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
pub struct LinePlace {
    /// The segment's number, counted from 1.
    pub segment: u32,
    /// The offset in bytes.
    pub offset: u64,
}
