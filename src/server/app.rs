//! The state that all handlers share.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{Semaphore, watch};

use crate::server::{
    agent_keys::AgentKeys,
    edge::{
        answers::Answers, connections::Places, limit::Limits, per_principal_limit::Shares,
        problem::Problem, times::Times,
    },
    oauth::{OAuthOptions, authorize::ConsentSessions},
    observer::Observer,
    outbound::Trust,
};
use hallpass_broker::Broker;
use hallpass_core::{base::time::Clock, possession::IssuingProofs};

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
    /// The connections to the main listener.
    pub(crate) places: Arc<Places>,
    /// One permit for each request under way.
    pub(crate) requests: Arc<Semaphore>,
    /// Permits beyond those, for operators who may revoke.
    pub(crate) reserve: Arc<Semaphore>,
    /// What each network has under way before it is known who asks.
    pub(crate) network_shares: Arc<Shares>,
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
    /// Consent pages that are open.
    pub(crate) consents: ConsentSessions,
    /// Proofs that came with token requests.
    pub(crate) issuing_proofs: IssuingProofs,
}

impl App {
    /// Runs `work`, which reads files or takes its time, on a thread of its own.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Broker) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let broker = Arc::clone(&self.broker);
        let done = tokio::task::spawn_blocking(move || work(&broker)).await;
        done.map_err(|error| Problem::internal(error.to_string()))
    }
}
