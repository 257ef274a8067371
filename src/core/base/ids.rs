//! Identifiers: parsed once at the edge, valid from then on.
//!
//! Each is a newtype over text with one canonical spelling, so that two parts of the system can
//! never disagree whether two names are the same. Nothing is normalised: text that is not canonical
//! is refused, and the error states the accepted form.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::base::{text::excerpt, uri::HttpUri};

/// An invalid identifier, with its kind and the accepted form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} `{given}`: expected {expected}")]
pub struct IdError {
    kind: &'static str,
    given: String,
    expected: &'static str,
}

impl IdError {
    /// `given` is shortened, since it is foreign text that may be long.
    #[must_use]
    pub fn new(kind: &'static str, given: &str, expected: &'static str) -> Self {
        Self {
            kind,
            given: excerpt(given),
            expected,
        }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The identifier's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(IdError::new($kind, text, $expected)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

#[cfg(feature = "issuer")]
pub(super) use text_id;

text_id!(
    /// A non-human identity with keys of its own. Lower case only, so that no two agents differ by case.
    AgentId, "agent id", is_slug, "1 to 64 of a-z 0-9 . _ -, starting and ending with a letter or digit"
);
text_id!(
    /// A set of agents that grants can name.
    GroupName, "group name", is_slug, "1 to 64 of a-z 0-9 . _ -, starting and ending with a letter or digit"
);
text_id!(
    /// An operator: a person or program that administers, audits or approves.
    OperatorId, "operator id", is_slug, "1 to 64 of a-z 0-9 . _ -, starting and ending with a letter or digit"
);
text_id!(
    /// A server's short name, for people and command lines; policy and tokens use its [`ServerUri`].
    ServerName, "server name", is_slug, "1 to 64 of a-z 0-9 . _ -, starting and ending with a letter or digit"
);
text_id!(
    /// The id of a grant, unique over all grant files.
    GrantId, "grant id", is_slug, "1 to 64 of a-z 0-9 . _ -, starting and ending with a letter or digit"
);
text_id!(
    /// A human who answers for an agent or on whose behalf one acts, as tokens and the journal name them: opaque, so
    /// that a person's name stays in the erasable directory alone.
    StewardId, "steward id", |text| is_prefixed_hex(text, "stw_"), "stw_ and 32 lower-case hex digits"
);
text_id!(
    /// One piece of work: the unit of issuing, renewing, completing and revoking.
    TaskId, "task id", |text| is_prefixed_hex(text, "tsk_"), "tsk_ and 32 lower-case hex digits"
);
text_id!(
    /// A request's id in logs, problems and the audit trail.
    RequestId, "request id", |text| is_prefixed_hex(text, "req_"), "req_ and 32 lower-case hex digits"
);
text_id!(
    /// The id of a verifier's report, such as one decided call. The broker uses it to drop duplicates.
    ReportId, "report id", |text| is_prefixed_hex(text, "rpt_"), "rpt_ and 32 lower-case hex digits"
);
text_id!(
    /// The name of a tool or prompt, exactly as the server lists it.
    ToolName, "tool name", is_tool_name, "1 to 128 of A-Z a-z 0-9 _ - . /"
);
text_id!(
    /// An MCP server, named by its canonical resource URI (RFC 8707).
    ServerUri, "server URI", |text| HttpUri::split(text).is_some(),
    "an absolute https URI (http only on loopback) in canonical form: lower-case host, no user, no default port, no query, no fragment, no trailing slash"
);
text_id!(
    /// The broker that issued a pass (RFC 8414 issuer identifier).
    IssuerUri, "issuer URI", |text| HttpUri::split(text).is_some(),
    "an absolute https URI (http only on loopback) in canonical form: lower-case host, no user, no default port, no query, no fragment, no trailing slash"
);

impl IssuerUri {
    /// Whether `text` is this URI, or the other spelling that URL libraries give a bare host: with a
    /// slash (RFC 3986 section 6.2.3).
    #[must_use]
    pub fn is_spelled(&self, text: &str) -> bool {
        text == self.as_str()
            || (self.parts().path.is_empty() && text.strip_suffix('/') == Some(self.as_str()))
    }

    /// Its parts.
    #[doc(hidden)]
    #[must_use]
    pub fn parts(&self) -> HttpUri<'_> {
        parts_of(&self.0)
    }
}

impl ServerUri {
    /// Its parts.
    #[doc(hidden)]
    #[must_use]
    pub fn parts(&self) -> HttpUri<'_> {
        parts_of(&self.0)
    }
}

