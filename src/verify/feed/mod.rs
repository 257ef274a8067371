//! The feed client: keeps a [`Verifier`] current with its broker, the only I/O of this floor.
//!
//! It learns the feed keys from the broker's key document, subscribes to the stream of frames for
//! the verifier's server, hands every frame to [`Verifier::accept_frame`], and reconnects after
//! every error. It decides nothing: the verifier decides which frames are accepted and when they are stale.
//!
//! ```no_run
//! # use std::{path::Path, sync::Arc, time::Duration};
//! # use hallpass_verify::{IssuerUri, Manifest, Verifier, feed::{self, FeedClient}};
//! # async fn start(issuer: IssuerUri, manifest: Manifest, token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let state_file = Path::new("/var/lib/ledger/hallpass-feed.json");
//! let memory = feed::load_memory(state_file, &issuer, &manifest.server)?;
//! let verifier = Verifier::builder(issuer, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", manifest).memory(memory);
//! let verifier = Arc::new(verifier.build());
//! let client = FeedClient::builder(Arc::clone(&verifier), "https://broker.example", token);
//! let feed = client.state_file(state_file).build()?.spawn();
//! tokio::time::timeout(Duration::from_secs(10), feed.ready()).await??;
//! # Ok(())
//! # }
//! ```
//!
//! [`FeedClient::reports`] sends what the verifier decided to the broker, for its chain of decisions.

mod error;
mod handle;
mod link;
mod reports;
mod state_file;
mod waits;

use std::{
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use backon::ExponentialBackoff;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use zeroize::Zeroizing;

pub use crate::feed::{
    error::FeedError,
    handle::{FeedHandle, FeedStatus, FeedStopped},
    reports::{Reports, ReportsBuilder, ReportsStatus, ReportsStopped, SpoolError},
    state_file::{StateFileError, load_memory},
};
use crate::{
    FrameError, Memory, Verifier,
    feed::{
        handle::Progress,
        link::{Failure, Link},
        state_file::StateFile,
        waits::{LASTING_WAIT, MAX_STEP, waits},
    },
};
use hallpass_core::base::{
    ids::IssuerUri,
    time::{Clock as _, SystemClock},
};

/// Follows one broker's feed for one [`Verifier`]. Nothing happens before [`FeedClient::spawn`].
pub struct FeedClient {
    verifier: Arc<Verifier>,
    link: Arc<Link>,
    state_file: Option<StateFile>,
}

impl FeedClient {
    /// Starts to build a client for `verifier`. `broker` is where the broker answers, such as
    /// `https://broker.example`; `token` is the secret that the broker issued to this server's verifier.
    #[must_use]
    pub fn builder(verifier: Arc<Verifier>, broker: &str, token: &str) -> FeedClientBuilder {
        FeedClientBuilder {
            verifier,
            broker: broker.to_owned(),
            token: Zeroizing::new(token.to_owned()),
            root_certificate: None,
            state_file: None,
            idle_timeout: IDLE_TIMEOUT,
        }
    }

    /// Starts to build the reporter that sends every decision to the broker, with the same credentials.
    /// Unsent reports are stored in the directory `spool`.
    #[must_use]
    pub fn reports(&self, spool: impl AsRef<Path>) -> ReportsBuilder {
        ReportsBuilder::new(
            (Arc::clone(&self.verifier), Arc::clone(&self.link)),
            spool.as_ref().to_owned(),
        )
    }

    /// Starts to follow the feed on a new task, until the handle is dropped.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    #[must_use = "dropping the handle stops the client"]
    pub fn spawn(self) -> FeedHandle {
        let clock = Arc::new(SystemClock::default());
        let (progress, seen) = watch::channel(Progress::default());
        let (memory, memories) = watch::channel(self.verifier.memory());
        let writer = self
            .state_file
            .map(|file| tokio::spawn(file.keep(memories, progress.clone())));
        let follower = Follower {
            verifier: Arc::clone(&self.verifier),
            link: self.link,
            clock: Arc::clone(&clock),
            progress,
            memory,
            needs_keys: true,
            has_snapshot: false,
            was_ready: false,
            waits: waits(),
        };
        FeedHandle::new(
            (self.verifier, clock),
            seen,
            tokio::spawn(follower.run()),
            writer,
        )
    }
}

impl fmt::Debug for FeedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedClient")
            .field("verifier", &self.verifier)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

/// Builds a [`FeedClient`].
pub struct FeedClientBuilder {
    verifier: Arc<Verifier>,
    broker: String,
    token: Zeroizing<String>,
    root_certificate: Option<Vec<u8>>,
    state_file: Option<PathBuf>,
    idle_timeout: Duration,
}

impl FeedClientBuilder {
    /// Trusts the certificate authorities in this PEM bundle instead of the machine's: for a
    /// broker whose certificate a private authority signed.
    #[must_use]
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root_certificate = Some(pem.into());
        self
    }

    /// Stores the verifier's memory in this file, so that no older frame is accepted after a
    /// restart. Build the verifier with what [`load_memory`] reads from it.
    ///
    /// The file is replaced whole and is readable by its owner only. One verifier, one file.
    #[must_use]
    pub fn state_file(mut self, path: impl AsRef<Path>) -> Self {
        self.state_file = Some(path.as_ref().to_owned());
        self
    }

    /// Reconnects when the broker has sent no frame for this long; 15 seconds by default, three
    /// heartbeats.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The client. Reads and writes the state file once.
    ///
    /// # Errors
    ///
    /// When the broker's address is not https (http only on loopback) in canonical form, the token
    /// cannot be sent, the certificates cannot be read, the state file is damaged, belongs to another
    /// verifier or cannot be written, or the verifier was built without what the file remembers.
    pub fn build(self) -> Result<FeedClient, FeedError> {
        // The shape of an issuer's URI is what a broker's address needs: no user, no query, no plain http.
        let broker: IssuerUri = self.broker.parse()?;
        let ends = (&broker, self.verifier.server());
        let link = Link::new(
            ends,
            &self.token,
            self.root_certificate.as_deref(),
            self.idle_timeout,
        )?;
        let state_file = self
            .state_file
            .map(|path| StateFile::open(path, &self.verifier))
            .transpose()?;
        Ok(FeedClient {
            verifier: self.verifier,
            link: Arc::new(link),
            state_file,
        })
    }
}

