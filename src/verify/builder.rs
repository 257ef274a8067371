//! The verifier's builder.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use quick_cache::sync::Cache;

use crate::{Memory, Verifier, state::State, verifier::ByLength};
use hallpass_core::{
    base::{
        ids::IssuerUri,
        time::{Clock, SystemClock},
        uri::comparable_url,
    },
    possession::{DEFAULT_ROOM, Nonces, ReplayGuard},
    token::{MAX_PASS_BYTES, manifest::Manifest},
};

/// A verifier refuses when its newest frame from the broker is older than this.
pub const DEFAULT_STALENESS_BOUND: Duration = Duration::from_secs(60);

/// Builds a [`Verifier`].
#[derive(Debug)]
pub struct VerifierBuilder {
    issuer: IssuerUri,
    feed_key_pin: String,
    manifest: Manifest,
    staleness_bound: Duration,
    max_evaluation_time: Duration,
    clock: Arc<dyn Clock>,
    memory: Memory,
    cached_signatures: usize,
    endpoints: Vec<String>,
    nonces: Option<Nonces>,
    remembered_proofs: usize,
}

impl Verifier {
    /// Starts to build a verifier for the server that `manifest` describes. It trusts the broker
    /// `issuer`, and only documents signed by the feed key with this JWK thumbprint (RFC 7638), or by a
    /// key that it vouched for.
    #[must_use]
    pub fn builder(
        issuer: IssuerUri,
        feed_key_thumbprint: impl Into<String>,
        manifest: Manifest,
    ) -> VerifierBuilder {
        VerifierBuilder::new(issuer, feed_key_thumbprint.into(), manifest)
    }
}

impl VerifierBuilder {
    fn new(issuer: IssuerUri, feed_key_pin: String, manifest: Manifest) -> Self {
        Self {
            issuer,
            feed_key_pin,
            manifest,
            staleness_bound: DEFAULT_STALENESS_BOUND,
            max_evaluation_time: hallpass_core::token::MAX_EVALUATION_TIME,
            clock: Arc::new(SystemClock::default()),
            memory: Memory::default(),
            cached_signatures: DEFAULT_CACHED_SIGNATURES,
            endpoints: Vec::new(),
            nonces: None,
            remembered_proofs: DEFAULT_ROOM,
        }
    }

    /// Refuse when the newest frame from the broker is older than this; 60 seconds by default.
    #[must_use]
    pub const fn staleness_bound(mut self, bound: Duration) -> Self {
        self.staleness_bound = bound;
        self
    }

    /// Refuse a call whose checks take longer than this; 250 ms by default. The profile already bounds
    /// their cost, so only an overloaded machine reaches this limit, with a valid token.
    #[must_use]
    pub const fn max_evaluation_time(mut self, time: Duration) -> Self {
        self.max_evaluation_time = time;
        self
    }

    /// Reads time from `clock` instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Continues from what an earlier verifier of the same server remembered.
    #[must_use]
    pub fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// The number of verified tokens to cache; 1,024 by default. A token that is longer than a broker
    /// mints, because of its appended blocks, counts several times, in proportion to its length.
    #[must_use]
    pub const fn cached_signatures(mut self, count: usize) -> Self {
        self.cached_signatures = count;
        self
    }

    /// Accepts proofs of possession for `url` as well as for the server's URI: for a server that
    /// clients reach at another address than the one it is registered under. May be given again.
    #[must_use]
    pub fn also_reached_at(mut self, url: impl Into<String>) -> Self {
        self.endpoints.push(url.into());
        self
    }

    /// The number of used proofs of possession to remember in each 65 seconds, at most a quarter of them for
    /// the passes of one agent; 262,144 by default, some 20 MB. When the store is full, proofs are refused.
    #[must_use]
    pub const fn remembered_proofs(mut self, count: usize) -> Self {
        self.remembered_proofs = count;
        self
    }

    /// Requires a nonce of this server in each proof of possession (RFC 9449 section 9): a proof made
    /// in advance is then valid for two minutes at most.
    #[must_use]
    pub fn require_proof_nonce(mut self) -> Self {
        self.nonces = Some(Nonces::generate());
        self
    }

    /// The verifier. It refuses everything until it has accepted a frame.
    #[must_use]
    pub fn build(self) -> Verifier {
        let endpoints = self
            .endpoints
            .iter()
            .map(String::as_str)
            .chain([self.manifest.server.as_str()]);
        let endpoints = endpoints.filter_map(comparable_url).collect();
        Verifier {
            issuer: self.issuer,
            server: self.manifest.server.clone(),
            feed_key_pin: self.feed_key_pin,
            staleness_bound: self.staleness_bound,
            max_evaluation_time: self.max_evaluation_time,
            clock: self.clock,
            state: RwLock::new(State::new(self.manifest, self.memory)),
            endpoints,
            nonces: self.nonces,
            proofs: ReplayGuard::new(self.remembered_proofs),
            signatures: Cache::with_weighter(
                self.cached_signatures,
                u64::try_from(self.cached_signatures.saturating_mul(MAX_PASS_BYTES))
                    .unwrap_or(u64::MAX),
                ByLength,
            ),
        }
    }
}

const DEFAULT_CACHED_SIGNATURES: usize = 1024;
