//! The chain of decisions: what verifiers report, in a journal of its own.
//!
//! It has its own directory, lock, queue, writer and index, is opened beside the broker's start, and no
//! state is derived from it: nothing that happens to it can hold up a mint or a revocation. A chain that
//! cannot be opened or has too much to do refuses reports, which then wait at the verifiers. When it is
//! longer than it may be, its oldest segments are removed.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::{
    BrokerError,
    broker::{Broker, Caller},
    disk::reserve::Space,
    domain::event::{Attribution, Entry, Event, TokenRecord},
    ledger::{
        file::{self, Apply, Journal, Options as JournalOptions, Reader, segment_name},
        views::{Index, IndexError, TaskSummary},
    },
    trail::retention::compact,
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{RevocationId, TaskId},
        time::Timestamp,
    },
    wire::report::{CallReport, Decision, Report},
};

/// The chain's directory inside the data directory; it holds a journal and an index of its own.
pub const DECISIONS_DIRECTORY: &str = "decisions";

/// Why the chain of decisions did not take or give something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecisionsError {
    /// So many batches wait that another one would only wait longer.
    #[error("too many batches of reports wait to be recorded")]
    Busy,
    /// It was not opened, or cannot be written or read.
    #[error("the chain of decisions cannot be used: {0}")]
    Unusable(Arc<str>),
}

impl DecisionsError {
    fn unusable(error: impl std::fmt::Display) -> Self {
        Self::Unusable(error.to_string().into())
    }
}

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

/// The chain, from the moment when it begins to be opened.
#[derive(Debug)]
pub(crate) struct Decisions {
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
    journal: Journal,
    pub(crate) reader: Reader,
    pub(crate) index: Arc<Index>,
    files: PathBuf,
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
    pub(crate) fn open(data_dir: &Path, max_bytes: u64) -> Self {
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
        chain.journal.close().await?;
        chain
            .index
            .flush()
            .map_err(|error| DecisionsError::unusable(error).into())
    }
}

