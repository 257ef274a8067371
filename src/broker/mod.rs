//! Floor 4: the broker's use cases, without HTTP.
//!
//! Every change is a record in the journal first. [`State`] and the index are what the journal's
//! writer derived from durable records before it answered, so whoever has an answer sees its effect,
//! and a restart, which replays the same records, ends in the same state.

mod assertions;
mod calls;
mod clients;
mod codes;
mod consent;
mod decisions;
mod directory;
mod dynamic;
mod error;
mod exchange;
mod feed;
mod give_back;
mod holders;
mod introspect;
mod issue;
mod judge;
mod key_files;
mod key_protection;
mod keyring;
mod lineage;
mod live_task;
mod narrow;
mod one_time;
mod open;
mod operators;
mod options;
mod people;
mod policy_store;
mod proofs;
mod registry;
mod reports;
mod request;
mod retention;
mod revoke;
mod saved;
mod server_secrets;
mod sign_in;
mod space;
mod standing;
mod state;
mod stewards;
mod task_clients;
mod tasks;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Semaphore, watch};

use self::{
    assertions::Assertions, codes::Turns, decisions::Decisions, directory::Directory, feed::FeedHub, judge::Judges,
    keyring::Keyring, policy_store::PolicyStore, space::Space,
};
pub use self::{
    calls::{CallPage, CallView},
    clients::SecretView,
    codes::{CodeError, CodeReason, Handed, Redemption, Refresh},
    consent::{Ask, CLIENT_DOCUMENTS, CODE_LIVES, Offer, PersonsClient, REGISTERED_CLIENTS},
    decisions::{DECISIONS_DIRECTORY, DecisionsError, RecordedReports},
    directory::{DirectoryError, Identity},
    dynamic::{MAX_UNUSED, NewClient, RegisteredClient, UNUSED_LIVES},
    error::BrokerError,
    exchange::{Exchange, ExchangeError, SubjectPass},
    feed::{HEARTBEAT, SignedFrame, Subscription},
    give_back::{GivenBack, PassOwner},
    introspect::Introspected,
    issue::{IssueAgain, Issued, OpenTask},
    key_files::{KeyFileError, KeysAtRest},
    key_protection::{KeyProtection, MIN_PASSPHRASE, ProtectionError},
    keyring::{KeyView, KeyringError},
    live_task::{LiveTask, TaskEnd},
    one_time::OneTime,
    open::{KEYS_DIRECTORY, OPERATOR_TOKEN_FILE, Opened, StartError},
    operators::{NewOperator, OperatorToken},
    options::Options,
    policy_store::{GrantWritten, PolicyView},
    registry::{AgentView, NewAgent, ServerView},
    retention::Retention,
    revoke::{RevocationView, Revoke, Revoked},
    sign_in::SIGN_IN_LIVES,
    state::State,
    stewards::{StewardView, VerifiedSteward},
    task_clients::{OpenedForClient, TaskClient},
    tasks::{DelegationReport, TaskView},
};
use crate::{
    audit::Tree,
    base::{
        digest::Digest,
        ids::{AgentId, IssuerUri, RequestId},
        time::{Clock, Timestamp},
    },
    index::Index,
    journal::{Actor, Entry, Event, Journal, Reader, Receipt},
};

/// The broker. Shared behind an [`Arc`].
pub struct Broker {
    options: Options,
    clock: Arc<dyn Clock>,
    journal: Journal,
    reader: Reader,
    index: Arc<Index>,
    tree: Arc<Tree>,
    state: Arc<RwLock<State>>,
    /// The state's last time, in milliseconds, to be read by whoever holds the state too.
    last_at: Arc<AtomicI64>,
    keyring: RwLock<Keyring>,
    directory: Mutex<Directory>,
    policy: PolicyStore,
    feed: FeedHub,
    judges: Judges,
    decisions: Decisions,
    /// Permits to read through the journal for a report.
    scans: Semaphore,
    /// Serialises what must look at the state and then change it: registration, keys, revocation.
    changes: tokio::sync::Mutex<()>,
    /// Assertions that were seen, so that two requests at once cannot use one.
    assertions: Assertions,
    turns: Turns,
    /// The last sequence that concerns the feed.
    feed_sequence: watch::Sender<u64>,
    /// The last sequence of all.
    sequence: watch::Sender<u64>,
    meters: OnceLock<Meters>,
    space: Space,
    /// Whether the journal stopped.
    stopped: watch::Sender<bool>,
}

/// Who counts what the broker does; called in passing, so they must be quick.
#[expect(clippy::exhaustive_structs, reason = "whoever counts must count all of these")]
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
#[expect(clippy::exhaustive_structs, reason = "whoever calls the broker must say every one of these")]
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
        Self { actor: Actor::Broker, request: None, trace: None, idempotency: None, assertion: None }
    }

    /// The same without its idempotency key: for what a replay is not pointed to.
    fn without_key(&self) -> Self {
        Self { idempotency: None, ..self.clone() }
    }

    fn entries(&self, at: Timestamp, used: Option<&UsedAssertion>, events: Vec<Event>) -> Vec<Entry> {
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
        let events = numbered.map(|(at, event)| entry(event, self.idempotency.filter(|_| Some(at) == last)));
        used.map(|event| entry(event, None)).into_iter().chain(events).collect()
    }
}

/// An assertion that an agent proved itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
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
        self.clock.now().max(Timestamp::from_unix_millis(self.last_at.load(Ordering::SeqCst)))
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
        if self.assertions.remember(used, self.now()) { Ok(()) } else { Err(BrokerError::Replay) }
    }

    /// Records that a caller was here, unless some record tells of it already: an assertion is
    /// single-use even when it is only used to read.
    ///
    /// # Errors
    ///
    /// When nothing can be recorded.
    pub async fn note(&self, caller: &Caller) -> Result<(), BrokerError> {
        if caller.assertion.as_ref().is_some_and(|used| !self.assertions.is_recorded(used)) {
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
        self.index.flush().map_err(|error| BrokerError::Trail(error.to_string()))
    }

    async fn record(&self, caller: &Caller, at: Timestamp, events: Vec<Event>) -> Result<Receipt, BrokerError> {
        self.space.admit(&caller.actor, &events)?;
        let used = caller.assertion.as_ref().filter(|used| !self.assertions.is_recorded(used));
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

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keyring(&self) -> RwLockReadGuard<'_, Keyring> {
        self.keyring.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("options", &self.options).field("journal", &self.journal).finish_non_exhaustive()
    }
}
