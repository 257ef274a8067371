//! Change: the only way to record something.
//!
//! A change reads the state, decides, and appends what it decided on condition that no other broker appended
//! meanwhile. When one did, the ledger applies its records and the decision is made again, by the state as it is then.
//! So what one broker has recorded, a revocation above all, no other decides against.
//!
//! Within one broker there are two kinds:
//!
//! - [`Turn::change`]: one after the other. What a decision of this kind saw still holds when it is recorded, so it
//!   may check and then change. A function that relies on that takes a [`Turn`].
//! - [`Changes::beside_others`]: beside all others, so that many share one sync. What the decision saw may be changed
//!   by another change of this broker before it is recorded; what must not be missed is checked again afterwards, in
//!   the state that has the record.

use std::{
    fmt,
    sync::{Arc, OnceLock, RwLockReadGuard},
    time::Duration,
};

use tokio::sync::{Mutex, MutexGuard, watch};

use crate::{
    BrokerError, Caller, State,
    disk::reserve::DiskReserve,
    domain::{
        event::LedgerEvent,
        one_time::{Consumed, OneTime, UsedAssertion},
        state::cell::StateCell,
    },
    ledger::{AppendError, Ledger, Position, Receipt},
    wall_clock::{ClockFault, WallClock},
};
use hallpass_core::base::time::{Clock, Timestamp};

/// What a broker's use cases share: its state, its time, and the way to record.
pub struct Changes {
    ledger: Arc<dyn Ledger>,
    state: Arc<StateCell>,
    clock: Arc<dyn Clock>,
    wall: WallClock,
    reserve: Arc<DiskReserve>,
    /// What may be used once and was used by requests to this broker.
    one_time: OneTime,
    meters: OnceLock<Meters>,
    /// Whether the ledger stopped.
    stopped: watch::Sender<bool>,
    turn: Mutex<()>,
    /// Where those wait for the turn that are not urgent: one of them at a time stands in the way of urgent ones.
    queue: Mutex<()>,
}

/// Counters for what the broker does; called in passing, so they must be quick.
pub struct Meters {
    /// So many records were made durable in one append that took so long.
    pub appended: Box<dyn Fn(usize, Duration) + Send + Sync>,
    /// A feed frame was signed.
    pub frame_signed: Box<dyn Fn() + Send + Sync>,
}

/// What a decision looks at: the state as it was when the decision began, or later.
pub(crate) struct View<'c>(&'c Changes);

/// What was decided: what is to be recorded, and the value that the change returns then.
pub(crate) struct Decided<T> {
    record: Option<Recording>,
    value: T,
}

struct Recording {
    /// `None`: the caller of the change.
    caller: Option<Caller>,
    at: Timestamp,
    events: Vec<LedgerEvent>,
}

/// What became of one attempt.
enum Appended {
    Recorded(Receipt),
    Nothing,
    Overtaken,
}

/// A change that was made.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) value: T,
    /// The receipt, unless nothing was to be recorded.
    pub(crate) receipt: Option<Receipt>,
}

/// The turn to make changes that see all earlier ones of this broker and are seen by all later ones.
pub(crate) struct Turn<'c> {
    changes: &'c Changes,
    _held: MutexGuard<'c, ()>,
    _queued: Option<MutexGuard<'c, ()>>,
}

impl<T> Decided<T> {
    /// Records `events`, decided at `at`. Without events only the caller's assertion is recorded, if it is not yet.
    pub(crate) const fn record(at: Timestamp, events: Vec<LedgerEvent>, value: T) -> Self {
        let caller = None;
        Self {
            record: Some(Recording { caller, at, events }),
            value,
        }
    }

    /// Records nothing.
    pub(crate) const fn nothing(value: T) -> Self {
        Self {
            record: None,
            value,
        }
    }

    /// The same with another value.
    pub(crate) fn map<U>(self, of: impl FnOnce(T) -> U) -> Decided<U> {
        Decided {
            record: self.record,
            value: of(self.value),
        }
    }

    /// The records are attributed to `caller` instead of the caller of the change.
    pub(crate) fn by(mut self, caller: Caller) -> Self {
        if let Some(recording) = &mut self.record {
            recording.caller = Some(caller);
        }
        self
    }
}

