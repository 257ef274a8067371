//! Tasks: agents open them and get passes; operators look on.

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
        auth::{Agent, Reader, needs::TasksRead},
        openapi::{IdempotencyKey, Paging, Problems},
        schema,
        subject::SubjectToken,
    },
    edge::{
        answer::{Answer, Page},
        extract::{Input, Named, NoInput, Params},
        idempotency::Once,
        problem::{Problem, ReasonBody},
    },
    oauth::grammar::metadata::TOKEN,
};
use hallpass_broker::{
    DelegationReport, IssueAgain, Issued, OpenTask, OpenedForClient, domain::event::RecordedGrant,
};
use hallpass_core::{
    base::{
        digest::Digest,
        holder::HolderKey,
        ids::{AgentId, IssuerUri, RevocationId, ServerUri, TaskId},
        time::Timestamp,
    },
    token::{GrantedDetail, Holding, RequestedDetail, scope},
};

/// A task to be opened.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenRequest {
    /// What for, in the agent's words.
    pub(crate) purpose: String,
    /// How long the task lasts.
    pub(crate) ttl_seconds: u64,
    /// What is asked for.
    #[schema(value_type = Vec<schema::AuthorizationDetail>)]
    pub(crate) authorization_details: Vec<RequestedDetail>,
    /// Whether less is good enough.
    #[serde(default)]
    pub(crate) allow_partial: bool,
    /// The agent's steward, by name or id.
    #[serde(default)]
    pub(crate) steward: Option<String>,
    /// Values that grants may pin arguments to: strings, integers, booleans.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Object>)]
    pub(crate) context: BTreeMap<String, Value>,
    /// An ID token (OpenID Connect) of a trusted issuer: the task is on behalf of that person, who must be
    /// registered as a steward.
    #[serde(default)]
    pub(crate) subject_token: Option<String>,
    /// The public key that the task's passes are bound to, as a JWK: OKP with Ed25519, or EC with
    /// P-256. Every use then needs a proof of possession (DPoP, RFC 9449).
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) holder_key: Option<HolderKey>,
    /// How often a pass may be handed on; 0 by default. Needs a `holder_key` of Ed25519.
    #[serde(default)]
    pub(crate) max_delegation_depth: Option<u8>,
    /// Give credentials for a stock OAuth client instead of a pass: they get the task's passes, and end with it.
    #[serde(default)]
    pub(crate) credentials: Option<Credentials>,
}

/// Credentials in place of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// An OAuth client's id and secret.
    ClientSecret,
}

impl OpenRequest {
    /// The request without its subject token, which is still to be verified.
    pub(crate) fn split(mut self) -> Result<(OpenTask, Option<SubjectToken>), Problem> {
        let subject = self
            .subject_token
            .take()
            .map(SubjectToken::read)
            .transpose()?;
        Ok((self.into_question()?, subject))
    }

    fn into_question(self) -> Result<OpenTask, Problem> {
        let holder = match (self.holder_key, self.max_delegation_depth) {
            (Some(key), depth) => Some(Holding {
                key,
                max_delegations: depth.unwrap_or(0),
            }),
            (None, None) => None,
            (None, Some(_)) => {
                let detail = "needs `holder_key`: depth cannot be enforced on bearer passes";
                return Err(Problem::invalid("max_delegation_depth", detail));
            }
        };
        Ok(OpenTask {
            purpose: self.purpose,
            ttl: Duration::from_secs(self.ttl_seconds),
            details: self.authorization_details,
            fixed_rights: false,
            allow_partial: self.allow_partial,
            steward: self.steward,
            verified: None,
            context: self.context,
            holder,
        })
    }
}

/// Another pass in a task.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgainRequest {
    /// What is asked for; absent: what was asked when the task was opened.
    #[serde(default)]
    #[schema(value_type = Option<Vec<schema::AuthorizationDetail>>)]
    authorization_details: Option<Vec<RequestedDetail>>,
}

/// Blocks that were appended to a pass.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DelegationRequest {
    /// The longer token's block ids, block 0 first.
    #[schema(value_type = Vec<String>)]
    blocks: Vec<RevocationId>,
    /// To whom it was handed.
    #[serde(default)]
    delegate: Option<String>,
    /// The thumbprint (RFC 7638) of the key that a bound pass was handed to: tells registered agents
    /// from names that are only asserted.
    #[serde(default)]
    delegate_key: Option<String>,
}

