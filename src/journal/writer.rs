//! The one writer: gathers what waits, writes once, syncs once, applies, answers.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    thread,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    Journal,
    event::Entry,
    line::{Body, Head, MAX_ENTRY_BYTES, Place, Record},
    open::{Options, mark},
    read::Reader,
};
use crate::base::Receipt;

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
}

impl Storage for File {
    fn sync_data(&mut self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    #[error("an entry of {bytes} bytes is longer than the {MAX_ENTRY_BYTES} that a record may have")]
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
        let entries = entries.into_iter().map(with_body).collect::<Result<_, _>>()?;
        let (answer, waiting) = oneshot::channel();
        Ok((Self { entries, answer }, waiting))
    }

    fn len(&self) -> usize {
        self.entries.iter().fold(0, |sum, (_, body)| sum.saturating_add(body.len()))
    }
}

/// A call whose records are written and not durable yet.
struct Pending {
    answer: oneshot::Sender<Result<Receipt, JournalError>>,
    last: Head,
}

#[derive(Debug)]
pub(super) enum Message {
    Append(Request),
    Close(oneshot::Sender<()>),
}

/// What the writer holds open.
pub(super) struct Files {
    pub(super) lock: File,
    pub(super) storage: Box<dyn Storage>,
}

/// Starts the writer after `reader`'s head.
pub(super) fn spawn(files: Files, reader: Reader, options: &Options, apply: Apply) -> io::Result<Journal> {
    let Files { lock, storage } = files;
    let (requests, inbox) = mpsc::channel(options.queue.max(1));
    let (head, bytes) = reader.shared().durable();
    let mut writer = Writer {
        inbox,
        storage,
        reader: reader.clone(),
        head,
        bytes,
        batch_bytes: options.batch_bytes,
        batch_calls: options.batch_calls,
        apply,
        buffer: Vec::new(),
        closers: Vec::new(),
    };
    let thread = thread::Builder::new().name("hallpass-journal".to_owned()).spawn(move || {
        writer.run();
        let closers = std::mem::take(&mut writer.closers);
        drop(writer);
        drop(lock);
        for closer in closers {
            // Whoever asked may have stopped waiting.
            let _ = closer.send(());
        }
    })?;
    Ok(Journal { requests, reader, writer: Mutex::new(Some(thread)) })
}

struct Writer {
    inbox: mpsc::Receiver<Message>,
    storage: Box<dyn Storage>,
    reader: Reader,
    head: Head,
    bytes: u64,
    batch_bytes: usize,
    batch_calls: usize,
    apply: Apply,
    buffer: Vec<u8>,
    closers: Vec<oneshot::Sender<()>>,
}

impl Writer {
    /// Until the journal is dropped, or closed and drained.
    fn run(&mut self) {
        let mut batch = Vec::new();
        while let Some(message) = self.inbox.blocking_recv() {
            let mut gathered = self.take(message, &mut batch);
            // No waiting for more: under load the calls that arrive during one sync make the next batch.
            while gathered < self.batch_bytes && batch.len() < self.batch_calls {
                let Ok(message) = self.inbox.try_recv() else { break };
                gathered = gathered.saturating_add(self.take(message, &mut batch));
            }
            if !batch.is_empty() {
                self.commit(&mut batch);
            }
        }
    }

    /// Puts a call into the batch and returns its length; or begins to close.
    fn take(&mut self, message: Message, batch: &mut Vec<Request>) -> usize {
        match message {
            Message::Append(request) => {
                let length = request.len();
                batch.push(request);
                length
            }
            Message::Close(done) => {
                self.inbox.close();
                self.closers.push(done);
                0
            }
        }
    }

    fn commit(&mut self, batch: &mut Vec<Request>) {
        if let Some(fault) = self.reader.shared().fault() {
            for request in batch.drain(..) {
                let _ = request.answer.send(Err(fault.clone()));
            }
            return;
        }
        let (records, answers) = self.encode(batch);
        // INVARIANT: nobody is answered unless both succeeded (`failed_sync_acknowledges_nothing`). A failed
        // sync is never repeated: the kernel may have dropped the pages and would then report success.
        if let Err(reason) = self.store() {
            let fault = self.reader.shared().fail(reason);
            refuse(answers, &fault);
            return;
        }
        self.bytes = self.bytes.saturating_add(length_of(&self.buffer));
        self.head = records.last().map_or(self.head, Record::head);
        self.reader.shared().set_durable(self.head, self.bytes);
        if catch_unwind(AssertUnwindSafe(|| (self.apply)(&records))).is_err() {
            // What was recorded lasts; what is known of it is not certain any more, so nothing is built on it.
            let fault = self.reader.shared().fail("applying a durable record panicked".to_owned());
            refuse(answers, &fault);
            return;
        }
        for Pending { answer, last } in answers {
            // Whoever asked may have stopped waiting; what it asked for happened.
            let _ = answer.send(Ok(Receipt::of_durable_record(last.sequence, last.hash)));
        }
    }

    /// Makes what is in the buffer durable.
    fn store(&mut self) -> Result<(), String> {
        let path = self.reader.path();
        let stored = self.storage.write_all(&self.buffer).and_then(|()| self.storage.sync_data());
        stored.map_err(|error| format!("writing to `{}`: {error}", path.display()))?;
        if self.head != Head::GENESIS {
            return Ok(());
        }
        mark(path).map_err(|error| error.to_string())
    }

    /// Writes the batch into the buffer; returns its records, and each call's last record.
    fn encode(&mut self, batch: &mut Vec<Request>) -> (Vec<Record>, Vec<Pending>) {
        self.buffer.clear();
        let mut head = self.head;
        let mut records = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for request in batch.drain(..) {
            for (entry, body) in request.entries {
                let offset = self.bytes.saturating_add(length_of(&self.buffer));
                let prev = head.hash;
                head = body.encode(head, &mut self.buffer);
                let place = Place { segment: 1, offset };
                records.push(Record { sequence: head.sequence, prev, hash: head.hash, place, entry });
            }
            answers.push(Pending { answer: request.answer, last: head });
        }
        (records, answers)
    }
}

fn refuse(answers: Vec<Pending>, fault: &JournalError) {
    for Pending { answer, .. } in answers {
        // Whoever asked may have stopped waiting.
        let _ = answer.send(Err(fault.clone()));
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
