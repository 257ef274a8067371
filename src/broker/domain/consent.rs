//! Consent: what a person allowed a client to do for them, as recorded. Every secret is a digest.

use serde::{Deserialize, Serialize};

use crate::domain::verified::VerifiedBy;
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, StewardId},
        time::Timestamp,
    },
    token::RequestedDetail,
};

/// What a steward consented to, and the authorization code by which the client gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentRecord {
    /// Digest of the code.
    pub code: Digest,
    /// The client.
    pub agent: AgentId,
    /// Who consented.
    pub steward: StewardId,
    /// Through which issuer that person signed in; `None`: with an operator's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedBy>,
    /// The redirect URI that the request named; the client names it again when it redeems the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// What the SHA-256 of the verifier must be (RFC 7636).
    pub challenge: Digest,
    /// The thumbprint of the key that the request bound the code to (RFC 9449 section 10).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// Whether the request named its rights in full (RFC 9396): then so do the answers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_detail: bool,
    /// What was shown and allowed; names are exact.
    pub details: Vec<RequestedDetail>,
    /// When the code ends.
    pub expires_at: Timestamp,
    /// When the task ends that the code opens.
    pub ends_at: Timestamp,
}

/// A client that registered itself and has no consent yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationRecord {
    /// Its id.
    pub agent: AgentId,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// Digest of the secret that it was given, if it asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Digest>,
    /// When it is forgotten, unless a person consented before.
    pub expires_at: Timestamp,
}
