//! People who are away at their identity provider, until they come back.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::server::edge::problem::Problem;
use hallpass_broker::OneTimeSecret;
use hallpass_core::base::digest::Digest;

/// People who are at their identity provider.
pub(super) struct SignIns {
    /// By the digest of `state`.
    away: Cache<Digest, Arc<Away>>,
    /// For requests to providers.
    places: Semaphore,
}

/// A person who was sent to an identity provider.
pub(super) struct Away {
    /// The authorization request that is to be decided.
    pub(super) request: String,
    pub(super) issuer: String,
    pub(super) nonce: OneTimeSecret,
    pub(super) verifier: OneTimeSecret,
    /// Of the secret in the browser's cookie.
    pub(super) browser: Digest,
}

impl SignIns {
    pub(super) fn new() -> Self {
        Self {
            away: Cache::builder()
                .max_capacity(MAX_AWAY)
                .time_to_live(AWAY_FOR)
                .build(),
            places: Semaphore::new(MAX_REQUESTS),
        }
    }

    /// Takes out who was sent away with this `state`: it is good once.
    pub(super) fn take(&self, state: &str) -> Option<Arc<Away>> {
        let digest = Digest::of(state.as_bytes());
        // The cache gives nothing that is too old; taking out alone would not look.
        self.away.get(&digest)?;
        self.away.remove(&digest)
    }

    /// Remembers who is sent away with this `state`.
    pub(super) fn remember(&self, state: &OneTimeSecret, away: Away) {
        self.away.insert(state.digest(), Arc::new(away));
    }

    /// A place for one request to a provider.
    ///
    /// # Errors
    ///
    /// 503 when none is left.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let place = self.places.try_acquire();
        place.map_err(|_| {
            Problem::unavailable("too many people sign in at once", "no place is left")
        })
    }
}

const MAX_AWAY: u64 = 10_000;
/// People who take longer start again.
pub(super) const AWAY_FOR: Duration = Duration::from_secs(10 * 60);
const MAX_REQUESTS: usize = 32;
