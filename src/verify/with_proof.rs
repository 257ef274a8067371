//! Verification of bound passes: first the pass, then the holder's proof of possession.

use crate::{Denial, Fault, Pass, Verifier};
use hallpass_core::{
    base::{ReasonCode, time::Timestamp},
    possession::{self, Expected, Presented, ReplayError},
};

impl Verifier {
    /// As [`verify`](Self::verify), for a pass that is bound to a key and comes with a proof of
    /// possession (RFC 9449).
    ///
    /// A proof is accepted once. It must be signed by the key of the last delegate, or of the agent itself
    /// when the pass was not handed on.
    ///
    /// # Errors
    ///
    /// Also refuses a pass that is not bound to a key, and a proof for every reason that the
    /// [module](hallpass_core::possession) lists; a fault when the store of used proofs is full.
    pub fn verify_with_proof(
        &self,
        token: &str,
        presented: &Presented<'_>,
    ) -> Result<Pass, Denial> {
        let mut pass = self.verify_without_possession(token)?;
        let now = self.now();
        let Some(chain) = pass.verified().holder() else {
            let detail = "the pass is not bound to a key: present it as a bearer token";
            return Err(Denial::because(ReasonCode::ProofInvalid, detail));
        };
        let expected = Expected {
            pass: Some((token, chain.leaf())),
            method: presented.method,
            endpoints: &self.endpoints,
            now,
            remembers_since: self.proofs.since(),
            nonces: self.nonces.as_ref(),
        };
        let proven = possession::check(presented.proof, &expected)
            .map_err(|error| Denial::because(error.code(), error.to_string()))?;
        let agent = &pass.verified().claims().agent;
        match self.proofs.admit(agent, (chain.leaf(), &proven.jti), now) {
            Ok(()) => {}
            Err(ReplayError::Seen) => {
                return Err(Denial::because(
                    ReasonCode::ProofReplayed,
                    "the proof was used before: sign a new one",
                ));
            }
            Err(ReplayError::Full) => return Err(Denial::Fault(Fault::ProofGuardFull)),
        }
        pass.proven_call = proven.call;
        Ok(pass)
    }

    /// The time for decisions.
    pub(super) fn now(&self) -> Timestamp {
        self.state().time(&*self.clock)
    }

    /// The nonce for the next proof of possession, if nonces are required.
    #[must_use]
    pub fn proof_nonce(&self) -> Option<String> {
        self.nonces
            .as_ref()
            .map(|nonces| nonces.current(self.now()))
    }
}
