//! Public keys of agents and of trusted issuers: JWKs (RFC 7517) checked once, when they are registered or fetched.
//!
//! Four kinds and no more: Ed25519 (RFC 8037), P-256, P-384 and RSA. The registered key fixes the
//! signature algorithm, so that an assertion's header never chooses it: by its kind, and for RSA by its
//! `alg`, which is PS256 or, when it says nothing, RS256.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::aws_lc::DEFAULT_PROVIDER};
use serde_json::{Map, Value};

use hallpass_core::base::{digest::Digest, holder::PRIVATE_MEMBERS, key::PublicKey};

/// A public key that an agent may sign assertions with.
#[derive(Clone)]
pub struct RegisteredKey {
    algorithm: KeyAlgorithm,
    key: DecodingKey,
    jwk: Value,
    kid: Option<Box<str>>,
    thumbprint: Box<str>,
}

impl RegisteredKey {
    /// Checks one public JWK.
    ///
    /// # Errors
    ///
    /// Refuses every key type but Ed25519, P-256, P-384 and RSA of 2048 to 4096 bits with exponent 65537,
    /// private members, unknown members, points that are not on their curve or weak, and `alg`,
    /// `use` or `key_ops` that speak of another purpose than verifying this algorithm.
    pub fn from_jwk(jwk: &Value) -> Result<Self, JwkError> {
        // Some libraries write every member that there is, and `null` for those that a key does not have.
        let mut members = jwk.as_object().ok_or(JwkError::NotAnObject)?.clone();
        members.retain(|_, value| !value.is_null());
        if let Some(name) = PRIVATE_MEMBERS
            .iter()
            .find(|name| members.contains_key(**name))
        {
            return Err(JwkError::Private(name));
        }
        let reader = Reader { members: &members };
        let (algorithm, key, required) = match (reader.text("kty")?, reader.optional_text("crv")?) {
            ("OKP", Some("Ed25519")) => reader.ed25519()?,
            ("EC", Some("P-256")) => reader.curve(KeyAlgorithm::Es256)?,
            ("EC", Some("P-384")) => reader.curve(KeyAlgorithm::Es384)?,
            ("RSA", None) => reader.rsa()?,
            _ => return Err(JwkError::Kind),
        };
        reader.no_member_beside(&required)?;
        reader.purpose(algorithm)?;
        let kid = reader.kid()?;
        let thumbprint = thumbprint(&required);
        let mut jwk = required;
        // What the members that make the key do not say of its algorithm is kept with them.
        if algorithm == KeyAlgorithm::Ps256 {
            jwk.insert("alg".to_owned(), algorithm.as_str().into());
        }
        if let Some(kid) = kid {
            jwk.insert("kid".to_owned(), kid.into());
        }
        Ok(Self {
            algorithm,
            key,
            jwk: Value::Object(jwk),
            kid: kid.map(Into::into),
            thumbprint: thumbprint.into(),
        })
    }

    /// Checks the keys of one agent: 1 to [`MAX_KEYS_PER_AGENT`], no key twice.
    ///
    /// # Errors
    ///
    /// As [`Self::from_jwk`], and for none, too many or equal keys.
    pub fn from_jwks(jwks: &[Value]) -> Result<Vec<Self>, JwkError> {
        if jwks.is_empty() || jwks.len() > MAX_KEYS_PER_AGENT {
            return Err(JwkError::Count);
        }
        let keys = jwks
            .iter()
            .map(Self::from_jwk)
            .collect::<Result<Vec<_>, _>>()?;
        let mut thumbprints: Vec<_> = keys.iter().map(Self::thumbprint).collect();
        thumbprints.sort_unstable();
        thumbprints.dedup();
        if thumbprints.len() == keys.len() {
            Ok(keys)
        } else {
            Err(JwkError::Duplicate)
        }
    }

    /// The algorithm that this key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The JWK to store: the members that make the key, its `kid` when it had one, and an `alg` of PS256.
    #[must_use]
    pub const fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// The JWK thumbprint (RFC 7638, SHA-256), base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Whether a JWS header's `kid` names this key, by its thumbprint or its own `kid`.
    #[must_use]
    pub fn answers_to(&self, kid: &str) -> bool {
        *self.thumbprint == *kid || self.kid.as_deref() == Some(kid)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &Vec<u8>) -> bool {
        self.verifies_by(self.algorithm.jws(), message, signature)
    }

    /// As [`Self::verifies`], by another algorithm of this kind of key.
    pub(super) fn verifies_by(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> bool {
        // The provider is named here, not looked up: the crate's process-wide default panics when
        // another feature set leaves it undecided.
        (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.key)
            .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

impl fmt::Debug for RegisteredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RegisteredKey({} {})",
            self.algorithm.as_str(),
            self.thumbprint
        )
    }
}

