//! Agents.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::secret::Secret;
use hallpass_broker::AgentView;
use hallpass_core::{
    base::{
        ids::{AgentId, GroupName},
        redirect::RedirectUri,
    },
    token::RequestedDetail,
};

/// An agent to be registered.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentRequest {
    /// Its id.
    pub agent: AgentId,
    /// Who answers for it, by name or id; a new name is registered.
    pub steward: String,
    /// Its groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs: Ed25519, P-256, P-384 or RSA. May be left out with `secret`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub keys: Vec<Value>,
    /// Whether to make a secret for it, for programs that know OAuth and no keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// What a token request of it asks for that names no scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent: https, http to loopback on any port, or a scheme of an
    /// app's own. A client without keys and secrets is a public one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<RedirectUri>,
}

/// An agent as it is to be from now on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentChange {
    /// When given, the id that the path names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// Who answers for it, by name or id; a new name is registered.
    pub steward: String,
    /// Its groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs: Ed25519, P-256, P-384 or RSA. May be left out when it has a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub keys: Vec<Value>,
    /// What a token request of it asks for that names no scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent; of no effect for clients that say so themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<RedirectUri>,
}

/// An agent, with the secret that was made for it when one was.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentWithSecret {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentView,
    /// The secret that was just made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
}
