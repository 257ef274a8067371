//! The chain of decisions: what verifiers report, in a journal of its own.
//!
//! It has its own directory, lock, queue, writer and index, is opened beside the broker's start, and no
//! state is derived from it: nothing that happens to it can hold up a mint or a revocation. A chain that
//! cannot be opened, is full or has too much to do refuses reports, which then wait at the verifiers.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::{Broker, BrokerError, Caller};
use crate::{
    base::{
        digest::Digest,
        ids::{RevocationId, TaskId},
        time::Timestamp,
    },
    index::{Index, IndexError},
    journal::{
        self, Apply, Entry, Event, Journal, Options as JournalOptions, ReadError, Reader,
        event::{Attribution, TaskRecord, TokenRecord},
    },
    verify::report::{CallReport, Decision, Report},
};

/// The chain's directory inside the data directory; it holds a journal and an index of its own.
pub const DECISIONS_DIRECTORY: &str = "decisions";

/// Why the chain of decisions did not take or give something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "whoever tells of it should break when a new kind appears")]
pub enum DecisionsError {
    /// So many batches wait that another one would only wait longer.
    #[error("too many batches of reports wait to be recorded")]
    Busy,
    /// The chain is as long as it may be.
    #[error("the chain of decisions takes {used} bytes of the {max} that it may: raise `limits.decisions_bytes`")]
    Full {
        /// How long it is.
        used: u64,
        /// How long it may be.
        max: u64,
    },
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RecordedReports {
    /// How many reports are recorded now.
    pub recorded: usize,
    /// How many were before.
    pub known: usize,
}

/// The chain, from the moment when it begins to be opened.
#[derive(Debug)]
pub(super) struct Decisions {
    phase: watch::Receiver<Phase>,
    /// Permits to wait for one's turn.
    waiting: Semaphore,
    max_bytes: u64,
}

#[derive(Debug, Clone)]
enum Phase {
    Opening,
    Open(Arc<Chain>),
    Failed(DecisionsError),
}

/// The open chain.
#[derive(Debug)]
pub(super) struct Chain {
    journal: Journal,
    pub(super) reader: Reader,
    pub(super) index: Arc<Index>,
    files: PathBuf,
    /// Held from looking whether a report is known until it is: no two batches can both find it new.
    turn: tokio::sync::Mutex<()>,
}

impl Decisions {
    /// Begins to open the chain in `data_dir`: checking it takes as long as it is.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(super) fn open(data_dir: &Path, max_bytes: u64) -> Self {
        let dir = data_dir.join(DECISIONS_DIRECTORY);
        let (sender, phase) = watch::channel(Phase::Opening);
        tokio::task::spawn_blocking(move || {
            let phase = match Chain::open(&dir) {
                Ok(chain) => Phase::Open(Arc::new(chain)),
                Err(error) => {
                    tracing::error!(%error, "no decision is recorded; minting and revoking go on");
                    Phase::Failed(error)
                }
            };
            sender.send_replace(phase);
        });
        Self { phase, waiting: Semaphore::new(WAITING_BATCHES), max_bytes }
    }

    /// The chain, once it is open.
    pub(super) async fn chain(&self) -> Result<Arc<Chain>, DecisionsError> {
        let mut phase = self.phase.clone();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Opening)).await;
        match settled.map(|phase| phase.clone()) {
            Ok(Phase::Open(chain)) => Ok(chain),
            Ok(Phase::Failed(error)) => Err(error),
            Ok(Phase::Opening) | Err(_) => Err(DecisionsError::unusable("opening it was cut off")),
        }
    }

    /// Finishes what is being recorded, so that another process can open the chain.
    pub(super) async fn close(&self) -> Result<(), BrokerError> {
        let Ok(chain) = self.chain().await else { return Ok(()) };
        chain.journal.close().await?;
        chain.index.flush().map_err(|error| DecisionsError::unusable(error).into())
    }
}

impl Chain {
    fn open(dir: &Path) -> Result<Self, DecisionsError> {
        let (recovered, found) =
            Journal::open(dir, JournalOptions::default(), |_| {}).map_err(DecisionsError::unusable)?;
        let reader = recovered.reader();
        let (index, rebuilt) = Index::open(dir, &reader).map_err(DecisionsError::unusable)?;
        for found in found.words().into_iter().chain(rebuilt.words()) {
            tracing::warn!(recovery = %found, "the chain of decisions was recovered");
        }
        let index = Arc::new(index);
        let journal = recovered.start(applier(Arc::clone(&index))).map_err(DecisionsError::unusable)?;
        let files = dir.join(journal::DIRECTORY);
        Ok(Self { journal, reader, index, files, turn: tokio::sync::Mutex::default() })
    }

