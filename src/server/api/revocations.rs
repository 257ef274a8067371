//! Revocations: answered once they are durable and verifiers are being told.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::server::{
    App,
    api::{
        auth::{
            Operator,
            needs::{RevocationsCreate, RevocationsRead},
        },
        openapi::{IdempotencyKey, Paging, Problems},
        schema,
    },
    edge::{
        answer::{Answer, Page},
        extract::{Input, Params},
        idempotency::Once,
        problem::Problem,
    },
};
use hallpass_broker::{Broker, Revoke, domain::event::Subject};
use hallpass_core::base::ids::{AgentId, KeyId, RevocationId, TaskId};

/// What is to be revoked: exactly one subject.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    /// A block of a pass or of an operator's token, and what was appended after it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    revocation_id: Option<RevocationId>,
    /// A task.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    task: Option<TaskId>,
    /// An agent, until it is reinstated.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    agent: Option<AgentId>,
    /// A steward by name or id, until reinstated.
    #[serde(default)]
    steward: Option<String>,
    /// A server by URI or name, until it is reinstated.
    #[serde(default)]
    server: Option<String>,
    /// A root key by its number.
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    key: Option<KeyId>,
    /// With `revocation_id`: leave the task open for renewal.
    #[serde(default)]
    only_token: bool,
    /// Why.
    #[serde(default)]
    reason: Option<String>,
}

impl RevokeRequest {
    fn into_revoke(self, broker: &Broker) -> Result<Revoke, Problem> {
        let given = [
            self.revocation_id.is_some(),
            self.task.is_some(),
            self.agent.is_some(),
            self.steward.is_some(),
            self.server.is_some(),
            self.key.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let detail = "give exactly one of revocation_id, task, agent, steward, server, key";
            return Err(Problem::invalid("subject", detail));
        }
        let subject = if let Some(id) = self.revocation_id {
            Subject::RevocationId(id)
        } else if let Some(task) = self.task {
            Subject::Task(task)
        } else if let Some(agent) = self.agent {
            Subject::Agent(agent)
        } else if let Some(steward) = self.steward {
            Subject::Steward(broker.registry.find_steward(&steward)?)
        } else if let Some(server) = self.server {
            Subject::Server(broker.registry.server(&server)?.manifest.server)
        } else {
            Subject::Key(self.key.unwrap_or(KeyId(0)))
        };
        Ok(Revoke {
            subject,
            only_token: self.only_token,
            reason: self.reason,
        })
    }
}

/// Revokes.
#[utoipa::path(post, path = "/v1/revocations", operation_id = "revocations_create",
    tag = "revocations", security(("operator" = [])), request_body = RevokeRequest,
    params(IdempotencyKey),
    responses((status = 201, description = "Durable", body = schema::Revoked), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<RevocationsCreate>,
    once: Once,
    input: Input<RevokeRequest>,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let revoke = input.value.into_revoke(&app.broker)?;
        let revoked = app.broker.revocations.revoke(&caller, revoke).await?;
        app.observer.revoked(&revoked.view.subject);
        Answer::created(&revoked)
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

/// Revocations that still matter, newest first.
#[utoipa::path(get, path = "/v1/revocations", operation_id = "revocations_list",
    tag = "revocations", security(("operator" = [])),
    params(Paging),
    responses((status = 200, description = "A page", body = Page<schema::Revoked>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<RevocationsRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["limit", "cursor"])?;
    let (list, limit) = (params.list("revocations"), params.limit()?);
    let items = app
        .broker
        .revocations
        .revocations(params.after(&list)?, limit.saturating_add(1));
    Page::answer(&list, items, limit, |revoked| revoked.sequence)
}
