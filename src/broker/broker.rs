//! The broker: its use cases, wired over one ledger. Without HTTP.
//!
//! Every change is a record in the ledger first (see [`Changes`]). [`State`] and the views are what the ledger derived
//! from durable records before it answered, so a caller that has an answer sees its effect, and a restart, which replays
//! the same records, ends in the same state.

use std::{
    fmt,
    sync::{Arc, RwLockReadGuard},
};

use tokio::sync::watch;

use crate::{
    BrokerError, Caller, Codes, Consents, Decisions, Exchanges, Feed, History, Issuance, Keys,
    Meters, Operators, Options, Policies, Registry, Revocations, ServerVerifiers, State, Tasks,
    TokenRevocations, UsedAssertion,
    change::Changes,
    error::trail,
    ledger::{Position, file::FileLedger, views::Views},
    wall_clock::ClockFault,
};
use hallpass_core::base::{ids::IssuerUri, time::Timestamp};

/// The broker. Shared behind an [`Arc`].
pub struct Broker {
    /// Opening tasks and minting passes.
    pub issuance: Arc<Issuance>,
    /// Offers and consents.
    pub consents: Arc<Consents>,
    /// Authorization codes and refresh tokens.
    pub codes: Arc<Codes>,
    /// Exchanging passes.
    pub exchanges: Arc<Exchanges>,
    /// Tasks that were opened.
    pub tasks: Arc<Tasks>,
    /// Revoking and reinstating, by operators.
    pub revocations: Arc<Revocations>,
    /// Revocation of passes by the clients that have them.
    pub token_revocations: Arc<TokenRevocations>,
    /// Agents, their secrets, servers, stewards and clients.
    pub registry: Arc<Registry>,
    /// Operators and their tokens.
    pub operators: Arc<Operators>,
    /// The policy that is in force.
    pub policy: Arc<Policies>,
    /// Signing keys.
    pub keys: Arc<Keys>,
    /// What verifiers follow.
    pub feed: Arc<Feed>,
    /// In-process verifiers, and introspection with them.
    pub verifiers: Arc<ServerVerifiers>,
    /// What verifiers report.
    pub decisions: Arc<Decisions>,
    /// What is shown of the past.
    pub history: Arc<History>,
    pub(crate) options: Options,
    pub(crate) changes: Arc<Changes>,
    pub(crate) journal: Arc<FileLedger>,
    pub(crate) views: Views,
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
        self.changes.now()
    }

    /// What the records add up to. A caller that holds it must not ask for it again: once the ledger waits in between to
    /// apply records, both wait for ever.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.changes.state()
    }

    /// Whether new things can be recorded.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.changes.is_healthy()
    }

    /// What is wrong with the machine's time of day, if anything.
    #[must_use]
    pub fn clock_fault(&self) -> Option<ClockFault> {
        self.changes.clock_fault()
    }

    /// Whether room on the disk is low, so that only what ends rights is recorded.
    #[must_use]
    pub fn is_storage_low(&self) -> bool {
        self.changes.reserve().is_low()
    }

    /// Returns once nothing can be recorded any more: the process has to be restarted.
    pub async fn stopped(&self) {
        self.changes.stopped().await;
    }

    /// The views over the records, with the records that they find.
    #[must_use]
    pub const fn views(&self) -> &Views {
        &self.views
    }

    /// Changes once more records are durable and in the views.
    #[must_use]
    pub fn records(&self) -> watch::Receiver<Position> {
        self.changes.ledger().subscribe()
    }

    /// Sets the metrics hooks. Only the first call has an effect.
    pub fn count_with(&self, meters: Meters) {
        self.changes.set_meters(meters);
    }

    /// Refuses an assertion that was used before or has expired by now, and remembers this one until it has.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Replay`], and [`BrokerError::Full`] when it cannot be remembered.
    pub fn use_assertion(&self, used: &UsedAssertion) -> Result<(), BrokerError> {
        self.changes.use_assertion(used)
    }

    /// Records the caller's assertion unless a record has it already: an assertion is single-use even when it is only
    /// used to read.
    ///
    /// # Errors
    ///
    /// When nothing can be recorded.
    pub async fn note(&self, caller: &Caller) -> Result<(), BrokerError> {
        self.changes.note(caller).await
    }

    /// Periodic maintenance: advances key states, drops expired entries, maintains the disk reserve.
    ///
    /// # Errors
    ///
    /// When a key's next state cannot be recorded.
    pub async fn maintain(&self) -> Result<(), BrokerError> {
        self.changes.reserve().keep();
        self.changes.note_health();
        self.changes.forget();
        self.keys.advance_keys().await?;
        self.keys.rotate_due_keys().await
    }

    /// Finishes what is being recorded and releases the data directory.
    ///
    /// # Errors
    ///
    /// When the journal had failed.
    pub async fn close(&self) -> Result<(), BrokerError> {
        let decisions = self.decisions.close().await;
        self.changes.ledger().close().await?;
        decisions?;
        self.views.flush().map_err(trail)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("options", &self.options)
            .field("ledger", self.changes.ledger())
            .finish_non_exhaustive()
    }
}
