//! The state shared by the task that writes reports and the task that sends them.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};
use tracing::{error, info};

use crate::feed::reports::{losses::Losses, spool::Spool};
use hallpass_core::base::ids::ServerUri;
use hallpass_core::base::sync::MutexExt as _;

/// How reporting is doing, for health checks and metrics. It holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportsStatus {
    /// The bytes on disk that the broker has not accepted yet.
    pub waiting_bytes: u64,
    /// The number of reports that the broker has accepted, including reports of gaps.
    pub delivered: u64,
    /// The number of reports known to be lost.
    pub lost: u64,
    /// The number of failed attempts to send.
    pub failures: u64,
    /// The last error of sending; `None` once a batch was accepted.
    pub last_error: Option<String>,
    /// The last error of the spool; `None` once it worked again.
    pub spool_error: Option<String>,
}

/// The shared state of both tasks.
pub(super) struct Shared {
    pub(super) server: ServerUri,
    pub(super) spool: Mutex<Spool>,
    pub(super) losses: Arc<Losses>,
    pub(super) progress: watch::Sender<ReportsStatus>,
    /// Signals that there is something to send.
    pub(super) spooled: Notify,
    /// Signals that there is room again, or a loss to report.
    pub(super) freed: Notify,
}

impl Shared {
    pub(super) fn spool(&self) -> MutexGuard<'_, Spool> {
        // Every method leaves the spool consistent with its files, so a poisoned lock is safe to use.
        self.spool.locked()
    }

    /// Publishes the state of the spool after an operation.
    pub(super) fn note_spool(&self, waiting_bytes: u64, problem: Option<String>) {
        match (&problem, &self.progress.borrow().spool_error) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                error!(server = %self.server, "reports: {now}; new reports are dropped and counted until the spool can be written");
            }
            (None, Some(_)) => {
                info!(server = %self.server, "reports: the spool can be written again")
            }
            _ => {}
        }
        let lost = self.losses.total();
        self.progress.send_modify(|status| {
            (status.waiting_bytes, status.spool_error, status.lost) =
                (waiting_bytes, problem, lost);
        });
    }
}
