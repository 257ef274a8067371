//! Operators.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::secret::Secret;
use hallpass_broker::domain::event::Role;
use hallpass_core::base::{
    ids::{OperatorId, RevocationId, ServerUri},
    time::Timestamp,
};

/// An operator's token to be made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorRequest {
    /// Who.
    pub operator: OperatorId,
    /// What the token may do.
    pub roles: BTreeSet<Role>,
    /// For a verifier: the servers whose feed it may follow.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub servers: BTreeSet<ServerUri>,
    /// How long the token lives.
    pub ttl_seconds: u64,
}

/// A token for an operator, handed out once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorToken {
    /// Who.
    pub operator: OperatorId,
    /// The token.
    pub token: Secret,
    /// What to revoke it by.
    pub revocation_id: RevocationId,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An operator whose tokens may be accepted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OperatorView {
    /// Who.
    pub operator: OperatorId,
    /// What the last token made for it may do.
    pub roles: BTreeSet<Role>,
    /// When that token ends.
    pub expires_at: Timestamp,
}
