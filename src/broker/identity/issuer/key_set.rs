//! Key sets: the public keys of a trusted issuer or of a client, as a JWKS (RFC 7517) lists them.
//!
//! Read leniently as a whole and strictly key by key: an issuer also publishes keys for others, of kinds
//! that are not used here, so what cannot be used is left out, with the reason, and what is used is sound.

use std::fmt;

use serde_json::{Map, Value};

use crate::identity::{
    JwkError, RegisteredKey,
    jwk::{KeyAlgorithm, MAX_KEYS_PER_AGENT},
};
use hallpass_core::base::{holder::PRIVATE_MEMBERS, text::excerpt};

/// The keys of one issuer or client that can be used here.
#[derive(Debug, Clone)]
pub struct KeySet {
    usable: Vec<ForeignKey>,
    left_out: Vec<LeftOut>,
}

/// A key of a set that cannot be used here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its `kid`, when it has one.
    pub kid: Option<Box<str>>,
    /// Why it cannot be used.
    pub why: JwkError,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kid {
            Some(kid) => write!(f, "kid \"{}\": {}", excerpt(kid), self.why),
            None => write!(f, "no kid: {}", self.why),
        }
    }
}

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
        let mut set = Self {
            usable: Vec::new(),
            left_out: Vec::new(),
        };
        for jwk in keys {
            match ForeignKey::read(jwk) {
                Ok(key) => set.usable.push(key),
                Err(why) => {
                    let kid = jwk.get("kid").and_then(Value::as_str).map(Into::into);
                    set.left_out.push(LeftOut { kid, why });
                }
            }
        }
        Ok(set)
    }

    /// Whether a usable key of this id is among them.
    #[must_use]
    pub fn has(&self, kid: &str) -> bool {
        self.usable
            .iter()
            .any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys of the set that cannot be used here.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Why the key of this id cannot be used; `None` when a usable key has the id, or no key.
    #[must_use]
    pub fn why_left_out(&self, kid: &str) -> Option<JwkError> {
        let named = self
            .left_out
            .iter()
            .find(|key| key.kid.as_deref() == Some(kid));
        named.filter(|_| !self.has(kid)).map(|key| key.why)
    }

    /// The keys as an agent's, at most [`MAX_KEYS_PER_AGENT`], each for one algorithm: for `algorithm` where that is
    /// given, or else for the one that the key says or its kind has. With them every key of the set that is none of
    /// them, and why.
    #[must_use]
    pub fn registrable(
        &self,
        algorithm: Option<KeyAlgorithm>,
    ) -> (Vec<RegisteredKey>, Vec<LeftOut>) {
        let (mut keys, mut left_out) = (Vec::new(), self.left_out.clone());
        for key in &self.usable {
            let registered = key.registered(algorithm).and_then(|registered| {
                let is_there =
                    |other: &RegisteredKey| other.thumbprint() == registered.thumbprint();
                if keys.iter().any(is_there) {
                    Err(JwkError::Duplicate)
                } else if keys.len() >= MAX_KEYS_PER_AGENT {
                    Err(JwkError::Count)
                } else {
                    Ok(registered)
                }
            });
            match registered {
                Ok(registered) => keys.push(registered),
                Err(why) => {
                    let kid = key.kid.clone();
                    left_out.push(LeftOut { kid, why });
                }
            }
        }
        (keys, left_out)
    }

    /// Whether a key with the id, or any when none is named, made the signature by `algorithm`.
    pub(in crate::identity) fn verifies(
        &self,
        (algorithm, kid): (KeyAlgorithm, Option<&str>),
        (message, signature): (&[u8], &Vec<u8>),
    ) -> bool {
        let is_named = |key: &&ForeignKey| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let candidates = self
            .usable
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
    /// As an agent's key, for one algorithm.
    fn registered(&self, algorithm: Option<KeyAlgorithm>) -> Result<RegisteredKey, JwkError> {
        let first = self.algorithms.first().copied();
        let algorithm = algorithm.or(first).ok_or(JwkError::Algorithm)?;
        if !self.algorithms.contains(&algorithm) {
            return Err(JwkError::Algorithm);
        }
        let mut jwk = self.key.jwk().clone();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("alg".to_owned(), algorithm.as_str().into());
            let kid = self.kid.as_deref().map(Into::into);
            members.extend(kid.map(|kid| ("kid".to_owned(), kid)));
        }
        RegisteredKey::from_jwk(&jwk)
    }

    /// Refuses a key that is for another purpose, of another kind, weak, or shown with its private half.
    fn read(jwk: &Value) -> Result<Self, JwkError> {
        // Some issuers write every member that there is, and `null` for those that a key does not have.
        let mut members = jwk.as_object().ok_or(JwkError::NotAnObject)?.clone();
        members.retain(|_, value| !value.is_null());
        if let Some(name) = PRIVATE_MEMBERS
            .iter()
            .find(|name| members.contains_key(**name))
        {
            return Err(JwkError::Private(name));
        }
        if members.get("use").is_some_and(|purpose| purpose != "sig") {
            return Err(JwkError::Purpose("use"));
        }
        let verifies = |operations: &Value| {
            operations
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one == "verify"))
        };
        if !members.get("key_ops").is_none_or(verifies) {
            return Err(JwkError::Purpose("key_ops"));
        }
        let essential = |name: &&str| {
            members
                .get(*name)
                .map(|value| ((*name).to_owned(), value.clone()))
        };
        let essence: Map<_, _> = ESSENTIAL_MEMBERS.iter().filter_map(essential).collect();
        let key = RegisteredKey::from_jwk(&Value::Object(essence))?;
        let mut algorithms = algorithms_of(&key);
        if let Some(alg) = members.get("alg") {
            let named = alg.as_str().and_then(KeyAlgorithm::from_alg);
            algorithms.retain(|algorithm| named == Some(*algorithm));
        }
        if algorithms.is_empty() {
            return Err(JwkError::Purpose("alg"));
        }
        let kid = match members.get("kid") {
            Some(kid) => Some(kid.as_str().ok_or(JwkError::Member("kid"))?.into()),
            None => None,
        };
        Ok(Self {
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