/// The receipt of a change that always records.
pub(crate) fn recorded(receipt: Option<Receipt>) -> Result<Receipt, BrokerError> {
    let missing = || BrokerError::Internal("a change recorded nothing".to_owned());
    receipt.ok_or_else(missing)
}

impl View<'_> {
    /// The state. A caller that holds it must not ask for it again: see [`StateCell::read`].
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.0.state.read()
    }

    /// The time that decides.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Turn<'_> {
    /// Decides and records; decides again when another broker recorded first.
    ///
    /// # Errors
    ///
    /// Those of `decide`, [`BrokerError::Contended`] when other brokers were first too many times, and when nothing
    /// can be recorded.
    pub(crate) async fn change<T, E: From<BrokerError>>(
        &self,
        caller: &Caller,
        decide: impl FnMut(&View<'_>) -> Result<Decided<T>, E>,
    ) -> Result<Done<T>, E> {
        self.changes.decide(caller, decide).await
    }
}

impl Changes {
    /// The changes of a broker that has a `state` and a handle to a `ledger`, which applies records to that state.
    pub(crate) fn new(
        ledger: Arc<dyn Ledger>,
        state: Arc<StateCell>,
        clock: Arc<dyn Clock>,
        reserve: Arc<DiskReserve>,
    ) -> Self {
        let one_time = {
            let state = state.read();
            OneTime::recorded(state.unexpired_assertions(state.last_at()))
        };
        let wall = WallClock::started(&*clock);
        Self {
            ledger,
            state,
            wall,
            clock,
            reserve,
            one_time,
            meters: OnceLock::new(),
            stopped: watch::Sender::new(false),
            turn: Mutex::new(()),
            queue: Mutex::new(()),
        }
    }

    /// What the records add up to. A caller that holds it must not ask for it again: once the ledger waits in between
    /// to apply records, both wait for ever.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// The time that decides: never before the last record's, so that a clock set back cannot put a record before its
    /// predecessor or revive what has ended; and never ahead by a jump, so that a wrong clock is not believed for ever.
    pub(crate) fn now(&self) -> Timestamp {
        let (now, fault) = self.wall.read(&*self.clock, self.state.last_at());
        self.wall.log(fault);
        now
    }

    /// What is wrong with the machine's time of day.
    pub(crate) fn clock_fault(&self) -> Option<ClockFault> {
        self.wall.read(&*self.clock, self.state.last_at()).1
    }