#[derive(Serialize)]
struct IssuedBody<'a> {
    task_id: &'a TaskId,
    token: &'a str,
    token_type: &'static str,
    expires_at: Timestamp,
    task_ends_at: Timestamp,
    revocation_id: RevocationId,
    authorization_details: &'a [GrantedDetail],
    decided_by: &'a [RecordedGrant],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped: Vec<ReasonBody>,
}

impl<'a> From<&'a Issued> for IssuedBody<'a> {
    fn from(issued: &'a Issued) -> Self {
        Self {
            task_id: &issued.task.task,
            token: issued.token.expose(),
            token_type: if issued.record.holder.is_some() {
                "DPoP"
            } else {
                "Bearer"
            },
            expires_at: issued.record.expires_at,
            task_ends_at: issued.task.ends_at,
            revocation_id: issued.record.revocation_id,
            authorization_details: &issued.record.rights,
            decided_by: &issued.record.decided_by,
            dropped: issued.dropped.iter().map(ReasonBody::from).collect(),
        }
    }
}

/// What a stock OAuth client is configured with; the secret is told once and kept nowhere.
#[derive(Serialize)]
struct CredentialsBody<'a> {
    task_id: &'a TaskId,
    client_id: &'a TaskId,
    client_secret: &'a str,
    issuer: &'a IssuerUri,
    token_endpoint: String,
    resources: BTreeSet<&'a ServerUri>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    task_ends_at: Timestamp,
    authorization_details: &'a [GrantedDetail],
    decided_by: &'a [RecordedGrant],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped: Vec<ReasonBody>,
}

impl<'a> CredentialsBody<'a> {
    fn new(opened: &'a OpenedForClient, issuer: &'a IssuerUri) -> Self {
        Self {
            task_id: &opened.task.task,
            client_id: &opened.task.task,
            client_secret: opened.secret.expose(),
            issuer,
            token_endpoint: format!("{issuer}{TOKEN}"),
            resources: opened.rights.iter().map(|detail| &detail.server).collect(),
            scope: scope::granted(&opened.rights),
            task_ends_at: opened.task.ends_at,
            authorization_details: &opened.rights,
            decided_by: &opened.decided_by,
            dropped: opened.dropped.iter().map(ReasonBody::from).collect(),
        }
    }
}

/// Opens a task and mints its first pass, or makes credentials by which an OAuth client gets its passes.
#[utoipa::path(post, path = "/v1/tasks", operation_id = "tasks_open",
    tag = "tasks", security(("agent" = [])), request_body = OpenRequest,
    params(IdempotencyKey),
    responses((status = 201, description = "The pass, or the credentials", body = schema::Opened), Problems))]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    agent: Agent,
    once: Once,
    input: Input<OpenRequest>,
) -> Result<Answer, Problem> {
    let credentials = input.value.credentials;
    let ((mut request, subject), body) = (input.value.split()?, input.digest);
    let work = async |caller| {
        if let Some(subject) = subject {
            match app.steward_of(&subject).await? {
                Ok(verified) => request.verified = Some(verified),
                Err(error) => {
                    let refused = (request, error);
                    let issuance = &app.broker.issuance;
                    return Err(issuance
                        .refuse_task(&caller, &agent.agent, refused)
                        .await
                        .into());
                }
            }
        }
        if credentials == Some(Credentials::ClientSecret) {
            let opened = app
                .broker
                .issuance
                .open_task_for_client(&caller, &agent.agent, request)
                .await?;
            return Answer::created(&CredentialsBody::new(&opened, app.broker.issuer()));
        }
        let issued = app
            .broker
            .issuance
            .open_task(&caller, &agent.agent, request)
            .await?;
        app.observer.minted();
        Answer::created(&IssuedBody::from(&issued))
    };
    once.run(&app, (agent.caller.clone(), body), work).await
}

