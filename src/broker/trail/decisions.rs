//! The chain of decisions: what verifiers report, in a journal of its own.
//!
//! It has its own directory, lock, queue, writer and index, is opened beside the broker's start, and no
//! state is derived from it: nothing that happens to it can hold up a mint or a revocation. A chain that
//! cannot be opened or has too much to do refuses reports, which then wait at the verifiers. When it is
//! longer than it may be, its oldest segments are removed.

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::{
    BrokerError, Caller, DecisionsError,
    change::Changes,
    disk::{compact::compact, reserve::DiskReserve},
    domain::{decision::DecisionEvent, event::Entry},
    ledger::{
        Ledger as _, Position,
        file::{Apply, FileLedger, Journal, Options as JournalOptions},
        record::Record,
        views::{Index, Views},
    },
    trail::lookup::Records,
};
use hallpass_core::{
    base::{digest::Digest, time::Timestamp},
    wire::report::Report,
};

/// The chain's directory inside the data directory; it holds a journal and an index of its own.
pub const DECISIONS_DIRECTORY: &str = "decisions";

/// What was done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = DecisionsRecorded))]
pub struct RecordedReports {
    /// How many reports are recorded now.
    pub recorded: usize,
    /// How many were before.
    pub known: usize,
}

/// The chain of decisions, from the moment when it begins to be opened.
#[derive(Debug)]
pub struct Decisions {
    changes: Arc<Changes>,
    views: Views,
    phase: watch::Receiver<Phase>,
    /// Permits to wait for one's turn.
    waiting: Semaphore,
}

#[derive(Debug, Clone)]
enum Phase {
    Opening,
    Open(Arc<Chain>),
    Failed(DecisionsError),
}

/// The open chain.
#[derive(Debug)]
pub(crate) struct Chain {
    ledger: FileLedger<DecisionEvent>,
    index: Arc<Index<DecisionEvent>>,
    pub(crate) views: Views<DecisionEvent>,
    max_bytes: u64,
    /// Held from looking whether a report is known until it is: no two batches can both find it new.
    turn: tokio::sync::Mutex<()>,
}

impl Decisions {
    /// Begins to open the chain in `data_dir`: checking it takes as long as it is.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn open(
        data_dir: &Path,
        max_bytes: u64,
        changes: Arc<Changes>,
        views: Views,
    ) -> Self {
        let dir = data_dir.join(DECISIONS_DIRECTORY);
        let (sender, phase) = watch::channel(Phase::Opening);
        tokio::task::spawn_blocking(move || {
            let phase = match Chain::open(&dir, max_bytes) {
                Ok(chain) => Phase::Open(Arc::new(chain)),
                Err(error) => {
                    tracing::error!(%error, "no decision is recorded; minting and revoking go on");
                    Phase::Failed(error)
                }
            };
            sender.send_replace(phase);
        });
        Self {
            changes,
            views,
            phase,
            waiting: Semaphore::new(WAITING_BATCHES),
        }
    }

    /// The chain, once it is open.
    pub(crate) async fn chain(&self) -> Result<Arc<Chain>, DecisionsError> {
        let mut phase = self.phase.clone();
        let settled = phase
            .wait_for(|phase| !matches!(phase, Phase::Opening))
            .await;
        match settled.map(|phase| phase.clone()) {
            Ok(Phase::Open(chain)) => Ok(chain),
            Ok(Phase::Failed(error)) => Err(error),
            Ok(Phase::Opening) | Err(_) => Err(DecisionsError::unusable("opening it was cut off")),
        }
    }

    /// Finishes what is being recorded, so that another process can open the chain.
    pub(crate) async fn close(&self) -> Result<(), BrokerError> {
        let Ok(chain) = self.chain().await else {
            return Ok(());
        };
        chain.ledger.close().await?;
        chain
            .views
            .flush()
            .map_err(|error| DecisionsError::unusable(error).into())
    }
}

