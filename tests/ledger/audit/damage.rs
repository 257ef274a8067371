//! Whatever is done to an export, a head or a proof shows with the file and the public key alone.

use hallpass_broker::{
    domain::event::Entry,
    ledger::{
        audit::{
            self, Anchor, Claims, Evidence, FileState, KeptError, Signature, Summary, VerifyError,
        },
        file::Flaw,
    },
};
use hallpass_core::base::key::PrivateKey;

use crate::audit::{Log, lines};
use support::records::{delegated, issued, note, opened, refused, revoked};

fn entries() -> Vec<Entry> {
    vec![
        opened(1, "bot", 1, "count the beans"),
        issued(1, 1, "https://a.example/mcp"),
        delegated(1, &[1, 2], "scout"),
        refused("bot", Some(1), "no grant"),
        revoked(hallpass_broker::domain::event::Subject::Task(
            support::records::id("tsk", 1),
        )),
        note(7),
        note(8),
    ]
}

fn verify(bytes: &[u8], claims: &Claims) -> Result<Summary, VerifyError> {
    audit::verify(bytes, claims)
}

fn trusting(log: &Log) -> Claims {
    Claims {
        anchor: Some(Anchor::key(&log.key.public())),
        file: FileState::Closed,
        ..Claims::default()
    }
}

/// Where an error says that the damage is: the line, counted from 1.
fn line_of(error: &VerifyError) -> Option<u64> {
    match error {
        VerifyError::Damage(damage) => Some(damage.line),
        VerifyError::Seal { line, .. } | VerifyError::Statement { line, .. } => Some(*line),
        _ => None,
    }
}

#[test]
fn an_export_is_whole_and_says_what_it_holds() {
    let log = Log::of(entries());
    for (from, to, size) in [
        (1, 7, 7),
        (1, 5, 7),
        (3, 7, 7),
        (3, 5, 6),
        (4, 4, 7),
        (1, 1, 1),
    ] {
        let summary = verify(&log.export(from, to, size), &trusting(&log)).unwrap();
        assert_eq!(
            (summary.from, summary.records, summary.head.sequence),
            (from, to - from + 1, to)
        );
        assert_eq!(
            summary.signer.as_ref().unwrap().key,
            log.key.public().thumbprint()
        );
        let Signature::Verified(export) = summary.signature else {
            panic!("{summary:?}")
        };
        assert_eq!(
            (export.from, export.to, export.head),
            (from, to, log.head(size))
        );
    }
    let unanchored = verify(&log.export(1, 7, 7), &Claims::default()).unwrap();
    assert!(matches!(unanchored.signature, Signature::Unanchored(_)));
    let plain = verify(log.lines().concat().as_bytes(), &Claims::default()).unwrap();
    assert_eq!((plain.records, plain.signature), (7, Signature::None));
}

#[test]
fn every_flipped_bit_is_found_and_its_line_is_named() {
    let log = Log::of(entries());
    let claims = trusting(&log);
    let mut flips = 0;
    for bytes in [log.export(1, 7, 7), log.export(3, 5, 7)] {
        for at in (0..bytes.len()).step_by(5) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let found = verify(&flipped, &claims).map(|_| ()).unwrap_err();
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            // The proof in the seal is held against all the lines, and is itself on the last.
            let is_seal = bytes[at..].iter().filter(|byte| **byte == b'\n').count() == 1;
            let is_placed = line_of(&found) == Some(line)
                || (is_seal && matches!(found, VerifyError::Other { .. }));
            assert!(is_placed, "byte {at}, line {line}: {found}");
            flips += 1;
        }
    }
    assert!(flips > 1_000, "{flips}");
}

#[test]
fn every_removed_swapped_doubled_or_foreign_line_is_found() {
    let log = Log::of(entries());
    let foreign = Log::of((21..=27).map(note).collect());
    let claims = trusting(&log);
    let mut damages = 0;
    for (from, to) in [(1, 7), (2, 6)] {
        let text = String::from_utf8(log.export(from, to, 7)).unwrap();
        let lines = lines(&text);
        let mut refuse = |lines: &[String], what: &str| {
            assert!(
                verify(lines.concat().as_bytes(), &claims).is_err(),
                "{what}"
            );
            damages += 1;
        };
        for one in 0..lines.len() {
            let mut removed = lines.clone();
            removed.remove(one);
            refuse(&removed, "a removed line");
            for other in 0..lines.len() {
                if one != other {
                    let mut swapped = lines.clone();
                    swapped.swap(one, other);
                    refuse(&swapped, "swapped lines");
                    let mut run = lines.clone();
                    run.drain(one.min(other)..one.max(other));
                    refuse(&run, "removed lines");
                }
                let mut doubled = lines.clone();
                doubled.insert(one, lines[other].clone());
                refuse(&doubled, "a doubled line");
            }
            for line in foreign.lines() {
                let mut inserted = lines.clone();
                inserted.insert(one, line.clone());
                refuse(&inserted, "a foreign line");
                let mut replaced = lines.clone();
                replaced[one] = line;
                refuse(&replaced, "a replaced line");
            }
        }
    }
    assert!(damages > 300, "{damages}");
}

