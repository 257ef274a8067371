//! The proof that something is durably in the journal, and what is released against it.

use std::fmt;

use hallpass_core::{
    base::{digest::Digest, ids::RevocationId},
    token::{Minted, PassToken},
};

/// Proof that the records of one append are durable.
///
/// Only the journal makes one, so a receipt shows that the records survive a crash:
///
/// ```compile_fail,E0624
/// use hallpass_broker::ledger::Receipt;
///
/// let forged = Receipt::of_durable_records(1, hallpass_core::base::digest::Digest::ZERO, Vec::new());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    sequence: u64,
    hash: Digest,
    tokens: Vec<RevocationId>,
}

impl Receipt {
    /// For the journal, once `fdatasync` returned success: the last record's place and hash, and the ids of the
    /// tokens that the records name as made.
    #[must_use]
    pub(crate) const fn of_durable_records(
        sequence: u64,
        hash: Digest,
        tokens: Vec<RevocationId>,
    ) -> Self {
        Self {
            sequence,
            hash,
            tokens,
        }
    }

    /// The last record's place in the chain, counted from 1.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The last record's chain hash.
    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.hash
    }
}

/// A token that was minted and is not recorded yet.
///
/// It shows its id, which the journal records, and nothing else. The receipt of *its own* record releases the token;
/// there is no other way to it:
///
/// ```compile_fail,E0616
/// fn unrecorded(draft: crate::ledger::receipt::Draft) -> hallpass_core::token::PassToken {
///     draft.token
/// }
/// ```
pub struct Draft {
    token: PassToken,
    revocation_id: RevocationId,
}

impl Draft {
    /// Block 0's id.
    #[must_use]
    pub const fn revocation_id(&self) -> RevocationId {
        self.revocation_id
    }

    /// Hands the token out, now that its record is durable.
    ///
    /// # Errors
    ///
    /// [`NotRecorded`] when `receipt` is that of other records. The token is lost then.
    pub fn release(self, receipt: &Receipt) -> Result<PassToken, NotRecorded> {
        if receipt.tokens.contains(&self.revocation_id) {
            Ok(self.token)
        } else {
            Err(NotRecorded)
        }
    }
}

impl From<Minted> for Draft {
    fn from(minted: Minted) -> Self {
        Self {
            token: minted.token,
            revocation_id: minted.revocation_id,
        }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("revocation_id", &self.revocation_id)
            .finish_non_exhaustive()
    }
}

/// A token was to be released against the receipt of other records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receipt is not that of the token's own record")]
pub struct NotRecorded;

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(id: u8) -> Draft {
        Draft {
            token: PassToken::from_text("secret".to_owned()),
            revocation_id: RevocationId::from_bytes([id; 64]),
        }
    }

    #[test]
    fn a_token_is_released_by_the_receipt_of_its_own_record_and_by_no_other() {
        let receipt = |tokens: &[u8]| {
            let tokens = tokens
                .iter()
                .map(|id| RevocationId::from_bytes([*id; 64]))
                .collect();
            Receipt::of_durable_records(7, Digest::ZERO, tokens)
        };
        assert_eq!(draft(1).release(&receipt(&[1])).unwrap().expose(), "secret");
        assert_eq!(
            draft(1).release(&receipt(&[2, 1])).unwrap().expose(),
            "secret"
        );
        for other in [&[][..], &[2], &[2, 3]] {
            assert_eq!(
                draft(1).release(&receipt(other)),
                Err(NotRecorded),
                "{other:?}"
            );
        }
        assert!(!format!("{:?}", draft(1)).contains("secret"));
    }
}
