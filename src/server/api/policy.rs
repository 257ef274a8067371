//! Policy: reading, checking, explaining and changing what decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::server::{
    App,
    api::{
        auth::{
            Operator,
            needs::{PolicyExplain, PolicyRead, PolicyReload, PolicyWrite},
        },
        openapi::{IdempotencyKey, Problems},
        schema,
        tasks::OpenRequest,
    },
    edge::{
        answer::Answer,
        extract::{Input, NoInput, Params},
        idempotency::Once,
        problem::{Problem, ReasonBody},
    },
};
use hallpass_broker::{
    Broker, BrokerError,
    policy::{AgentSelector, Decision, Grant, ServerSelector},
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
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRequest {
    /// Its id, and the name of its file.
    #[schema(value_type = String)]
    id: GrantId,
    /// To whom: agents' ids, `group:NAME`, `*`.
    #[schema(value_type = Vec<String>)]
    agents: Vec<AgentSelector>,
    /// The server, by name or URI.
    #[schema(value_type = String)]
    server: ServerSelector,
    /// Tools; `*` stands for any run of characters.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    tools: Vec<NamePattern>,
    /// Prompts, likewise.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    prompts: Vec<NamePattern>,
    /// Resource subtrees.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    resources: Vec<ResourceTree>,
    /// How long one pass lives at most: `10m`.
    max_ttl: String,
    /// Tools whose calls may hold no argument but the constrained ones.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    closed_arguments: BTreeSet<NamePattern>,
    /// Only what the manifest marks read-only.
    #[serde(default)]
    read_only: bool,
    /// Only for passes that are bound to a holder key.
    #[serde(default)]
    require_proof: bool,
    /// As `require_proof`; and calls of tools that the manifest marks irreversible need a proof of
    /// the very call.
    #[serde(default)]
    require_call_proof: bool,
    /// Arguments that must equal the task's context value of the same name.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pin: BTreeSet<Pointer>,
    /// Per tool and JSON pointer of an argument: what it must satisfy.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, BTreeMap<String, schema::Constraint>>)]
    constraints: BTreeMap<NamePattern, BTreeMap<Pointer, Constraint>>,
}

impl GrantRequest {
    fn into_grant(self) -> Result<Grant, Problem> {
        let ttl = humantime::parse_duration(&self.max_ttl).ok();
        let ttl = ttl.filter(|ttl| ttl.subsec_nanos() == 0 && *ttl > Duration::ZERO);
        let ttl = ttl.ok_or_else(|| {
            Problem::invalid(
                "max_ttl",
                "expected whole seconds, such as `10m` or `1h 30m`",
            )
        })?;
        let mut grant = Grant::new(self.id, self.server, ttl);
        grant.agents = self.agents;
        grant.tools = self.tools;
        grant.prompts = self.prompts;
        grant.resources = self.resources;
        grant.closed_arguments = self.closed_arguments;
        grant.read_only = self.read_only;
        grant.require_proof = self.require_proof;
        grant.require_call_proof = self.require_call_proof;
        grant.pin = self.pin;
        grant.constraints = self.constraints;
        Ok(grant)
    }
}

/// A question to the policy: whose, and the body of `POST /v1/tasks`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainRequest {
    /// The agent that would ask.
    #[schema(value_type = String)]
    agent: AgentId,
    /// What for.
    purpose: String,
    /// How long the task would last.
    ttl_seconds: u64,
    /// What would be asked for.
    #[schema(value_type = Vec<schema::AuthorizationDetail>)]
    authorization_details: Vec<RequestedDetail>,
    /// Whether less would be good enough.
    #[serde(default)]
    allow_partial: bool,
    /// The agent's steward, by name or id.
    #[serde(default)]
    steward: Option<String>,
    /// Values that grants may pin arguments to.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Object>)]
    context: BTreeMap<String, Value>,
    /// The ID token of a person on whose behalf the task would be.
    #[serde(default)]
    subject_token: Option<String>,
    /// The key that the task's passes would be bound to, as a public JWK.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    holder_key: Option<HolderKey>,
    /// How often a pass could be handed on.
    #[serde(default)]
    max_delegation_depth: Option<u8>,
}

impl ExplainRequest {
    fn split(self) -> (AgentId, OpenRequest) {
        let Self {
            agent,
            purpose,
            ttl_seconds,
            authorization_details,
            allow_partial,
            steward,
            context,
            ..
        } = self;
        let (subject_token, holder_key, max_delegation_depth) = (
            self.subject_token,
            self.holder_key,
            self.max_delegation_depth,
        );
        let request = OpenRequest {
            purpose,
            ttl_seconds,
            authorization_details,
            allow_partial,
            steward,
            context,
            subject_token,
            holder_key,
            max_delegation_depth,
            credentials: None,
        };
        (agent, request)
    }
}

/// What the policy would answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct Explanation {
    /// `granted` or `refused`.
    decision: &'static str,
    /// What would be granted, with exact names.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::AuthorizationDetail>>)]
    authorization_details: Option<Vec<GrantedDetail>>,
    /// Which grant would give which right.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::DecidedBy>>)]
    decided_by: Option<Vec<Value>>,
    /// How long one pass would live at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ttl_seconds: Option<u64>,
    /// What would be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<Vec<ReasonBody>>,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<ReasonBody>>,
}

