//! Decision reports on their way to the broker.
//!
//! [`Reports`] is a [`ReportSink`]: what it is told goes into a bounded queue, from there as batches into
//! a bounded spool on disk, and from there to the broker, each batch until the broker has taken it.
//! Neither the broker nor the disk can hold up a call: when the queue or the spool is full, or the disk
//! fails, the newest reports are dropped, and the broker is told how many and from when to when, so
//! that the chain of decisions shows the gap.

mod batch;
mod losses;
mod sender;
mod shared;
mod spool;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
};

pub use crate::feed::reports::{shared::ReportsStatus, spool::SpoolError};
use crate::{
    ReportSink, Verifier,
    feed::{
        link::Link,
        reports::{
            batch::Batch,
            losses::Losses,
            sender::Sender,
            shared::Shared,
            spool::{Left, Spool, Unspooled},
        },
    },
};
use hallpass_core::wire::report::{CallReport, Report};

/// Builds [`Reports`].
pub struct ReportsBuilder {
    verifier: Arc<Verifier>,
    link: Arc<Link>,
    dir: PathBuf,
    max_bytes: u64,
}

impl ReportsBuilder {
    pub(super) fn new((verifier, link): (Arc<Verifier>, Arc<Link>), dir: PathBuf) -> Self {
        Self {
            verifier,
            link,
            dir,
            max_bytes: DEFAULT_MAX_SPOOL_BYTES,
        }
    }

    /// Keeps at most `bytes` on disk for a broker that cannot be reached; 64 MiB by default.
    #[must_use]
    pub const fn max_spool_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Opens the spool, and starts to send what it holds and what is reported from now on.
    ///
    /// # Errors
    ///
    /// When the spool is in use or cannot be read or written.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, as [`tokio::spawn`] does.
    pub fn spawn(self) -> Result<Reports, SpoolError> {
        let server = self.verifier.server().clone();
        let (spool, left) =
            Spool::open(&self.dir, (self.verifier.issuer(), &server), self.max_bytes)?;
        let (progress, seen) = watch::channel(ReportsStatus {
            waiting_bytes: spool.waiting(),
            ..ReportsStatus::default()
        });
        let shared = Arc::new(Shared {
            server,
            spool: Mutex::new(spool),
            losses: Arc::default(),
            progress,
            spooled: Notify::new(),
            freed: Notify::new(),
        });
        if let Left::Abruptly(at) = left {
            shared.losses.add_unknown(at, self.verifier.now());
            shared.freed.notify_one();
        }
        let (inlet, inbox) = mpsc::channel(QUEUE);
        let (closing, closed) = watch::channel(false);
        let losses = Arc::clone(&shared.losses);
        let keeper = tokio::spawn(
            Keeper {
                inbox,
                closed,
                shared: Arc::clone(&shared),
            }
            .run(),
        );
        let worker = tokio::spawn(Sender::new(self.link, shared).run(keeper));
        Ok(Reports {
            inlet,
            closing,
            losses,
            seen,
            worker: tokio::sync::Mutex::new(Some(worker)),
        })
    }
}

impl fmt::Debug for ReportsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportsBuilder")
            .field("verifier", &self.verifier)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Tells the broker of decisions; shared behind an [`Arc`].
///
/// What it was told up to a second ago is on disk and outlives the process. Call
/// [`shutdown`](Self::shutdown) before the process ends: the last second would be lost otherwise, which the
/// next start reports as a gap.
pub struct Reports {
    inlet: mpsc::Sender<CallReport>,
    closing: watch::Sender<bool>,
    losses: Arc<Losses>,
    seen: watch::Receiver<ReportsStatus>,
    worker: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl ReportSink for Reports {
    /// Never waits: a report for which the queue has no room is counted as lost.
    fn report(&self, report: CallReport) {
        let at = report.at;
        if self.inlet.try_send(report).is_err() {
            self.losses.add(1, (at, at));
        }
    }
}

impl Reports {
    /// How it goes.
    #[must_use]
    pub fn status(&self) -> ReportsStatus {
        self.seen.borrow().clone()
    }

