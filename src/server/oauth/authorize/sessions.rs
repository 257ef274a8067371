//! Consent pages that are open: each was shown to a person who had signed in, and is sent once.

use std::{fmt, sync::Arc, time::Duration};

use moka::sync::Cache;

use crate::server::{
    oauth::authorize::{away::SignIns, documents::Documents, pending::PendingAuthorization},
    outbound::KeySource,
};
use hallpass_broker::Offer;
use hallpass_core::base::{digest::Digest, ids::AgentId};

/// What the pages need beside the broker.
pub(crate) struct ConsentSessions {
    /// Where clients describe themselves; `None` when that is off.
    pub(super) documents: Option<Documents>,
    /// People who sign in with their identity provider.
    pub(super) sign_ins: SignIns,
    /// Forms of the second page, by the digest of the secret in them.
    pub(super) open: Cache<Digest, Arc<Open>>,
}

/// The second page, as it was shown to a person who had signed in.
pub(super) struct Open {
    pub(super) pending: PendingAuthorization,
    pub(super) offer: Offer,
}

impl ConsentSessions {
    pub(crate) fn new(documents: Option<Documents>) -> Self {
        Self {
            documents,
            sign_ins: SignIns::new(),
            open: Cache::builder()
                .max_capacity(MAX_OPEN)
                .time_to_live(OPEN_FOR)
                .build(),
        }
    }

    /// Whether clients may describe themselves in documents.
    pub(crate) const fn reads_documents(&self) -> bool {
        self.documents.is_some()
    }

    /// The keys that the client `agent` publishes at `jwks_uri`; `None` when clients may not describe themselves.
    pub(crate) fn published_keys(&self, agent: &AgentId, jwks_uri: &str) -> Option<KeySource> {
        let documents = self.documents.as_ref()?;
        Some(documents.published_keys(agent, jwks_uri))
    }

    /// Takes out what the form `secret` stands for: it is sent once, however often it is clicked.
    pub(super) fn take(&self, secret: &str) -> Option<Arc<Open>> {
        let digest = Digest::of(secret.as_bytes());
        // The cache gives nothing that is too old; taking out alone would not look.
        self.open.get(&digest)?;
        self.open.remove(&digest)
    }
}

impl fmt::Debug for ConsentSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsentSessions")
            .field("documents", &self.documents)
            .finish_non_exhaustive()
    }
}

const MAX_OPEN: u64 = 10_000;
const OPEN_FOR: Duration = Duration::from_secs(10 * 60);
