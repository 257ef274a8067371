//! The policy.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::{problem::ReasonBody, secret::Secret};
use hallpass_broker::{
    domain::event::RecordedGrant,
    policy::{AgentSelector, Decision, ServerSelector},
};
use hallpass_core::{
    base::{
        holder::HolderKey,
        ids::{AgentId, GrantId},
    },
    token::{
        GrantedDetail, RequestedDetail,
        constraint::Constraint,
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// A grant to be written, as a grant file has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Its id, and the name of its file.
    pub id: GrantId,
    /// To whom: agents' ids, `group:NAME`, `*`.
    pub agents: Vec<AgentSelector>,
    /// The server, by name or URI.
    pub server: ServerSelector,
    /// Tools; `*` stands for any run of characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<NamePattern>,
    /// Prompts, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<NamePattern>,
    /// Resource subtrees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceTree>,
    /// How long one pass lives at most: `10m`.
    pub max_ttl: String,
    /// Tools whose calls may hold no argument but the constrained ones.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub closed_arguments: BTreeSet<NamePattern>,
    /// Only what the manifest marks read-only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Only for passes that are bound to a holder key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_proof: bool,
    /// As `require_proof`; and calls of tools that the manifest marks irreversible need a proof of
    /// the very call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_call_proof: bool,
    /// Arguments that must equal the task's context value of the same name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pin: BTreeSet<Pointer>,
    /// Per tool and JSON pointer of an argument: what it must satisfy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constraints: BTreeMap<NamePattern, BTreeMap<Pointer, Constraint>>,
}

/// A question to the policy: whose, and the body of `POST /v1/tasks`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The agent that would ask.
    pub agent: AgentId,
    /// What for.
    pub purpose: String,
    /// How long the task would last.
    pub ttl_seconds: u64,
    /// What would be asked for.
    pub authorization_details: Vec<RequestedDetail>,
    /// Whether less would be good enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_partial: bool,
    /// The agent's steward, by name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<String>,
    /// Values that grants may pin arguments to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub context: BTreeMap<String, Value>,
    /// As if that steward had proved who they are, through a trusted issuer. Not with a `subject_token`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub steward_verified: bool,
    /// The groups that the issuer would have that person in; with `steward_verified`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub steward_groups: BTreeSet<String>,
    /// The ID token of a person on whose behalf the task would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token: Option<Secret>,
    /// The key that the task's passes would be bound to, as a public JWK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_key: Option<HolderKey>,
    /// How often a pass could be handed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_delegation_depth: Option<u8>,
}

/// What the policy would answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// `granted` or `refused`.
    pub decision: Cow<'static, str>,
    /// What would be granted, with exact names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Vec<GrantedDetail>>,
    /// Which grant would give which right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<Vec<RecordedGrant>>,
    /// How long one pass would live at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ttl_seconds: Option<u64>,
    /// What would be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Vec<ReasonBody>>,
    /// Why it would be refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<ReasonBody>>,
    /// Whether a request that would be refused would be granted with `holder_key`, the agent's own key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub granted_if_bound: bool,
}

/// Whether the policy's files check.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyCheck {
    /// Whether they could be put into force.
    pub ok: bool,
    /// What is wrong: file, line and reason.
    pub errors: Vec<String>,
    /// What is odd but harmless.
    pub warnings: Vec<String>,
}

impl From<Decision> for Explanation {
    fn from(decision: Decision) -> Self {
        let reasons =
            |reasons: &[_]| Some(reasons.iter().map(ReasonBody::from).collect::<Vec<_>>());
        match decision {
            Decision::Granted(granted) => {
                let by = granted.decided_by.iter().map(|by| RecordedGrant {
                    right: by.right.to_string(),
                    server: by.right.server.clone(),
                    grant: by.grant.clone(),
                    file: by.file.clone(),
                });
                Self {
                    decision: Cow::Borrowed("granted"),
                    decided_by: Some(by.collect()),
                    max_ttl_seconds: Some(granted.max_ttl.as_secs()),
                    dropped: reasons(&granted.dropped).filter(|dropped| !dropped.is_empty()),
                    authorization_details: Some(granted.rights),
                    reasons: None,
                    granted_if_bound: false,
                }
            }
            Decision::Refused(refused) => Self {
                decision: Cow::Borrowed("refused"),
                authorization_details: None,
                decided_by: None,
                max_ttl_seconds: None,
                dropped: None,
                reasons: reasons(&refused),
                granted_if_bound: false,
            },
        }
    }
}
