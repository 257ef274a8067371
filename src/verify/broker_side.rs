//! The verifier's API for hallpass's own broker and command line; server authors do not need it.
//!
//! **Not part of the public interface**: it is hidden from the documentation and changes without notice.
//! Nothing here allows a call: an [`UnprovenPass`] cannot be cleared.

use crate::{Denial, Pass, Verifier};
use hallpass_core::token::{Call, VerifiedPass};

pub use crate::genuine::verify_signatures;

/// A genuine pass whose holder has proven nothing: for introspection and token exchange, which clear no call.
///
/// It cannot be cleared, since a stolen token would be enough for it:
///
/// ```compile_fail
/// fn clear(verifier: &hallpass_verify::Verifier, token: &str) {
///     let pass = hallpass_verify::broker_side::UnprovenPass::verify(verifier, token).unwrap();
///     let _ = verifier.clear(&pass, &hallpass_verify::Call::tool("transfer", None));
/// }
/// ```
#[derive(Debug)]
pub struct UnprovenPass(Pass);

impl UnprovenPass {
    /// As [`Verifier::verify`], **without** a proof of possession of a bound pass, and admitted now.
    ///
    /// # Errors
    ///
    /// A refusal with every reason; a fault when the newest frame from the broker is too old.
    pub fn verify(verifier: &Verifier, token: &str) -> Result<Self, Denial> {
        let pass = verifier.verify_without_possession(token)?;
        verifier.admit(&pass)?;
        Ok(Self(pass))
    }

    /// The claims of the pass, including its rights.
    #[must_use]
    pub fn verified(&self) -> &VerifiedPass {
        self.0.verified()
    }

    /// Whether `verifier` would clear this call now, if the holder proved its key.
    #[must_use]
    pub fn would_allow(&self, verifier: &Verifier, call: &Call<'_>) -> bool {
        verifier.clear(&self.0, call).is_ok()
    }
}
