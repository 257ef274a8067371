//! How a verifier is set up.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use quick_cache::sync::Cache;

use super::{
    state::{Memory, State},
    verifier::Verifier,
};
use crate::{
    base::{
        ids::IssuerUri,
        time::{Clock, SystemClock},
    },
    token::manifest::Manifest,
};

/// A verifier refuses when its newest word from the broker is older than this.
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
}

impl VerifierBuilder {
    pub(super) fn new(issuer: IssuerUri, feed_key_pin: String, manifest: Manifest) -> Self {
        Self {
            issuer,
            feed_key_pin,
            manifest,
            staleness_bound: DEFAULT_STALENESS_BOUND,
            max_evaluation_time: crate::token::MAX_EVALUATION_TIME,
            clock: Arc::new(SystemClock::default()),
            memory: Memory::default(),
            cached_signatures: DEFAULT_CACHED_SIGNATURES,
        }
    }

    /// Refuse when the newest word from the broker is older than this; 60 seconds by default.
    #[must_use]
    pub const fn staleness_bound(mut self, bound: Duration) -> Self {
        self.staleness_bound = bound;
        self
    }

    /// Refuse a call whose checks take longer than this; 250 ms by default. The profile bounds what
    /// they cost, so this is for a machine that has no time: the token may be good.
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

    /// How many checked tokens are remembered; 1,024 by default.
    #[must_use]
    pub const fn cached_signatures(mut self, count: usize) -> Self {
        self.cached_signatures = count;
        self
    }

    /// The verifier. It refuses everything until it has accepted a frame.
    #[must_use]
    pub fn build(self) -> Verifier {
        Verifier {
            issuer: self.issuer,
            server: self.manifest.server.clone(),
            feed_key_pin: self.feed_key_pin,
            staleness_bound: self.staleness_bound,
            max_evaluation_time: self.max_evaluation_time,
            clock: self.clock,
            state: RwLock::new(State::new(self.manifest, self.memory)),
            signatures: Cache::new(self.cached_signatures),
        }
    }
}

const DEFAULT_CACHED_SIGNATURES: usize = 1024;
