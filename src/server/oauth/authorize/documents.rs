//! Client metadata documents, fetched when a client asks and kept as long as their servers let them be, and the keys
//! that clients publish beside them, fetched when a client authenticates.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use tokio::sync::Semaphore;

use crate::server::{
    edge::{limit::network, per_principal_limit::Shares},
    oauth::grammar::client_document::{ClientMetadata, MAX_DOCUMENT_BYTES, MetadataError},
    outbound::{FetchError, Fetcher, KeySource},
};
use hallpass_core::base::{client_url::ClientUrl, ids::AgentId, time::Clock};

/// The documents, by their URL.
pub(crate) struct Documents {
    fetcher: Arc<Fetcher>,
    /// Until when, by the monotonic clock.
    kept: Cache<ClientUrl, (Arc<ClientMetadata>, Duration)>,
    /// How often one host is asked: any visitor can make this broker ask.
    hosts: DefaultKeyedRateLimiter<String>,
    /// For fetches at once.
    places: Semaphore,
    /// How many of those each network has.
    shares: Arc<Shares>,
    /// Where clients publish their keys, by client and `jwks_uri`; each asks as seldom as for an issuer.
    keys: Cache<(AgentId, Box<str>), KeySource>,
    clock: Arc<dyn Clock>,
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("too much is asked for: of its host, by this network, or by all")]
    TooOften,
}

impl Documents {
    pub(crate) fn new(fetcher: Arc<Fetcher>, clock: Arc<dyn Clock>) -> Self {
        let hosts = RateLimiter::keyed(Quota::per_second(A_SECOND).allow_burst(AT_ONCE));
        let (places, shares) = (Semaphore::new(MAX_FETCHES), Shares::eighths(MAX_FETCHES));
        Self {
            fetcher,
            kept: Cache::new(MAX_KEPT),
            hosts,
            places,
            shares,
            keys: Cache::new(MAX_KEPT),
            clock,
        }
    }

    /// The keys that the client `agent`, to which a person consented, publishes at `jwks_uri`.
    pub(super) fn published_keys(&self, agent: &AgentId, jwks_uri: &str) -> KeySource {
        let source = || {
            let (fetcher, clock) = (Arc::clone(&self.fetcher), Arc::clone(&self.clock));
            KeySource::new((agent.as_str(), Some(jwks_uri)), fetcher, clock)
        };
        self.keys.get_with((agent.clone(), jwks_uri.into()), source)
    }

    /// What the client at `url` says of itself, for a request from `peer` at `now`.
    ///
    /// Only what was fetched and is sound is kept: a server that fails for a moment does not take its
    /// client with it, and no one can replace a document by an error.
    pub(super) async fn metadata(
        &self,
        url: &ClientUrl,
        (peer, now): (IpAddr, Duration),
    ) -> Result<Arc<ClientMetadata>, DocumentError> {
        if let Some((metadata, until)) = self.kept.get(url)
            && now < until
        {
            return Ok(metadata);
        }
        // SECURITY: strangers name hosts that never answer; they may fill these places and no more of the broker,
        // and those of one network not all of them.
        let _share = self
            .shares
            .take(&network(peer).to_string())
            .ok_or(DocumentError::TooOften)?;
        // Of all its ports: there are enough of them to make one host be asked without end.
        let host = url.host().split(':').next().unwrap_or_default().to_owned();
        // Full of hosts that were asked a moment ago: a flood.
        if self.hosts.len() >= MAX_HOSTS || self.hosts.check_key(&host).is_err() {
            self.hosts.retain_recent();
            return Err(DocumentError::TooOften);
        }
        let _place = self
            .places
            .try_acquire()
            .map_err(|_| DocumentError::TooOften)?;
        let fetched = self.fetcher.json(url.as_str(), MAX_DOCUMENT_BYTES).await?;
        let metadata = Arc::new(ClientMetadata::of_document(url, &fetched.json)?);
        for key in &metadata.left_out {
            tracing::info!(client = %url, key = %key, "a key of a client metadata document cannot be used, and is left out");
        }
        let keep_for = fetched
            .fresh_for
            .unwrap_or(USUALLY_FRESH)
            .min(LONGEST_FRESH);
        self.kept.insert(
            url.clone(),
            (Arc::clone(&metadata), now.saturating_add(keep_for)),
        );
        Ok(metadata)
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Documents")
    }
}

const MAX_FETCHES: usize = 16;
const MAX_KEPT: u64 = 1000;
const MAX_HOSTS: usize = 10_000;
const A_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(2).unwrap();
const AT_ONCE: std::num::NonZeroU32 = std::num::NonZeroU32::new(20).unwrap();

/// What a document is kept for whose server does not say.
const USUALLY_FRESH: Duration = Duration::from_secs(300);

/// Redirect URIs that were taken out of a document must not count for longer.
const LONGEST_FRESH: Duration = Duration::from_secs(24 * 3600);