#[test]
fn every_cut_is_found_at_both_ends() {
    let log = Log::of(entries());
    let claims = trusting(&log);
    for bytes in [log.export(1, 7, 7), log.export(3, 5, 7)] {
        let begins = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        for at in begins
            .chain((1..bytes.len()).step_by(13))
            .filter(|at| *at < bytes.len())
        {
            assert!(verify(&bytes[..at], &claims).is_err(), "cut at byte {at}");
            assert!(
                verify(&bytes[at..], &claims).is_err(),
                "cut up to byte {at}"
            );
        }
    }
}

#[test]
fn a_history_that_was_written_anew_is_not_the_one_that_was_signed() {
    let log = Log::of(entries());
    let mut other = entries();
    other[2] = note(99);
    let other = Log::of(other);
    let seal = lines(&String::from_utf8(log.export(1, 7, 7)).unwrap())
        .pop()
        .unwrap();
    let forged = other.lines().concat() + &seal;
    let found = verify(forged.as_bytes(), &trusting(&log)).unwrap_err();
    assert!(
        matches!(found, VerifyError::Other { from: 1, to: 7, .. }),
        "{found}"
    );
    // A chain by itself shows nothing of it: that is what is not covered without a signature.
    verify(
        other.lines().concat().as_bytes(),
        &Claims {
            file: FileState::Closed,
            ..Claims::default()
        },
    )
    .unwrap();

    // Signed by somebody else.
    let Log {
        dir,
        reader,
        records,
        tree,
        chain,
        ..
    } = other;
    let theirs = Log {
        dir,
        reader,
        records,
        tree,
        chain,
        key: PrivateKey::from_seed(&[6; 32]),
    };
    let found = verify(&theirs.export(1, 7, 7), &trusting(&log)).unwrap_err();
    assert!(
        matches!(found, VerifyError::Statement { line: 8, .. }),
        "{found}"
    );
}

#[test]
fn a_page_cannot_pass_for_more_or_less_than_was_exported() {
    let log = Log::of(entries());
    let whole = lines(&String::from_utf8(log.export(1, 7, 7)).unwrap());
    let page = lines(&String::from_utf8(log.export(3, 5, 7)).unwrap());
    let claims = trusting(&log);
    // The seal of the one with the records of the other.
    let mixed = [&whole[..7], &page[3..]].concat().concat();
    assert!(verify(mixed.as_bytes(), &claims).is_err());
    let mixed = [&page[..3], &whole[7..]].concat().concat();
    assert!(verify(mixed.as_bytes(), &claims).is_err());
    // A page without its seal is no journal.
    let found = verify(page[..3].concat().as_bytes(), &Claims::default()).unwrap_err();
    assert!(
        matches!(found, VerifyError::Damage(damage) if damage.flaw == Flaw::Sequence { expected: 1, found: 3 })
    );
}

#[test]
fn an_earlier_head_finds_a_later_export_that_is_not_its_continuation() {
    let log = Log::of(entries());
    let mut other = entries();
    other[2] = note(99);
    let other = Log::of(other);
    let held = |log: &Log, size| Claims {
        tree_head: Some(log.head(size)),
        ..trusting(log)
    };
    let export = log.export(1, 6, 6);
    for size in 1..=6 {
        verify(&export, &held(&log, size)).unwrap();
    }
    // Cut and sealed anew at an earlier state, by the broker itself: only what was kept tells.
    let found = verify(&log.export(1, 4, 4), &held(&log, 6)).unwrap_err();
    assert!(
        matches!(&found, VerifyError::Ends { ends: 4, .. }),
        "{found}"
    );
    // A page of the very tree that was kept ends where it ends; of a later tree, it says nothing of the kept one.
    verify(&log.export(1, 5, 7), &held(&log, 7)).unwrap();
    let found = verify(&log.export(1, 5, 7), &held(&log, 6)).unwrap_err();
    assert!(
        matches!(&found, VerifyError::Ends { ends: 5, .. }),
        "{found}"
    );
    verify(&log.export(1, 5, 7), &held(&other, 7)).unwrap_err();
    verify(&export, &held(&other, 2)).unwrap();
    for size in 3..=6 {
        let found = verify(&export, &held(&other, size)).unwrap_err();
        assert!(
            matches!(found, VerifyError::Damage(damage) if damage.line == size),
            "{size}"
        );
    }
    // The same records under another root.
    let mut claims = held(&log, 5);
    claims.tree_head.as_mut().unwrap().root = hallpass_core::base::digest::Digest::ZERO;
    assert!(matches!(
        verify(&export, &claims),
        Err(VerifyError::Other { to: 5, .. })
    ));
}