impl Chain {
    fn open(dir: &Path, max_bytes: u64) -> Result<Self, DecisionsError> {
        let mut options = JournalOptions::default();
        options.segment_bytes = options.segment_bytes.min(max_bytes / SEGMENTS);
        let (recovered, found) =
            Journal::open(dir, options, |_| {}).map_err(DecisionsError::unusable)?;
        let reader = recovered.reader();
        let (index, rebuilt) = Index::open(dir, &reader).map_err(DecisionsError::unusable)?;
        for found in found.words().into_iter().chain(rebuilt.words()) {
            tracing::warn!(recovery = %found, "the chain of decisions was recovered");
        }
        let index = Arc::new(index);
        let journal = recovered
            .start(applier(Arc::clone(&index)))
            .map_err(DecisionsError::unusable)?;
        let files = dir.join(file::DIRECTORY);
        Ok(Self {
            journal,
            reader,
            index,
            files,
            max_bytes,
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// Removes the oldest segments until the others have room. Blocks on the disk.
    ///
    /// The index forgets first: what is left over after a crash in between is removed the next time.
    fn make_room(&self, space: &Space) -> Result<(), DecisionsError> {
        let segments = self.reader.segments();
        let length = |number| {
            fs::metadata(self.files.join(segment_name(number))).map_or(0, |file| file.len())
        };
        let mut bytes = segments.iter().fold(0_u64, |sum, segment| {
            sum.saturating_add(length(segment.number))
        });
        for (oldest, next) in segments.iter().zip(segments.iter().skip(1)) {
            if bytes <= self.max_bytes {
                break;
            }
            bytes = bytes.saturating_sub(length(oldest.number));
            let records = self
                .reader
                .read_from(oldest.first, None)
                .map_err(DecisionsError::unusable)?;
            let mut forgotten = Vec::new();
            for record in records {
                let record = record.map_err(DecisionsError::unusable)?;
                let is_last = record.sequence.saturating_add(1) >= next.first;
                forgotten.push(record);
                if is_last || forgotten.len() >= FORGOTTEN_AT_ONCE {
                    self.index
                        .forget(&forgotten)
                        .map_err(DecisionsError::unusable)?;
                    forgotten.clear();
                }
                if is_last {
                    break;
                }
            }
            self.journal
                .retire(next.number, None)
                .map_err(DecisionsError::unusable)?;
            tracing::info!(
                up_to = next.first.saturating_sub(1),
                "decisions were removed: the chain is as long as it may be"
            );
        }
        if let Err(error) = compact(&self.index, &self.reader, space) {
            tracing::warn!(%error, "the index of the chain of decisions stays as large as it is");
        }
        Ok(())
    }
}

fn applier(index: Arc<Index>) -> Apply {
    Box::new(move |records| {
        if let Err(error) = index.apply(records) {
            tracing::error!(%error, "the index stopped following the chain of decisions; restart to rebuild it");
        }
    })
}

impl Broker {
    /// Records what a verifier reports, all of it or nothing; what is known already is not recorded again.
    ///
    /// Whoever calls has cleared the caller for the reports' servers, and has checked each of them.
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
        if self.is_storage_low() {
            return Err(BrokerError::StorageLow);
        }
        let _waiting = self
            .decisions
            .waiting
            .try_acquire()
            .map_err(|_| DecisionsError::Busy)?;
        let chain = self.decisions.chain().await?;
        let _turn = chain.turn.lock().await;
        let (broker, of_batch) = (Arc::clone(self), Arc::clone(&chain));
        let prepared =
            tokio::task::spawn_blocking(move || broker.entries_for(&of_batch, &caller, reports));
        let (entries, known) = prepared.await.map_err(DecisionsError::unusable)??;
        let recorded = entries.len();
        if recorded > 0 {
            chain
                .journal
                .append(entries)
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
    ) -> Result<(Vec<Entry>, usize), DecisionsError> {
        chain.make_room(&self.space)?;
        let mut records = Records::new(self);
        let (at, all) = (self.now(), reports.len());
        let mut entries = Vec::with_capacity(all);
        for report in reports {
            let idempotency = key_of(&report);
            if chain
                .index
                .idempotency(&idempotency)
                .map_err(DecisionsError::unusable)?
                .is_none()
            {
                let event = match report {
                    Report::Call(call) => {
                        let attribution = records
                            .attribution(&call)
                            .map_err(DecisionsError::unusable)?;
                        Event::CallDecided { call, attribution }
                    }
                    Report::Lost(lost) => Event::ReportsLost { lost },
                };
                entries.push(entry(caller, (at, idempotency), event));
            }
        }
        let known = all.saturating_sub(entries.len());
        Ok((entries, known))
    }
}

fn entry(caller: &Caller, (at, idempotency): (Timestamp, Digest), event: Event) -> Entry {
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

/// What a report is known by. The server belongs to it, so that nobody can use up another server's ids.
fn key_of(report: &Report) -> Digest {
    let (server, id) = (report.server().as_str(), report.id().as_str());
    Digest::of_parts(&[b"report\0", server.as_bytes(), &[0], id.as_bytes()])
}

/// What the broker has recorded about tasks and passes, looked up once each. Blocks on the disk.
///
/// The state knows all about what lives. Of what ended, the index may remember more than there are records.
pub(crate) struct Records<'b> {
    broker: &'b Broker,
    tasks: HashMap<TaskId, Option<Arc<TaskSummary>>>,
    events: HashMap<u64, Option<Arc<Event>>>,
}

impl<'b> Records<'b> {
    pub(crate) fn new(broker: &'b Broker) -> Self {
        Self {
            broker,
            tasks: HashMap::new(),
            events: HashMap::new(),
        }
    }

    /// What is known of a task.
    pub(crate) fn task(&mut self, task: &TaskId) -> Result<Option<Arc<TaskSummary>>, IndexError> {
        if let Some(known) = self.tasks.get(task) {
            return Ok(known.clone());
        }
        let found = self.broker.index.task(task)?.map(Arc::new);
        self.tasks.insert(task.clone(), found.clone());
        Ok(found)
    }

    /// What a task was opened for.
    pub(crate) fn purpose(
        &mut self,
        (id, task): (&TaskId, &TaskSummary),
    ) -> Result<Option<String>, IndexError> {
        if let Some(live) = self.broker.state().task(id) {
            return Ok(Some(live.record.purpose.clone()));
        }
        Ok(self.event(task.opened)?.and_then(|event| match &*event {
            Event::TaskOpened { task } => Some(task.purpose.clone()),
            _ => None,
        }))
    }

    /// What `of` makes of the record of the pass of `task` whose block 0 is `pass`, if there is one (still).
    pub(crate) fn of_pass<T>(
        &mut self,
        (task, pass): (&TaskSummary, &RevocationId),
        of: impl FnOnce(&TokenRecord) -> T,
    ) -> Result<Option<T>, IndexError> {
        if let Some(live) = self.broker.state().task_of(pass) {
            return Ok(live
                .tokens
                .iter()
                .find(|token| token.revocation_id == *pass)
                .map(of));
        }
        let Some((sequence, _)) = task.tokens.iter().find(|(_, token)| token == pass) else {
            return Ok(None);
        };
        Ok(self.event(*sequence)?.and_then(|event| match &*event {
            Event::TokenIssued { token, .. } => Some(of(token)),
            _ => None,
        }))
    }

    /// Whether a reported call agrees with what is recorded.
    fn attribution(&mut self, call: &CallReport) -> Result<Attribution, IndexError> {
        let Some(task) = self.task(&call.task)? else {
            return Ok(Attribution::UnknownTask);
        };
        if task.agent != call.agent {
            return Ok(Attribution::OtherAgent);
        }
        if task.steward != call.steward {
            return Ok(Attribution::OtherSteward);
        }
        let issued = |id: &&RevocationId| task.tokens.iter().any(|(_, token)| token == *id);
        let Some(pass) = call.chain.first().filter(issued) else {
            return Ok(Attribution::OtherPass);
        };
        let is_for =
            |token: &TokenRecord| token.rights.iter().any(|right| right.server == call.server);
        // Refusing a pass at the wrong server is what a verifier is for.
        if call.decision == Decision::Allowed && self.of_pass((&task, pass), is_for)? == Some(false)
        {
            return Ok(Attribution::OtherServer);
        }
        Ok(Attribution::Confirmed)
    }

    fn event(&mut self, sequence: u64) -> Result<Option<Arc<Event>>, IndexError> {
        if let Some(known) = self.events.get(&sequence) {
            return Ok(known.clone());
        }
        let found = self.broker.index.record(&self.broker.reader, sequence)?;
        let found = found.map(|record| Arc::new(record.entry.event));
        self.events.insert(sequence, found.clone());
        Ok(found)
    }
}

/// The chain is kept in so many segments at least, once it is as long as it may be.
const SEGMENTS: u64 = 8;

const FORGOTTEN_AT_ONCE: usize = 1000;

/// So many batches may wait for their turn: each is up to a body long.
const WAITING_BATCHES: usize = 32;
