//! Checks one proof against the expected values. Pure: time and state are parameters.

use std::{fmt, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    base::{
        ReasonCode,
        digest::Digest,
        holder::{HolderKey, PRIVATE_MEMBERS},
        json,
        jws::{self, CompactError},
        time::Timestamp,
        uri::comparable_url,
    },
    possession::Nonces,
};

/// The longest proof in bytes; a longer one is refused unread.
pub const MAX_PROOF_BYTES: usize = 4096;

/// A proof may be this old.
pub const PROOF_LIFETIME: Duration = Duration::from_secs(60);

/// A proof may be from this far in the future: clocks differ.
pub(super) const PROOF_SKEW: Duration = Duration::from_secs(5);

/// The expected content of a proof.
pub struct Expected<'e> {
    /// The token's text as presented, and the key that the pass is bound to now. `None` at a token
    /// endpoint, where the proof supplies the key.
    pub pass: Option<(&'e str, &'e HolderKey)>,
    /// The request's HTTP method.
    pub method: &'e str,
    /// The URLs under which the server is known, each as [`comparable_url`] writes it.
    pub endpoints: &'e [String],
    /// The current time.
    pub now: Timestamp,
    /// Proofs made before this are refused: their use was not recorded.
    pub remembers_since: Timestamp,
    /// The issued nonces, where proofs must carry one.
    pub nonces: Option<&'e Nonces>,
}

/// The content of a valid proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The key that signed it.
    pub holder: HolderKey,
    /// The unique id, which must not be used again.
    pub jti: String,
    /// The call that it is for, when it names one.
    pub call: Option<Digest>,
}

impl fmt::Debug for Expected<'_> {
    /// Never the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected")
            .field("method", &self.method)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

/// Why a proof was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Not a DPoP proof.
    #[error("not a DPoP proof: {0}")]
    Malformed(&'static str),
    /// The signature does not match.
    #[error("the proof's signature does not match its key")]
    Signature,
    /// Signed by a key other than the holder's.
    #[error("the proof is signed by another key than the one that the pass is bound to")]
    Key,
    /// For another token.
    #[error("the proof is for another token: `ath` is not its digest")]
    Token,
    /// For another method or URL.
    #[error("the proof is for another request: `{0}` differs")]
    Target(&'static str),
    /// Too old, from the future, or from before this server began to record used proofs.
    #[error("{0}: check the client's clock")]
    Time(&'static str),
    /// Without a nonce of this server, or with an expired one.
    #[error("the proof needs the nonce from the `DPoP-Nonce` header of this response")]
    Nonce,
}

impl ProofError {
    /// The stable reason code.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Malformed(_) | Self::Signature => ReasonCode::ProofInvalid,
            Self::Key => ReasonCode::ProofKey,
            Self::Token => ReasonCode::ProofToken,
            Self::Target(_) => ReasonCode::ProofTarget,
            Self::Time(_) => ReasonCode::ProofTime,
            Self::Nonce => ReasonCode::ProofNonce,
        }
    }
}

impl From<CompactError> for ProofError {
    fn from(error: CompactError) -> Self {
        Self::Malformed(error.detail())
    }
}

/// Checks `proof` against the expected content (RFC 9449 section 4.3).
///
/// The caller checks whether its `jti` was used before.
pub fn check(proof: &str, expected: &Expected<'_>) -> Result<Proven, ProofError> {
    let malformed = ProofError::Malformed;
    let jws = jws::split(proof, MAX_PROOF_BYTES)?;
    let header = json::parse(&jws.header()?, MAX_PROOF_BYTES)
        .map_err(|_| malformed("the header is not JSON"))?;
    let holder = admit_header(&header, expected.pass.map(|(_, holder)| holder))?;
    if !holder.verifies(jws.signed().as_bytes(), &jws.signature()?) {
        return Err(ProofError::Signature);
    }
    let claims: Claims = json::parse_as(&jws.payload()?, MAX_PROOF_BYTES)
        .map_err(|_| malformed("a claim is absent or malformed"))?;
    claims.agree_with(expected)?;
    let call = claims.hallpass_call.map(|text| {
        Digest::from_base64url(&text).ok_or(malformed("`hallpass_call` is not a digest"))
    });
    Ok(Proven {
        holder,
        jti: claims.jti,
        call: call.transpose()?,
    })
}

