//! Keys of an issuer or a client: fetched when they are needed, kept while they are fresh, and never asked for in a storm.
//!
//! The sender of a JWT decides which key it names. So an unknown key makes the set be fetched again,
//! at most once in [`COOL_DOWN`], by one fetch that all who wait share, and that ends even when they go away.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::server::outbound::{
    FetchError, Fetcher,
    discovery::{DiscoveryError, MAX_DOCUMENT_BYTES, discover},
};
use hallpass_broker::identity::{JwkError, issuer::KeySet};
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::time::Clock;

/// The keys of one issuer, or of one client, which is the issuer of its assertions.
#[derive(Debug, Clone)]
pub struct KeySource(Arc<Source>);

#[derive(Debug)]
struct Source {
    issuer: Box<str>,
    jwks_uri: Option<Box<str>>,
    fetcher: Arc<Fetcher>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

/// Times are those of the monotonic clock.
#[derive(Debug, Default)]
struct Held {
    keys: Option<(Arc<KeySet>, Duration)>,
    /// Not fetched again before.
    rests_until: Duration,
    /// Closed when the fetch that is under way has ended, in whatever way.
    under_way: Option<watch::Receiver<()>>,
}

enum Look {
    Found(Arc<KeySet>),
    Wait(watch::Receiver<()>),
    Missing(KeyError),
}

impl KeySource {
    /// The keys of `issuer`, at `jwks_uri` or where its discovery document says.
    #[must_use]
    pub fn new(
        (issuer, jwks_uri): (&str, Option<&str>),
        fetcher: impl Into<Arc<Fetcher>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (issuer, jwks_uri) = (issuer.into(), jwks_uri.map(Into::into));
        let fetcher = fetcher.into();
        Self(Arc::new(Source {
            issuer,
            jwks_uri,
            fetcher,
            clock,
            held: Mutex::default(),
        }))
    }

    /// The issuer's keys, among them `kid`.
    ///
    /// Those that were fetched up to [`FRESH_FOR`] ago are given at once. Older ones are given, up to
    /// [`KEPT_FOR`], only when newer ones were asked for in vain: an issuer that is down stops no one for that
    /// long, and one that is up is believed about the keys that it withdrew.
    ///
    /// # Errors
    ///
    /// When the issuer does not have the key as far as is known, or its keys cannot be had.
    pub async fn keys(&self, kid: Option<&str>) -> Result<Arc<KeySet>, KeyError> {
        match self.look(kid) {
            Look::Found(keys) => Ok(keys),
            Look::Missing(error) => Err(error),
            Look::Wait(mut under_way) => {
                // Nothing is ever sent: this returns when the fetch has ended.
                let _ = under_way.changed().await;
                match self.look(kid) {
                    Look::Found(keys) => Ok(keys),
                    Look::Missing(error) => Err(error),
                    Look::Wait(_) => Err(KeyError::Unavailable),
                }
            }
        }
    }

    fn look(&self, kid: Option<&str>) -> Look {
        let now = self.0.clock.monotonic();
        let mut held = self.0.held();
        let age = |since: Duration| now.saturating_sub(since);
        held.keys.take_if(|(_, since)| age(*since) > KEPT_FOR);
        held.under_way
            .take_if(|under_way| under_way.has_changed().is_err());
        let known = held
            .keys
            .as_ref()
            .filter(|(keys, _)| kid.is_none_or(|kid| keys.has(kid)))
            .cloned();
        let is_fresh = known
            .as_ref()
            .is_some_and(|(_, since)| age(*since) <= FRESH_FOR);
        if !is_fresh && held.under_way.is_none() && now >= held.rests_until {
            held.rests_until = now.saturating_add(COOL_DOWN);
            held.under_way = Some(self.fetch());
        }
        match (known, &held.under_way) {
            (Some((keys, _)), _) if is_fresh => Look::Found(keys),
            (_, Some(under_way)) => Look::Wait(under_way.clone()),
            (Some((keys, _)), None) => Look::Found(keys),
            (None, None) => Look::Missing(match (&held.keys, kid) {
                (None, _) => KeyError::Unavailable,
                (Some((keys, _)), Some(kid)) => keys
                    .why_left_out(kid)
                    .map_or(KeyError::Unknown, KeyError::Unusable),
                (Some(_), None) => KeyError::Unknown,
            }),
        }
    }

    /// SECURITY: on a task of its own, so that who makes requests and hangs up cannot use up every turn.
    fn fetch(&self) -> watch::Receiver<()> {
        let (done, under_way) = watch::channel(());
        let source = Arc::clone(&self.0);
        tokio::spawn(async move {
            let result = source.fetched().await;
            let now = source.clock.monotonic();
            let mut held = source.held();
            match result {
                Ok(keys) => {
                    source.log_left_out(&keys);
                    held.keys = Some((Arc::new(keys), now));
                }
                Err(error) => {
                    held.rests_until = now.saturating_add(RETRY_AFTER);
                    tracing::warn!(issuer = %source.issuer, %error, "the keys of an issuer cannot be had");
                }
            }
            held.under_way = None;
            drop(held);
            drop(done);
        });
        under_way
    }
}

impl Source {
    async fn fetched(&self) -> Result<KeySet, SourceError> {
        let discovered;
        let jwks_uri = match &self.jwks_uri {
            Some(uri) => uri,
            None => {
                discovered = self.discovered().await?;
                &discovered
            }
        };
        let fetched = self.fetcher.json(jwks_uri, MAX_DOCUMENT_BYTES).await;
        let fetched = fetched.map_err(SourceError::Fetch)?;
        KeySet::from_json(&fetched.json).map_err(|_| SourceError::KeySet)
    }

    /// What is seen nowhere else, and asked for when a JWT is refused.
    fn log_left_out(&self, keys: &KeySet) {
        for key in keys.left_out() {
            tracing::info!(issuer = %self.issuer, key = %key, "a key of an issuer cannot be used, and is left out");
        }
    }

    async fn discovered(&self) -> Result<Box<str>, SourceError> {
        let document = discover(&self.fetcher, &self.issuer).await?;
        let uri = document.get("jwks_uri").and_then(Value::as_str);
        uri.map(Into::into).ok_or(SourceError::NoKeys)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.locked()
    }
}

/// Why keys are not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The issuer has no such key, as far as is known.
    #[error("the issuer has no such key, or published it since it was last asked")]
    Unknown,
    /// The issuer has the key, which is none that can be used here.
    #[error("the issuer has it, and it cannot be used: {0}")]
    Unusable(JwkError),
    /// The issuer's keys could not be fetched.
    #[error("the issuer's keys cannot be had now")]
    Unavailable,
}

/// Why a fetch was in vain: for the log.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("its key set {0}")]
    Fetch(FetchError),
    #[error("its discovery document names no `jwks_uri`")]
    NoKeys,
    #[error("its key set is not a JWK set")]
    KeySet,
}

/// Keys are not asked for again so soon after they were had.
pub const COOL_DOWN: Duration = Duration::from_secs(60);

/// Nor so soon after they could not be had.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Keys this old are asked for again.
pub const FRESH_FOR: Duration = Duration::from_secs(300);

/// Keys older than this are not used, even when there are no newer ones.
pub const KEPT_FOR: Duration = Duration::from_secs(3600);
