//! Signing proofs: a holder's client does this for each request.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::base::{
    digest::Digest, holder::HolderKey, jws::JwsError, key::PrivateKey, random, time::Timestamp,
};

/// The content of a proof.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct ProofContent<'p> {
    /// The token's text, as it will be presented.
    pub token: &'p str,
    /// The request's HTTP method.
    pub method: &'p str,
    /// The request's URL; query and fragment do not count.
    pub url: &'p str,
    /// When the request is made.
    pub now: Timestamp,
    /// The nonce from the server's last `DPoP-Nonce` header.
    pub nonce: Option<&'p str>,
    /// The digest of the one call that the proof is valid for: [`call_digest`](crate::possession::call_digest).
    pub call: Option<Digest>,
}

impl fmt::Debug for ProofContent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofContent")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Signs a proof with an Ed25519 key, with a new random `jti`.
///
/// # Errors
///
/// Only when the claims cannot be written as JSON.
///
/// ```
/// # use hallpass_core::{base::{key::PrivateKey, time::Timestamp}, possession::{ProofContent, sign_proof}};
/// # fn example(key: &PrivateKey, token: &str, now: Timestamp) -> Result<(), Box<dyn std::error::Error>> {
/// let url = "https://ledger.example/mcp";
/// let content = ProofContent { token, method: "POST", url, now, nonce: None, call: None };
/// let headers = [("Authorization", format!("DPoP {token}")), ("DPoP", sign_proof(key, &content)?)];
/// # Ok(())
/// # }
/// ```
pub fn sign_proof(key: &PrivateKey, content: &ProofContent<'_>) -> Result<String, JwsError> {
    let header = Header {
        typ: "dpop+jwt",
        alg: "EdDSA",
        jwk: HolderKey::Ed25519(key.public()),
    };
    let claims = Claims {
        jti: URL_SAFE_NO_PAD.encode(random::bytes::<16>().as_slice()),
        htm: content.method,
        htu: content.url.split(['?', '#']).next().unwrap_or_default(),
        iat: content.now.unix_seconds(),
        ath: Digest::of(content.token.as_bytes()).to_base64url(),
        nonce: content.nonce,
        hallpass_call: content.call.map(|digest| digest.to_base64url()),
    };
    let mut text =
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).map_err(|_| JwsError::Payload)?);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(
        serde_json::to_vec(&claims).map_err(|_| JwsError::Payload)?,
        &mut text,
    );
    let signature = key.sign(text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

#[derive(Serialize)]
struct Header {
    typ: &'static str,
    alg: &'static str,
    jwk: HolderKey,
}

#[derive(Serialize)]
struct Claims<'p> {
    jti: String,
    htm: &'p str,
    htu: &'p str,
    iat: u64,
    ath: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'p str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hallpass_call: Option<String>,
}
