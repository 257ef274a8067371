//! Agents' assertions: short-lived JWTs in the shape of RFC 7523, signed with a registered key.
//!
//! One JWT is one request: the caller must remember [`VerifiedAssertion::jti`] until
//! [`VerifiedAssertion::expires_at`] and refuse it a second time.
//!
//! An unknown agent and a known one with a bad signature cannot be distinguished from outside: the
//! text is the same, and so is the number of signatures that are checked.

use std::{fmt, sync::Arc, sync::LazyLock, time::Duration};

use serde_json::{Map, Value, json};

use crate::identity::{
    RegisteredKey,
    issuer::KeySet,
    jwk::{KeyAlgorithm, MAX_KEYS_PER_AGENT},
    jwt::{Header, MAX_JTI_CHARS, Times, Untimely},
};
use hallpass_core::base::{
    ReasonCode,
    client_url::agent_of_client,
    digest::Digest,
    ids::{AgentId, IssuerUri},
    json,
    jws::{self, CompactError},
    time::Timestamp,
};

/// An assertion whose signature, audience and times were verified; its single use is the caller's to enforce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAssertion {
    /// The agent that signed it.
    pub agent: AgentId,
    /// Digest over the agent and its `jti`.
    pub jti: Digest,
    /// Until when the `jti` must be remembered: from then on the assertion is expired for everybody.
    pub expires_at: Timestamp,
}

/// Verifies the compact JWT `assertion` of an agent that `lookup` knows, made for `issuer`.
///
/// # Errors
///
/// Refuses
/// - more than [`MAX_ASSERTION_BYTES`], anything but three parts of unpadded base64url, JSON that is not strict;
/// - header members other than `alg`, `typ`, `kid` and thumbprints (so `crit`, `jku`, `jwk`, `x5u`, `x5c`), a `typ` other than
///   `JWT` and `client-authentication+jwt`, an `alg` that is not that of a registered key;
/// - `iss` other than `sub`, either other than a registered agent's id or the URL by which it is a client, `aud` other
///   than `issuer` as one string or alone in an array (a bare host may have a slash), a `jti` of other than 1 to [`MAX_JTI_CHARS`] characters;
/// - `exp` that is past or more than [`MAX_LIFETIME`] ahead, `nbf` or `iat` ahead, `iat` more than
///   [`MAX_LIFETIME`] before `exp`, each give or take [`CLOCK_SKEW`](crate::identity::CLOCK_SKEW), and every claim of another type;
/// - a signature that no registered key made.
pub fn verify<K: Into<AssertionKeys>>(
    assertion: &str,
    lookup: impl Fn(&AgentId) -> Option<K>,
    issuer: &IssuerUri,
    now: Timestamp,
) -> Result<VerifiedAssertion, AssertionError> {
    let parts = Parts::split(assertion)?;
    let claims = Claims::read(&parts.payload)?;
    let keys = lookup(&claims.agent).map(Into::into);
    let matches = match &keys {
        Some(AssertionKeys::Published { keys, algorithm }) => {
            algorithm.is_none_or(|only| only == parts.algorithm)
                && keys.verifies(
                    (parts.algorithm, parts.kid.as_deref()),
                    (parts.signed.as_bytes(), &parts.signature),
                )
        }
        Some(AssertionKeys::Registered(keys)) => check_signature(&parts, Some(keys)).matches,
        None => check_signature(&parts, None).matches,
    };
    if !matches {
        return Err(if keys.is_some() {
            AssertionReason::Signature
        } else {
            AssertionReason::UnknownAgent
        }
        .into());
    }
    if !issuer.is_spelled(&claims.audience) {
        return Err(AssertionReason::Audience.into());
    }
    Ok(VerifiedAssertion {
        jti: Digest::of_parts(&[
            claims.agent.as_str().as_bytes(),
            &[0],
            claims.jti.as_bytes(),
        ]),
        expires_at: claims
            .times
            .hold(MAX_LIFETIME, now)
            .map_err(AssertionReason::from)?,
        agent: claims.agent,
    })
}

