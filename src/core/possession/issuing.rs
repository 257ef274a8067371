//! Proofs where tokens are asked for (RFC 9449 section 5): whoever asks brings the key that its pass
//! is to be bound to, and shows that it has it.

use crate::{
    base::{holder::HolderKey, ids::AgentId, time::Timestamp, uri::comparable_url},
    possession::{DEFAULT_ROOM, Expected, ProofError, ReplayError, ReplayGuard, check},
};

/// What a token endpoint remembers of the proofs that it took.
#[derive(Debug)]
pub struct IssuingProofs {
    endpoints: Vec<String>,
    seen: ReplayGuard,
}

impl IssuingProofs {
    /// For the token endpoint with the public URL `endpoint`, beginning to remember at `now`: proofs that
    /// were made before are refused.
    #[must_use]
    pub fn new(endpoint: &str, now: Timestamp) -> Self {
        let seen = ReplayGuard::new(DEFAULT_ROOM);
        seen.begin(now);
        Self {
            endpoints: comparable_url(endpoint).into_iter().collect(),
            seen,
        }
    }

    /// The key that `proof`, sent with a POST, proves, for a pass of `agent`. A proof is taken once.
    ///
    /// # Errors
    ///
    /// Refuses a proof that is malformed, by a key that no pass can be bound to, for another method or URL, too old,
    /// from the future, or used before; and every one while no more can be remembered.
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

/// Why a proof at a token endpoint was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuingError {
    /// The proof is no good.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// It was used before.
    #[error("the proof was used before: sign a new one")]
    Replayed,
    /// No more proofs of this agent, or at all, can be remembered now.
    #[error("no more proofs can be remembered now")]
    Full,
}