impl Chain {
    fn open(dir: &Path, max_bytes: u64) -> Result<Self, DecisionsError> {
        let mut options = JournalOptions::default();
        options.segment_bytes = options.segment_bytes.min(max_bytes / SEGMENTS);
        let (recovered, found) = Journal::<DecisionEvent>::open(dir, options, |_| {})
            .map_err(DecisionsError::unusable)?;
        let reader = recovered.reader();
        let (index, rebuilt) = Index::open(dir, &reader).map_err(DecisionsError::unusable)?;
        for found in found.words().into_iter().chain(rebuilt.words()) {
            tracing::warn!(recovery = %found, "the chain of decisions was recovered");
        }
        let index = Arc::new(index);
        let views = Views::new(Arc::clone(&index), reader);
        let ledger = FileLedger::start(recovered, applier(Arc::clone(&index)));
        Ok(Self {
            ledger: ledger.map_err(DecisionsError::unusable)?,
            index,
            views,
            max_bytes,
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Removes the oldest reports until the others have room. Blocks on the disk.
    ///
    /// The index forgets first: what is left over after a crash in between is removed the next time.
    fn make_room(&self, reserve: &DiskReserve) -> Result<(), DecisionsError> {
        let mut forget = |records: &[Record<DecisionEvent>]| self.index.forget(records);
        let went = self.ledger.shorten(self.max_bytes, &mut forget);
        if let Some(up_to) = went.map_err(DecisionsError::unusable)? {
            tracing::info!(
                up_to,
                "decisions were removed: the chain is as long as it may be"
            );
        }
        if let Err(error) = compact(&self.views, reserve) {
            tracing::warn!(%error, "the index of the chain of decisions stays as large as it is");
        }
        Ok(())
    }
}

fn applier(index: Arc<Index<DecisionEvent>>) -> Apply<DecisionEvent> {
    Box::new(move |records| {
        if let Err(error) = index.apply(records) {
            tracing::error!(%error, "the index stopped following the chain of decisions; restart to rebuild it");
        }
    })
}

impl Decisions {
    /// Records what a verifier reports, all of it or nothing; what is known already is not recorded again.
    ///
    /// The caller of this has cleared the verifier for the reports' servers, and has checked each report.
    ///
    /// # Errors
    ///
    /// When the chain is overloaded or cannot be used, or the disk is nearly full; the same reports may be sent
    /// again.
    pub async fn record_reports(
        self: &Arc<Self>,
        caller: Caller,
        reports: Vec<Report>,
    ) -> Result<RecordedReports, BrokerError> {
        if self.changes.reserve().is_low() {
            return Err(BrokerError::StorageLow);
        }
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| DecisionsError::Busy)?;
        let chain = self.chain().await?;
        let _turn = chain.turn.lock().await;
        let (decisions, of_batch) = (Arc::clone(self), Arc::clone(&chain));
        let prepare = move || decisions.entries_for(&of_batch, &caller, reports);
        let prepared = tokio::task::spawn_blocking(prepare);
        let (entries, known) = prepared.await.map_err(DecisionsError::unusable)??;
        let recorded = entries.len();
        if recorded > 0 {
            let expected = Position::after(chain.ledger.head().sequence);
            chain
                .ledger
                .append(expected, entries)
                .await
                .map_err(DecisionsError::unusable)?;
        }
        Ok(RecordedReports { recorded, known })
    }

    /// The entries for what is new in `reports`, and how many are known. Blocks on the disk.
    fn entries_for(
        &self,
        chain: &Chain,
        caller: &Caller,
        reports: Vec<Report>,
    ) -> Result<(Vec<Entry<DecisionEvent>>, usize), DecisionsError> {
        chain.make_room(self.changes.reserve())?;
        let mut records = Records::new(&self.changes, &self.views);
        let (at, all) = (self.changes.now(), reports.len());
        let mut entries = Vec::with_capacity(all);
        for report in reports {
            let idempotency = key_of(&report);
            if chain
                .views
                .idempotency(&idempotency)
                .map_err(DecisionsError::unusable)?
                .is_none()
            {
                let event = match report {
                    Report::Call(call) => {
                        let attribution = records
                            .attribution(&call)
                            .map_err(DecisionsError::unusable)?;
                        DecisionEvent::CallDecided { call, attribution }
                    }
                    Report::Lost(lost) => DecisionEvent::ReportsLost { lost },
                };
                entries.push(entry(caller, (at, idempotency), event));
            }
        }
        let known = all.saturating_sub(entries.len());
        Ok((entries, known))
    }
}

fn entry(
    caller: &Caller,
    (at, idempotency): (Timestamp, Digest),
    event: DecisionEvent,
) -> Entry<DecisionEvent> {
    let (actor, request, trace) = (
        caller.actor.clone(),
        caller.request.clone(),
        caller.trace.clone(),
    );
    Entry {
        at,
        actor,
        request,
        trace,
        idempotency: Some(idempotency),
        event,
    }
}

/// The key of a report. The server is part of it, so that no server can use up another server's ids.
fn key_of(report: &Report) -> Digest {
    let (server, id) = (report.server().as_str(), report.id().as_str());
    Digest::of_parts(&[b"report\0", server.as_bytes(), &[0], id.as_bytes()])
}

/// The chain is kept in so many segments at least, once it is as long as it may be.
const SEGMENTS: u64 = 8;

/// So many batches may wait for their turn: each is up to a body long.
const WAITING_BATCHES: usize = 32;