    pub(crate) const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) const fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    pub(crate) const fn reserve(&self) -> &Arc<DiskReserve> {
        &self.reserve
    }

    /// Drops what no living pass is concerned by.
    pub(crate) fn forget(&self) {
        self.state.forget();
    }

    /// The metrics hooks, once they were set.
    pub(crate) fn meters(&self) -> Option<&Meters> {
        self.meters.get()
    }

    /// Sets the metrics hooks. Only the first call has an effect.
    pub(crate) fn set_meters(&self, meters: Meters) {
        let _ = self.meters.set(meters);
    }

    /// Whether something can be recorded.
    pub(crate) fn is_healthy(&self) -> bool {
        self.ledger.is_healthy()
    }

    /// Notes whether the ledger has stopped.
    pub(crate) fn note_health(&self) {
        if !self.is_healthy() {
            self.stopped.send_replace(true);
        }
    }

    /// Returns once nothing can be recorded any more.
    pub(crate) async fn stopped(&self) {
        // The sender is ours, so it cannot go away while we wait.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Refuses an assertion that was used before or has expired by now, and remembers this one until it has.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Replay`], and [`BrokerError::Full`] when it cannot be remembered.
    pub(crate) fn use_assertion(&self, used: &UsedAssertion) -> Result<(), BrokerError> {
        let now = self.now();
        match self.one_time.consume(used, now) {
            Consumed::First if !self.state().is_used(&used.jti, now) => Ok(()),
            Consumed::First | Consumed::Replay => Err(BrokerError::Replay),
            Consumed::Full => Err(BrokerError::Full(
                "too many assertions were used and have not expired: try again in a few minutes"
                    .to_owned(),
            )),
        }
    }

    /// Records the caller's assertion unless a record has it already: an assertion is single-use even when it is only
    /// used to read.
    ///
    /// # Errors
    ///
    /// When nothing can be recorded.
    pub(crate) async fn note(&self, caller: &Caller) -> Result<(), BrokerError> {
        let noted = |view: &View<'_>| Ok(Decided::record(view.now(), Vec::new(), ()));
        self.beside_others(caller, noted)
            .await
            .map(|Done { value, .. }| value)
    }

    /// What a decision that records nothing looks at.
    pub(crate) const fn look(&self) -> View<'_> {
        View(self)
    }

    /// Waits for the turn to make changes one after the other.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let queued = self.queue.lock().await;
        Turn {
            changes: self,
            _held: self.turn.lock().await,
            _queued: Some(queued),
        }
    }

    /// Waits for the turn before all that are not urgent: for revocations, however many others wait.
    pub(crate) async fn urgent_turn(&self) -> Turn<'_> {
        Turn {
            changes: self,
            _held: self.turn.lock().await,
            _queued: None,
        }
    }

    /// [`Turn::change`] in a turn of its own.
    ///
    /// # Errors
    ///
    /// As [`Turn::change`].
    pub(crate) async fn in_turn<T, E: From<BrokerError>>(
        &self,
        caller: &Caller,
        decide: impl FnMut(&View<'_>) -> Result<Decided<T>, E>,
    ) -> Result<Done<T>, E> {
        self.turn().await.change(caller, decide).await
    }

    /// Decides and records beside other changes of this broker; decides again when another broker recorded first.
    ///
    /// # Errors
    ///
    /// As [`Turn::change`].
    pub(crate) async fn beside_others<T, E: From<BrokerError>>(
        &self,
        caller: &Caller,
        decide: impl FnMut(&View<'_>) -> Result<Decided<T>, E>,
    ) -> Result<Done<T>, E> {
        self.decide(caller, decide).await
    }

    async fn decide<T, E: From<BrokerError>>(
        &self,
        caller: &Caller,
        mut decide: impl FnMut(&View<'_>) -> Result<Decided<T>, E>,
    ) -> Result<Done<T>, E> {
        for _ in 0..MAX_ATTEMPTS {
            // Before anything of the state is read, so that the decision knows at least what it claims to know.
            let expected = self.state.position();
            let Decided { record, value } = decide(&View(self))?;
            let appended = match record {
                Some(recording) => self.append(expected, caller, recording).await?,
                None => Appended::Nothing,
            };
            let receipt = match appended {
                Appended::Recorded(receipt) => Some(receipt),
                Appended::Nothing => None,
                Appended::Overtaken => continue,
            };
            return Ok(Done { value, receipt });
        }
        Err(BrokerError::Contended.into())
    }

    async fn append(
        &self,
        expected: Position,
        caller: &Caller,
        recording: Recording,
    ) -> Result<Appended, BrokerError> {
        let Recording {
            caller: by,
            at,
            events,
        } = recording;
        let caller = by.as_ref().unwrap_or(caller);
        let used = caller
            .assertion
            .as_ref()
            .filter(|used| !self.one_time.is_recorded(used));
        if events.is_empty() && used.is_none() {
            return Ok(Appended::Nothing);
        }
        self.reserve.admit(&caller.actor, &events)?;
        let entries = caller.entries(at, used, events);
        let (count, begun) = (entries.len(), self.clock.monotonic());
        let receipt = match self.ledger.append(expected, entries).await {
            Ok(receipt) => receipt,
            // SECURITY: what another broker recorded is applied now. If that used the same assertion, it counts.
            Err(AppendError::Conflict) => {
                return match used {
                    Some(used) if self.state().is_used(&used.jti, at) => Err(BrokerError::Replay),
                    _ => Ok(Appended::Overtaken),
                };
            }
            Err(AppendError::Failed(error)) => {
                self.note_health();
                return Err(error.into());
            }
        };
        if let Some(used) = used {
            self.one_time.note_recorded(used);
        }
        if let Some(meters) = self.meters.get() {
            (meters.appended)(count, self.clock.monotonic().saturating_sub(begun));
        }
        Ok(Appended::Recorded(receipt))
    }
}

#[cfg(test)]
impl Changes {
    pub(crate) const fn cell(&self) -> &Arc<StateCell> {
        &self.state
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

/// A decision that another broker overtook this many times is given up. Each time another broker got something done.
const MAX_ATTEMPTS: usize = 16;
