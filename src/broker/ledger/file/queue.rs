//! What waits to be written, and when a batch has gathered long enough.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use crate::{
    domain::event::{ChainEvent, Entry},
    ledger::{
        file::{error::JournalError, line::Body},
        receipt::Receipt,
    },
};
use hallpass_core::base::sync::{MutexExt as _, ignoring_poison};
use hallpass_core::base::time::{Clock as _, SystemClock};

pub(super) type Answer = oneshot::Receiver<Result<Receipt, JournalError>>;

/// One call of `append`.
#[derive(Debug)]
pub(super) struct Request<E> {
    pub(super) entries: Vec<(Entry<E>, Body)>,
    pub(super) answer: oneshot::Sender<Result<Receipt, JournalError>>,
}

impl<E: ChainEvent> Request<E> {
    pub(super) fn new(entries: Vec<Entry<E>>) -> Result<(Self, Answer), JournalError> {
        if entries.is_empty() {
            return Err(JournalError::Empty);
        }
        let with_body = |entry: Entry<E>| Body::of(&entry).map(|body| (entry, body));
        let entries = entries
            .into_iter()
            .map(with_body)
            .collect::<Result<_, _>>()?;
        let (answer, waiting) = oneshot::channel();
        Ok((Self { entries, answer }, waiting))
    }

    pub(super) fn len(&self) -> usize {
        self.entries
            .iter()
            .fold(0, |sum, (_, body)| sum.saturating_add(body.len()))
    }
}

/// The calls of `append` that wait; callers add to it, and one writer at a time takes from it.
#[derive(Debug)]
pub(super) struct Queue<E> {
    waiting: Mutex<Waiting<E>>,
    news: Condvar,
    /// Further calls wait for a place outside.
    room: Semaphore,
    clock: SystemClock,
    bounds: Bounds,
}

/// How much goes into one write.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) calls: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Waiting<E> {
    requests: VecDeque<Request<E>>,
    /// The gathering writer sleeps until this many calls wait, the disk is free, or no more calls are expected.
    wake_at: Option<usize>,
    disk: Disk,
    closed: bool,
    finished: bool,
    closers: Vec<oneshot::Sender<()>>,
}

