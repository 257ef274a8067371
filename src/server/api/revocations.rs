//! Revocations: answered once they are durable and verifiers are being notified.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    api::{
        Page,
        revocations::{RevokeFilter, RevokeManyRequest, RevokeRequest},
    },
    server::{
        App,
        api::{
            auth::{
                Operator,
                needs::{RevocationsCreate, RevocationsRead},
            },
            openapi::{Paging, Problems},
        },
        edge::{
            answer::Answer,
            extract::{Input, Params},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::{
    Broker, Many, Revoke, RevokeMany, Revoked, RevokedMany, TaskFilter, domain::event::Subject,
};
use hallpass_core::base::ids::KeyId;

fn revoke_of(request: RevokeRequest, broker: &Broker) -> Result<Revoke, Problem> {
    let given = [
        request.revocation_id.is_some(),
        request.task.is_some(),
        request.agent.is_some(),
        request.steward.is_some(),
        request.server.is_some(),
        request.key.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        let detail = "give exactly one of revocation_id, task, agent, steward, server, key";
        return Err(Problem::invalid("subject", detail));
    }
    let subject = if let Some(id) = request.revocation_id {
        Subject::RevocationId(id)
    } else if let Some(task) = request.task {
        Subject::Task(task)
    } else if let Some(agent) = request.agent {
        Subject::Agent(agent)
    } else if let Some(steward) = request.steward {
        Subject::Steward(broker.registry.find_steward(&steward)?)
    } else if let Some(server) = request.server {
        Subject::Server(broker.registry.server(&server)?.manifest.server)
    } else {
        Subject::Key(request.key.unwrap_or(KeyId(0)))
    };
    Ok(Revoke {
        subject,
        only_token: request.only_token,
        reason: request.reason,
    })
}

/// Revokes.
#[utoipa::path(post, path = "/v1/revocations", operation_id = "revocations_create",
    tag = "revocations", security(("operator" = [])), request_body = RevokeRequest,
    responses((status = 201, description = "Durable", body = Revoked), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<RevocationsCreate>,
    once: Once,
    input: Input<RevokeRequest>,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let revoke = revoke_of(input.value, &app.broker)?;
        let revoked = app.broker.revocations.revoke(&caller, revoke).await?;
        app.observer.revoked(&revoked.view.subject);
        Answer::created(&revoked)
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

/// Revokes much at once: listed passes and tasks, or every open task that fits a filter.
///
/// All of it is recorded, or nothing.
#[utoipa::path(post, path = "/v1/revocations/bulk", operation_id = "revocations_create_many",
    tag = "revocations", security(("operator" = [])), request_body = RevokeManyRequest,
    responses((status = 200, description = "Durable, unless it was a dry run", body = RevokedMany), Problems))]
pub(crate) async fn create_many(
    State(app): State<Arc<App>>,
    operator: Operator<RevocationsCreate>,
    once: Once,
    input: Input<RevokeManyRequest>,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let many = many_of(input.value, &app.broker)?;
        let (revoked, subjects) = app.broker.revocations.revoke_many(&caller, many).await?;
        for subject in &subjects {
            app.observer.revoked(subject);
        }
        Answer::ok(&revoked)
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

fn many_of(request: RevokeManyRequest, broker: &Broker) -> Result<RevokeMany, Problem> {
    let RevokeManyRequest {
        revocation_ids,
        tasks,
        filter,
        dry_run,
        reason,
    } = request;
    let is_listed = !revocation_ids.is_empty() || !tasks.is_empty();
    let what = match filter {
        Some(_) if is_listed => {
            return Err(Problem::invalid("filter", "not with a list"));
        }
        Some(filter) => Many::Fitting(filter_of(filter, broker)?),
        None => Many::Listed {
            revocation_ids: revocation_ids.into_iter().collect(),
            tasks: tasks.into_iter().collect(),
        },
    };
    Ok(RevokeMany {
        what,
        reason,
        dry_run,
    })
}

fn filter_of(filter: RevokeFilter, broker: &Broker) -> Result<TaskFilter, Problem> {
    let RevokeFilter {
        agent,
        steward,
        server,
        grant,
        opened_from,
        opened_before,
    } = filter;
    let find_steward = |steward: String| broker.registry.find_steward(&steward);
    let find_server =
        |server: String| Ok::<_, Problem>(broker.registry.server(&server)?.manifest.server);
    Ok(TaskFilter {
        agent,
        steward: steward.map(find_steward).transpose()?,
        server: server.map(find_server).transpose()?,
        grant,
        opened_from,
        opened_before,
    })
}

/// Revocations that still matter, newest first.
#[utoipa::path(get, path = "/v1/revocations", operation_id = "revocations_list",
    tag = "revocations", security(("operator" = [])),
    params(Paging),
    responses((status = 200, description = "A page", body = Page<Revoked>), Problems))]
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
