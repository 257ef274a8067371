//! Delivery of decision reports to the broker.
//!
//! [`Reports`] is a [`ReportSink`]: reports go into a bounded queue, from there as batches into a bounded
//! spool on disk, and from there to the broker. Each batch is retried until the broker has accepted it.
//! Neither the broker nor the disk can delay a call: when the queue or the spool is full, or the disk
//! fails, the newest reports are dropped, and their number and period are sent to the broker, so
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

    /// Stores at most `bytes` on disk while the broker cannot be reached; 64 MiB by default.
    #[must_use]
    pub const fn max_spool_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Opens the spool, and starts to send its content and all new reports.
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

/// Sends decision reports to the broker; shared behind an [`Arc`].
///
/// A report is on disk after at most a second and survives the process. Call
/// [`shutdown`](Self::shutdown) before the process ends. Otherwise the last second is lost, which the
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
    /// The current status.
    #[must_use]
    pub fn status(&self) -> ReportsStatus {
        self.seen.borrow().clone()
    }

    /// Waits until the status meets `condition`, which is checked at every change.
    ///
    /// # Errors
    ///
    /// When reporting has stopped before that.
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

    /// Accepts no more reports (later ones are lost), stores the pending ones, and sends the spool until it is
    /// empty or the broker does not accept a batch; the rest is sent after the next start.
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
#[error("reporting has stopped: start it again")]
#[expect(clippy::exhaustive_structs, reason = "the error carries no data")]
pub struct ReportsStopped;

/// The task that collects reports and writes them to the spool.
struct Keeper {
    inbox: mpsc::Receiver<CallReport>,
    closed: watch::Receiver<bool>,
    shared: Arc<Shared>,
}

impl Keeper {
    /// Runs until it is closed, or every sender is dropped.
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

    /// Writes one batch. Returns whether there may be more.
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

    /// Adds a report to a batch, after writing out a full one.
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

    /// Writes a batch to the spool, with the loss before it. A batch that cannot be written is recorded as lost.
    /// Does nothing when there is nothing to write.
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

/// The queue's capacity: more reports than arrive during one write.
const QUEUE: usize = 8192;

/// The longest time that a report waits for others before it is written.
const BATCH_TIME: Duration = Duration::from_secs(1);

const DEFAULT_MAX_SPOOL_BYTES: u64 = 64 * 1024 * 1024;
