//! Floor 5: the broker over HTTP. JSON in and out, strict; no cookie, and no browser but at the OAuth
//! door.
//!
//! [`Server::bind`] takes two listeners: the main one serves `/v1`, the OAuth door (`/oauth`, `/.well-known`) and
//! `/openapi.json`, the other, for whoever runs the broker, health and metrics. Nothing here decides anything: routes read a
//! request strictly, ask the [`Broker`] and write down what it said. One list of routes makes the
//! router and the OpenAPI document, so that neither knows one that the other does not.

mod api;
pub mod config;
mod edge;
mod listen;
mod middleware;
pub mod oauth;
pub mod outbound;
mod routes;
pub mod telemetry;

use std::{fmt, sync::Arc, time::Duration};

use axum::{body::Bytes, http::HeaderMap};
use tokio::sync::{Semaphore, watch};

use crate::server::{
    api::auth::AgentKeys,
    edge::{idempotency::Answers, limit::Limits, problem::Problem, share::Shares},
    oauth::authorize::Desk,
    outbound::Trust,
};
pub use crate::server::{
    edge::{
        limit::Rates,
        times::Times,
        tls::{TlsError, TlsFiles},
    },
    listen::{Listeners, Options, ServeError, Server},
    oauth::OAuthOptions,
    routes::openapi,
};
use hallpass_broker::{Broker, domain::event::Subject};
use hallpass_core::{
    base::{ReasonCode, time::Clock},
    possession::IssuingProofs,
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

/// What every handler shares.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) broker: Arc<Broker>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) times: Times,
    pub(crate) max_body: usize,
    pub(crate) limits: Limits,
    pub(crate) answers: Answers,
    pub(crate) agent_keys: AgentKeys,
    /// One permit for each request under way.
    pub(crate) requests: Arc<Semaphore>,
    /// Permits beyond those, for operators who may revoke.
    pub(crate) reserve: Arc<Semaphore>,
    /// What each principal has under way.
    pub(crate) request_shares: Arc<Shares>,
    /// One permit for each stream.
    pub(crate) streams: Arc<Semaphore>,
    /// How many streams each operator has.
    pub(crate) stream_shares: Arc<Shares>,
    /// Whether the server drains: it is not ready any more, and streams end.
    pub(crate) draining: watch::Sender<bool>,
    pub(crate) openapi: Bytes,
    pub(crate) trust: Arc<Trust>,
    pub(crate) oauth: OAuthOptions,
    pub(crate) desk: Desk,
    /// Proofs that came with token requests.
    pub(crate) issuing_proofs: IssuingProofs,
}

impl App {
    /// Runs `work`, which reads files or takes its time, where it holds up nobody.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let broker = Arc::clone(&self.broker);
        let done = tokio::task::spawn_blocking(move || work(&broker)).await;
        done.map_err(|error| Problem::internal(error.to_string()))
    }
}