    fn bytes(&self) -> io::Result<u64> {
        let lengths = fs::read_dir(&self.files)?.map(|entry| Ok(entry?.metadata()?.len()));
        lengths.sum()
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
    /// When the chain is full, overloaded or cannot be used; the same reports may be sent again.
    pub async fn record_reports(
        self: &Arc<Self>,
        caller: Caller,
        reports: Vec<Report>,
    ) -> Result<RecordedReports, BrokerError> {
        let _waiting = self.decisions.waiting.try_acquire().map_err(|_| DecisionsError::Busy)?;
        let chain = self.decisions.chain().await?;
        let _turn = chain.turn.lock().await;
        let (broker, of_batch) = (Arc::clone(self), Arc::clone(&chain));
        let prepared = tokio::task::spawn_blocking(move || broker.entries_for(&of_batch, &caller, reports));
        let (entries, known) = prepared.await.map_err(DecisionsError::unusable)??;
        let recorded = entries.len();
        if recorded > 0 {
            chain.journal.append(entries).await.map_err(DecisionsError::unusable)?;
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
        let used = chain.bytes().map_err(DecisionsError::unusable)?;
        if used >= self.decisions.max_bytes {
            return Err(DecisionsError::Full { used, max: self.decisions.max_bytes });
        }
        let mut records = Records::new(self);
        let (at, all) = (self.now(), reports.len());
        let mut entries = Vec::with_capacity(all);
        for report in reports {
            let idempotency = key_of(&report);
            if chain.index.idempotency(&idempotency).map_err(DecisionsError::unusable)?.is_none() {
                let event = match report {
                    Report::Call(call) => {
                        let attribution = records.attribution(&call).map_err(DecisionsError::unusable)?;
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
    let (actor, request, trace) = (caller.actor.clone(), caller.request.clone(), caller.trace.clone());
    Entry { at, actor, request, trace, idempotency: Some(idempotency), event }
}

/// What a report is known by. The server belongs to it, so that nobody can use up another server's ids.
fn key_of(report: &Report) -> Digest {
    let (server, id) = (report.server().as_str(), report.id().as_str());
    Digest::of_parts(&[b"report\0", server.as_bytes(), &[0], id.as_bytes()])
}

/// What the broker has recorded about tasks and passes, looked up once each. Blocks on the disk.
pub(super) struct Records<'b> {
    broker: &'b Broker,
    tasks: HashMap<TaskId, Option<Arc<TaskRecord>>>,
    passes: HashMap<RevocationId, Option<Arc<(TaskId, TokenRecord)>>>,
}

impl<'b> Records<'b> {
    pub(super) fn new(broker: &'b Broker) -> Self {
        Self { broker, tasks: HashMap::new(), passes: HashMap::new() }
    }

    /// A task, as it was opened.
    pub(super) fn task(&mut self, task: &TaskId) -> Result<Option<Arc<TaskRecord>>, IndexError> {
        if let Some(known) = self.tasks.get(task) {
            return Ok(known.clone());
        }
        let live = self.broker.state().task(task).map(|live| Arc::new(live.record.clone()));
        let found = match (live, self.broker.index.task(task)?) {
            (Some(live), _) => Some(live),
            (None, Some(summary)) => match self.event(summary.opened)? {
                Some(Event::TaskOpened { task }) => Some(Arc::new(task)),
                Some(_) => return Err(IndexError::Damaged),
                None => None,
            },
            (None, None) => None,
        };
        self.tasks.insert(task.clone(), found.clone());
        Ok(found)
    }

    /// The pass whose block 0 has this id, and its task; `None` for blocks that were appended.
    pub(super) fn pass(&mut self, id: &RevocationId) -> Result<Option<Arc<(TaskId, TokenRecord)>>, IndexError> {
        if let Some(known) = self.passes.get(id) {
            return Ok(known.clone());
        }
        let live = self.broker.state().task_of(id).and_then(|live| {
            let token = live.tokens.iter().find(|token| token.revocation_id == *id);
            token.map(|token| Arc::new((live.record.task.clone(), token.clone())))
        });
        let found = match (live, self.broker.index.token(id)?) {
            (Some(live), _) => Some(live),
            (None, Some((_, sequence))) => match self.event(sequence)? {
                Some(Event::TokenIssued { task, token }) if token.revocation_id == *id => Some(Arc::new((task, token))),
                _ => None,
            },
            (None, None) => None,
        };
        self.passes.insert(*id, found.clone());
        Ok(found)
    }

    /// Whether a reported call agrees with what is recorded.
    fn attribution(&mut self, call: &CallReport) -> Result<Attribution, IndexError> {
        let Some(task) = self.task(&call.task)? else { return Ok(Attribution::UnknownTask) };
        let pass = match call.chain.first() {
            Some(first) => self.pass(first)?.filter(|pass| pass.0 == call.task),
            None => None,
        };
        Ok(match pass {
            _ if task.agent != call.agent => Attribution::OtherAgent,
            _ if task.steward != call.steward => Attribution::OtherSteward,
            None => Attribution::OtherPass,
            // Refusing a pass at the wrong server is what a verifier is for.
            Some(pass)
                if call.decision == Decision::Allowed
                    && !pass.1.rights.iter().any(|right| right.server == call.server) =>
            {
                Attribution::OtherServer
            }
            Some(_) => Attribution::Confirmed,
        })
    }

    /// What a record tells; `None` when it was archived.
    fn event(&self, sequence: u64) -> Result<Option<Event>, IndexError> {
        if sequence < self.broker.reader.first() {
            return Ok(None);
        }
        let place = self.broker.index.place(sequence)?.ok_or(IndexError::Damaged)?;
        match self.broker.reader.read_at(sequence, place) {
            Ok(record) => Ok(Some(record.entry.event)),
            Err(ReadError::Archived { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// So many batches may wait for their turn: each is up to a body long.
const WAITING_BATCHES: usize = 32;
