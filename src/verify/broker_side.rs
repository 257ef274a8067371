//! The verifier's API for hallpass's own broker and command line; server authors do not need it.
//!
//! **Not part of the public interface**: it is hidden from the documentation and changes without notice.
//! Nothing here allows a call.

use crate::{Denial, Pass, Verifier};
use hallpass_core::token::VerifiedPass;

pub use crate::genuine::verify_signatures;

/// As [`Verifier::verify`], and **without** a proof of possession of a bound pass: for introspection
/// and token exchange, which clear no call.
///
/// SECURITY: never clear a call with the result; a stolen token would be enough for it.
///
/// # Errors
///
/// A refusal with every reason; a fault when the newest frame from the broker is too old.
pub fn verify_without_possession(verifier: &Verifier, token: &str) -> Result<Pass, Denial> {
    verifier.verify_without_possession(token)
}

/// The claims of the pass, including its rights.
#[must_use]
pub fn verified(pass: &Pass) -> &VerifiedPass {
    pass.verified()
}
