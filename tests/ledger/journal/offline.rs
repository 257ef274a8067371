//! The offline check finds whatever was done to a journal.

use std::fs;

use hallpass_broker::ledger::{
    audit::{self, Claims, FileState, VerifyError},
    file::{Flaw, Head},
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::journal::{open, segment};
use support::records::AppendBlocking as _;
use support::records::{any_entry, note};

fn verify(
    bytes: &[u8],
    head: Option<Head>,
    file: FileState,
) -> Result<audit::Summary, VerifyError> {
    audit::verify(
        bytes,
        &Claims {
            head,
            file,
            ..Claims::default()
        },
    )
}

#[test]
fn a_live_journal_is_checked_without_its_lock() {
    let dir = TempDir::new().unwrap();
    let (journal, ..) = open(dir.path()).unwrap();
    journal.append_blocking(vec![note(1), note(2)]).unwrap();
    let summary = audit::verify_file(&segment(dir.path()), &Claims::default()).unwrap();
    assert_eq!(
        (summary.records, summary.head, summary.in_flight),
        (2, journal.head(), false)
    );
    let mut bytes = fs::read(segment(dir.path())).unwrap();
    bytes.extend_from_slice(b"{\"seq\":3,");
    assert!(verify(&bytes, None, FileState::Live).unwrap().in_flight);
    assert!(matches!(
        verify(&bytes, None, FileState::Closed),
        Err(VerifyError::Damage(_))
    ));
    assert_eq!(
        verify(b"", None, FileState::Closed).unwrap().head,
        Head::GENESIS
    );
}

#[test]
fn a_record_that_was_rewritten_with_a_hash_of_its_own_breaks_the_chain_after_it() {
    let chain = |second: u64| {
        let dir = TempDir::new().unwrap();
        let (journal, ..) = open(dir.path()).unwrap();
        journal
            .append_blocking(vec![note(1), note(second), note(3)])
            .unwrap();
        fs::read_to_string(segment(dir.path())).unwrap()
    };
    let (ours, theirs) = (chain(2), chain(22));
    let forged: String = [0, 1, 2]
        .map(|n| {
            if n == 1 { &theirs } else { &ours }
                .split_inclusive('\n')
                .nth(n)
                .unwrap()
        })
        .concat();
    let Err(VerifyError::Damage(damage)) = verify(forged.as_bytes(), None, FileState::Live) else {
        panic!("not found")
    };
    assert_eq!((damage.line, damage.flaw), (3, Flaw::Prev));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_change_to_a_closed_journal_is_found(
        entries in prop::collection::vec(any_entry(), 2..8),
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let dir = TempDir::new().unwrap();
        let (journal, ..) = open(dir.path()).unwrap();
        journal.append_blocking(entries.clone()).unwrap();
        let head = journal.head();
        drop(journal);
        let bytes = fs::read(segment(dir.path())).unwrap();
        prop_assert_eq!(verify(&bytes, Some(head), FileState::Closed).unwrap().records, entries.len() as u64);
        let (_, recovery, seen) = open(dir.path()).unwrap();
        prop_assert_eq!(recovery.head, head);
        prop_assert_eq!(seen.into_iter().map(|record| record.entry).collect::<Vec<_>>(), entries);

        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        let bad = |bytes: &[u8]| verify(bytes, Some(head), FileState::Closed).is_err();
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= 1 << bit;
        prop_assert!(bad(&flipped), "a flipped bit");
        prop_assert!(verify(&flipped, None, FileState::Live).is_err(), "a flipped bit in a live file");
        let (one, two) = (at.index(lines.len()), other.index(lines.len()));
        let mut removed = lines.clone();
        removed.remove(one);
        prop_assert!(bad(&removed.concat()), "a removed record");
        let mut inserted = lines.clone();
        inserted.insert(one, lines[two]);
        prop_assert!(bad(&inserted.concat()), "an inserted record");
        if one != two {
            let mut swapped = lines.clone();
            swapped.swap(one, two);
            prop_assert!(bad(&swapped.concat()), "swapped records");
        }
        prop_assert!(bad(&bytes[..at.index(bytes.len())]), "a cut tail");
    }

    #[test]
    fn another_chain_is_recognised_by_a_head(ours in any_entry(), theirs in any_entry()) {
        prop_assume!(ours != theirs);
        let chain = |entry: &hallpass_broker::domain::event::Entry| {
            let dir = TempDir::new().unwrap();
            let (journal, ..) = open(dir.path()).unwrap();
            journal.append_blocking(vec![entry.clone()]).unwrap();
            (fs::read(segment(dir.path())).unwrap(), journal.head())
        };
        let ((_, head), (bytes, _)) = (chain(&ours), chain(&theirs));
        let found = verify(&bytes, Some(head), FileState::Closed);
        let Err(VerifyError::Damage(damage)) = found else { panic!("the other chain was taken for ours") };
        let other = matches!(damage.flaw, Flaw::OtherChain { .. });
        prop_assert!(other, "{}", damage);
    }
}
