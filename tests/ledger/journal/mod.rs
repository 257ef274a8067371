//! The journal through its public face: what it acknowledges, survives, cuts and refuses.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hallpass_broker::ledger::file::{Journal, OpenError, Options, Record, Recovery};

mod appending;
mod damage;
mod faults;
mod offline;
mod segments;
mod snapshots;

use support::records::AppendBlocking as _;
use support::records::note;

fn open(dir: &Path) -> Result<(Journal, Recovery, Vec<Record>), OpenError> {
    let mut seen = Vec::new();
    let (recovered, recovery) =
        <Journal>::open(dir, Options::default(), |record| seen.push(record.clone()))?;
    Ok((recovered.start(Box::new(|_| {}))?, recovery, seen))
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("journal/000001.jsonl")
}

/// A journal of `count` records, closed; its bytes.
fn written(dir: &Path, count: u64) -> Vec<u8> {
    let (journal, ..) = open(dir).unwrap();
    for n in 0..count {
        journal.append_blocking(vec![note(n)]).unwrap();
    }
    drop(journal);
    fs::read(segment(dir)).unwrap()
}
