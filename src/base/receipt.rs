//! The proof that something is durably in the journal.

use super::digest::Digest;

/// Proof that a record is durable: its sequence number and chain hash.
///
/// Only the journal makes one (`tests/architecture.rs` guards that), so whoever holds a receipt
/// knows that the record survives a crash. A minted token is released against it.
///
/// ```compile_fail,E0624
/// let forged = hallpass::base::Receipt::of_durable_record(1, hallpass::base::digest::Digest::ZERO);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    sequence: u64,
    hash: Digest,
}

impl Receipt {
    /// For the journal, once `fdatasync` returned success.
    #[must_use]
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "the journal is part of the server"))]
    pub(crate) const fn of_durable_record(sequence: u64, hash: Digest) -> Self {
        Self { sequence, hash }
    }

    /// The record's place in the chain, counted from 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The record's chain hash.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }
}
