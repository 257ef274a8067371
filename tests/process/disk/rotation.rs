//! Power loss while a journal goes on to its next segment and a snapshot is written.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hallpass_broker::{
    domain::event::LedgerEvent,
    ledger::file::{
        Journal, Options, Record, Recovered, Recovery, Restore, Snapshot, SnapshotError,
    },
};
use rustix::process::Signal;

use support::process::{
    BrokerHome,
    disk::Disk,
    faults::{Fault, stopped},
};
use support::records::AppendBlocking as _;
use support::records::note;

#[tokio::test]
#[expect(
    clippy::zombie_processes,
    reason = "`stopped` waits for it until it has ended"
)]
async fn a_power_loss_between_any_two_steps_of_a_rotation_keeps_every_answer() {
    if let (Ok(data), Ok(answers)) = (std::env::var(DATA), std::env::var(ANSWERS)) {
        return tokio::task::spawn_blocking(move || write(Path::new(&data), Path::new(&answers)))
            .await
            .unwrap();
    }
    let Some(disk) = Disk::new(MEBIBYTES) else {
        return;
    };
    let answers = tempfile::NamedTempFile::new().unwrap();
    let mut home = BrokerHome::at(&disk.path());
    let fault = Fault::of(&mut home, "any:stop");
    fault.on();
    // The writer is this very test, in a process of its own.
    let mut writer = Command::new(std::env::current_exe().unwrap());
    let test =
        "disk::rotation::a_power_loss_between_any_two_steps_of_a_rotation_keeps_every_answer";
    writer.args(["--exact", test]).envs(home.environment());
    writer
        .env(DATA, disk.path())
        .env(ANSWERS, answers.path())
        .stdout(Stdio::null());
    let child = writer.spawn().unwrap();
    let process = rustix::process::Pid::from_child(&child);
    let mut steps = 0;
    let mut last = 0;
    while stopped(process).await {
        steps += 1;
        let answered = fs::read_to_string(answers.path())
            .unwrap()
            .parse()
            .unwrap_or(0);
        let dark = disk.after_power_loss();
        last = what_is_left(&dark.path(), answered)
            .unwrap_or_else(|why| panic!("step {steps}: {why}"));
        rustix::process::kill_process(process, Signal::CONT).unwrap();
    }
    assert!(last >= 4, "only {last} segments");
    eprintln!("{steps} steps, {last} segments");
}

/// Opens what a power loss leaves and holds it to the last answer; returns how many segments there are.
fn what_is_left(dir: &Path, answered: u64) -> Result<usize, String> {
    let (recovered, recovery, count) = open(dir).map_err(|error| error.to_string())?;
    if recovery.head.sequence < answered {
        return Err(format!(
            "record {answered} was answered, and the journal ends with {}",
            recovery.head
        ));
    }
    let reader = recovered.reader();
    let records = reader
        .read_from(1, None)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let notes = records
        .map_err(|error| error.to_string())?
        .iter()
        .filter(|record| is_note(record))
        .count() as u64;
    if notes != count.0 {
        return Err(format!("{notes} notes are read and {} are known", count.0));
    }
    Ok(reader.segments().len())
}

/// What the process does that is halted at every step.
fn write(data: &Path, answers: &Path) {
    let (recovered, _, count) = open(data).unwrap();
    let applied = Arc::new(AtomicU64::new(count.0));
    let known = Arc::clone(&applied);
    let take = move || {
        let mut snapshot = Snapshot::default();
        snapshot.set("count", &known.load(Ordering::SeqCst))?;
        Ok(snapshot)
    };
    let apply = move |records: &[Record]| {
        let notes = records.iter().filter(|record| is_note(record)).count() as u64;
        applied.fetch_add(notes, Ordering::SeqCst);
    };
    let journal = recovered
        .with_snapshots(Box::new(take))
        .start(Box::new(apply))
        .unwrap();
    for n in 0..14 {
        let receipt = journal.append_blocking(vec![note(n)]).unwrap();
        fs::write(answers, receipt.sequence().to_string()).unwrap();
    }
}

/// How many notes there are.
struct Count(u64);

impl Restore for Count {
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.0 = snapshot
            .get("count")?
            .ok_or_else(|| SnapshotError::new("it has no count"))?;
        Ok(())
    }

    fn replay(&mut self, record: &Record) {
        self.0 += u64::from(is_note(record));
    }
}

fn is_note(record: &Record) -> bool {
    !matches!(record.entry.event, LedgerEvent::SegmentBegun { .. })
}

fn open(
    dir: &Path,
) -> Result<(Recovered, Recovery, Count), hallpass_broker::ledger::file::OpenError> {
    let options = Options {
        segment_bytes: 1500,
        ..Options::default()
    };
    let mut count = Count(0);
    let (recovered, recovery) = Journal::restore(dir, options, &mut count)?;
    Ok((recovered, recovery, count))
}

const DATA: &str = "HALLPASS_TEST_DATA";
const ANSWERS: &str = "HALLPASS_TEST_ANSWERS";
const MEBIBYTES: u64 = 64;