/// The keys by which an agent signs its assertions.
#[derive(Debug, Clone)]
pub enum AssertionKeys {
    /// Those that are registered.
    Registered(Arc<[RegisteredKey]>),
    /// Those that it publishes itself. Who it is was no secret then, so that no more signatures are checked than it takes.
    Published {
        /// What it publishes now.
        keys: Arc<KeySet>,
        /// The one algorithm that it signs with, where it says so.
        algorithm: Option<KeyAlgorithm>,
    },
}

impl From<Arc<[RegisteredKey]>> for AssertionKeys {
    fn from(keys: Arc<[RegisteredKey]>) -> Self {
        Self::Registered(keys)
    }
}

/// What an assertion says of its signer; nothing of it is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedSigner {
    /// The agent.
    pub agent: AgentId,
    /// The key.
    pub kid: Option<String>,
}

impl ClaimedSigner {
    /// What `assertion` says; `None` when it is none.
    #[must_use]
    pub fn of(assertion: &str) -> Option<Self> {
        let parts = Parts::split(assertion).ok()?;
        let agent = Claims::read(&parts.payload).ok()?.agent;
        Some(Self {
            agent,
            kid: parts.kid,
        })
    }
}

/// An assertion that was refused.
///
/// Its text is the same for every reason, so that it may be shown to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssertionError {
    reason: AssertionReason,
}

impl AssertionError {
    /// Why, for the log: not to be shown outside.
    #[must_use]
    pub const fn reason(&self) -> AssertionReason {
        self.reason
    }

    /// The code that the sender gets.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        ReasonCode::Unauthenticated
    }
}

impl fmt::Display for AssertionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OUTSIDE_TEXT)
    }
}

impl std::error::Error for AssertionError {}

impl From<AssertionReason> for AssertionError {
    fn from(reason: AssertionReason) -> Self {
        Self { reason }
    }
}

/// Why an assertion was refused: for logs and metrics; never holds anything of the assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AssertionReason {
    /// Too long.
    #[error("longer than {MAX_ASSERTION_BYTES} bytes")]
    TooLong,
    /// Not a compact JWS.
    #[error("not three parts of unpadded base64url")]
    Malformed,
    /// The header is not strict JSON, or has members that are not believed.
    #[error("the header is not an object of `alg`, `typ`, `kid`, `x5t` and `x5t#S256`")]
    Header,
    /// Not one of the algorithms.
    #[error("`alg` is none of Ed25519, EdDSA, ES256, ES384, RS256, PS256")]
    Algorithm,
    /// Another kind of JWT.
    #[error("`typ` is neither absent nor JWT nor client-authentication+jwt")]
    Type,
    /// The payload is not a strict JSON object.
    #[error("the payload is not a strict JSON object")]
    Payload,
    /// A claim is absent or of the wrong type.
    #[error("the claim `{0}` is absent or of the wrong type")]
    Claim(&'static str),
    /// `iss` and `sub` differ.
    #[error("`iss` and `sub` differ")]
    Subject,
    /// No such agent.
    #[error("no such agent")]
    UnknownAgent,
    /// No registered key of the header's algorithm made the signature.
    #[error("no registered key made the signature")]
    Signature,
    /// Its audience is another party.
    #[error("`aud` is not this issuer")]
    Audience,
    /// Past its `exp`.
    #[error("expired")]
    Expired,
    /// Valid for longer than is accepted.
    #[error("valid for more than {} seconds", MAX_LIFETIME.as_secs())]
    TooLongLived,
    /// `nbf` or `iat` lie ahead.
    #[error("`nbf` or `iat` lie ahead")]
    NotYetValid,
}

