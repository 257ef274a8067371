//! Compact JWS with Ed25519 for hallpass's own documents: feed frames, key documents, agents' assertions.
//!
//! One algorithm (`EdDSA`), one header shape, the type checked first: a document of one kind can
//! never be taken for another (RFC 8725 section 3.11). Verification is strict Ed25519
//! (`verify_strict`), which accepts one signature per key and message.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{digest::Digest, json};

/// A JWS that was refused. It says nothing about the content, which is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// Not three base64url parts, or a header that is not exactly ours.
    #[error("not a compact EdDSA JWS of the expected type")]
    Malformed,
    /// The signature does not match the key.
    #[error("the signature does not match")]
    Signature,
    /// The signature matches; the payload does not have the expected shape.
    #[error("the signed payload does not have the expected shape")]
    Payload,
}

/// A private Ed25519 key for signing documents; never printed, wiped when dropped.
pub struct DocumentKey {
    key: SigningKey,
}

impl DocumentKey {
    /// The key with this 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// A new key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self { key: SigningKey::generate(&mut rand::rngs::OsRng) }
    }

    /// The 32-byte seed: secret.
    #[must_use]
    pub fn dangerous_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> DocumentPublicKey {
        DocumentPublicKey(self.key.verifying_key())
    }

    /// Signs `payload` as a compact JWS whose header names `typ` and, when given, `kid`.
    ///
    /// # Errors
    ///
    /// Only when `payload` cannot be written as JSON.
    pub fn sign<T: Serialize>(&self, typ: &str, kid: Option<&str>, payload: &T) -> Result<String, JwsError> {
        let header = Header { alg: EDDSA.to_owned(), typ: typ.to_owned(), kid: kid.map(str::to_owned) };
        let header = serde_json::to_vec(&header).map_err(|_| JwsError::Malformed)?;
        let payload = serde_json::to_vec(payload).map_err(|_| JwsError::Payload)?;
        let mut text = URL_SAFE_NO_PAD.encode(header);
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        let signature = self.key.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.to_bytes(), &mut text);
        Ok(text)
    }
}

impl fmt::Debug for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentKey(public {})", self.public().thumbprint())
    }
}

/// A public Ed25519 key of a document signer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DocumentPublicKey(VerifyingKey);

impl DocumentPublicKey {
    /// The key with these 32 bytes; `None` when they are no point on the curve, or a weak one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// The key as a JWK (RFC 8037).
    #[must_use]
    pub fn to_jwk(&self) -> PublicJwk {
        PublicJwk { kty: "OKP".into(), crv: "Ed25519".into(), x: URL_SAFE_NO_PAD.encode(self.0.as_bytes()) }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The JWK thumbprint (RFC 7638) over `crv`, `kty` and `x`, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let canonical =
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(self.0.as_bytes()));
        URL_SAFE_NO_PAD.encode(Digest::of(canonical.as_bytes()).as_bytes())
    }

    /// Checks `text` and returns its payload.
    ///
    /// # Errors
    ///
    /// Refuses every header but `alg` `EdDSA` with exactly this `typ`, unknown header members
    /// (so also `crit`), any other number of parts, text over [`MAX_JWS_BYTES`], a signature that
    /// does not match, and a payload that is not strict JSON of the shape `T`.
    pub fn verify<T: DeserializeOwned>(&self, typ: &str, text: &str) -> Result<T, JwsError> {
        if text.len() > MAX_JWS_BYTES {
            return Err(JwsError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Malformed)?;
        let header: Header = json::parse_as(&decode(header)?, MAX_HEADER_BYTES).map_err(|_| JwsError::Malformed)?;
        if header.alg != EDDSA || header.typ != typ {
            return Err(JwsError::Malformed);
        }
        let signature = Signature::from_slice(&decode(signature)?).map_err(|_| JwsError::Malformed)?;
        self.0.verify_strict(signed.as_bytes(), &signature).map_err(|_| JwsError::Signature)?;
        json::parse_as(&decode(payload)?, MAX_JWS_BYTES).map_err(|_| JwsError::Payload)
    }
}

impl fmt::Debug for DocumentPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentPublicKey({})", self.thumbprint())
    }
}

impl Serialize for DocumentPublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_jwk().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DocumentPublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = PublicJwk::deserialize(deserializer)?;
        jwk.ed25519().ok_or_else(|| serde::de::Error::custom("expected a public Ed25519 key as a JWK"))
    }
}

/// A public Ed25519 key in JWK form (RFC 7517, RFC 8037), before its bytes are believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicJwk {
    /// Key type: `OKP`.
    pub kty: String,
    /// Curve: `Ed25519`.
    pub crv: String,
    /// The 32 bytes of the key, base64url without padding.
    pub x: String,
}

impl PublicJwk {
    /// The key, when this is a public Ed25519 key.
    #[must_use]
    pub fn ed25519(&self) -> Option<DocumentPublicKey> {
        if self.kty != "OKP" || self.crv != "Ed25519" {
            return None;
        }
        DocumentPublicKey::from_bytes(&URL_SAFE_NO_PAD.decode(&self.x).ok()?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Malformed)
}

const EDDSA: &str = "EdDSA";

/// A document is at most this long, in bytes: a snapshot of about 400,000 revocations.
pub const MAX_JWS_BYTES: usize = 32 * 1024 * 1024;

const MAX_HEADER_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_verifies_under_its_key_and_type_only() {
        let key = DocumentKey::from_seed(&[7; 32]);
        let text = key.sign("hallpass-feed+jwt", None, &json!({"a": 1})).unwrap();
        assert_eq!(key.public().verify::<Value>("hallpass-feed+jwt", &text).unwrap(), json!({"a": 1}));
        assert_eq!(key.public().verify::<Value>("hallpass-keys+jwt", &text).unwrap_err(), JwsError::Malformed);
        let other = DocumentKey::from_seed(&[8; 32]).public();
        assert_eq!(other.verify::<Value>("hallpass-feed+jwt", &text).unwrap_err(), JwsError::Signature);
    }

    #[test]
    fn every_changed_character_is_refused() {
        let key = DocumentKey::from_seed(&[7; 32]);
        let text = key.sign("t", None, &json!({"a": 1})).unwrap();
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(key.public().verify::<Value>("t", &changed).is_err(), "character {place}");
        }
    }

    #[test]
    fn other_algorithms_and_critical_headers_are_refused() {
        let key = DocumentKey::from_seed(&[7; 32]);
        for header in [
            r#"{"alg":"none","typ":"t"}"#,
            r#"{"alg":"HS256","typ":"t"}"#,
            r#"{"alg":"EdDSA","typ":"t","crit":["b64"]}"#,
            r#"{"alg":"EdDSA"}"#,
        ] {
            let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
            let signature = key.key.sign(signed.as_bytes());
            let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()));
            assert_eq!(key.public().verify::<Value>("t", &text).unwrap_err(), JwsError::Malformed, "{header}");
        }
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let jwk = PublicJwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
        };
        assert_eq!(jwk.ed25519().unwrap().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
