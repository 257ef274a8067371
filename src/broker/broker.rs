//! Floor 4: the broker's use cases, without HTTP.
//!
//! Every change is a record in the journal first. [`State`] and the index are what the journal's
//! writer derived from durable records before it answered, so whoever has an answer sees its effect,
//! and a restart, which replays the same records, ends in the same state.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use crate::{
    BrokerError, Options,
    disk::reserve::Space,
    domain::state::State,
    domain::{
        assertions::Assertions,
        event::{Actor, Entry, Event},
    },
    feed::{hub::FeedHub, server_verifiers::Judges},
    issuing::codes::Turns,
    keys::keyring::Keyring,
    ledger::{
        file::{Journal, Reader},
        receipt::Receipt,
        tree::Tree,
        views::Index,
    },
    policy_store::PolicyStore,
    registry::directory::Directory,
    trail::decisions::Decisions,
};
use hallpass_core::base::{
    digest::Digest,
    ids::{AgentId, IssuerUri, RequestId},
    time::{Clock, Timestamp},
};

/// The broker. Shared behind an [`Arc`].
pub struct Broker {
    pub(crate) options: Options,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Journal,
    pub(crate) reader: Reader,
    pub(crate) index: Arc<Index>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) state: Arc<RwLock<State>>,
    /// The state's last time, in milliseconds, to be read by whoever holds the state too.
    pub(crate) last_at: Arc<AtomicI64>,
    pub(crate) keyring: RwLock<Keyring>,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) policy: PolicyStore,
    pub(crate) feed: FeedHub,
    pub(crate) judges: Judges,
    pub(crate) decisions: Decisions,
    /// Permits to read through the journal for a report.
    pub(crate) scans: Semaphore,
    /// Serialises what must look at the state and then change it: registration, keys, revocation.
    pub(crate) changes: tokio::sync::Mutex<()>,
    /// Assertions that were seen, so that two requests at once cannot use one.
    pub(crate) assertions: Assertions,
    pub(crate) turns: Turns,
    /// The last sequence that concerns the feed.
    pub(crate) feed_sequence: watch::Sender<u64>,
    /// The last sequence of all.
    pub(crate) sequence: watch::Sender<u64>,
    pub(crate) meters: OnceLock<Meters>,
    pub(crate) space: Space,
    /// Whether the journal stopped.
    pub(crate) stopped: watch::Sender<bool>,
}

/// Who counts what the broker does; called in passing, so they must be quick.
pub struct Meters {
    /// So many records were made durable in one append that took so long.
    pub appended: Box<dyn Fn(usize, Duration) + Send + Sync>,
    /// A feed frame was signed.
    pub frame_signed: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

/// Who asks, and by which request: what every record is attributed to.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The HTTP request.
    pub request: Option<RequestId>,
    /// Its W3C trace id.
    pub trace: Option<String>,
    /// Digest over the caller and its idempotency key.
    pub idempotency: Option<Digest>,
    /// The assertion that proved an agent; recorded with the first thing that it does.
    pub assertion: Option<UsedAssertion>,
}

impl Caller {
    /// The broker itself.
    #[must_use]
    pub const fn broker() -> Self {
        Self {
            actor: Actor::Broker,
            request: None,
            trace: None,
            idempotency: None,
            assertion: None,
        }
    }

    /// The same without its idempotency key: for what a replay is not pointed to.
    pub(crate) fn without_key(&self) -> Self {
        Self {
            idempotency: None,
            ..self.clone()
        }
    }

    pub(crate) fn entries(
        &self,
        at: Timestamp,
        used: Option<&UsedAssertion>,
        events: Vec<Event>,
    ) -> Vec<Entry> {
        let used = used.map(|used| Event::AssertionUsed {
            agent: used.agent.clone(),
            jti: used.jti,
            expires_at: used.expires_at,
        });
        let last = events.len().checked_sub(1);
        let entry = |event, idempotency| Entry {
            at,
            actor: self.actor.clone(),
            request: self.request.clone(),
            trace: self.trace.clone(),
            idempotency,
            event,
        };
        // The key goes on the last event: the one whose task a replay is pointed to.
        let numbered = events.into_iter().enumerate();
        let events =
            numbered.map(|(at, event)| entry(event, self.idempotency.filter(|_| Some(at) == last)));
        used.map(|event| entry(event, None))
            .into_iter()
            .chain(events)
            .collect()
    }
}