impl From<CompactError> for AssertionReason {
    fn from(error: CompactError) -> Self {
        match error {
            CompactError::TooLong => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

impl From<Untimely> for AssertionReason {
    fn from(reason: Untimely) -> Self {
        match reason {
            Untimely::Expired => Self::Expired,
            Untimely::TooLongLived => Self::TooLongLived,
            Untimely::NotYetValid => Self::NotYetValid,
        }
    }
}

struct Parts<'a> {
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
    algorithm: KeyAlgorithm,
    kid: Option<String>,
}

impl<'a> Parts<'a> {
    fn split(assertion: &'a str) -> Result<Self, AssertionReason> {
        let jws = jws::split(assertion, MAX_ASSERTION_BYTES)?;
        let (header, payload, signature) = (jws.header()?, jws.payload()?, jws.signature()?);
        let header: Header =
            json::parse_as(&header, MAX_ASSERTION_BYTES).map_err(|_| AssertionReason::Header)?;
        if header.typ.is_some() && !header.is_typed(&["JWT", "client-authentication+jwt"]) {
            return Err(AssertionReason::Type);
        }
        let algorithm = KeyAlgorithm::from_alg(&header.alg).ok_or(AssertionReason::Algorithm)?;
        Ok(Self {
            signed: jws.signed(),
            payload,
            signature,
            algorithm,
            kid: header.kid,
        })
    }
}

struct Claims {
    agent: AgentId,
    audience: String,
    jti: String,
    times: Times,
}

impl Claims {
    /// Reads the claims' types; what they say is not held against anything yet.
    fn read(payload: &[u8]) -> Result<Self, AssertionReason> {
        let payload =
            json::parse(payload, MAX_ASSERTION_BYTES).map_err(|_| AssertionReason::Payload)?;
        let claims = payload.as_object().ok_or(AssertionReason::Payload)?;
        let subject = text(claims, "sub")?;
        if text(claims, "iss")? != subject {
            return Err(AssertionReason::Subject);
        }
        let jti = text(claims, "jti")?;
        if !(1..=MAX_JTI_CHARS).contains(&jti.chars().count()) {
            return Err(AssertionReason::Claim("jti"));
        }
        Ok(Self {
            agent: agent_of_client(subject).ok_or(AssertionReason::Claim("sub"))?,
            audience: audience(claims)?.to_owned(),
            jti: jti.to_owned(),
            times: Times::read(claims).map_err(AssertionReason::Claim)?,
        })
    }
}

fn text<'a>(
    claims: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a str, AssertionReason> {
    claims
        .get(name)
        .and_then(Value::as_str)
        .ok_or(AssertionReason::Claim(name))
}

/// One audience, as a text or alone in an array (RFC 7519 section 4.1.3).
///
/// SECURITY: never one of several: the other audiences could use the assertion here.
fn audience(claims: &Map<String, Value>) -> Result<&str, AssertionReason> {
    let one = match claims
        .get("aud")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        Some([one]) => one.as_str(),
        Some(_) => None,
        None => return text(claims, "aud"),
    };
    one.ok_or(AssertionReason::Claim("aud"))
}

struct Checked {
    matches: bool,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "what the test of equal work counts")
    )]
    signatures: usize,
}

/// SECURITY: every refusal costs [`MAX_KEYS_PER_AGENT`] signature checks of the algorithm that the
/// sender chose, against registered keys first and a decoy's afterwards, so that the time does not
/// tell which agents exist or which keys they have (CVE-2025-6011).
fn check_signature(parts: &Parts<'_>, keys: Option<&[RegisteredKey]>) -> Checked {
    let of_algorithm = |key: &&RegisteredKey| key.algorithm() == parts.algorithm;
    let keys: Vec<_> = keys
        .unwrap_or_default()
        .iter()
        .filter(of_algorithm)
        .take(MAX_KEYS_PER_AGENT)
        .collect();
    let named: Vec<_> = keys
        .iter()
        .copied()
        .filter(|key| parts.kid.as_deref().is_some_and(|kid| key.answers_to(kid)))
        .collect();
    let candidates = if named.is_empty() { keys } else { named };
    let mut signatures = 0_usize;
    for key in candidates {
        signatures = signatures.saturating_add(1);
        if key.verifies(parts.signed.as_bytes(), &parts.signature) {
            return Checked {
                matches: true,
                signatures,
            };
        }
    }
    let decoy = DECOYS.iter().find(|key| key.algorithm() == parts.algorithm);
    while let Some(decoy) = decoy
        && signatures < MAX_KEYS_PER_AGENT
    {
        signatures = signatures.saturating_add(1);
        // The result is discarded: the decoys belong to no agent.
        std::hint::black_box(decoy.verifies(parts.signed.as_bytes(), &parts.signature));
    }
    Checked {
        matches: false,
        signatures,
    }
}

