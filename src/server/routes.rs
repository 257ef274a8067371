//! Every route of the main listener: one list makes the router and the OpenAPI document, so that neither has one that
//! the other lacks.

use std::sync::Arc;

use axum::Router;
use utoipa::{Modify as _, OpenApi as _};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::server::{
    App,
    api::{
        agents, audit, decisions, feed, health, keys,
        openapi::{Document, Flatten, Growing},
        operators, policy, proofs, reports, revocations, servers, stewards, tasks,
    },
    edge::describe::described,
    middleware, oauth,
};

/// The route of one handler, as its attribute and its extractors describe it.
macro_rules! route {
    ($handler:path) => {
        described(routes!($handler), &$handler)
    };
}

/// The OpenAPI document of the main listener, as `/openapi.json` serves it.
#[must_use]
pub fn openapi() -> String {
    // Made of strings and numbers: there is nothing in it that JSON could not hold.
    let mut document = routes().into_openapi();
    Flatten.modify(&mut document);
    Growing.modify(&mut document);
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// Every route of the main listener.
fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(route!(tasks::open))
        .routes(route!(tasks::list))
        .routes(route!(tasks::issue_again))
        .routes(route!(tasks::complete))
        .routes(route!(tasks::report_delegation))
        .routes(route!(tasks::show))
        .routes(route!(revocations::create))
        .routes(route!(revocations::list))
        .routes(route!(revocations::create_many))
        .routes(route!(agents::create))
        .routes(route!(agents::list))
        .routes(route!(agents::show))
        .routes(route!(agents::change))
        .routes(route!(agents::remove))
        .routes(route!(agents::reinstate))
        .routes(route!(agents::add_secret))
        .routes(route!(agents::remove_secret))
        .routes(route!(servers::set))
        .routes(route!(servers::create))
        .routes(route!(servers::list))
        .routes(route!(servers::show))
        .routes(route!(servers::uri))
        .routes(route!(servers::remove))
        .routes(route!(servers::reinstate))
        .routes(route!(servers::add_secret))
        .routes(route!(servers::remove_secret))
        .routes(route!(stewards::create))
        .routes(route!(stewards::list))
        .routes(route!(stewards::erase))
        .routes(route!(stewards::reinstate))
        .routes(route!(stewards::code))
        .routes(route!(stewards::unidentify))
        .routes(route!(operators::create))
        .routes(route!(operators::list))
        .routes(route!(operators::remove))
        .routes(route!(keys::list))
        .routes(route!(keys::rotate))
        .routes(route!(keys::revoke_operator))
        .routes(route!(keys::document))
        .routes(route!(policy::show))
        .routes(route!(policy::check))
        .routes(route!(policy::reload))
        .routes(route!(policy::write_grant))
        .routes(route!(policy::explain))
        .routes(route!(audit::list))
        .routes(route!(proofs::head))
        .routes(route!(proofs::inclusion))
        .routes(route!(proofs::consistency))
        .routes(route!(proofs::export))
        .routes(route!(reports::activity))
        .routes(route!(reports::reach))
        .routes(route!(reports::refusals))
        .routes(route!(reports::live))
        .routes(route!(reports::entitlements))
        .routes(route!(decisions::create))
        .routes(route!(decisions::list))
        .routes(route!(feed::follow))
        .merge(oauth::routes())
        .routes(route!(health::document))
}

/// The main listener's router.
pub(crate) fn main_router(app: &Arc<App>) -> Router {
    let (router, _) = routes().split_for_parts();
    let router = router.merge(oauth::below(app.broker.issuer()));
    router
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(app),
            middleware::main_listener,
        ))
        .with_state(Arc::clone(app))
}
