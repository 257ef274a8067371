//! Operators: making and ending their tokens.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::server::{
    App,
    api::{
        auth::{
            Operator,
            needs::{OperatorsDelete, OperatorsRead, OperatorsWrite},
        },
        openapi::{IdempotencyKey, Paging, Problems},
        schema,
    },
    edge::{
        answer::{Answer, Page},
        extract::{Input, Named, NoInput, Params},
        idempotency::Once,
        problem::Problem,
    },
};
use hallpass_broker::{NewOperator, domain::event::Role};
use hallpass_core::base::{
    ids::{OperatorId, RevocationId, ServerUri},
    time::Timestamp,
};

/// An operator's token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorRequest {
    /// Who.
    #[schema(value_type = String)]
    operator: OperatorId,
    /// `admin`, `auditor`, `approver`, `verifier`.
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    /// For a verifier: the servers whose feed it may follow.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    servers: BTreeSet<ServerUri>,
    /// How long the token lives.
    ttl_seconds: u64,
}

#[derive(Serialize)]
struct TokenBody<'a> {
    operator: &'a OperatorId,
    token: &'a str,
    revocation_id: RevocationId,
    expires_at: Timestamp,
}

/// An operator whose tokens may be accepted.
#[derive(Serialize, ToSchema)]
pub(crate) struct OperatorView {
    /// Who.
    #[schema(value_type = String)]
    operator: OperatorId,
    /// What the last token made for it may do.
    #[schema(value_type = Vec<String>)]
    roles: BTreeSet<Role>,
    /// When that token ends.
    #[schema(value_type = String)]
    expires_at: Timestamp,
}

/// Makes a token for an operator.
#[utoipa::path(post, path = "/v1/operators", operation_id = "operators_create",
    tag = "registry", security(("operator" = [])),
    params(IdempotencyKey), request_body = OperatorRequest,
    responses((status = 201, description = "The token", body = schema::OperatorToken), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<OperatorsWrite>,
    once: Once,
    input: Input<OperatorRequest>,
) -> Result<Answer, Problem> {
    let OperatorRequest {
        operator: new,
        roles,
        servers,
        ttl_seconds,
    } = input.value;
    let new = NewOperator {
        operator: new,
        roles,
        servers,
        ttl: Duration::from_secs(ttl_seconds),
    };
    let work = async |caller| {
        let made = app.broker.operators.add_operator(&caller, new).await?;
        let (operator, token) = (&made.operator, made.token.expose());
        let (revocation_id, expires_at) = (made.revocation_id, made.expires_at);
        Answer::created(&TokenBody {
            operator,
            token,
            revocation_id,
            expires_at,
        })
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

/// Operators whose tokens may be accepted, in the order of their ids.
#[utoipa::path(get, path = "/v1/operators", operation_id = "operators_list",
    tag = "registry", security(("operator" = [])), params(Paging),
    responses((status = 200, description = "A page", body = Page<OperatorView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<OperatorsRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["limit", "cursor"])?;
    let (list, limit) = (params.list("operators"), params.limit()?);
    let after = params.after::<OperatorId>(&list)?;
    let all = app.broker.operators.operators().into_iter();
    let later = all.filter(|(operator, ..)| after.as_ref().is_none_or(|after| operator > after));
    let view = |(operator, roles, expires_at)| OperatorView {
        operator,
        roles,
        expires_at,
    };
    let items = later.take(limit.saturating_add(1)).map(view).collect();
    Page::answer(&list, items, limit, |operator| operator.operator.clone())
}

/// Refuses every token of an operator that was issued up to now.
#[utoipa::path(delete, path = "/v1/operators/{operator}", operation_id = "operators_remove",
    tag = "registry", security(("operator" = [])),
    params(("operator" = String, Path)), responses((status = 204, description = "Done"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    operator: Operator<OperatorsDelete>,
    Named(removed): Named<OperatorId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    app.broker
        .operators
        .remove_operator(&operator.caller, &removed)
        .await?;
    Ok(Answer::done())
}
