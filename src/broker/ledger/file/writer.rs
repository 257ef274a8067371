//! The writers: while one applies and answers a batch, the next syncs its own, and a third gathers.
//!
//! Each writer takes a batch through three stages, hand over hand: it holds on to a stage until it has
//! the next, so that batches cannot overtake each other. When there is little to do one of them does
//! all of it, without waking another.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::{
    domain::event::{ChainEvent, Entry, LedgerEvent},
    ledger::{
        file::{
            Options, Reader, Snapshot, SnapshotError, TakeSnapshot,
            error::JournalError,
            files::mark,
            line::Body,
            queue::{Bounds, Next, Queue, Request},
            read::Durable,
            roll,
        },
        receipt::Receipt,
        record::{Head, LinePlace, Record},
    },
};
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::{ids::RevocationId, time::Timestamp};

/// What is called with every durable batch before its callers are answered.
pub type Apply<E = LedgerEvent> = Box<dyn FnMut(&[Record<E>]) + Send>;

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
pub(super) struct Views<E> {
    pub(super) apply: Apply<E>,
    pub(super) take_snapshot: Option<TakeSnapshot>,
}

/// The queue that the writers take from, and their threads.
pub(super) type Started<E> = (Arc<Queue<E>>, Vec<JoinHandle<()>>);

/// Starts the writers after `reader`'s head, a record of `last_at`; they end when the queue that is returned
/// was closed and is empty.
pub(super) fn spawn<E: ChainEvent>(
    files: Files,
    reader: Reader<E>,
    (options, last_at): (&Options, Timestamp),
    views: Views<E>,
) -> io::Result<Started<E>> {
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
struct Writers<E> {
    queue: Arc<Queue<E>>,
    reader: Reader<E>,
    segment_bytes: u64,
    gather: Mutex<Gather>,
    store: Mutex<Store>,
    views: Mutex<Views<E>>,
    /// It is released when the last writer has ended.
    _lock: File,
}

/// The end of the chain as it was encoded; some of it may not be durable yet.
struct Gather {
    head: Head,
    next: LinePlace,
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
struct Batch<E> {
    bytes: Vec<u8>,
    records: Vec<Record<E>>,
    calls: Vec<Pending>,
    /// Where the segment ends with it.
    end: LinePlace,
}

impl<E> Default for Batch<E> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            records: Vec::new(),
            calls: Vec::new(),
            end: LinePlace::default(),
        }
    }
}

impl<E: ChainEvent> Writers<E> {
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
            // The caller may have stopped waiting; the append happened, or did not.
            let _ = answer.send(receipt);
        }
        true
    }

    /// The next batch, once the disk is free for it; `None` when there will be none any more.
    fn gather(&self, gather: &mut Gather) -> Option<Batch<E>> {
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
    fn store(&self, store: &mut Store, batch: &Batch<E>) -> Result<(), JournalError> {
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
        // INVARIANT: no caller is answered unless both succeeded (`failed_sync_acknowledges_nothing`). A failed
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

    /// Publishes durable records; a batch that comes after a fault is not acknowledged.
    fn apply(
        &self,
        mut views: MutexGuard<'_, Views<E>>,
        records: &[Record<E>],
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
        views: MutexGuard<'_, Views<E>>,
        number: u32,
        (entry, body, snapshot_bytes): (Entry<E>, Body, u64),
    ) {
        // A long snapshot keeps everybody waiting; so it stays a small part of what is written.
        let is_long = snapshot_bytes > LONG_SNAPSHOT_BYTES;
        let roll_at = if is_long {
            self.segment_bytes.max(snapshot_bytes.saturating_mul(4))
        } else {
            self.segment_bytes
        };
        (gather.next, gather.roll_at) = (
            LinePlace {
                segment: number,
                offset: 0,
            },
            roll_at,
        );
        let mut batch = Batch::default();
        gather.encode_entry(entry, &body, &mut batch);
        // A failure here stops the journal, and every waiting caller gets it.
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

impl<E> Views<E> {
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
    fn encode<E: ChainEvent>(&mut self, request: Request<E>, batch: &mut Batch<E>) {
        let mut tokens = Vec::new();
        for (entry, body) in request.entries {
            tokens.extend(entry.event.made_token());
            self.encode_entry(entry, &body, batch);
        }
        batch.calls.push(Pending {
            answer: request.answer,
            last: self.head,
            tokens,
        });
    }

    fn encode_entry<E>(&mut self, entry: Entry<E>, body: &Body, batch: &mut Batch<E>) {
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
    mutex.locked()
}

/// A shorter snapshot is written in no time.
const LONG_SNAPSHOT_BYTES: u64 = 2 * 1024 * 1024;

/// Gathering, storing, applying: a writer for each.
const STAGES: usize = 3;
