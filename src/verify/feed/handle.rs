//! The handle of a running feed client.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinHandle};

use crate::Verifier;
use hallpass_core::base::time::{Clock as _, SystemClock};

/// A running feed client. Dropping it stops the client; the verifier then refuses everything once
/// its staleness bound has passed.
pub struct FeedHandle {
    verifier: Arc<Verifier>,
    clock: Arc<SystemClock>,
    progress: watch::Receiver<Progress>,
    follower: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl FeedHandle {
    pub(super) fn new(
        (verifier, clock): (Arc<Verifier>, Arc<SystemClock>),
        progress: watch::Receiver<Progress>,
        follower: JoinHandle<()>,
        writer: Option<JoinHandle<()>>,
    ) -> Self {
        Self {
            verifier,
            clock,
            progress,
            follower,
            writer,
        }
    }

    /// Waits until the verifier is current, for as long as it takes: put a timeout around it.
    ///
    /// # Errors
    ///
    /// When the client has stopped, which happens only by a defect or with its runtime.
    pub async fn ready(&self) -> Result<(), FeedStopped> {
        self.wait_for(|status| status.ready).await.map(drop)
    }

    /// Waits until the client's status meets `condition`, which is checked at every change.
    ///
    /// # Errors
    ///
    /// When the client has stopped before that.
    pub async fn wait_for(
        &self,
        condition: impl Fn(&FeedStatus) -> bool,
    ) -> Result<FeedStatus, FeedStopped> {
        let mut progress = self.progress.clone();
        loop {
            let status = self.status_of(&progress.borrow_and_update());
            if condition(&status) {
                return Ok(status);
            }
            progress.changed().await.map_err(|_| FeedStopped)?;
        }
    }

    /// The current status.
    #[must_use]
    pub fn status(&self) -> FeedStatus {
        self.status_of(&self.progress.borrow())
    }

    /// Stops the client and waits until the state file holds the newest accepted state.
    pub async fn shutdown(mut self) {
        self.follower.abort();
        // The only error is the cancellation just asked for, or a panic that tokio has reported.
        let _cancelled = (&mut self.follower).await;
        if let Some(writer) = self.writer.take() {
            let _ended = writer.await;
        }
    }

    fn status_of(&self, progress: &Progress) -> FeedStatus {
        FeedStatus {
            ready: self.verifier.is_ready(),
            connected: progress.connected && !self.follower.is_finished(),
            frames: progress.frames,
            failures: progress.failures,
            since_last_frame: progress
                .last_frame
                .map(|at| self.clock.monotonic().saturating_sub(at)),
            last_error: progress.last_error.clone(),
            state_file_error: progress.state_file_error.clone(),
        }
    }
}

impl Drop for FeedHandle {
    fn drop(&mut self) {
        // The writer ends once the follower has ended, after it has written the newest state.
        self.follower.abort();
    }
}

impl fmt::Debug for FeedHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedHandle")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// How a feed client is doing, for health checks and metrics. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStatus {
    /// Whether the verifier is current. Otherwise it refuses everything.
    pub ready: bool,
    /// Whether the stream from the broker is open.
    pub connected: bool,
    /// The number of accepted frames.
    pub frames: u64,
    /// The number of connections and attempts that ended in an error.
    pub failures: u64,
    /// Monotonic time since the last frame was accepted; `None` before the first.
    pub since_last_frame: Option<Duration>,
    /// The last error; `None` once a frame was accepted after it.
    pub last_error: Option<String>,
    /// The last error of writing the state file; `None` once a write succeeded.
    pub state_file_error: Option<String>,
}

/// The feed client has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the feed client has stopped: start a new one")]
#[expect(clippy::exhaustive_structs, reason = "the error carries no data")]
pub struct FeedStopped;

/// The state that the client's tasks share with the handle.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) connected: bool,
    pub(super) last_error: Option<String>,
    pub(super) state_file_error: Option<String>,
    frames: u64,
    failures: u64,
    last_frame: Option<Duration>,
}

impl Progress {
    pub(super) fn frame(&mut self, at: Duration) {
        self.frames = self.frames.saturating_add(1);
        self.last_frame = Some(at);
        self.last_error = None;
    }

    pub(super) fn failure(&mut self, text: String) {
        self.connected = false;
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(text);
    }
}