/// An assertion is at most this long, in bytes.
pub const MAX_ASSERTION_BYTES: usize = 8 * 1024;

/// An assertion lives at most this long.
pub const MAX_LIFETIME: Duration = Duration::from_secs(5 * 60);

/// The text for every sender.
const OUTSIDE_TEXT: &str = "the assertion was not accepted";

/// Public keys of no agent, one per algorithm.
static DECOYS: LazyLock<Vec<RegisteredKey>> = LazyLock::new(|| {
    let jwks = [
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        json!({
            "kty": "EC", "crv": "P-256", "x": "W-iPMRn5jJ03o4kbgd5bWsCyQBQNv2A6JPDnUL05hrY",
            "y": "xuRyjYN0jYPZLiHvuX7kuSm91I7AwWRcvXN8V9TJ8_4",
        }),
        json!({
            "kty": "EC", "crv": "P-384", "x": "j4PhDFpELmZwUCxyaf6eL3UcQdTAQau3yw5nyXyIvSAblU9CmX1i09ksa-PYEDGO",
            "y": "RvpB7J4TL29pjg6GmOR4JlnyuO7nn0G9Y_oPm4Irj0ygSkWM_M_0WjElepRyckIz",
        }),
        json!({"kty": "RSA", "e": "AQAB", "n": DECOY_MODULUS}),
        json!({"kty": "RSA", "e": "AQAB", "n": DECOY_MODULUS, "alg": "PS256"}),
    ];
    jwks.iter()
        .filter_map(|jwk| RegisteredKey::from_jwk(jwk).ok())
        .collect()
});

const DECOY_MODULUS: &str = "vYX9YPiAKM16TntBCBidgpgnTZyQstJkTqFYftrr-YFw9fs7iMpHJea8TUnWbESFNy2D330LILsx1Nwh7gCG4E66A_h\
    3gex-mLy-VjQNwqiBF2yqfcjVW4n7ubkEelpM55aEsytIG5pP2hCVNOD6HFLNbdg3qU80STVnLSqe8nUie924tYPZvfBCM5RT6EipsFB0n2LjPMXf0d5\
    GsbBVY9M_Pj1-WdaE8rfJzJWTa7sIB5OgKTNI0cvfgPVa1x3DOuoIBbQLwKKuhvrWWqo7ZYw3HolQC-LSGg2-Hej9Rqh2X-nv7h-cF9vGyoj1lxRPHUu\
    eK7yWikxFTEJmKj4QVw";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_checks_as_many_signatures() {
        assert_eq!(
            DECOYS
                .iter()
                .map(RegisteredKey::algorithm)
                .collect::<Vec<_>>(),
            KeyAlgorithm::ALL
        );
        let signature_lengths = KeyAlgorithm::ALL.map(|algorithm| match algorithm {
            KeyAlgorithm::EdDsa | KeyAlgorithm::Es256 => (algorithm, 64),
            KeyAlgorithm::Es384 => (algorithm, 96),
            KeyAlgorithm::Rs256 | KeyAlgorithm::Ps256 => (algorithm, 256),
        });
        for (algorithm, length) in signature_lengths {
            for kid in [
                None,
                Some("nobody".to_owned()),
                Some(DECOYS[0].thumbprint().to_owned()),
            ] {
                let parts = Parts {
                    signed: "e30.e30",
                    payload: Vec::new(),
                    signature: vec![7; length],
                    algorithm,
                    kid,
                };
                for keys in [None, Some(&[][..]), Some(&DECOYS[..1]), Some(&DECOYS[..])] {
                    let checked = check_signature(&parts, keys);
                    assert!(!checked.matches);
                    assert_eq!(checked.signatures, MAX_KEYS_PER_AGENT, "{algorithm:?}");
                }
            }
        }
    }
}