/// The signature algorithms of assertions and of issuers' JWTs: one for each kind of key, and two for RSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// Ed25519 keys.
    EdDsa,
    /// P-256 keys.
    Es256,
    /// P-384 keys.
    Es384,
    /// RSA keys, PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA keys whose `alg` says so, PSS with SHA-256.
    Ps256,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Rs256,
        Self::Ps256,
    ];

    /// Every algorithm's JWS `alg`, for metadata.
    pub const NAMES: [&'static str; 6] = {
        let [a, b, c, d, e] = Self::ALL;
        [
            a.as_str(),
            ED25519,
            b.as_str(),
            c.as_str(),
            d.as_str(),
            e.as_str(),
        ]
    };

    /// The JWS `alg` (RFC 7518).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The algorithm of this `alg`. `Ed25519` (RFC 9864) means `EdDSA` with an Ed25519 key, the only one that is known.
    #[must_use]
    pub fn from_alg(alg: &str) -> Option<Self> {
        if alg == ED25519 {
            return Some(Self::EdDsa);
        }
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == alg)
    }

    pub(super) const fn jws(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
        }
    }
}

/// A JWK that was refused as an agent's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not a JSON object.
    #[error("a key is a JSON object (RFC 7517)")]
    NotAnObject,
    /// A private key: it has been disclosed and must not be used.
    #[error(
        "the key has the private member `{0}`: register the public half, and make a new key, since this one was shown"
    )]
    Private(&'static str),
    /// A member that is absent or of the wrong type.
    #[error("the key's `{0}` is absent or not a text")]
    Member(&'static str),
    /// A member that this key type does not have.
    #[error(
        "the key has members that a public key of its type does not have; leave only those of RFC 7517 and RFC 7518"
    )]
    Unknown,
    /// Another kind of key.
    #[error("the key is none of OKP with Ed25519, EC with P-256 or P-384, RSA")]
    Kind,
    /// A number that is not canonical base64url of the right length.
    #[error("the key's `{0}` is not unpadded base64url of the length that its type has")]
    Encoding(&'static str),
    /// A point off the curve or in a small subgroup.
    #[error("the key is not a usable point on its curve")]
    Point,
    /// An RSA modulus that is too short, too long or even.
    #[error("the RSA modulus is not an odd number of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")]
    Modulus,
    /// An RSA exponent other than 65537.
    #[error("the RSA exponent is not 65537")]
    Exponent,
    /// `alg`, `use` or `key_ops` name another purpose.
    #[error(
        "the key's `{0}` names another purpose than verifying signatures with its one algorithm"
    )]
    Purpose(&'static str),
    /// A `kid` that is empty, too long or not printable.
    #[error("the key's `kid` is not 1 to {MAX_KID_CHARS} printable ASCII characters")]
    Kid,
    /// None of the algorithms that the key's owner signs with.
    #[error("the key is for none of the algorithms that its owner says it signs with")]
    Algorithm,
    /// None, or too many.
    #[error("an agent has 1 to {MAX_KEYS_PER_AGENT} keys")]
    Count,
    /// The same key twice.
    #[error("the same key is given twice")]
    Duplicate,
}

type Parts = (KeyAlgorithm, DecodingKey, Map<String, Value>);

