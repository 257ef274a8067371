//! Key sets: the public keys of a trusted issuer, as its JWKS (RFC 7517) lists them.
//!
//! Read leniently as a whole and strictly key by key: an issuer also publishes keys for others, of kinds
//! that are not used here, so what cannot be used is left out, and what is used is sound.

use serde_json::{Map, Value};

use crate::identity::{RegisteredKey, jwk::KeyAlgorithm};
use hallpass_core::base::holder::PRIVATE_MEMBERS;

/// The keys of one issuer that can be used here.
#[derive(Debug, Clone)]
pub struct KeySet(Vec<ForeignKey>);

impl KeySet {
    /// Reads a JWKS.
    ///
    /// # Errors
    ///
    /// When it is not an object with at most 64 `keys`. A set without a usable key is one.
    pub fn from_json(json: &Value) -> Result<Self, KeySetError> {
        let keys = json
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError);
        }
        Ok(Self(keys.iter().filter_map(ForeignKey::read).collect()))
    }

    /// Whether a key of this id is among them.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether a key with the id, or any when none is named, made the signature by `algorithm`.
    pub(super) fn verifies(
        &self,
        (algorithm, kid): (KeyAlgorithm, Option<&str>),
        (message, signature): (&[u8], &Vec<u8>),
    ) -> bool {
        let is_named = |key: &&ForeignKey| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let candidates = self
            .0
            .iter()
            .filter(is_named)
            .filter(|key| key.algorithms.contains(&algorithm));
        candidates
            .take(MAX_TRIED)
            .any(|key| key.key.verifies_by(algorithm.jws(), message, signature))
    }
}

/// Not a JWKS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an object with a list of at most {MAX_KEYS} `keys`")]
pub struct KeySetError;

#[derive(Debug, Clone)]
struct ForeignKey {
    kid: Option<Box<str>>,
    /// SECURITY: what the key can verify, by its kind and its own `alg`; a JWT's header only picks among these.
    algorithms: Vec<KeyAlgorithm>,
    key: RegisteredKey,
}

impl ForeignKey {
    /// `None` for a key that is for another purpose, of another kind, weak, or shown with its private half.
    fn read(jwk: &Value) -> Option<Self> {
        // Some issuers write every member that there is, and `null` for those that a key does not have.
        let mut members = jwk.as_object()?.clone();
        members.retain(|_, value| !value.is_null());
        if PRIVATE_MEMBERS
            .iter()
            .any(|name| members.contains_key(*name))
        {
            return None;
        }
        let is_for_signatures = members.get("use").is_none_or(|purpose| purpose == "sig");
        let verifies = |operations: &Value| {
            operations
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == "verify"))
        };
        if !is_for_signatures || !members.get("key_ops").is_none_or(verifies) {
            return None;
        }
        let essential = |name: &&str| {
            members
                .get(*name)
                .map(|value| ((*name).to_owned(), value.clone()))
        };
        let essence: Map<_, _> = ESSENTIAL_MEMBERS.iter().filter_map(essential).collect();
        let key = RegisteredKey::from_jwk(&Value::Object(essence)).ok()?;
        let mut algorithms = algorithms_of(&key);
        if let Some(alg) = members.get("alg") {
            let named = alg.as_str().and_then(KeyAlgorithm::from_alg);
            algorithms.retain(|algorithm| named == Some(*algorithm));
        }
        let kid = match members.get("kid") {
            Some(kid) => Some(kid.as_str()?.into()),
            None => None,
        };
        (!algorithms.is_empty()).then_some(Self {
            kid,
            algorithms,
            key,
        })
    }
}

/// RSA keys do two algorithms, unless their `alg` says which.
fn algorithms_of(key: &RegisteredKey) -> Vec<KeyAlgorithm> {
    match key.algorithm() {
        KeyAlgorithm::Rs256 | KeyAlgorithm::Ps256 => vec![KeyAlgorithm::Rs256, KeyAlgorithm::Ps256],
        one => vec![one],
    }
}

/// A set has at most this many keys.
const MAX_KEYS: usize = 64;

/// So many keys are tried for a JWT that names none.
const MAX_TRIED: usize = 8;

const ESSENTIAL_MEMBERS: [&str; 6] = ["kty", "crv", "x", "y", "n", "e"];