/// Checks the header and returns the key of the proof, which must be `holder` when that is given.
fn admit_header(header: &Value, holder: Option<&HolderKey>) -> Result<HolderKey, ProofError> {
    let malformed = ProofError::Malformed;
    let members = header
        .as_object()
        .ok_or(malformed("the header is not an object"))?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if text("typ") != Some("dpop+jwt") {
        return Err(malformed("`typ` is not `dpop+jwt`"));
    }
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(malformed("`crit` and `b64` are not supported"));
    }
    let embedded = members.get("jwk").unwrap_or(&Value::Null);
    let jwk = embedded.as_object().ok_or(malformed("no embedded `jwk`"))?;
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return Err(malformed(
            "`jwk` holds a private key: treat the key as compromised",
        ));
    }
    // When the holder's key is known, the embedded one is compared and not parsed.
    let holder = match holder {
        Some(holder) => holder.clone(),
        None => {
            HolderKey::from_jwk(embedded).ok_or(malformed("`jwk` is neither Ed25519 nor P-256"))?
        }
    };
    let own = holder.to_jwk();
    let is_own = own
        .as_object()
        .is_some_and(|own| own.iter().all(|(name, value)| jwk.get(name) == Some(value)));
    if !is_own {
        return Err(ProofError::Key);
    }
    match (&holder, text("alg")) {
        // RFC 9864 gives EdDSA over Ed25519 a name of its own.
        (HolderKey::Ed25519(_), Some("EdDSA" | "Ed25519"))
        | (HolderKey::P256(_), Some("ES256")) => Ok(holder),
        _ => Err(malformed("`alg` is not that of the key")),
    }
}

/// The claims of RFC 9449 section 4.2; others are ignored.
#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: f64,
    #[serde(default)]
    ath: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    hallpass_call: Option<String>,
}

impl Claims {
    fn agree_with(&self, expected: &Expected<'_>) -> Result<(), ProofError> {
        if self.jti.is_empty() || self.jti.len() > MAX_JTI_BYTES {
            return Err(ProofError::Malformed("`jti` must have 1 to 256 bytes"));
        }
        if let Some((token, _)) = expected.pass {
            let ath = self
                .ath
                .as_deref()
                .ok_or(ProofError::Malformed("a claim is absent or malformed"))?;
            if Digest::from_base64url(ath) != Some(Digest::of(token.as_bytes())) {
                return Err(ProofError::Token);
            }
        }
        // Methods are case-sensitive (RFC 9110 section 9.1).
        if self.htm != expected.method {
            return Err(ProofError::Target("htm"));
        }
        let htu = comparable_url(&self.htu).ok_or(ProofError::Target("htu"))?;
        if !expected.endpoints.contains(&htu) {
            return Err(ProofError::Target("htu"));
        }
        self.is_timely(expected)?;
        let nonce_is_good = |nonces: &Nonces| {
            self.nonce
                .as_deref()
                .is_some_and(|nonce| nonces.knows(nonce, expected.now))
        };
        if expected.nonces.is_some_and(|nonces| !nonce_is_good(nonces)) {
            return Err(ProofError::Nonce);
        }
        Ok(())
    }

    fn is_timely(&self, expected: &Expected<'_>) -> Result<(), ProofError> {
        // A NumericDate may have a fraction (RFC 7519 section 2); no date that matters is inexact.
        if !self.iat.is_finite() || self.iat < 0.0 || self.iat > LATEST_SECOND {
            return Err(ProofError::Malformed("`iat` is not a date"));
        }
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            reason = "the range was checked above"
        )]
        let made_at = Timestamp::from_unix_millis((self.iat * 1000.0) as i64);
        if made_at > expected.now.plus(PROOF_SKEW) {
            return Err(ProofError::Time("the proof is from the future"));
        }
        if made_at.plus(PROOF_LIFETIME) < expected.now {
            return Err(ProofError::Time("the proof is too old"));
        }
        if made_at < expected.remembers_since {
            return Err(ProofError::Time(
                "the proof was made before this server started",
            ));
        }
        Ok(())
    }
}

const MAX_JTI_BYTES: usize = 256;

/// The year 9999.
const LATEST_SECOND: f64 = 253_402_300_799.0;
