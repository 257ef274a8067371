//! Revocations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use hallpass_core::base::ids::{AgentId, KeyId, RevocationId, TaskId};

/// What is to be revoked: exactly one subject.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// A block of a pass or of an operator's token, and what was appended after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_id: Option<RevocationId>,
    /// A task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// An agent, until it is reinstated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// A steward by name or id, until reinstated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<String>,
    /// A server by URI or name, until it is reinstated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// A root key by its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// With `revocation_id`: leave the task open for renewal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_token: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
