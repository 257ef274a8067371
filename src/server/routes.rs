//! Every route of the main listener: one list makes the router and the OpenAPI document, so that neither has one that
//! the other lacks.

use std::sync::Arc;

use axum::Router;
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::server::{
    App,
    api::{
        agents, audit, decisions, feed, health, keys, openapi::Document, operators, policy, proofs,
        reports, revocations, servers, stewards, tasks,
    },
    middleware, oauth,
};

/// The OpenAPI document of the main listener, as `/openapi.json` serves it.
#[must_use]
pub fn openapi() -> String {
    // Made of strings and numbers: there is nothing in it that JSON could not hold.
    let mut text = routes().into_openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Every route of the main listener.
fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(tasks::open, tasks::list))
        .routes(routes!(tasks::issue_again))
        .routes(routes!(tasks::complete))
        .routes(routes!(tasks::report_delegation))
        .routes(routes!(tasks::show))
        .routes(routes!(revocations::create, revocations::list))
        .routes(routes!(agents::create, agents::list))
        .routes(routes!(agents::show, agents::change, agents::remove))
        .routes(routes!(agents::reinstate))
        .routes(routes!(agents::add_secret))
        .routes(routes!(agents::remove_secret))
        .routes(routes!(servers::set, servers::create, servers::list))
        .routes(routes!(servers::show, servers::remove))
        .routes(routes!(servers::reinstate))
        .routes(routes!(servers::add_secret))
        .routes(routes!(servers::remove_secret))
        .routes(routes!(stewards::create, stewards::list))
        .routes(routes!(stewards::erase))
        .routes(routes!(stewards::reinstate))
        .routes(routes!(stewards::code))
        .routes(routes!(stewards::unidentify))
        .routes(routes!(operators::create, operators::list))
        .routes(routes!(operators::remove))
        .routes(routes!(keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke_operator))
        .routes(routes!(keys::document))
        .routes(routes!(policy::show))
        .routes(routes!(policy::check))
        .routes(routes!(policy::reload))
        .routes(routes!(policy::write_grant))
        .routes(routes!(policy::explain))
        .routes(routes!(audit::list))
        .routes(routes!(proofs::head))
        .routes(routes!(proofs::inclusion))
        .routes(routes!(proofs::consistency))
        .routes(routes!(proofs::export))
        .routes(routes!(reports::activity))
        .routes(routes!(reports::reach))
        .routes(routes!(reports::refusals))
        .routes(routes!(reports::access))
        .routes(routes!(decisions::create, decisions::list))
        .routes(routes!(feed::follow))
        .merge(oauth::routes())
        .routes(routes!(health::document))
}

/// The main listener's router.
pub(crate) fn main_router(app: &Arc<App>) -> Router {
    let (router, _) = routes().split_for_parts();
    let router = router.merge(oauth::below(app.broker.issuer()));
    router
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(app),
            middleware::front,
        ))
        .with_state(Arc::clone(app))
}