impl<E> Default for Waiting<E> {
    fn default() -> Self {
        Self {
            requests: VecDeque::new(),
            wake_at: None,
            disk: Disk::default(),
            closed: false,
            finished: false,
            closers: Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct Disk {
    busy: bool,
    /// Since when it is not.
    free_since: Duration,
    /// How many calls the last sync was for: as many may be about to come back.
    last_calls: usize,
    /// How long that sync took: waiting for them longer than that is not worth it.
    took: Duration,
}

/// What the writer that gathers does next.
#[derive(Debug)]
pub(super) enum Next<E> {
    /// Encode these.
    Encode(Vec<Request<E>>),
    /// Write what it has: the disk is its own from now on.
    Write,
    /// Nothing: the queue was closed and is empty.
    Stop,
}

impl<E: ChainEvent> Queue<E> {
    pub(super) fn new(room: usize, bounds: Bounds) -> Self {
        // A semaphore has an upper bound of its own.
        let room = Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS));
        let bounds = Bounds {
            calls: bounds.calls.max(1),
            bytes: bounds.bytes.max(1),
        };
        Self {
            waiting: Mutex::default(),
            news: Condvar::new(),
            room,
            clock: SystemClock::default(),
            bounds,
        }
    }

    /// Adds a call, waiting for a place; `false` when the queue was closed.
    pub(super) async fn push(&self, request: Request<E>) -> bool {
        let Ok(place) = self.room.acquire().await else {
            return false;
        };
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        place.forget();
        waiting.requests.push_back(request);
        if waiting
            .wake_at
            .is_some_and(|enough| waiting.requests.len() >= enough)
        {
            waiting.wake_at = None;
            self.news.notify_one();
        }
        true
    }

    /// Takes no more calls. `done` is notified once those that wait were answered and all is released;
    /// at once when that is so already.
    pub(super) fn close(&self, done: Option<oneshot::Sender<()>>) {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.room.close();
        self.news.notify_all();
        if !waiting.finished {
            waiting.closers.extend(done);
        }
    }

    /// The queue is not read any more: what still waits is dropped, and its callers get an error.
    pub(super) fn finish(&self) {
        let (requests, closers) = {
            let mut waiting = self.lock();
            (waiting.closed, waiting.finished) = (true, true);
            self.room.close();
            self.news.notify_all();
            (
                std::mem::take(&mut waiting.requests),
                std::mem::take(&mut waiting.closers),
            )
        };
        drop(requests);
        for closer in closers {
            // The caller may have stopped waiting.
            let _ = closer.send(());
        }
    }

    /// What the writer does that gathers, and has `gathered` this much.
    ///
    /// While the disk is busy it gathers on: under load the calls that arrive during one sync make the next
    /// batch. When the disk is free it does not wait, except for as many callers as were just answered: they
    /// often come back at once, and a sync for all of them costs little more than one for the first. It waits as
    /// long as they keep coming, and no longer than the last sync took.
    pub(super) fn next(&self, gathered: Bounds) -> Next<E> {
        let mut waiting = self.lock();
        loop {
            let full = gathered.calls >= self.bounds.calls || gathered.bytes >= self.bounds.bytes;
            if !full && !waiting.requests.is_empty() {
                return Next::Encode(self.take(&mut waiting, gathered));
            }
            if gathered.calls == 0 {
                if waiting.closed {
                    return Next::Stop;
                }
                waiting = self.sleep(waiting, 1);
            } else if waiting.disk.busy && !waiting.finished {
                let enough = if full {
                    usize::MAX
                } else {
                    (waiting.disk.last_calls / 2).max(1)
                };
                waiting = self.sleep(waiting, enough);
            } else {
                let missing = waiting.disk.last_calls.saturating_sub(gathered.calls);
                let since = self
                    .clock
                    .monotonic()
                    .saturating_sub(waiting.disk.free_since);
                let patience = waiting
                    .disk
                    .took
                    .saturating_sub(since)
                    .min(waiting.disk.quiet());
                if full || waiting.closed || missing == 0 || patience.is_zero() {
                    waiting.disk.busy = true;
                    return Next::Write;
                }
                waiting.wake_at = Some(missing);
                let woken = self.news.wait_timeout(waiting, patience);
                waiting = ignoring_poison(woken).0;
                waiting.wake_at = None;
            }
        }
    }

    /// The disk is free again after a sync for so many calls that took so long.
    pub(super) fn disk_is_free(&self, calls: usize, took: Duration) {
        let mut waiting = self.lock();
        waiting.disk = Disk {
            busy: false,
            free_since: self.clock.monotonic(),
            last_calls: calls,
            took,
        };
        if waiting.wake_at.take().is_some() {
            self.news.notify_one();
        }
    }

    /// Time since some point in the past.
    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn take(&self, waiting: &mut Waiting<E>, gathered: Bounds) -> Vec<Request<E>> {
        let mut taken = Vec::with_capacity(waiting.requests.len().min(self.bounds.calls));
        let mut bytes = gathered.bytes;
        while gathered.calls.saturating_add(taken.len()) < self.bounds.calls
            && bytes < self.bounds.bytes
        {
            let Some(request) = waiting.requests.pop_front() else {
                break;
            };
            bytes = bytes.saturating_add(request.len());
            taken.push(request);
        }
        self.room.add_permits(taken.len());
        taken
    }

    fn sleep<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting<E>>,
        until: usize,
    ) -> MutexGuard<'a, Waiting<E>> {
        waiting.wake_at = Some(until);
        let mut waiting = ignoring_poison(self.news.wait(waiting));
        waiting.wake_at = None;
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<E>> {
        self.waiting.locked()
    }
}

impl Disk {
    /// How long the queue may stay quiet before the batch is written: a part of the last disk write, within bounds.
    fn quiet(&self) -> Duration {
        (self.took / 4).clamp(LEAST_QUIET, MOST_QUIET)
    }
}

/// Shorter than this, threads do not wake.
const LEAST_QUIET: Duration = Duration::from_micros(100);

/// However slow the disk is, a call waits no longer than this for the next to come.
const MOST_QUIET: Duration = Duration::from_millis(1);
