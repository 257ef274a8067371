//! A start begins with the newest snapshot that the chain vouches for, or says why it cannot.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use hallpass_broker::{
    domain::event::{Entry, LedgerEvent},
    ledger::file::{
        Journal, OpenError, Options, Record, Recovery, Restore, Snapshot, SnapshotError,
    },
};
use tempfile::TempDir;

use support::records::AppendBlocking as _;
use support::records::note;

/// What the records add up to here: their entries, and which of them were replayed.
#[derive(Debug, Clone, Default, PartialEq)]
struct Entries {
    all: Vec<Entry>,
    replayed: usize,
    refuses: bool,
}

impl Restore for Entries {
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        if self.refuses {
            return Err(SnapshotError::new("of another form"));
        }
        assert_eq!(snapshot.get::<u8>("of_nobody").unwrap(), None);
        assert!(snapshot.get::<u8>("entries").is_err());
        self.all = snapshot
            .get("entries")?
            .ok_or_else(|| SnapshotError::new("it has no entries"))?;
        Ok(())
    }

    fn replay(&mut self, record: &Record) {
        self.replayed += 1;
        self.take(record);
    }
}

impl Entries {
    fn take(&mut self, record: &Record) {
        if !matches!(record.entry.event, LedgerEvent::SegmentBegun { .. }) {
            self.all.push(record.entry.clone());
        }
    }
}

type Opened = (Journal, Recovery, Entries);

fn open_as(dir: &Path, mut entries: Entries) -> Result<Opened, OpenError> {
    let options = Options {
        segment_bytes: 1500,
        ..Options::default()
    };
    let (recovered, recovery) = Journal::restore(dir, options, &mut entries)?;
    let shared = Arc::new(Mutex::new(entries.clone()));
    let taken = Arc::clone(&shared);
    let take = move || {
        let mut snapshot = Snapshot::default();
        snapshot.set("entries", &taken.lock().unwrap().all)?;
        snapshot.set("other", &1)?;
        Ok(snapshot)
    };
    let apply = move |records: &[Record]| {
        records
            .iter()
            .for_each(|record| shared.lock().unwrap().take(record))
    };
    Ok((
        recovered
            .with_snapshots(Box::new(take))
            .start(Box::new(apply))?,
        recovery,
        entries,
    ))
}

fn open(dir: &Path) -> Result<Opened, OpenError> {
    open_as(dir, Entries::default())
}

fn written(dir: &Path) -> Vec<Entry> {
    let (journal, ..) = open(dir).unwrap();
    let entries: Vec<_> = (0..30).map(note).collect();
    for entry in &entries {
        journal.append_blocking(vec![entry.clone()]).unwrap();
    }
    entries
}

/// The snapshots that are kept, newest first.
fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut snapshots: Vec<_> = files
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snapshot")
        })
        .collect();
    snapshots.sort_unstable_by(|a, b| b.cmp(a));
    snapshots
}

#[test]
fn only_what_follows_the_newest_snapshot_is_replayed() {
    let dir = TempDir::new().unwrap();
    let entries = written(dir.path());
    let (journal, recovery, restored) = open(dir.path()).unwrap();
    assert_eq!(restored.all, entries);
    assert!(restored.replayed < 5, "{}", restored.replayed);
    assert_eq!(
        recovery.replayed_from,
        journal.reader().segments().last().unwrap().first
    );
    assert!(recovery.words().is_empty());
    assert_eq!(snapshots(dir.path()).len(), 2);
    // Whoever wants all records still gets them.
    drop(journal);
    let mut all = Entries::default();
    <Journal>::open(dir.path(), Options::default(), |record| all.take(record)).unwrap();
    assert_eq!(all.all, entries);
}

#[test]
fn a_snapshot_that_is_not_as_it_was_written_is_passed_over_while_all_is_kept() {
    let dir = TempDir::new().unwrap();
    let entries = written(dir.path());
    let [newest, older] = snapshots(dir.path()).try_into().unwrap();
    let bytes = fs::read(&newest).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(&newest, flipped).unwrap();
    let (_, recovery, restored) = open(dir.path()).unwrap();
    assert_eq!(
        (restored.all.clone(), recovery.words().len()),
        (entries.clone(), 1)
    );
    assert!(
        recovery.words()[0].contains("digest"),
        "{:?}",
        recovery.words()
    );
    assert!(restored.replayed < entries.len() / 2);
    // That of another place is not taken for this one's.
    fs::copy(&older, &newest).unwrap();
    assert_eq!(open(dir.path()).unwrap().2.all, entries);
    fs::remove_file(&newest).unwrap();
    fs::remove_file(&older).unwrap();
    let (journal, recovery, restored) = open(dir.path()).unwrap();
    assert_eq!(
        (
            restored.all,
            recovery.replayed_from,
            recovery.words().len() > 1
        ),
        (entries.clone(), 1, true)
    );
    drop(journal);
    // One that the chain vouches for and this build cannot read.
    fs::write(&newest, bytes).unwrap();
    let refusing = Entries {
        refuses: true,
        ..Entries::default()
    };
    let (_, recovery, restored) = open_as(dir.path(), refusing).unwrap();
    assert_eq!(restored.all, entries);
    assert!(
        recovery.words()[0].contains("of another form"),
        "{:?}",
        recovery.words()
    );
}

#[test]
fn without_a_snapshot_a_shortened_journal_is_not_opened() {
    let dir = TempDir::new().unwrap();
    let entries = written(dir.path());
    let (journal, ..) = open(dir.path()).unwrap();
    journal.retire(u32::MAX, None).unwrap();
    let kept = journal.reader().segments();
    assert_eq!(kept.len(), 2, "one snapshot may be lost");
    drop(journal);
    assert_eq!(open(dir.path()).unwrap().2.all, entries);
    let [newest, older] = snapshots(dir.path()).try_into().unwrap();
    assert!(newest.ends_with(format!("{:06}.snapshot", kept[1].number)));
    let [new, old] = [&newest, &older].map(|path| fs::read(path).unwrap());
    fs::remove_file(&newest).unwrap();
    assert_eq!(open(dir.path()).unwrap().2.all, entries);
    fs::write(&older, &old[..old.len() - 1]).unwrap();
    let Err(OpenError::Snapshot { detail, .. }) = open(dir.path()) else {
        panic!("it was opened")
    };
    assert!(detail.contains("digest"), "{detail}");
    fs::remove_file(&older).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Snapshot { .. })));
    fs::write(&newest, &new).unwrap();
    assert_eq!(open(dir.path()).unwrap().2.all, entries);
}

#[test]
fn a_snapshot_that_cannot_be_taken_is_tried_again_and_costs_nothing() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        segment_bytes: 1500,
        ..Options::default()
    };
    let (recovered, _) = Journal::restore(dir.path(), options, &mut Entries::default()).unwrap();
    let mut tries = 0;
    let take = move || {
        tries += 1;
        match tries {
            1 => Err(SnapshotError::new("not now")),
            2 => panic!("a bug in a view"),
            _ => Ok(Snapshot::default()),
        }
    };
    let journal = recovered
        .with_snapshots(Box::new(take))
        .start(Box::new(|_| {}))
        .unwrap();
    for n in 0..20 {
        journal.append_blocking(vec![note(n)]).unwrap();
    }
    let segments = journal.reader().segments();
    assert!(segments.len() > 1 && segments[1].first > 4, "{segments:?}");
}
