//! The writers: while one applies and answers a batch, the next syncs its own, and a third gathers.
//!
//! Each writer takes a batch through three stages, hand over hand: it holds on to a stage until it has
//! the next, so that batches cannot overtake each other. When there is little to do one of them does
//! all of it, without waking another.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::{
    domain::event::Entry,
    ledger::{
        file::{
            Head, MAX_ENTRY_BYTES, Options, Place, Reader, Record, Snapshot, SnapshotError,
            TakeSnapshot,
            line::Body,
            queue::{Bounds, Next, Queue},
            read::Durable,
            recover::mark,
            roll,
        },
        receipt::Receipt,
    },
};
use hallpass_core::base::{ids::RevocationId, time::Timestamp};

/// What is told of every durable batch before its answers.
pub type Apply = Box<dyn FnMut(&[Record]) + Send>;

/// Where the writer's bytes go: a file, or in tests something that fails on purpose.
pub trait Storage: io::Write + Send {
    /// Returns when everything written before would survive a loss of power.
    ///
    /// # Errors
    ///
    /// When that is not certain; the journal then stops.
    fn sync_data(&mut self) -> io::Result<()>;

    /// Goes on in `file`, the next segment, which is empty. What cannot do that stays in the one it has.
    ///
    /// # Errors
    ///
    /// When it goes on in the one it has.
    fn next_segment(&mut self, file: File) -> io::Result<()> {
        drop(file);
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Storage for File {
    fn sync_data(&mut self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn next_segment(&mut self, file: File) -> io::Result<()> {
        *self = file;
        Ok(())
    }
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The journal cannot be written any more; the process has to be restarted.
    #[error("the journal stopped: {reason}: restart hallpass once the cause is gone")]
    Failed {
        /// What failed first.
        reason: Arc<str>,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// There was nothing to append.
    #[error("there is no entry to append")]
    Empty,
    /// An entry is too long.
    #[error(
        "an entry of {bytes} bytes is longer than the {MAX_ENTRY_BYTES} that a record may have"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// An entry could be written and never read again.
    #[error("an entry could not be read back: {detail}")]
    Unreadable {
        /// What is wrong with it.
        detail: Arc<str>,
    },
}

pub(super) type Answer = oneshot::Receiver<Result<Receipt, JournalError>>;

/// One call of `append`.
#[derive(Debug)]
pub(super) struct Request {
    entries: Vec<(Entry, Body)>,
    answer: oneshot::Sender<Result<Receipt, JournalError>>,
}

impl Request {
    pub(super) fn new(entries: Vec<Entry>) -> Result<(Self, Answer), JournalError> {
        if entries.is_empty() {
            return Err(JournalError::Empty);
        }
        let with_body = |entry: Entry| Body::of(&entry).map(|body| (entry, body));
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

/// A call whose records are written and not durable yet.
struct Pending {
    answer: oneshot::Sender<Result<Receipt, JournalError>>,
    last: Head,
    /// The tokens that they record as made.
    tokens: Vec<RevocationId>,
}

/// What the writers hold open.
pub(super) struct Files {
    pub(super) lock: File,
    pub(super) storage: Box<dyn Storage>,
}

/// What the writers feed.
pub(super) struct Views {
    pub(super) apply: Apply,
    pub(super) take_snapshot: Option<TakeSnapshot>,
}

/// Starts the writers after `reader`'s head, a record of `last_at`; they end when the queue that is returned
/// was closed and is empty.
pub(super) fn spawn(
    files: Files,
    reader: Reader,
    (options, last_at): (&Options, Timestamp),
    views: Views,
) -> io::Result<(Arc<Queue>, Vec<JoinHandle<()>>)> {
    let bounds = Bounds {
        calls: options.batch_calls,
        bytes: options.batch_bytes,
    };
    let queue = Arc::new(Queue::new(options.queue, bounds));
    let Durable { head, end, .. } = reader.shared().durable();
    let writers = Arc::new(Writers {
        queue: Arc::clone(&queue),
        reader,
        segment_bytes: options.segment_bytes.max(1),
        gather: Mutex::new(Gather {
            head,
            next: end,
            last_at,
            roll_at: options.segment_bytes.max(1),
        }),
        store: Mutex::new(Store {
            storage: files.storage,
            is_marked: head != Head::GENESIS,
        }),
        views: Mutex::new(views),
        _lock: files.lock,
    });
    let mut threads = Vec::with_capacity(STAGES);
    for _ in 0..STAGES {
        let writers = Arc::clone(&writers);
        let thread = thread::Builder::new().name("hallpass-journal".to_owned());
        match thread.spawn(move || Writers::run(writers)) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                queue.close(None);
                return Err(error);
            }
        }
    }
    Ok((queue, threads))
}

/// What the writers share: the three stages, in order.
struct Writers {
    queue: Arc<Queue>,
    reader: Reader,
    segment_bytes: u64,
    gather: Mutex<Gather>,
    store: Mutex<Store>,
    views: Mutex<Views>,
    /// Whoever opens the directory next finds it released when the last writer has ended.
    _lock: File,
}

/// The end of the chain as it was encoded; some of it may not be durable yet.
struct Gather {
    head: Head,
    next: Place,
    last_at: Timestamp,
    /// At this length of the segment a new one is begun.
    roll_at: u64,
}

/// Where the bytes go.
struct Store {
    storage: Box<dyn Storage>,
    is_marked: bool,
}

/// Calls that are written and answered together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    calls: Vec<Pending>,
    /// Where the segment ends with it.
    end: Place,
}

impl Writers {
    fn run(this: Arc<Self>) {
        let worked = catch_unwind(AssertUnwindSafe(|| while this.write_a_batch() {}));
        if worked.is_err() {
            // The batch was dropped unanswered; its callers ask why.
            this.reader.shared().fail("writing panicked".to_owned());
            this.queue.finish();
        }
        let queue = Arc::clone(&this.queue);
        if let Some(writers) = Arc::into_inner(this) {
            // The last one: everything is closed and released before anyone hears so.
            drop(writers);
            queue.finish();
        }
    }

    /// Takes one batch through the stages; `false` when there will be none any more.
    fn write_a_batch(&self) -> bool {
        let mut gather = lock(&self.gather);
        let Some(batch) = self.gather(&mut gather) else {
            return false;
        };
        let mut store = lock(&self.store);
        drop(gather);
        let begun = self.queue.now();
        let stored = self.store(&mut store, &batch);
        let views = lock(&self.views);
        drop(store);
        self.queue
            .disk_is_free(batch.calls.len(), self.queue.now().saturating_sub(begun));
        let done = stored.and_then(|()| self.apply(views, &batch.records));
        for Pending {
            answer,
            last,
            tokens,
        } in batch.calls
        {
            let receipt = done
                .clone()
                .map(|()| Receipt::of_durable_records(last.sequence, last.hash, tokens));
            // Whoever asked may have stopped waiting; what it asked for happened, or did not.
            let _ = answer.send(receipt);
        }
        true
    }

    /// The next batch, once the disk is free for it; `None` when there will be none any more.
    fn gather(&self, gather: &mut Gather) -> Option<Batch> {
        let mut batch = Batch::default();
        loop {
            match self.queue.next(Bounds {
                calls: batch.calls.len(),
                bytes: batch.bytes.len(),
            }) {
                Next::Encode(requests) => {
                    if batch.calls.is_empty() && gather.next.offset >= gather.roll_at {
                        self.roll(gather);
                    }
                    requests
                        .into_iter()
                        .for_each(|request| gather.encode(request, &mut batch));
                }
                Next::Write => return Some(batch),
                Next::Stop => return None,
            }
        }
    }

    /// Makes the batch durable.
    fn store(&self, store: &mut Store, batch: &Batch) -> Result<(), JournalError> {
        let shared = self.reader.shared();
        self.write(store, batch.end.segment, &batch.bytes)?;
        if let Some(last) = batch.records.last() {
            shared.set_durable(last.head(), batch.end);
        }
        Ok(())
    }

    fn write(&self, store: &mut Store, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        let shared = self.reader.shared();
        if let Some(fault) = shared.fault() {
            return Err(fault);
        }
        // INVARIANT: nobody is answered unless both succeeded (`failed_sync_acknowledges_nothing`). A failed
        // sync is never repeated: the kernel may have dropped the pages and would then report success.
        let stored = store
            .storage
            .write_all(bytes)
            .and_then(|()| store.storage.sync_data());
        let path = self.reader.path(segment);
        stored.map_err(|error| shared.fail(format!("writing to `{}`: {error}", path.display())))?;
        if !store.is_marked {
            mark(self.reader.dir()).map_err(|error| shared.fail(error.to_string()))?;
            store.is_marked = true;
        }
        Ok(())
    }

    /// Tells of durable records; a batch whose turn comes after a fault is not acknowledged.
    fn apply(
        &self,
        mut views: MutexGuard<'_, Views>,
        records: &[Record],
    ) -> Result<(), JournalError> {
        let shared = self.reader.shared();
        if let Some(fault) = shared.fault() {
            return Err(fault);
        }
        // What was recorded lasts; what is known of it is not certain after a panic, so nothing is built on it.
        catch_unwind(AssertUnwindSafe(|| (views.apply)(records)))
            .map_err(|_| shared.fail("applying a durable record panicked".to_owned()))
    }

    /// Begins the next segment. Until its first record is durable a failure costs nothing: the journal goes
    /// on in the segment that it has, and tries again later.
    fn roll(&self, gather: &mut Gather) {
        // Hand over hand as any batch: all records before this one are durable and applied.
        let mut store = lock(&self.store);
        let mut views = lock(&self.views);
        if self.reader.shared().fault().is_some() {
            return;
        }
        let number = gather.next.segment.saturating_add(1);
        let begun = views.snapshot().and_then(|snapshot| {
            roll::begin(
                &self.reader,
                number,
                (gather.head, gather.last_at),
                snapshot.as_ref(),
            )
        });
        let begun = begun.and_then(
            |roll::Begun {
                 file,
                 entry,
                 body,
                 snapshot_bytes,
             }| {
                let next = store
                    .storage
                    .next_segment(file)
                    .map(|()| (entry, body, snapshot_bytes));
                next.map_err(|error| roll::undo(&self.reader, number, error.to_string()))
            },
        );
        match begun {
            Ok(first) => self.write_first_record(gather, &mut store, views, number, first),
            Err(error) => {
                tracing::error!(%error, segment = number, "the journal could not begin a segment and tries again later");
                gather.roll_at = gather
                    .next
                    .offset
                    .saturating_add(self.segment_bytes.div_ceil(4));
            }
        }
    }

    fn write_first_record(
        &self,
        gather: &mut Gather,
        store: &mut Store,
        views: MutexGuard<'_, Views>,
        number: u32,
        (entry, body, snapshot_bytes): (Entry, Body, u64),
    ) {
        // A long snapshot keeps everybody waiting; so it stays a small part of what is written.
        let is_long = snapshot_bytes > LONG_SNAPSHOT_BYTES;
        let roll_at = if is_long {
            self.segment_bytes.max(snapshot_bytes.saturating_mul(4))
        } else {
            self.segment_bytes
        };
        (gather.next, gather.roll_at) = (
            Place {
                segment: number,
                offset: 0,
            },
            roll_at,
        );
        let mut batch = Batch::default();
        gather.encode_entry(entry, &body, &mut batch);
        // A failure here stops the journal, and is told to everybody who waits.
        if self.write(store, number, &batch.bytes).is_err() {
            return;
        }
        // Until the next snapshot is there, this one is not the only one.
        let restorable = if views.take_snapshot.is_some() {
            number.saturating_sub(1)
        } else {
            number
        };
        self.reader
            .shared()
            .begin_segment(gather.head, gather.next, restorable);
        if self.apply(views, &batch.records).is_err() {
            return;
        }
        if let Err(error) = roll::forget_old_snapshots(&self.reader) {
            tracing::error!(%error, "old parts of the journal could not be removed");
        }
    }
}

impl Views {
    /// A snapshot of what was applied; `None` when none are taken.
    fn snapshot(&mut self) -> Result<Option<Snapshot>, String> {
        let Some(take) = &mut self.take_snapshot else {
            return Ok(None);
        };
        let taken = catch_unwind(AssertUnwindSafe(take));
        let taken = taken.unwrap_or_else(|_| Err(SnapshotError::new("taking a snapshot panicked")));
        taken.map(Some).map_err(|error| error.to_string())
    }
}

impl Gather {
    fn encode(&mut self, request: Request, batch: &mut Batch) {
        let mut tokens = Vec::new();
        for (entry, body) in request.entries {
            tokens.extend(Receipt::token_of(&entry.event));
            self.encode_entry(entry, &body, batch);
        }
        batch.calls.push(Pending {
            answer: request.answer,
            last: self.head,
            tokens,
        });
    }

    fn encode_entry(&mut self, entry: Entry, body: &Body, batch: &mut Batch) {
        let (prev, place, before) = (self.head.hash, self.next, batch.bytes.len());
        self.head = body.encode(self.head, &mut batch.bytes);
        let length = batch.bytes.len().saturating_sub(before);
        self.next.offset = self
            .next
            .offset
            .saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        (self.last_at, batch.end) = (entry.at, self.next);
        batch.records.push(Record {
            sequence: self.head.sequence,
            prev,
            hash: self.head.hash,
            place,
            entry,
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A shorter snapshot is written in no time.
const LONG_SNAPSHOT_BYTES: u64 = 2 * 1024 * 1024;

/// Gathering, storing, applying: a writer for each.
const STAGES: usize = 3;