impl fmt::Debug for FeedClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedClientBuilder")
            .field("verifier", &self.verifier)
            .finish_non_exhaustive()
    }
}

/// The task that follows the feed.
struct Follower {
    verifier: Arc<Verifier>,
    link: Arc<Link>,
    clock: Arc<SystemClock>,
    progress: watch::Sender<Progress>,
    memory: watch::Sender<Memory>,
    /// The key document is to be read before the next subscription.
    needs_keys: bool,
    /// A delta can be applied to what the verifier holds.
    has_snapshot: bool,
    was_ready: bool,
    waits: ExponentialBackoff,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let Err(failure) = self.follow().await;
            let wait = self.wait_after(&failure);
            self.note(&failure);
            tokio::time::sleep(wait).await;
        }
    }

    /// One connection: keys when needed, then frames until an error.
    async fn follow(&mut self) -> Result<Infallible, Failure> {
        if self.needs_keys {
            let document = self.link.key_document().await?;
            self.verifier
                .accept_key_document(&document.into())
                .map_err(Failure::KeyDocument)?;
            self.needs_keys = false;
        }
        let since = self.has_snapshot.then(|| self.verifier.memory().sequence);
        let mut frames = self.link.subscribe(since).await?;
        info!(server = %self.verifier.server(), since, "feed: connected to the broker");
        self.progress
            .send_modify(|progress| progress.connected = true);
        loop {
            let frame = frames.next().await?;
            self.take(&frame)?;
        }
    }

    fn take(&mut self, frame: &str) -> Result<(), Failure> {
        if let Err(error) = self.verifier.accept_frame(frame) {
            match error {
                FrameError::Gap { .. } => self.has_snapshot = false,
                // The feed key may have been rotated meanwhile: its successor is in the key document.
                FrameError::Signature => self.needs_keys = true,
                FrameError::Address
                | FrameError::Older { .. }
                | FrameError::Unreadable { .. }
                | FrameError::Format { .. }
                | FrameError::Critical { .. } => {}
            }
            return Err(Failure::Frame(error));
        }
        self.has_snapshot = true;
        self.waits = waits();
        self.memory.send_replace(self.verifier.memory());
        let now = self.clock.monotonic();
        self.progress.send_modify(|progress| progress.frame(now));
        if !self.was_ready && self.verifier.is_ready() {
            self.was_ready = true;
            info!(server = %self.verifier.server(), "feed: the verifier is current");
        }
        Ok(())
    }

    fn wait_after(&mut self, failure: &Failure) -> Duration {
        if failure.is_lasting() {
            LASTING_WAIT
        } else {
            self.waits.next().unwrap_or(MAX_STEP)
        }
    }

    /// Logs a failure and publishes it.
    fn note(&mut self, failure: &Failure) {
        let server = self.verifier.server();
        let text = failure.to_string();
        let is_news = self.progress.borrow().last_error.as_deref() != Some(text.as_str());
        match failure {
            _ if failure.is_lasting() => error!(%server, "feed: {text}"),
            Failure::Frame(_) | Failure::KeyDocument(_) => {
                warn!(%server, "feed: refused a document: {text}")
            }
            // An outage is logged once, not for each attempt.
            _ if is_news => warn!(%server, "feed: {text}; retrying"),
            _ => debug!(%server, "feed: {text}"),
        }
        if self.was_ready && !self.verifier.is_ready() {
            self.was_ready = false;
            error!(%server, "feed: the newest frame from the broker is too old; every call is refused until a new one arrives");
        }
        self.progress.send_modify(|progress| progress.failure(text));
    }
}

/// Three heartbeats of the broker.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
