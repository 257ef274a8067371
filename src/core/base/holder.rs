//! Holder keys: the public keys that passes are bound to (`cnf`, RFC 7800).

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::{digest::Digest, key::PublicKey};

/// A public key that a pass is bound to. Using the pass needs a proof of possession of the private key.
///
/// As text it is written as Biscuit prints keys: `ed25519/` and 64 hex digits, or `secp256r1/` and
/// the 66 of a compressed point. In JSON it is a JWK (RFC 7517).
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "token format 1 defines exactly these"
)]
pub enum HolderKey {
    /// Ed25519 (`EdDSA`): can use a pass and delegate it.
    Ed25519(PublicKey),
    /// P-256 (`ES256`): can use a pass and not delegate it, since blocks are signed with Ed25519 only.
    P256(P256Key),
}

/// A point on P-256, with its compressed form.
#[derive(Clone, PartialEq, Eq)]
pub struct P256Key {
    key: VerifyingKey,
    compressed: [u8; 33],
}

impl P256Key {
    fn from_sec1(bytes: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_sec1_bytes(bytes).ok()?;
        let compressed = key.to_encoded_point(true).as_bytes().try_into().ok()?;
        Some(Self { key, compressed })
    }

    fn coordinates(&self) -> (String, String) {
        let point = self.key.to_encoded_point(false);
        let text =
            |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        (
            text(point.x()).unwrap_or_default(),
            text(point.y()).unwrap_or_default(),
        )
    }
}

impl HolderKey {
    /// The key of a public JWK: OKP with Ed25519, or EC with P-256.
    ///
    /// Members that say nothing about the key itself are ignored. `None` for every other kind, for
    /// a point that is not on the curve, and for a JWK that holds a private or symmetric key, which
    /// should never have been sent.
    #[must_use]
    pub fn from_jwk(jwk: &Value) -> Option<Self> {
        let members = jwk.as_object()?;
        if PRIVATE_MEMBERS
            .iter()
            .any(|name| members.contains_key(*name))
        {
            return None;
        }
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        match (text("kty")?, text("crv")?) {
            ("OKP", "Ed25519") => PublicKey::from_bytes(&bytes("x")?).map(Self::Ed25519),
            ("EC", "P-256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                let is_whole = x.len() == 32 && y.len() == 32;
                let point = [&[0x04][..], &x, &y].concat();
                if is_whole {
                    P256Key::from_sec1(&point).map(Self::P256)
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    /// The key as a public JWK.
    #[must_use]
    pub fn to_jwk(&self) -> Value {
        match self {
            Self::Ed25519(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": key.to_jwk().x}),
            Self::P256(key) => {
                let (x, y) = key.coordinates();
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y})
            }
        }
    }

    /// The JWK thumbprint (RFC 7638), base64url: the `jkt` of RFC 9449.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        match self {
            Self::Ed25519(key) => key.thumbprint(),
            Self::P256(key) => {
                let (x, y) = key.coordinates();
                let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
                Digest::of(canonical.as_bytes()).to_base64url()
            }
        }
    }

    /// Whether `signature` is this key's over `message`, in the form that JWS uses (64 bytes).
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => key.verifies(message, signature),
            Self::P256(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.key.verify(message, &signature).is_ok()),
        }
    }

    /// The Ed25519 key, when it is one: the only kind that signs delegations.
    #[must_use]
    pub const fn ed25519(&self) -> Option<&PublicKey> {
        match self {
            Self::Ed25519(key) => Some(key),
            Self::P256(_) => None,
        }
    }
}

impl fmt::Display for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(key) => write!(f, "{ED25519}{}", hex::encode(key.as_bytes())),
            Self::P256(key) => write!(f, "{SECP256R1}{}", hex::encode(key.compressed)),
        }
    }
}

impl fmt::Debug for HolderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HolderKey({})", self.thumbprint())
    }
}

impl fmt::Debug for P256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P256Key({})", hex::encode(self.compressed))
    }
}

/// The text of an invalid holder key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `ed25519/` and 64 lower-case hex digits, or `secp256r1/` and 66")]
pub struct HolderKeyError;

impl FromStr for HolderKey {
    type Err = HolderKeyError;

    fn from_str(text: &str) -> Result<Self, HolderKeyError> {
        let bytes = |digits: &str| hex::decode(digits).ok();
        let key = match (text.strip_prefix(ED25519), text.strip_prefix(SECP256R1)) {
            (Some(digits), _) => bytes(digits)
                .and_then(|bytes| PublicKey::from_bytes(&bytes))
                .map(Self::Ed25519),
            (_, Some(digits)) => bytes(digits)
                .and_then(|bytes| P256Key::from_sec1(&bytes))
                .map(Self::P256),
            _ => None,
        };
        // One spelling each: digits in upper case, and other encodings of a point, mean the same.
        key.filter(|key: &Self| key.to_string() == text)
            .ok_or(HolderKeyError)
    }
}

impl Serialize for HolderKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_jwk().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HolderKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected a public JWK: OKP with Ed25519, or EC with P-256";
        Self::from_jwk(&Value::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom(expected))
    }
}

const ED25519: &str = "ed25519/";
const SECP256R1: &str = "secp256r1/";

/// The members that only a private or symmetric JWK has: RFC 7518 sections 6.2.2, 6.3.2 and 6.4, RFC 8037 section 2.
pub const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::PrivateKey;

    /// The key of RFC 7517 appendix A.1.
    fn p256() -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"})
    }

    #[test]
    fn keys_of_both_kinds_survive_text_and_jwk() {
        let ed25519 = HolderKey::Ed25519(PrivateKey::from_seed(&[7; 32]).public());
        for key in [ed25519, HolderKey::from_jwk(&p256()).unwrap()] {
            assert_eq!(key.to_string().parse::<HolderKey>().unwrap(), key);
            assert_eq!(HolderKey::from_jwk(&key.to_jwk()).unwrap(), key);
        }
    }

    #[test]
    fn the_p256_thumbprint_is_over_the_members_that_rfc_7638_wants() {
        let key = HolderKey::from_jwk(&p256()).unwrap();
        assert_eq!(
            key.thumbprint(),
            "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
        );
    }

    #[test]
    fn private_keys_other_kinds_and_points_off_the_curve_are_refused() {
        let mut with_d = p256();
        with_d["d"] = json!("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE");
        let mut off_curve = p256();
        off_curve["y"] = off_curve["x"].clone();
        let mut short = p256();
        short["x"] = json!("AAAA");
        let zero = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode([0; 32])});
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
        for refused in [
            with_d,
            off_curve,
            short,
            zero,
            rsa,
            json!("text"),
            json!({}),
        ] {
            assert!(HolderKey::from_jwk(&refused).is_none(), "{refused}");
        }
        let usual = HolderKey::from_jwk(&p256()).unwrap().to_string();
        let (_, coordinate) = usual.split_at("secp256r1/0?".len());
        let compact = format!("secp256r1/05{coordinate}");
        assert_eq!(compact.len(), "secp256r1/".len() + 66);
        assert!(compact.parse::<HolderKey>().is_err(), "{compact}");
        for refused in [
            "ed25519/00",
            "secp256r1/",
            "ED25519/00",
            "",
            &"0".repeat(64),
        ] {
            assert!(refused.parse::<HolderKey>().is_err(), "{refused}");
        }
    }
}