/// INVARIANT: only a canonical URI becomes an id, so it always splits.
fn parts_of(uri: &str) -> HttpUri<'_> {
    HttpUri::split(uri).unwrap_or_default()
}

impl StewardId {
    /// A new opaque id from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("stw_{}", hex::encode(bytes)).into())
    }
}

impl TaskId {
    /// A task's id from 16 bytes, as a version 7 UUID gives them: sortable by time.
    #[must_use]
    pub fn from_uuid_bytes(bytes: [u8; 16]) -> Self {
        Self(format!("tsk_{}", hex::encode(bytes)).into())
    }
}

impl RequestId {
    /// When the request came, in milliseconds since 1970, if its id was made of a version 7 UUID (RFC 9562).
    #[must_use]
    pub fn made_at_millis(&self) -> Option<i64> {
        let digits = self.0.strip_prefix("req_")?;
        let is_version_7 = digits.get(12..13) == Some("7");
        let milliseconds = i64::from_str_radix(digits.get(..12)?, 16).ok()?;
        is_version_7.then_some(milliseconds)
    }

    /// A request's id from 16 bytes.
    #[must_use]
    pub fn from_uuid_bytes(bytes: [u8; 16]) -> Self {
        Self(format!("req_{}", hex::encode(bytes)).into())
    }
}

impl ReportId {
    /// A new id from 16 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("rpt_{}", hex::encode(bytes)).into())
    }
}

/// The id by which a block of a token is revoked: its 64-byte Ed25519 signature, as 128 hex digits.
///
/// A token's identity is its block ids, never a hash of its bytes: the outer encoding is unsigned.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RevocationId([u8; 64]);

impl RevocationId {
    /// The id made of a block's signature.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The signature's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl FromStr for RevocationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 64];
        if text.bytes().any(|byte| byte.is_ascii_uppercase())
            || hex::decode_to_slice(text, &mut bytes).is_err()
        {
            return Err(IdError::new(
                "revocation id",
                text,
                "128 lower-case hex digits",
            ));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for RevocationId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RevocationId> for String {
    fn from(id: RevocationId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationId({self})")
    }
}

/// The first digits of a [`RevocationId`]: 12 to 127 of them, so that people need not type all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RevocationIdPrefix(String);

impl RevocationIdPrefix {
    /// Whether `id` begins with these digits.
    #[must_use]
    pub fn begins(&self, id: &RevocationId) -> bool {
        let mut digits = self.0.as_bytes().chunks(2).zip(id.as_bytes());
        digits.all(|(digits, byte)| hex::encode([*byte]).as_bytes().starts_with(digits))
    }
}

impl FromStr for RevocationIdPrefix {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if (12..128).contains(&text.len()) && text.bytes().all(is_digit) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "128 lower-case hex digits, or at least the first 12 of them";
        Err(IdError::new("revocation id", text, expected))
    }
}

impl TryFrom<String> for RevocationIdPrefix {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<RevocationIdPrefix> for String {
    fn from(prefix: RevocationIdPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for RevocationIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a root key. A token carries it outside its signature, so it is a hint for
/// picking the key and never a statement about the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub u32);

impl FromStr for KeyId {
    type Err = IdError;

    /// Reads what [`Display`](fmt::Display) writes, and no other spelling of the number.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = text
            .parse()
            .ok()
            .map(Self)
            .filter(|id| id.to_string() == text);
        id.ok_or_else(|| IdError::new("key number", text, "a whole number"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn is_slug(text: &str) -> bool {
    let alphanumeric = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        && alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
}

fn is_tool_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'/'))
}

fn is_prefixed_hex(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| {
        hex.len() == 32
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests;