struct Reader<'a> {
    members: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, JwkError> {
        self.optional_text(name)?.ok_or(JwkError::Member(name))
    }

    fn optional_text(&self, name: &'static str) -> Result<Option<&'a str>, JwkError> {
        self.members
            .get(name)
            .map(|value| value.as_str().ok_or(JwkError::Member(name)))
            .transpose()
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, JwkError> {
        let text = self.text(name)?;
        if text.len() > MAX_MEMBER_CHARS {
            return Err(JwkError::Encoding(name));
        }
        URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| JwkError::Encoding(name))
    }

    fn ed25519(&self) -> Result<Parts, JwkError> {
        let x = self.bytes("x")?;
        if x.len() != 32 {
            return Err(JwkError::Encoding("x"));
        }
        let key = PublicKey::from_bytes(&x).ok_or(JwkError::Point)?;
        Ok((
            KeyAlgorithm::EdDsa,
            DecodingKey::from_ed_der(key.as_bytes()),
            self.keep(&["crv", "kty", "x"]),
        ))
    }

    fn curve(&self, algorithm: KeyAlgorithm) -> Result<Parts, JwkError> {
        let (verification, bytes) = match algorithm {
            KeyAlgorithm::Es384 => (&ECDSA_P384_SHA384_FIXED, 48),
            _ => (&ECDSA_P256_SHA256_FIXED, 32),
        };
        let mut point = vec![UNCOMPRESSED_POINT];
        for name in ["x", "y"] {
            let coordinate = self.bytes(name)?;
            if coordinate.len() != bytes {
                return Err(JwkError::Encoding(name));
            }
            point.extend(coordinate);
        }
        ParsedPublicKey::new(verification, &point).map_err(|_| JwkError::Point)?;
        Ok((
            algorithm,
            DecodingKey::from_ec_der(&point),
            self.keep(&["crv", "kty", "x", "y"]),
        ))
    }

    fn rsa(&self) -> Result<Parts, JwkError> {
        let modulus = self.bytes("n")?;
        if self.bytes("e")? != RSA_EXPONENT {
            return Err(JwkError::Exponent);
        }
        let leading = modulus.first().copied().ok_or(JwkError::Modulus)?;
        if leading == 0 {
            return Err(JwkError::Encoding("n"));
        }
        let bits = modulus
            .len()
            .saturating_mul(8)
            .saturating_sub(usize::try_from(leading.leading_zeros()).unwrap_or(8));
        let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
        if !odd || !(MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits) {
            return Err(JwkError::Modulus);
        }
        let key = DecodingKey::from_rsa_raw_components(&modulus, &RSA_EXPONENT);
        let is_pss = self.optional_text("alg")? == Some(KeyAlgorithm::Ps256.as_str());
        let algorithm = if is_pss {
            KeyAlgorithm::Ps256
        } else {
            KeyAlgorithm::Rs256
        };
        Ok((algorithm, key, self.keep(&["e", "kty", "n"])))
    }

    fn keep(&self, names: &[&str]) -> Map<String, Value> {
        let member = |name: &&str| {
            self.members
                .get(*name)
                .map(|value| ((*name).to_owned(), value.clone()))
        };
        names.iter().filter_map(member).collect()
    }

    fn no_member_beside(&self, required: &Map<String, Value>) -> Result<(), JwkError> {
        let known = |name: &String| {
            required.contains_key(name) || OPTIONAL_MEMBERS.contains(&name.as_str())
        };
        if self.members.keys().all(known) {
            Ok(())
        } else {
            Err(JwkError::Unknown)
        }
    }

    fn purpose(&self, algorithm: KeyAlgorithm) -> Result<(), JwkError> {
        let is_other = |alg: &str| KeyAlgorithm::from_alg(alg) != Some(algorithm);
        if self.optional_text("alg")?.is_some_and(is_other) {
            return Err(JwkError::Purpose("alg"));
        }
        if self.optional_text("use")?.is_some_and(|text| text != "sig") {
            return Err(JwkError::Purpose("use"));
        }
        // WebCrypto writes the operations of the pair.
        let verifies = |operations: &Value| {
            let all = operations.as_array();
            all.is_some_and(|all| all.iter().any(|one| one == "verify"))
        };
        if self.members.get("key_ops").is_none_or(verifies) {
            Ok(())
        } else {
            Err(JwkError::Purpose("key_ops"))
        }
    }

    fn kid(&self) -> Result<Option<&'a str>, JwkError> {
        let Some(kid) = self.optional_text("kid")? else {
            return Ok(None);
        };
        let printable = kid.bytes().all(|byte| byte.is_ascii_graphic());
        if printable && (1..=MAX_KID_CHARS).contains(&kid.len()) {
            Ok(Some(kid))
        } else {
            Err(JwkError::Kid)
        }
    }
}

/// RFC 7638: SHA-256 over the required members in lexicographic order, without white space.
fn thumbprint(required: &Map<String, Value>) -> String {
    let mut names: Vec<_> = required.iter().collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    // All names and values are base64url or short ASCII words: nothing needs escaping.
    let members: Vec<_> = names
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    Digest::of(format!("{{{}}}", members.join(",")).as_bytes()).to_base64url()
}

/// An agent has at most this many keys: enough for an overlap while they rotate.
pub const MAX_KEYS_PER_AGENT: usize = 4;

/// The shortest RSA modulus, in bits (RFC 7518 section 3.3).
pub const MIN_RSA_BITS: usize = 2048;

/// The longest RSA modulus, in bits: longer ones cost the verifier more than they are worth.
pub const MAX_RSA_BITS: usize = 4096;

/// The longest `kid`, in characters.
pub const MAX_KID_CHARS: usize = 128;

const MAX_MEMBER_CHARS: usize = 1024;
const UNCOMPRESSED_POINT: u8 = 4;
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];
/// What libraries write beside the key. Certificates and times are not looked at, and nothing of it is stored but `kid`.
const OPTIONAL_MEMBERS: [&str; 11] = [
    "kid", "alg", "use", "key_ops", "ext", "x5c", "x5t", "x5t#S256", "iat", "nbf", "exp",
];

/// The `alg` of RFC 9864.
const ED25519: &str = "Ed25519";