#[test]
fn a_page_is_held_against_the_head_right_before_it_and_against_no_older_one() {
    let log = Log::of(entries());
    let mut other = entries();
    other[2] = note(99);
    let other = Log::of(other);
    let page = log.export(5, 7, 7);
    let signed = |log: &Log, size| Claims {
        tree_head: Some(log.head(size)),
        ..trusting(log)
    };
    let plain = |log: &Log, size| Claims {
        head: Some(log.head(size).chain_head()),
        ..trusting(log)
    };
    for size in 4..=7 {
        verify(&page, &signed(&log, size)).unwrap();
        verify(&page, &plain(&log, size)).unwrap();
        for claims in [signed(&other, size), plain(&other, size)] {
            verify(&page, &claims).map(|_| ()).unwrap_err();
        }
    }
    for claims in [signed(&other, 4), plain(&other, 4)] {
        let found = verify(&page, &claims).unwrap_err();
        let is_other = matches!(&found, VerifyError::Damage(damage) if matches!(damage.flaw, Flaw::OtherChain { .. }));
        assert!(is_other, "{found}");
    }
    // What is older is not in the page, whether it would agree or not.
    for size in 1..=3 {
        for claims in [
            signed(&log, size),
            plain(&log, size),
            signed(&other, size),
            plain(&other, size),
        ] {
            let found = verify(&page, &claims).unwrap_err();
            assert!(
                matches!(found, VerifyError::Begins { begins: 5, .. }),
                "{found}"
            );
            assert!(found.to_string().contains("consistency proof"), "{found}");
        }
    }
}

#[test]
fn the_head_of_an_export_is_the_kept_one_when_they_are_of_one_size() {
    let log = Log::of(entries());
    let claims = |head| Claims {
        tree_head: Some(head),
        ..trusting(&log)
    };
    for page in [log.export(1, 7, 7), log.export(5, 7, 7)] {
        verify(&page, &claims(log.head(7))).unwrap();
        let mut root = log.head(7);
        root.root = hallpass_core::base::digest::Digest::ZERO;
        let found = verify(&page, &claims(root)).unwrap_err();
        assert!(matches!(
            found,
            VerifyError::Kept(KeptError::History { size: 7, .. }) | VerifyError::Other { .. }
        ));
        for size in [6, 7] {
            let mut broker = log.head(size);
            broker.iss = "https://other.example".parse().unwrap();
            let found = verify(&page, &claims(broker)).unwrap_err();
            assert!(
                matches!(found, VerifyError::Kept(KeptError::Broker { .. })),
                "{found}"
            );
        }
    }
}

#[test]
fn every_flipped_bit_of_a_proof_or_a_head_is_found() {
    let log = Log::of(entries());
    let anchor = Anchor::key(&log.key.public());
    let holds = |bytes: &[u8]| match Evidence::read(bytes) {
        Ok(Evidence::Head(head)) => head.verify(Some(&anchor), None).is_ok(),
        Ok(Evidence::Inclusion(inclusion)) => inclusion.verify(Some(&anchor), None).is_ok(),
        Ok(Evidence::Consistency(consistency)) => consistency.verify(Some(&anchor), None).is_ok(),
        Err(_) => false,
    };
    let mut damages = 0;
    for text in [
        serde_json::to_string_pretty(&log.head_evidence(6)).unwrap(),
        serde_json::to_string_pretty(&log.inclusion(3, 7)).unwrap(),
        serde_json::to_string(&log.inclusion(7, 7)).unwrap(),
        serde_json::to_string(&log.consistency(3, 7)).unwrap(),
        serde_json::to_string(&log.consistency(4, 6)).unwrap(),
    ] {
        let bytes = text.into_bytes();
        assert!(holds(&bytes), "{}", String::from_utf8_lossy(&bytes));
        for at in (0..bytes.len()).step_by(5) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(
                !holds(&flipped),
                "byte {at} of {}",
                String::from_utf8_lossy(&bytes)
            );
            assert!(!holds(&bytes[..at]));
            damages += 2;
        }
    }
    assert!(damages > 1_500, "{damages}");
}
