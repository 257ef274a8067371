//! Proofs at token endpoints (RFC 9449 section 5): the client sends the key that its pass will be
//! bound to, and proves that it holds the private key.

use crate::{
    base::{holder::HolderKey, ids::AgentId, time::Timestamp, uri::comparable_url},
    possession::{DEFAULT_ROOM, Expected, ProofError, ReplayError, ReplayGuard, check},
};

/// The used proofs of a token endpoint.
#[derive(Debug)]
pub struct IssuingProofs {
    endpoints: Vec<String>,
    seen: ReplayGuard,
}

impl IssuingProofs {
    /// A guard for the token endpoint with the public URL `endpoint`. Proofs that were made before `now`
    /// are refused.
    #[must_use]
    pub fn new(endpoint: &str, now: Timestamp) -> Self {
        let seen = ReplayGuard::new(DEFAULT_ROOM);
        seen.begin(now);
        Self {
            endpoints: comparable_url(endpoint).into_iter().collect(),
            seen,
        }
    }

    /// Checks `proof`, sent with a POST for a pass of `agent`, and returns its key. A proof is accepted once.
    ///
    /// # Errors
    ///
    /// Refuses a proof that is malformed, by a key that no pass can be bound to, for another method or URL, too old,
    /// from the future, or used before; and every proof while the store is full.
    pub fn key(
        &self,
        proof: &str,
        agent: &AgentId,
        now: Timestamp,
    ) -> Result<HolderKey, IssuingError> {
        let expected = Expected {
            pass: None,
            method: "POST",
            endpoints: &self.endpoints,
            now,
            remembers_since: self.seen.since(),
            nonces: None,
        };
        let proven = check(proof, &expected)?;
        self.seen
            .admit(agent, (&proven.holder, &proven.jti), now)
            .map_err(|error| match error {
                ReplayError::Seen => IssuingError::Replayed,
                ReplayError::Full => IssuingError::Full,
            })?;
        Ok(proven.holder)
    }
}

/// Why a token endpoint refused a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuingError {
    /// The proof is invalid.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof was used before.
    #[error("the proof was used before: sign a new one")]
    Replayed,
    /// The store of used proofs is full, for this agent or altogether.
    #[error("too many proofs in the last minutes: try again later")]
    Full,
}
