//! Tasks and passes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{problem::ReasonBody, secret::Secret};
use hallpass_broker::{OpenedForClient, domain::event::RecordedGrant};
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::{IssuerUri, RevocationId, ServerUri, TaskId},
        time::Timestamp,
    },
    token::{GrantedDetail, RequestedDetail, scope},
};

/// A task to be opened.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// What for, in the agent's words.
    pub purpose: String,
    /// How long the task lasts.
    pub ttl_seconds: u64,
    /// What is asked for.
    pub authorization_details: Vec<RequestedDetail>,
    /// Whether less is good enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_partial: bool,
    /// The agent's steward, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<String>,
    /// Values that grants may pin arguments to: strings, integers, booleans.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub context: BTreeMap<String, Value>,
    /// An ID token (OpenID Connect) of a trusted issuer: the task is on behalf of that person, who must be
    /// registered as a steward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token: Option<Secret>,
    /// The public key that the task's passes are bound to, as a JWK: OKP with Ed25519, or EC with
    /// P-256. Every use then needs a proof of possession (DPoP, RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_key: Option<HolderKey>,
    /// How often a pass may be handed on; 0 by default. Needs a `holder_key` of Ed25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delegation_depth: Option<u8>,
    /// Give credentials for a stock OAuth client instead of a pass: they get the task's passes, and end with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// Credentials in place of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// An OAuth client's id and secret.
    ClientSecret,
}

/// Another pass in a task.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgainRequest {
    /// What is asked for; absent: what was asked when the task was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Vec<RequestedDetail>>,
}

/// Blocks that were appended to a pass.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DelegationRequest {
    /// The longer token's block ids, block 0 first.
    pub blocks: Vec<RevocationId>,
    /// To whom it was handed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<String>,
    /// The thumbprint (RFC 7638) of the key that a bound pass was handed to: names registered agents
    /// from names that are only asserted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate_key: Option<String>,
}

/// A pass, handed out once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Issued {
    /// The task.
    pub task_id: TaskId,
    /// The pass; it is returned once, and the broker does not store it.
    pub token: Secret,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    pub token_type: String,
    /// When the pass ends.
    pub expires_at: Timestamp,
    /// When the task ends.
    pub task_ends_at: Timestamp,
    /// What to revoke the pass by.
    pub revocation_id: RevocationId,
    /// What was granted, with exact names.
    pub authorization_details: Vec<GrantedDetail>,
    /// Which grant gave which right.
    pub decided_by: Vec<RecordedGrant>,
    /// What was asked for and left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<ReasonBody>,
}

/// A task that was opened: with its first pass, or with credentials when those were asked for.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Opened {
    /// The task.
    pub task_id: TaskId,
    /// The pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// When the pass ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// With credentials: the id that a stock OAuth client is configured with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<TaskId>,
    /// With credentials: its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// With credentials: the authorization server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<IssuerUri>,
    /// With credentials: where tokens are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
    /// With credentials: the servers that the task's passes are for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub resources: BTreeSet<ServerUri>,
    /// With credentials: what the passes allow, in words. There is no need to ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// When the task ends, and the credentials with it.
    pub task_ends_at: Timestamp,
    /// What to revoke the pass by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_id: Option<RevocationId>,
    /// What was granted, with exact names.
    pub authorization_details: Vec<GrantedDetail>,
    /// Which grant gave which right.
    pub decided_by: Vec<RecordedGrant>,
    /// What was asked for and left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<ReasonBody>,
}

impl From<&hallpass_broker::Issued> for Issued {
    fn from(issued: &hallpass_broker::Issued) -> Self {
        Self {
            task_id: issued.task.task.clone(),
            token: Secret::new(issued.token.expose()),
            token_type: token_type(issued.record.holder.is_some()).to_owned(),
            expires_at: issued.record.expires_at,
            task_ends_at: issued.task.ends_at,
            revocation_id: issued.record.revocation_id,
            authorization_details: issued.record.rights.clone(),
            decided_by: issued.record.decided_by.clone(),
            dropped: issued.dropped.iter().map(ReasonBody::from).collect(),
        }
    }
}

impl From<Issued> for Opened {
    fn from(issued: Issued) -> Self {
        Self {
            task_id: issued.task_id,
            token: Some(issued.token),
            token_type: Some(issued.token_type),
            expires_at: Some(issued.expires_at),
            client_id: None,
            client_secret: None,
            issuer: None,
            token_endpoint: None,
            resources: BTreeSet::new(),
            scope: None,
            task_ends_at: issued.task_ends_at,
            revocation_id: Some(issued.revocation_id),
            authorization_details: issued.authorization_details,
            decided_by: issued.decided_by,
            dropped: issued.dropped,
        }
    }
}

impl Opened {
    /// The credentials that were made at `issuer`, whose tokens are asked for at `token_endpoint`.
    #[must_use]
    pub fn with_credentials(
        opened: &OpenedForClient,
        issuer: &IssuerUri,
        token_endpoint: String,
    ) -> Self {
        Self {
            task_id: opened.task.task.clone(),
            token: None,
            token_type: None,
            expires_at: None,
            client_id: Some(opened.task.task.clone()),
            client_secret: Some(Secret::new(opened.secret.expose())),
            issuer: Some(issuer.clone()),
            token_endpoint: Some(token_endpoint),
            resources: opened
                .rights
                .iter()
                .map(|detail| detail.server.clone())
                .collect(),
            scope: scope::granted(&opened.rights),
            task_ends_at: opened.task.ends_at,
            revocation_id: None,
            authorization_details: opened.rights.clone(),
            decided_by: opened.decided_by.clone(),
            dropped: opened.dropped.iter().map(ReasonBody::from).collect(),
        }
    }
}

/// The `token_type` of a pass (RFC 9449 section 5).
#[must_use]
pub const fn token_type(is_bound: bool) -> &'static str {
    if is_bound { "DPoP" } else { "Bearer" }
}
