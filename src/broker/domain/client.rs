//! Clients: what an agent's record says beside its keys when it comes through the OAuth door.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use hallpass_core::{
    base::{digest::Digest, ids::IdError, time::Timestamp},
    token::RequestedDetail,
};

/// A secret of an agent, a server or a task, by its digest alone: 256 random bits need no salt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSecret {
    /// SHA-256 of its text.
    pub digest: Digest,
    /// When it was added.
    pub added_at: Timestamp,
}

impl ClientSecret {
    /// The id by which operators name it.
    #[must_use]
    pub fn id(&self) -> SecretId {
        SecretId(
            self.digest
                .to_string()
                .chars()
                .take(SECRET_ID_CHARS)
                .collect(),
        )
    }
}

/// What operators call a secret: the first 16 hex digits of its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretId(String);

impl TryFrom<String> for SecretId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SecretId> for String {
    fn from(id: SecretId) -> Self {
        id.0
    }
}

#[cfg(feature = "schema")]
hallpass_core::string_schema! {
    SecretId = "SecretId", "A secret's id: what to remove it by.", pattern "^[0-9a-f]{16}$";
}

impl FromStr for SecretId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == SECRET_ID_CHARS && text.bytes().all(is_digit) {
            return Ok(Self(text.to_owned()));
        }
        Err(IdError::new("secret id", text, "16 lower-case hex digits"))
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an agent is as an OAuth client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientProfile {
    /// What a token request asks for that names no scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// How it came to be registered.
    pub origin: ClientOrigin,
    /// Where the keys are by which it authenticates, when its document says that and has none itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_keys: Option<PublishedKeys>,
}

/// Where a client publishes its keys: they are fetched when it authenticates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedKeys {
    /// `jwks_uri`, of the same origin as the client's document.
    pub jwks_uri: String,
    /// `token_endpoint_auth_signing_alg`, when the client said one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_algorithm: Option<String>,
}

/// How a client came to be registered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientOrigin {
    /// By an operator.
    #[default]
    Registered,
    /// By the metadata document that its id is the URL of.
    MetadataDocument {
        /// The URL.
        url: String,
    },
    /// By itself (RFC 7591).
    Dynamic,
}

/// An agent has at most this many secrets: enough for an overlap while they rotate.
pub const MAX_SECRETS: usize = 2;

const SECRET_ID_CHARS: usize = 16;