impl From<Decision> for Explanation {
    fn from(decision: Decision) -> Self {
        let reasons =
            |reasons: &[_]| Some(reasons.iter().map(ReasonBody::from).collect::<Vec<_>>());
        match decision {
            Decision::Granted(granted) => {
                let by = granted.decided_by.iter().map(|by| {
                    let (right, server) = (by.right.to_string(), &by.right.server);
                    serde_json::json!({"right": right, "server": server, "grant": by.grant, "file": by.file})
                });
                Self {
                    decision: "granted",
                    decided_by: Some(by.collect()),
                    max_ttl_seconds: Some(granted.max_ttl.as_secs()),
                    dropped: reasons(&granted.dropped).filter(|dropped| !dropped.is_empty()),
                    authorization_details: Some(granted.rights),
                    reasons: None,
                }
            }
            Decision::Refused(refused) => Self {
                decision: "refused",
                authorization_details: None,
                decided_by: None,
                max_ttl_seconds: None,
                dropped: None,
                reasons: reasons(&refused),
            },
        }
    }
}

/// Whether the policy's files check.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyCheck {
    /// Whether they could be put into force.
    ok: bool,
    /// What is wrong: file, line and reason.
    errors: Vec<String>,
    /// What is odd but harmless.
    warnings: Vec<String>,
}

/// The policy that is in force.
#[utoipa::path(get, path = "/v1/policy", operation_id = "policy_show", tag = "policy", security(("operator" = [])),
    responses((status = 200, description = "The policy", body = schema::PolicyView), Problems))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Operator<PolicyRead>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Answer::ok(
        &app.blocking(|broker: &Broker| broker.policy.policy())
            .await?,
    )
}

/// Checks the policy's files without putting them into force.
#[utoipa::path(post, path = "/v1/policy/check", operation_id = "policy_check",
    tag = "policy", security(("operator" = [])),
    responses((status = 200, description = "What was found", body = PolicyCheck), Problems))]
pub(crate) async fn check(
    State(app): State<Arc<App>>,
    _: Operator<PolicyExplain>,
    _: NoInput,
) -> Result<Answer, Problem> {
    let words = |findings: &[_]| findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    Answer::ok(&match app
        .blocking(|broker: &Broker| broker.policy.check_policy())
        .await?
    {
        Ok(warnings) => PolicyCheck {
            ok: true,
            errors: Vec::new(),
            warnings: words(&warnings),
        },
        Err(errors) => PolicyCheck {
            ok: false,
            errors: words(errors.findings()),
            warnings: Vec::new(),
        },
    })
}

/// Puts the policy's files into force; when anything is wrong in any of them, the old policy stays.
#[utoipa::path(post, path = "/v1/policy/reload", operation_id = "policy_reload",
    tag = "policy", security(("operator" = [])),
    responses((status = 200, description = "The policy", body = schema::PolicyView), Problems))]
pub(crate) async fn reload(
    State(app): State<Arc<App>>,
    operator: Operator<PolicyReload>,
    _: NoInput,
) -> Result<Answer, Problem> {
    let loaded = app.broker.policy.reload_policy(&operator.caller).await?;
    app.observer.policy_loaded(loaded.is_ok());
    Answer::ok(&loaded.map_err(|errors| Problem::policy(&errors))?)
}

/// Writes a grant into a file of its own and puts it into force.
#[utoipa::path(post, path = "/v1/policy/grants", operation_id = "policy_write_grant",
    tag = "policy", security(("operator" = [])),
    params(IdempotencyKey), request_body = GrantRequest,
    responses((status = 201, description = "In force", body = schema::GrantWritten), Problems))]
pub(crate) async fn write_grant(
    State(app): State<Arc<App>>,
    operator: Operator<PolicyWrite>,
    once: Once,
    input: Input<GrantRequest>,
) -> Result<Answer, Problem> {
    let grant = input.value.into_grant()?;
    let work = async |caller| {
        let written = app.broker.policy.write_grant(&caller, &grant).await?;
        app.observer.policy_loaded(written.is_ok());
        Answer::created(&written.map_err(|errors| Problem::policy(&errors))?)
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

/// What the policy would answer, without minting or recording anything.
#[utoipa::path(post, path = "/v1/policy/explain", operation_id = "policy_explain",
    tag = "policy", security(("operator" = [])),
    request_body = ExplainRequest,
    responses((status = 200, description = "The answer", body = Explanation), Problems))]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    _: Operator<PolicyExplain>,
    input: Input<ExplainRequest>,
) -> Result<Answer, Problem> {
    let (agent, request) = input.value.split();
    let (mut question, subject) = request.split()?;
    if let Some(subject) = subject {
        match app.steward_of(&subject).await? {
            Ok(verified) => question.verified = Some(verified),
            Err(BrokerError::Refused(reasons)) => {
                return Answer::ok(&Explanation::from(Decision::Refused(reasons)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let explained = app
        .blocking(move |broker| broker.issuance.explain(&agent, question))
        .await??;
    Answer::ok(&Explanation::from(explained))
}