    /// Waits until the status, which is looked at whenever it changes, meets `condition`.
    ///
    /// # Errors
    ///
    /// When everything has stopped before that.
    pub async fn wait_for(
        &self,
        condition: impl FnMut(&ReportsStatus) -> bool,
    ) -> Result<ReportsStatus, ReportsStopped> {
        let mut seen = self.seen.clone();
        seen.wait_for(condition)
            .await
            .map(|status| status.clone())
            .map_err(|_| ReportsStopped)
    }

    /// Takes no more reports (what is told later is lost), writes down those that it has, and sends what waits until it is sent or the
    /// broker does not take it; the rest is sent after the next start.
    pub async fn shutdown(&self) {
        self.closing.send_replace(true);
        if let Some(worker) = self.worker.lock().await.take() {
            // The only error is a panic that tokio has reported.
            let _ended = worker.await;
        }
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Reporting has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reporting has stopped: start it anew")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to say")]
pub struct ReportsStopped;

/// The task that gathers reports and writes them down.
struct Keeper {
    inbox: mpsc::Receiver<CallReport>,
    closed: watch::Receiver<bool>,
    shared: Arc<Shared>,
}

impl Keeper {
    /// Until it is told to close, or nobody can report any more.
    async fn run(mut self) {
        while self.gather().await {}
        self.inbox.close();
        let mut batch = Batch::default();
        while let Some(report) = self.inbox.recv().await {
            self.add(&mut batch, report).await;
        }
        self.write(batch, Spool::append).await;
        self.write(Batch::default(), Spool::append_last).await;
    }

    /// One batch; whether there may be more.
    async fn gather(&mut self) -> bool {
        let mut batch = Batch::default();
        let first = tokio::select! {
            report = self.inbox.recv() => report,
            () = self.shared.freed.notified() => {
                self.write(batch, Spool::append).await;
                return true;
            }
            _ = self.closed.changed() => None,
        };
        let Some(first) = first else { return false };
        self.add(&mut batch, first).await;
        let deadline = tokio::time::sleep(BATCH_TIME);
        tokio::pin!(deadline);
        let mut goes_on = true;
        while goes_on && !batch.is_full() {
            tokio::select! {
                report = self.inbox.recv() => match report {
                    Some(report) => self.add(&mut batch, report).await,
                    None => goes_on = false,
                },
                () = &mut deadline => break,
                _ = self.closed.changed() => goes_on = false,
            }
        }
        self.write(batch, Spool::append).await;
        goes_on
    }

    /// Adds a report to a batch, after writing down one that has no more room.
    async fn add(&self, batch: &mut Batch, report: CallReport) {
        let at = report.at;
        let report = Report::Call(Box::new(report));
        if !batch.has_room_for(&report) {
            self.write(std::mem::take(batch), Spool::append).await;
        }
        if !batch.add(&report) {
            self.shared.losses.add(1, (at, at));
        }
    }

    /// Writes a batch down, with the loss before it; one that cannot be written is a loss itself. There may
    /// be nothing to write.
    async fn write(&self, batch: Batch, append: Append) {
        let loss = self.shared.losses.take();
        let gap = loss.map(|loss| Report::Lost(loss.report(self.shared.server.clone())));
        let Some(line) = batch.to_line(gap.as_ref()) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let written = tokio::task::spawn_blocking(move || {
            let mut spool = shared.spool();
            let written = append(&mut spool, &line);
            (written, spool.waiting())
        });
        let (written, waiting) = match written.await {
            Ok(done) => done,
            // The runtime ends.
            Err(_) => (Err(Unspooled::Full), 0),
        };
        if written.is_err() {
            self.shared.losses.put_back(loss);
            if let Some(times) = batch.times() {
                self.shared.losses.add(batch.len(), times);
            }
        }
        self.shared
            .note_spool(waiting, written.err().map(|error| error.to_string()));
        self.shared.spooled.notify_one();
    }
}

type Append = fn(&mut Spool, &[u8]) -> Result<(), Unspooled>;

/// Reports on their way to the disk: more than arrive in the time that a write takes.
const QUEUE: usize = 8192;

/// A report waits at most so long for others before it is written down.
const BATCH_TIME: Duration = Duration::from_secs(1);

const DEFAULT_MAX_SPOOL_BYTES: u64 = 64 * 1024 * 1024;