/// An assertion that an agent proved itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedAssertion {
    /// The agent.
    pub agent: AgentId,
    /// Digest of its `jti`.
    pub jti: Digest,
    /// Until when it must be remembered.
    pub expires_at: Timestamp,
}

impl Broker {
    /// The issuer that passes name.
    #[must_use]
    pub const fn issuer(&self) -> &IssuerUri {
        &self.options.issuer
    }

    /// How it is run.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The time that decides: never before the last record's, so that a clock set back cannot
    /// put a record before its predecessor or revive what has ended.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().max(Timestamp::from_unix_millis(
            self.last_at.load(Ordering::SeqCst),
        ))
    }

    /// What the records add up to. Whoever holds it must not ask for it again: once the journal's writer waits in
    /// between, both wait for ever.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        // The writer applies whole records and never panics in between; a poisoned lock is a state
        // that is whole all the same.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether new things can be recorded.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.journal.is_healthy()
    }

    /// Whether room on the disk is low, so that only what ends rights is recorded.
    #[must_use]
    pub fn is_storage_low(&self) -> bool {
        self.space.is_low()
    }

    /// Returns once nothing can be recorded any more: the process has to be restarted.
    pub async fn stopped(&self) {
        // The sender is ours, so it cannot go away while we wait.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// The journal, to read from.
    #[must_use]
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Tells of every record once it is durable and indexed: the last one's sequence.
    #[must_use]
    pub fn records(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }

    /// Counts with `meters` from now on. The first who asks counts; later ones are not told.
    pub fn count_with(&self, meters: Meters) {
        let _ = self.meters.set(meters);
    }

    /// The index over the journal.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Refuses an assertion that was used before or has expired by now, and remembers this one until it has.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Replay`].
    pub fn use_assertion(&self, used: &UsedAssertion) -> Result<(), BrokerError> {
        if self.assertions.remember(used, self.now()) {
            Ok(())
        } else {
            Err(BrokerError::Replay)
        }
    }

    /// Records that a caller was here, unless some record tells of it already: an assertion is
    /// single-use even when it is only used to read.
    ///
    /// # Errors
    ///
    /// When nothing can be recorded.
    pub async fn note(&self, caller: &Caller) -> Result<(), BrokerError> {
        if caller
            .assertion
            .as_ref()
            .is_some_and(|used| !self.assertions.is_recorded(used))
        {
            self.record(caller, self.now(), Vec::new()).await?;
        }
        Ok(())
    }

    /// Does what time brings: keys move on, what has ended is forgotten, room on the disk is looked after.
    ///
    /// # Errors
    ///
    /// When a key's next state cannot be recorded.
    pub async fn maintain(&self) -> Result<(), BrokerError> {
        self.space.keep();
        if !self.is_healthy() {
            self.stopped.send_replace(true);
        }
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            // Recorded time: a clock that jumped ahead and back must not make anything forgotten for good.
            let now = state.last_at();
            state.forget(now);
        }
        self.advance_keys().await?;
        self.rotate_due_keys().await
    }

    /// Finishes what is being recorded and releases the data directory.
    ///
    /// # Errors
    ///
    /// When the journal had failed.
    pub async fn close(&self) -> Result<(), BrokerError> {
        let decisions = self.decisions.close().await;
        self.journal.close().await?;
        decisions?;
        self.index
            .flush()
            .map_err(|error| BrokerError::Trail(error.to_string()))
    }

    pub(crate) async fn record(
        &self,
        caller: &Caller,
        at: Timestamp,
        events: Vec<Event>,
    ) -> Result<Receipt, BrokerError> {
        self.space.admit(&caller.actor, &events)?;
        let used = caller
            .assertion
            .as_ref()
            .filter(|used| !self.assertions.is_recorded(used));
        let entries = caller.entries(at, used, events);
        let (count, begun) = (entries.len(), self.clock.monotonic());
        let receipt = self.journal.append(entries).await.inspect_err(|_| {
            self.stopped.send_replace(!self.is_healthy());
        })?;
        if let Some(used) = used {
            self.assertions.note_recorded(used);
        }
        if let Some(meters) = self.meters.get() {
            (meters.appended)(count, self.clock.monotonic().saturating_sub(begun));
        }
        Ok(receipt)
    }

    pub(crate) fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keyring(&self) -> RwLockReadGuard<'_, Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("options", &self.options)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}
