//! Disks that fail: nothing is acknowledged that might not last.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use hallpass_broker::ledger::file::{Journal, JournalError, Options, Record, Storage};
use tempfile::TempDir;

use crate::journal::open;
use support::records::AppendBlocking as _;
use support::records::note;

/// What the storage does at a call, counted from 1; earlier and later calls succeed.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Sync(u64),
    NoSpace(u64),
    ShortThenError(u64),
    ShortButFine,
    /// Every second call, as a signal does.
    Interrupted,
}

struct FaultyStorage {
    file: File,
    fault: Fault,
    writes: u64,
    syncs: Arc<AtomicU64>,
    gate: Option<Gate>,
}

/// Tells when a sync begins, and holds it until it is allowed.
struct Gate {
    begun: mpsc::Sender<()>,
    allowed: mpsc::Receiver<()>,
}

impl Write for FaultyStorage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        match self.fault {
            Fault::NoSpace(n) if n == self.writes => Err(io::ErrorKind::StorageFull.into()),
            Fault::ShortThenError(n) if n == self.writes => {
                self.file.write(&bytes[..bytes.len() / 2])
            }
            Fault::ShortThenError(n) if n + 1 == self.writes => {
                Err(io::Error::other("broken disk"))
            }
            Fault::Interrupted if self.writes % 2 == 1 => Err(io::ErrorKind::Interrupted.into()),
            Fault::ShortButFine => self.file.write(&bytes[..bytes.len().div_ceil(3)]),
            _ => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Storage for FaultyStorage {
    fn sync_data(&mut self) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.begun.send(()).unwrap();
            gate.allowed.recv().unwrap();
        }
        let syncs = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        if matches!(self.fault, Fault::Sync(n) if n == syncs) {
            return Err(io::Error::other("broken disk"));
        }
        self.file.sync_data()
    }
}

type Applied = Arc<Mutex<Vec<Record>>>;

fn faulty(dir: &Path, fault: Fault, gate: Option<Gate>) -> (Journal, Arc<AtomicU64>, Applied) {
    let syncs = Arc::new(AtomicU64::new(0));
    let applied = Applied::default();
    let (recovered, _) = <Journal>::open(dir, Options::default(), |_| {}).unwrap();
    let (counted, seen) = (Arc::clone(&syncs), Arc::clone(&applied));
    let storage = |file| {
        Box::new(FaultyStorage {
            file,
            fault,
            writes: 0,
            syncs: counted,
            gate,
        }) as Box<dyn Storage>
    };
    let apply = move |records: &[Record]| seen.lock().unwrap().extend_from_slice(records);
    (
        recovered
            .start_with_storage(storage, Box::new(apply))
            .unwrap(),
        syncs,
        applied,
    )
}

#[test]
fn failed_sync_acknowledges_nothing() {
    for fault in [Fault::Sync(2), Fault::NoSpace(2), Fault::ShortThenError(2)] {
        let dir = TempDir::new().unwrap();
        let (journal, syncs, applied) = faulty(dir.path(), fault, None);
        journal.append_blocking(vec![note(1)]).unwrap();
        let head = journal.head();
        assert!(
            matches!(
                journal.append_blocking(vec![note(2)]),
                Err(JournalError::Failed { .. })
            ),
            "{fault:?}"
        );
        assert!(!journal.is_healthy());
        let syncs_then = syncs.load(Ordering::SeqCst);
        assert!(matches!(
            journal.append_blocking(vec![note(3)]),
            Err(JournalError::Failed { .. })
        ));
        assert_eq!(
            syncs.load(Ordering::SeqCst),
            syncs_then,
            "a failed sync is never repeated"
        );
        assert_eq!((journal.head(), applied.lock().unwrap().len()), (head, 1));
        let read: Vec<_> = journal
            .reader()
            .read_from(1, None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(read.len(), 1, "a reader sees durable records only");
        drop(journal);

        let (journal, recovery, seen) = open(dir.path()).unwrap();
        assert!(
            (1..=2).contains(&recovery.head.sequence) && seen[0].head() == head,
            "{fault:?}: {recovery:?}"
        );
        journal.append_blocking(vec![note(4)]).unwrap();
    }
}

#[test]
fn a_short_or_interrupted_write_is_continued() {
    for fault in [Fault::ShortButFine, Fault::Interrupted] {
        let dir = TempDir::new().unwrap();
        let (journal, ..) = faulty(dir.path(), fault, None);
        for n in 0..5 {
            journal.append_blocking(vec![note(n)]).unwrap();
        }
        drop(journal);
        assert_eq!(open(dir.path()).unwrap().1.head.sequence, 5, "{fault:?}");
    }
}

#[tokio::test]
async fn nobody_is_answered_before_the_sync_and_waiting_calls_share_the_next() {
    let dir = TempDir::new().unwrap();
    let (begun, sync_begins) = mpsc::channel();
    let (allow, allowed) = mpsc::channel();
    let gate = Gate { begun, allowed };
    let (journal, syncs, applied) = faulty(dir.path(), Fault::Sync(3), Some(gate));
    let journal = Arc::new(journal);
    let spawn = |n| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.append(vec![note(n)]).await })
    };
    let first = spawn(0);
    tokio::task::yield_now().await;
    sync_begins.recv().unwrap();
    let others: Vec<_> = (1..=20).map(spawn).collect();
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished() && others.iter().all(|other| !other.is_finished()));
    assert!(applied.lock().unwrap().is_empty());
    allow.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap().sequence(), 1);
    allow.send(()).unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(
        syncs.load(Ordering::SeqCst),
        2,
        "twenty calls waited during one sync and shared the next"
    );

    // The third sync fails under a whole batch: each of its calls hears so.
    let failing: Vec<_> = (0..10).map(spawn).collect();
    for _ in 0..30 {
        tokio::task::yield_now().await;
    }
    allow.send(()).unwrap();
    for call in failing {
        assert!(matches!(
            call.await.unwrap(),
            Err(JournalError::Failed { .. })
        ));
    }
    assert!(matches!(
        journal.close().await,
        Err(JournalError::Failed { .. })
    ));
    assert_eq!(applied.lock().unwrap().len(), 21);
}

#[test]
fn a_panic_while_applying_stops_the_journal() {
    let dir = TempDir::new().unwrap();
    let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
    let journal = recovered
        .start(Box::new(|_| panic!("a bug in a view")))
        .unwrap();
    assert!(matches!(
        journal.append_blocking(vec![note(1)]),
        Err(JournalError::Failed { .. })
    ));
    assert!(!journal.is_healthy());
    assert!(matches!(
        journal.append_blocking(vec![note(2)]),
        Err(JournalError::Failed { .. })
    ));
    drop(journal);
    assert_eq!(open(dir.path()).unwrap().1.head.sequence, 1);
}
