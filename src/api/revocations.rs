//! Revocations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use hallpass_core::base::{
    ids::{AgentId, GrantId, KeyId, RevocationId, TaskId},
    time::Timestamp,
};

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

/// What is to be revoked at once: a list, or every open task that fits a filter.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeManyRequest {
    /// Blocks of passes, with what was appended after them; their tasks end. At most 5,000 with `tasks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocation_ids: Vec<RevocationId>,
    /// Tasks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskId>,
    /// Every task that is open or has a live pass, and fits; at most 5,000, the oldest first. Not with a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<RevokeFilter>,
    /// Count what would be revoked, and revoke nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tasks that fit everything that is given; at least one condition is.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeFilter {
    /// Of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// On behalf of this steward, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<String>,
    /// With a pass for this server, by URI or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// With a right that this grant gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Opened then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_from: Option<Timestamp>,
    /// Opened before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_before: Option<Timestamp>,
}
