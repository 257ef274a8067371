//! Proofs of possession: the client of a bound pass proves that it holds the private key (DPoP, RFC 9449).
//!
//! A proof is a JWS that the holder signs for one HTTP request: its method and URL, the time, a
//! unique `jti`, the digest of the token. hallpass adds one optional claim, `hallpass_call`:
//! the digest of the MCP call ([`call_digest`]), so that the proof is valid for that call only.
//!
//! The checks, in order: the form, the algorithm, and that the embedded key is the holder's; the
//! signature; the claims; finally, that the `jti` was not seen before. Only the header members
//! `typ`, `alg` and `jwk` are read, so that no other can weaken a check; `crit` and `b64`, which
//! would change the meaning of the rest, are refused.

mod issuing;
mod nonce;
mod proof;
mod replay;
mod sign;

pub use issuing::{IssuingError, IssuingProofs};
pub use proof::{MAX_PROOF_BYTES, PROOF_LIFETIME, ProofError};
pub use sign::{ProofContent, sign_proof};

pub use nonce::Nonces;
pub use proof::{Expected, Proven, check};
pub use replay::{DEFAULT_ROOM, ReplayError, ReplayGuard};

use std::fmt;

use serde_json::json;

use crate::{
    base::{digest::Digest, json},
    token::{Call, rights::Kind},
};

/// A proof as received with a request.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Presented<'p> {
    /// The content of the one `DPoP` header.
    pub proof: &'p str,
    /// The request's HTTP method.
    pub method: &'p str,
}

impl<'p> Presented<'p> {
    /// The content of the one `DPoP` header of a request with this HTTP method.
    #[must_use]
    pub const fn new(proof: &'p str, method: &'p str) -> Self {
        Self { proof, method }
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// The digest of a call, for the claim `hallpass_call`: SHA-256 over the canonical JSON (RFC 8785)
/// of `{"arguments": …, "method": "tools/call", "name": …}`, without `arguments` when there are none.
///
/// The method is `tools/call`, `prompts/get` or `resources/read`, the name that of the tool or
/// prompt or the resource's URI. `None` when a number in the arguments has no canonical form.
#[must_use]
pub fn call_digest(call: &Call<'_>) -> Option<Digest> {
    let method = match call.kind {
        Kind::Tool => "tools/call",
        Kind::Prompt => "prompts/get",
        Kind::Resource => "resources/read",
    };
    let mut subject = json!({"method": method, "name": call.name});
    if let (Some(members), Some(arguments)) = (subject.as_object_mut(), call.arguments) {
        members.insert("arguments".to_owned(), arguments.clone());
    }
    json::canonical_digest(&subject)
}

/// The JWS algorithms that proofs may be signed with, for metadata and challenges.
pub const ALGORITHMS: [&str; 2] = ["EdDSA", "ES256"];
