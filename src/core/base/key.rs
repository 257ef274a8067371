//! Ed25519 keys, as hallpass holds and publishes them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::base::{digest::Digest, json, random};

/// A private Ed25519 key; never printed, wiped when dropped.
pub struct PrivateKey {
    key: SigningKey,
}

impl PrivateKey {
    /// The key with this 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            key: SigningKey::from_bytes(seed),
        }
    }

    /// A new key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self::from_seed(&random::bytes())
    }

    /// The 32-byte seed: secret.
    #[must_use]
    pub fn dangerous_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// The key as the text of a private JWK (RFC 8037), with a key id when one is given: secret.
    #[must_use]
    pub fn dangerous_jwk(&self, kid: Option<&str>) -> Zeroizing<String> {
        let public = self.public().to_jwk();
        let d = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.dangerous_seed()));
        let kid = kid
            .map(|kid| format!(r#","kid":{}"#, serde_json::Value::from(kid)))
            .unwrap_or_default();
        let (x, d) = (public.x, d.as_str());
        Zeroizing::new(format!(
            r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{d}"{kid}}}"#
        ))
    }

    /// The key and its key id from the text of a private JWK; `None` when it is not one, or the public
    /// key does not match the private key.
    #[must_use]
    pub fn from_jwk(text: &str) -> Option<(Self, Option<String>)> {
        let jwk: PrivateJwk = json::parse_as(text.as_bytes(), MAX_JWK_BYTES).ok()?;
        let decoded = Zeroizing::new(URL_SAFE_NO_PAD.decode(jwk.d.as_bytes()).ok()?);
        let seed = Zeroizing::new(<[u8; 32]>::try_from(decoded.as_slice()).ok()?);
        let key = Self::from_seed(&seed);
        let matches = jwk.kty == "OKP" && jwk.crv == "Ed25519" && key.public().to_jwk().x == jwk.x;
        matches.then(|| (key, jwk.kid.clone()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// The signature over `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(public {})", self.public().thumbprint())
    }
}

/// A public Ed25519 key. In JSON a JWK (RFC 8037).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key with these 32 bytes; `None` when they are not a point on the curve, or a weak one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key as a JWK (RFC 8037).
    #[must_use]
    pub fn to_jwk(&self) -> PublicJwk {
        PublicJwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: URL_SAFE_NO_PAD.encode(self.0.as_bytes()),
        }
    }

    /// The JWK thumbprint (RFC 7638) over `crv`, `kty` and `x`, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.as_bytes());
        let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Digest::of(canonical.as_bytes()).to_base64url()
    }

    /// Whether `signature` is this key's strict Ed25519 signature over `message`.
    ///
    /// Strict verification accepts one signature per key and message, so that a signature can
    /// serve as an identity.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_jwk().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let jwk = PublicJwk::deserialize(deserializer)?;
        jwk.ed25519()
            .ok_or_else(|| serde::de::Error::custom("expected a public Ed25519 key as a JWK"))
    }
}

/// A public Ed25519 key in JWK form (RFC 7517, RFC 8037), before its bytes are checked.
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
    pub fn ed25519(&self) -> Option<PublicKey> {
        if self.kty != "OKP" || self.crv != "Ed25519" {
            return None;
        }
        PublicKey::from_bytes(&URL_SAFE_NO_PAD.decode(&self.x).ok()?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrivateJwk {
    kty: String,
    crv: String,
    x: String,
    d: String,
    kid: Option<String>,
}

impl Drop for PrivateJwk {
    fn drop(&mut self) {
        self.d.zeroize();
    }
}

const MAX_JWK_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_round_trips_as_a_jwk_and_foreign_halves_are_refused() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let text = key.dangerous_jwk(Some("research-bot"));
        let (read, kid) = PrivateKey::from_jwk(&text).unwrap();
        assert_eq!(
            (read.public(), kid.as_deref()),
            (key.public(), Some("research-bot"))
        );
        let other = PrivateKey::from_seed(&[8; 32]).public().to_jwk().x;
        assert!(PrivateKey::from_jwk(&text.replace(&key.public().to_jwk().x, &other)).is_none());
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into();
        let jwk = PublicJwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x,
        };
        assert_eq!(
            jwk.ed25519().unwrap().thumbprint(),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
