//! What the task that writes reports down and the task that sends them share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tracing::{error, info};

use crate::feed::reports::{losses::Losses, spool::Spool};
use hallpass_core::base::ids::ServerUri;

/// How reporting is doing, for health checks and metrics. It holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportsStatus {
    /// How many bytes are on disk that the broker has not taken yet.
    pub waiting_bytes: u64,
    /// How many reports the broker has taken, reports of gaps included.
    pub delivered: u64,
    /// How many reports are known to be lost.
    pub lost: u64,
    /// How many attempts to send have failed.
    pub failures: u64,
    /// Why the broker did not take a batch last; `None` once it took one.
    pub last_error: Option<String>,
    /// Why the spool could not be used last; `None` once it could.
    pub spool_error: Option<String>,
}

/// What both tasks share.
pub(super) struct Shared {
    pub(super) server: ServerUri,
    pub(super) spool: Mutex<Spool>,
    pub(super) losses: Arc<Losses>,
    pub(super) progress: watch::Sender<ReportsStatus>,
    /// There is something to send.
    pub(super) spooled: Notify,
    /// There is room again, or a loss to tell of.
    pub(super) freed: Notify,
}

impl Shared {
    pub(super) fn spool(&self) -> MutexGuard<'_, Spool> {
        // Every method leaves it in a state that the files agree with, so a poisoned lock holds one too.
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes how the spool is after something was tried on it.
    pub(super) fn note_spool(&self, waiting_bytes: u64, problem: Option<String>) {
        match (&problem, &self.progress.borrow().spool_error) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                error!(server = %self.server, "reports: {now}; decisions are lost until there is room, and counted");
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
