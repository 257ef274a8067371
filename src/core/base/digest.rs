//! Digests: SHA-256 over bytes, and the 16-byte form in which the feed names a revoked subject.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::base::ids::IdError;

/// A SHA-256 digest; prints and serialises as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// All zeros: the predecessor digest of the first record of a chain.
    pub const ZERO: Self = Self([0; 32]);

    /// Hashes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes the concatenation of `parts`.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// The digest with these 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest in base64url without padding, as JOSE uses it (RFC 7515 section 2).
    #[must_use]
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// The digest that [`to_base64url`](Self::to_base64url) wrote; `None` for any other text.
    #[must_use]
    pub fn from_base64url(text: &str) -> Option<Self> {
        Some(Self(URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl std::str::FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        if text.bytes().any(|byte| byte.is_ascii_uppercase())
            || hex::decode_to_slice(text, &mut bytes).is_err()
        {
            return Err(IdError::new("digest", text, "64 lower-case hex digits"));
        }
        Ok(Self(bytes))
    }
}

/// The subject of a revocation as the feed carries it: the first 16 bytes of
/// SHA-256 over a kind, a zero byte and the subject's canonical text.
///
/// Sixteen bytes keep a million entries in memory; a collision could only refuse
/// a pass that was not revoked, never let a revoked one through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubjectDigest([u8; 16]);

impl SubjectDigest {
    /// The digest of the subject `text` of `kind` (`"token"`, `"task"`, `"agent"`, …).
    #[must_use]
    pub fn new(kind: &str, text: &str) -> Self {
        let digest = Digest::of_parts(&[kind.as_bytes(), &[0], text.as_bytes()]);
        let mut short = [0; 16];
        short.copy_from_slice(&digest.0[..16]);
        Self(short)
    }
}

impl fmt::Display for SubjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SubjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubjectDigest({self})")
    }
}

impl From<SubjectDigest> for String {
    fn from(digest: SubjectDigest) -> Self {
        digest.to_string()
    }
}

impl TryFrom<String> for SubjectDigest {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        let mut bytes = [0; 16];
        if text.bytes().any(|byte| byte.is_ascii_uppercase())
            || hex::decode_to_slice(&text, &mut bytes).is_err()
        {
            return Err(IdError::new(
                "subject digest",
                &text,
                "32 lower-case hex digits",
            ));
        }
        Ok(Self(bytes))
    }
}
