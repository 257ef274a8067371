//! Stewards.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::secret::Secret;
use hallpass_core::base::{ids::StewardId, time::Timestamp};

/// A steward to be registered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StewardRequest {
    /// The person's name; it stays in the directory, from which it can be erased.
    pub name: String,
    /// How a trusted issuer names the person; it stays in the directory too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityRequest>,
}

/// How a trusted issuer names a person.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityRequest {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The person's `sub`.
    pub subject: String,
}

/// A code to sign in with, returned once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SignInCode {
    /// Who signs in with it.
    pub steward: StewardId,
    /// The code.
    pub code: Secret,
    /// When it ends.
    pub expires_at: Timestamp,
}
