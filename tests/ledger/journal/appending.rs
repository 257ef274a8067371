//! What is appended is there again, whole, in order, for its owner alone.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hallpass_broker::ledger::file::{Head, Journal, JournalError, OpenError, Options, Record};
use tempfile::TempDir;

use crate::journal::{open, segment, written};
use support::records::AppendBlocking as _;
use support::records::{agent_entry, note};

#[test]
fn appended_records_come_back_in_order_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (journal, recovery, seen) = open(dir.path()).unwrap();
    assert!(recovery.created && seen.is_empty() && recovery.words().is_empty());
    assert_eq!(
        journal
            .append_blocking(vec![note(1), note(2)])
            .unwrap()
            .sequence(),
        2
    );
    let receipt = journal.append_blocking(vec![note(3)]).unwrap();
    assert_eq!(
        (receipt.sequence(), receipt.hash()),
        (3, journal.head().hash)
    );
    drop(journal);

    let (journal, recovery, seen) = open(dir.path()).unwrap();
    assert!(!recovery.created && recovery.torn.is_none());
    assert_eq!(
        recovery.head,
        Head {
            sequence: 3,
            hash: receipt.hash()
        }
    );
    assert_eq!(
        seen.iter()
            .map(|record| record.entry.clone())
            .collect::<Vec<_>>(),
        [note(1), note(2), note(3)]
    );
    let read: Vec<_> = journal
        .reader()
        .read_from(2, None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(read, seen[1..]);
    assert_eq!(journal.reader().read_at(2, seen[1].place).unwrap(), seen[1]);
    assert!(journal.reader().read_at(3, seen[1].place).is_err());
    assert!(journal.reader().read_at(4, seen[1].place).is_err());
}

#[test]
fn every_line_is_json_whose_hash_a_stranger_can_compute() {
    let dir = TempDir::new().unwrap();
    let bytes = written(dir.path(), 3);
    let mut prev = "0".repeat(64);
    for (number, line) in (1_u64..).zip(
        bytes
            .strip_suffix(b"\n")
            .unwrap()
            .split(|byte| *byte == b'\n'),
    ) {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        let text = str::from_utf8(line).unwrap();
        let hashed = &text[..text.rfind(",\"hash\":\"").unwrap()];
        let hash = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(hashed.as_bytes()));
        assert_eq!(
            (value["seq"].as_u64(), value["prev"].as_str()),
            (Some(number), Some(&*prev))
        );
        assert_eq!(value["hash"].as_str(), Some(&*hash));
        prev = hash;
    }
}

#[test]
fn only_the_owner_may_read_it() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    written(&data, 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for directory in [data.clone(), data.join("journal")] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
    }
    for file in [
        segment(&data),
        data.join("lock"),
        data.join("journal/format"),
    ] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_done() {
    let dir = TempDir::new().unwrap();
    let (journal, ..) = open(dir.path()).unwrap();
    let refusal = open(dir.path()).unwrap_err();
    assert!(
        matches!(refusal, OpenError::Locked { owner: Some(owner), .. } if owner == std::process::id())
    );
    assert!(
        refusal.to_string().contains(dir.path().to_str().unwrap()),
        "{refusal}"
    );
    drop(journal);
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn closing_finishes_what_waits_and_releases_the_lock() {
    let dir = TempDir::new().unwrap();
    let (journal, ..) = open(dir.path()).unwrap();
    let journal = Arc::new(journal);
    let writers: Vec<_> = (0..50)
        .map(|n| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { journal.append(vec![note(n)]).await })
        })
        .collect();
    journal.append(vec![note(99)]).await.unwrap();
    journal.close().await.unwrap();
    let mut acknowledged = 1;
    for writer in writers {
        match writer.await.unwrap() {
            Ok(_) => acknowledged += 1,
            Err(error) => assert_eq!(error, JournalError::Closed),
        }
    }
    assert_eq!(
        journal.append(vec![note(1)]).await,
        Err(JournalError::Closed)
    );
    journal.close().await.unwrap();
    let (_, recovery, _) = open(dir.path()).unwrap();
    assert_eq!(recovery.head.sequence, acknowledged);
}

#[tokio::test]
async fn concurrent_calls_stay_whole_and_are_applied_before_they_are_answered() {
    let dir = TempDir::new().unwrap();
    let applied = Arc::new(AtomicU64::new(0));
    let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
    let seen = Arc::clone(&applied);
    let apply =
        move |records: &[Record]| seen.store(records.last().unwrap().sequence, Ordering::SeqCst);
    let journal = Arc::new(recovered.start(Box::new(apply)).unwrap());
    let mut writers = Vec::new();
    for n in 0..64 {
        let (journal, applied) = (Arc::clone(&journal), Arc::clone(&applied));
        writers.push(tokio::spawn(async move {
            let receipt = journal
                .append(vec![note(n), note(n), note(n)])
                .await
                .unwrap();
            assert!(applied.load(Ordering::SeqCst) >= receipt.sequence());
            (n, receipt.sequence())
        }));
    }
    let mut answers = Vec::new();
    for writer in writers {
        answers.push(writer.await.unwrap());
    }
    let records: Vec<_> = journal
        .reader()
        .read_from(1, None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(records.len(), 192);
    for (n, last) in answers {
        let last = usize::try_from(last).unwrap();
        assert!(
            records[last - 3..last]
                .iter()
                .all(|record| record.entry == note(n))
        );
    }
}

#[test]
fn what_cannot_be_read_back_is_never_written() {
    let dir = TempDir::new().unwrap();
    let (journal, ..) = open(dir.path()).unwrap();
    assert_eq!(
        journal.append_blocking(Vec::new()),
        Err(JournalError::Empty)
    );
    let mut deep = serde_json::json!(1);
    for _ in 0..40 {
        deep = serde_json::json!([deep]);
    }
    assert!(matches!(
        journal.append_blocking(vec![agent_entry(deep)]),
        Err(JournalError::Unreadable { .. })
    ));
    let long = serde_json::json!("x".repeat(5 * 1024 * 1024));
    assert!(matches!(
        journal.append_blocking(vec![agent_entry(long)]),
        Err(JournalError::TooLarge { .. })
    ));
    assert!(journal.is_healthy());
    assert_eq!(
        journal.append_blocking(vec![note(1)]).unwrap().sequence(),
        1
    );
}