/// Mints another pass in a task; the task's end stays.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/tokens", operation_id = "tasks_issue_again",
    tag = "tasks", security(("agent" = [])), request_body = AgainRequest,
    params(("task_id" = String, Path), IdempotencyKey),
    responses((status = 201, description = "The pass", body = schema::Issued), Problems))]
pub(crate) async fn issue_again(
    State(app): State<Arc<App>>,
    agent: Agent,
    Named(task): Named<TaskId>,
    once: Once,
    input: Input<AgainRequest>,
) -> Result<Answer, Problem> {
    let request = IssueAgain {
        details: input.value.authorization_details,
    };
    let work = async |caller| {
        let issued = app
            .broker
            .issuance
            .issue_again(&caller, &agent.agent, (&task, request))
            .await?;
        app.observer.minted();
        Answer::created(&IssuedBody::from(&issued))
    };
    once.run(&app, (agent.caller.clone(), input.digest), work)
        .await
}

/// Ends a task: its passes die everywhere.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/complete", operation_id = "tasks_complete",
    tag = "tasks", security(("agent" = [])), params(("task_id" = String, Path), IdempotencyKey),
    responses((status = 200, description = "The task", body = schema::TaskView), Problems))]
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    agent: Agent,
    Named(task): Named<TaskId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let view = app
            .broker
            .tasks
            .complete_task(&caller, &agent.agent, &task)
            .await?;
        Answer::ok(&view)
    };
    once.run(&app, (agent.caller.clone(), Digest::ZERO), work)
        .await
}

/// Reports blocks that the agent appended, so that they can be revoked before first use.
#[utoipa::path(post, path = "/v1/tasks/{task_id}/delegations", operation_id = "tasks_report_delegation",
    tag = "tasks", security(("agent" = [])), request_body = DelegationRequest,
    params(("task_id" = String, Path), IdempotencyKey),
    responses((status = 201, description = "The task", body = schema::TaskView), Problems))]
pub(crate) async fn report_delegation(
    State(app): State<Arc<App>>,
    agent: Agent,
    Named(task): Named<TaskId>,
    once: Once,
    input: Input<DelegationRequest>,
) -> Result<Answer, Problem> {
    let DelegationRequest {
        blocks,
        delegate,
        delegate_key,
    } = input.value;
    let report = DelegationReport {
        blocks,
        delegate,
        delegate_key,
    };
    let work = async |caller| {
        let view = app
            .broker
            .tasks
            .report_delegation(&caller, &agent.agent, (&task, report))
            .await?;
        Answer::created(&view)
    };
    once.run(&app, (agent.caller.clone(), input.digest), work)
        .await
}

/// One task; an agent sees its own.
#[utoipa::path(get, path = "/v1/tasks/{task_id}", operation_id = "tasks_show",
    tag = "tasks", params(("task_id" = String, Path)),
    responses((status = 200, description = "The task", body = schema::TaskView), Problems))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    reader: Reader<TasksRead>,
    Named(task): Named<TaskId>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    let agent = reader.confined_to().cloned();
    // A task that memory has forgotten is read from the disk.
    Answer::ok(
        &app.blocking(move |broker| broker.tasks.task(&task, agent.as_ref()))
            .await??,
    )
}

/// Tasks that are open or ended lately, newest first; an agent sees its own.
#[utoipa::path(get, path = "/v1/tasks", operation_id = "tasks_list", tag = "tasks",
    params(("agent" = Option<String>, Query), Paging),
    responses((status = 200, description = "A page", body = Page<schema::TaskView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    reader: Reader<TasksRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["agent", "limit", "cursor"])?;
    let asked = params.parsed::<AgentId>("agent")?;
    let agent = match (reader.confined_to(), asked) {
        (Some(own), Some(other)) if *own != other => {
            return Err(Problem::forbidden("an agent sees its own tasks").field("agent"));
        }
        (Some(own), _) => Some(own.clone()),
        (None, asked) => asked,
    };
    let (list, limit) = (params.list("tasks"), params.limit()?);
    let after = params.after::<TaskId>(&list)?;
    let items = app
        .broker
        .tasks
        .tasks(agent.as_ref(), after.as_ref(), limit.saturating_add(1));
    Page::answer(&list, items, limit, |task| task.task_id.clone())
}
