//! Floor 5: the broker over HTTP. JSON in and out, strict; no cookie, and no browser but at the OAuth
//! door.
//!
//! [`Server::bind`] takes two listeners: the main one serves `/v1`, the OAuth door (`/oauth`, `/.well-known`) and
//! `/openapi.json`, the other, for whoever runs the broker, health and metrics. Nothing here decides anything: routes read a
//! request strictly, ask the [`Broker`] and write down what it said. One list of routes makes the
//! router and the OpenAPI document, so that neither knows one that the other does not.

mod agents;
mod answer;
mod audit;
mod audit_shapes;
mod auth;
mod connections;
mod context;
mod cursor;
mod decisions;
mod document;
mod extract;
mod feed;
mod front;
mod health;
mod idempotency;
mod keys;
mod limit;
mod oauth;
mod operators;
mod policy;
mod problem;
mod proofs;
mod reports;
mod revocations;
mod schema;
mod server;
mod servers;
mod share;
mod stewards;
mod stream;
mod subject;
mod tasks;
mod times;
mod tls;

use std::{fmt, sync::Arc, time::Duration};

use axum::{Router, body::Bytes, http::HeaderMap, middleware};
use tokio::sync::{Semaphore, watch};
use utoipa::OpenApi as _;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    auth::AgentKeys, document::Document, idempotency::Answers, limit::Limits, oauth::authorize::Desk, problem::Problem,
    share::Shares,
};
pub use self::{
    limit::Rates,
    oauth::OAuthOptions,
    server::{Listeners, Options, ServeError, Server},
    times::Times,
    tls::{TlsError, TlsFiles},
};
use crate::{
    base::{ReasonCode, time::Clock},
    broker::Broker,
    journal::event::Subject,
    outbound::Trust,
    verify::possession::IssuingProofs,
};

/// What the server tells whoever counts.
///
/// What it does not care about it leaves to the empty methods given here.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A request with these headers begins; `span` is its span, not entered yet: the place to put
    /// it under the trace that it came with.
    fn began(&self, _headers: &HeaderMap, _span: &tracing::Span) {}

    /// A pass was minted and handed out.
    fn minted(&self) {}

    /// A revocation was recorded.
    fn revoked(&self, _subject: &Subject) {}

    /// The policy was loaded anew, or the old one stays because the files do not check.
    fn policy_loaded(&self, _in_force: bool) {}

    /// So many verifiers follow the feed now.
    fn followers(&self, _followers: usize) {}

    /// A request was answered.
    fn answered(&self, seen: &Seen<'_>);

    /// A handler panicked; only its request was affected.
    fn panicked(&self);

    /// What `/metrics` answers, in the Prometheus text format.
    fn render(&self) -> String;
}

/// An answered request. Every text is from a closed set.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Seen<'a> {
    /// The method; `OTHER` when it is none that is served.
    pub method: &'a str,
    /// The route's template, `/v1/tasks/{id}`; `unmatched` when there is none.
    pub route: &'a str,
    /// The status.
    pub status: u16,
    /// The problem's code, when it was one.
    pub code: Option<ReasonCode>,
    /// How long it took until the answer began.
    pub took: Duration,
}

/// The OpenAPI document of the main listener, as `/openapi.json` serves it.
#[must_use]
pub fn openapi() -> String {
    // Made of strings and numbers: there is nothing in it that JSON could not hold.
    let mut text = routes().into_openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// What every handler shares.
#[derive(Debug)]
pub(in crate::http) struct App {
    broker: Arc<Broker>,
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    times: Times,
    max_body: usize,
    limits: Limits,
    answers: Answers,
    agent_keys: AgentKeys,
    /// One permit for each request under way.
    requests: Arc<Semaphore>,
    /// Permits beyond those, for operators who may revoke.
    reserve: Arc<Semaphore>,
    /// What each principal has under way.
    request_shares: Arc<Shares>,
    /// One permit for each stream.
    streams: Arc<Semaphore>,
    /// How many streams each operator has.
    stream_shares: Arc<Shares>,
    /// Whether the server drains: it is not ready any more, and streams end.
    draining: watch::Sender<bool>,
    openapi: Bytes,
    trust: Arc<Trust>,
    oauth: OAuthOptions,
    desk: Desk,
    /// Proofs that came with token requests.
    issuing_proofs: IssuingProofs,
}

impl App {
    /// Runs `work`, which reads files or takes its time, where it holds up nobody.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let broker = Arc::clone(&self.broker);
        let done = tokio::task::spawn_blocking(move || work(&broker)).await;
        done.map_err(|error| Problem::internal(error.to_string()))
    }
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
fn main_router(app: &Arc<App>) -> Router {
    let (router, _) = routes().split_for_parts();
    let router = router.merge(oauth::below(app.broker.issuer()));
    router.layer(middleware::from_fn_with_state(Arc::clone(app), front::front)).with_state(Arc::clone(app))
}
