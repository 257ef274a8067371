//! Torn tails are cut and reported; every other damage stops the start.

use std::fs;

use hallpass_broker::ledger::file::{Flaw, OpenError};
use tempfile::TempDir;

use crate::journal::{open, segment, written};
use support::records::AppendBlocking as _;
use support::records::note;

#[test]
fn a_tail_torn_at_any_byte_is_cut_kept_and_reported() {
    let dir = TempDir::new().unwrap();
    let bytes = written(dir.path(), 3);
    let start = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    for cut in start + 1..bytes.len() {
        fs::write(segment(dir.path()), &bytes[..cut]).unwrap();
        let (journal, recovery, seen) = open(dir.path()).unwrap();
        let torn = recovery.torn.unwrap();
        assert_eq!(
            (torn.offset, torn.bytes),
            (start as u64, (cut - start) as u64)
        );
        assert_eq!(fs::read(&torn.kept_at).unwrap(), &bytes[start..cut]);
        assert_eq!((seen.len(), recovery.head.sequence), (2, 2));
        assert_eq!(
            journal.append_blocking(vec![note(7)]).unwrap().sequence(),
            3
        );
        drop(journal);
        let (_, recovery, _) = open(dir.path()).unwrap();
        assert_eq!((recovery.torn, recovery.head.sequence), (None, 3));
        fs::remove_file(torn.kept_at).unwrap();
    }
}

#[test]
fn zeros_after_the_last_record_are_a_torn_tail() {
    for zeros in [1, 4096, 5 * 1024 * 1024] {
        let dir = TempDir::new().unwrap();
        let mut bytes = written(dir.path(), 2);
        bytes.resize(bytes.len() + zeros, 0);
        fs::write(segment(dir.path()), &bytes).unwrap();
        let (_, recovery, _) = open(dir.path()).unwrap();
        assert_eq!(
            (recovery.head.sequence, recovery.torn.unwrap().bytes),
            (2, zeros as u64)
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_stops_the_start_and_names_the_line() {
    let dir = TempDir::new().unwrap();
    let bytes = written(dir.path(), 3);
    let path = segment(dir.path());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        match open(dir.path()) {
            Err(OpenError::Damaged { file, damage }) => {
                assert_eq!(file, path);
                assert_eq!(damage.line, line, "byte {at}: {damage}");
            }
            other => panic!("byte {at}: {:?}", other.map(|(_, recovery, _)| recovery)),
        }
        assert_eq!(
            fs::read(&path).unwrap(),
            damaged,
            "a refused journal is left alone"
        );
    }
}

#[test]
fn an_overlong_line_is_damage_and_no_torn_tail() {
    let dir = TempDir::new().unwrap();
    let mut bytes = written(dir.path(), 1);
    bytes.resize(bytes.len() + 5 * 1024 * 1024, b'x');
    bytes.push(b'\n');
    fs::write(segment(dir.path()), &bytes).unwrap();
    assert!(
        matches!(open(dir.path()), Err(OpenError::Damaged { damage, .. }) if damage.flaw == Flaw::TooLong)
    );
}

#[test]
fn a_journal_that_vanished_is_not_begun_anew() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 2);
    let bytes = fs::read(segment(dir.path())).unwrap();
    for left in [0, 1, 20] {
        fs::write(segment(dir.path()), &bytes[..left]).unwrap();
        assert!(matches!(open(dir.path()), Err(OpenError::Missing { .. })));
        assert_eq!(fs::read(segment(dir.path())).unwrap().len(), left);
    }
    fs::remove_file(segment(dir.path())).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Missing { .. })));
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    fs::create_dir(dir.path().join("index")).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Missing { .. })));
    fs::remove_dir(dir.path().join("index")).unwrap();
    assert!(open(dir.path()).unwrap().1.created);
}

#[test]
fn a_first_start_that_never_wrote_a_whole_record_is_begun_again() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).unwrap());
    fs::write(segment(dir.path()), b"{\"seq\":1,").unwrap();
    let (_, recovery, _) = open(dir.path()).unwrap();
    assert!(!recovery.created);
    assert_eq!(recovery.torn.unwrap().offset, 0);
}

#[test]
fn files_and_formats_of_a_newer_build_are_refused() {
    let dir = TempDir::new().unwrap();
    written(dir.path(), 1);
    let later = dir.path().join("journal/000002-b.jsonl");
    fs::write(&later, b"").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Unknown { file }) if file == later));
    fs::remove_file(later).unwrap();
    fs::write(dir.path().join("journal/format"), b"hallpass journal 2\n").unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Unknown { .. })));
}

#[test]
fn a_member_that_this_build_does_not_know_stops_the_start() {
    let entry = serde_json::to_value(note(1)).unwrap();
    for pointer in ["", "/event", "/event/task"] {
        let mut value = entry.clone();
        value.pointer_mut(pointer).unwrap()["later"] = serde_json::json!(true);
        assert!(
            serde_json::from_value::<hallpass_broker::domain::event::Entry>(value).is_err(),
            "{pointer}"
        );
    }
}
