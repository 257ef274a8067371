//! Operators: making and ending their tokens.

use std::{sync::Arc, time::Duration};

use axum::extract::State;

use crate::{
    api::{
        Page,
        operators::{OperatorRequest, OperatorToken, OperatorView},
        secret::Secret,
    },
    server::{
        App,
        api::{
            auth::{
                Operator,
                needs::{OperatorsDelete, OperatorsRead, OperatorsWrite},
            },
            openapi::{Paging, Problems},
        },
        edge::{
            answer::Answer,
            extract::{Input, Named, NoInput, Params},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::NewOperator;
use hallpass_core::base::ids::OperatorId;

/// Makes a token for an operator.
#[utoipa::path(post, path = "/v1/operators", operation_id = "operators_create",
    tag = "registry", security(("operator" = [])), request_body = OperatorRequest,
    responses((status = 201, description = "The token", body = OperatorToken), Problems))]
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
        Answer::created(&OperatorToken {
            operator: made.operator,
            token: Secret::new(made.token.expose()),
            revocation_id: made.revocation_id,
            expires_at: made.expires_at,
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
