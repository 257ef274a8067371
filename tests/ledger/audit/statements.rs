//! Statements: whose word is taken, and for what.

use hallpass_broker::ledger::{
    audit::{
        Anchor, ConsistencyEvidence, EvidenceError, KeptError, Signed, Standing, StatementError,
        TreeHead,
    },
    tree::ProofError,
};
use hallpass_core::{
    base::{
        jws::JwsError,
        key::{PrivateKey, PublicKey},
        time::Timestamp,
    },
    wire::document::{KeyDocument, KeyLink},
};

use crate::audit::{ISSUER, Log};
use support::records::note;

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn link(old: &PrivateKey, new: &PublicKey, signer: &PrivateKey) -> String {
    let link = KeyLink {
        v: hallpass_core::base::format::Format::One,
        iss: ISSUER.parse().unwrap(),
        old: old.public(),
        new: *new,
    };
    link.sign(KeyLink::CHECKPOINT_TYP, signer).unwrap()
}

fn log() -> Log {
    Log::of((1..=9).map(note).collect())
}

#[test]
fn a_pinned_key_leads_to_later_ones_and_to_no_foreign_one() {
    let log = log();
    let [first, second, third, foreign] = [1, 2, 3, 9].map(key);
    let chain = [
        link(&first, &second.public(), &first),
        link(&second, &third.public(), &second),
    ];
    let head = log.head(9);
    let signed = Signed::new(&head, &second, &chain).unwrap();
    assert_eq!(
        signed.checkpoint_key_chain,
        chain[..1],
        "the next key is announced and does not sign yet"
    );
    let pins = |key: &PrivateKey| Anchor::thumbprint(&key.public().thumbprint()).unwrap();
    for trusted in [&first, &second] {
        assert_eq!(signed.verify::<TreeHead>(&pins(trusted)), Ok(head.clone()));
    }
    for untrusted in [&third, &foreign] {
        let refused = signed.verify::<TreeHead>(&pins(untrusted)).unwrap_err();
        assert!(
            matches!(refused, StatementError::Untrusted { .. }),
            "{refused}"
        );
    }
    let document = KeyDocument {
        v: hallpass_core::base::format::Format::One,
        iss: ISSUER.parse().unwrap(),
        at: Timestamp::EPOCH,
        keys: Vec::new(),
        feed_key: foreign.public(),
        feed_key_chain: Vec::new(),
        checkpoint_key: Some(third.public()),
        checkpoint_key_chain: chain.to_vec(),
    };
    let listed = Anchor::document(&document).unwrap();
    signed.verify::<TreeHead>(&listed).unwrap();
    // A retired key stays believed, and whoever checks is told that it is one.
    let unlisted = link(&third, &foreign.public(), &third);
    let longer = [&chain[..], &[unlisted]].concat();
    let keys = [
        (&first, Standing::Earlier),
        (&second, Standing::Earlier),
        (&third, Standing::Current),
    ];
    for (key, standing) in keys.into_iter().chain([(&foreign, Standing::Unlisted)]) {
        let signed = Signed::new(&head, key, &longer).unwrap();
        signed.verify::<TreeHead>(&listed).unwrap();
        let signer = signed.signer(Some(&listed));
        assert_eq!(
            (signer.key, signer.standing),
            (key.public().thumbprint(), standing)
        );
        for knows_one in [None, Some(&pins(&first)), Some(&Anchor::key(&key.public()))] {
            assert_eq!(signed.signer(knows_one).standing, Standing::Unknown);
        }
    }
    assert_eq!(
        Anchor::document(&KeyDocument {
            checkpoint_key: None,
            ..document
        }),
        None
    );
    assert_eq!(Anchor::thumbprint("not a thumbprint"), None);
}

#[test]
fn a_chain_that_is_broken_anywhere_is_refused() {
    let log = log();
    let [first, second, third, foreign] = [1, 2, 3, 9].map(key);
    let head = log.head(9);
    let good = [
        link(&first, &second.public(), &first),
        link(&second, &third.public(), &second),
    ];
    let refused = |chain: Vec<String>| {
        let signed = Signed {
            checkpoint_key_chain: chain,
            ..Signed::new(&head, &third, &good).unwrap()
        };
        signed
            .verify::<TreeHead>(&Anchor::key(&third.public()))
            .unwrap_err()
    };
    let forged = link(&first, &second.public(), &foreign);
    assert_eq!(
        refused(vec![forged, good[1].clone()]),
        StatementError::Chain(1)
    );
    assert_eq!(
        refused(vec![good[1].clone(), good[0].clone()]),
        StatementError::Chain(2)
    );
    assert_eq!(refused(vec![good[0].clone()]), StatementError::Chain(1));
    let elsewhere = KeyLink {
        v: hallpass_core::base::format::Format::One,
        iss: "https://other.example".parse().unwrap(),
        old: first.public(),
        new: second.public(),
    };
    let elsewhere = elsewhere.sign(KeyLink::CHECKPOINT_TYP, &first).unwrap();
    assert_eq!(
        refused(vec![elsewhere, good[1].clone()]),
        StatementError::Chain(1)
    );
    let feed = KeyLink {
        v: hallpass_core::base::format::Format::One,
        iss: ISSUER.parse().unwrap(),
        old: second.public(),
        new: third.public(),
    };
    let feed = feed.sign(KeyLink::FEED_TYP, &second).unwrap();
    assert_eq!(
        refused(vec![good[0].clone(), feed]),
        StatementError::Chain(2),
        "a feed key's voucher is none"
    );
}

#[test]
fn a_statement_of_one_kind_is_none_of_another_and_holds_together() {
    let log = log();
    let anchor = Anchor::key(&log.key.public());
    let head = log.signed(&log.head(5));
    let wrong = head
        .verify::<hallpass_broker::ledger::audit::ExportStatement>(&anchor)
        .unwrap_err();
    assert_eq!(wrong, StatementError::Jws(JwsError::Malformed));
    for (from, to) in [(0, 5), (4, 3), (1, 6)] {
        let export = log.signed(&hallpass_broker::ledger::audit::ExportStatement {
            v: hallpass_core::base::format::Format::One,
            from,
            to,
            head: log.head(5),
        });
        let wrong = export
            .verify::<hallpass_broker::ledger::audit::ExportStatement>(&anchor)
            .unwrap_err();
        assert_eq!(wrong, StatementError::Nonsense, "{from} to {to}");
    }
    for size in [0, u64::MAX] {
        let signed = log.signed(&TreeHead {
            size,
            ..log.head(5)
        });
        assert_eq!(
            signed.verify::<TreeHead>(&anchor),
            Err(StatementError::Nonsense)
        );
    }
}

#[test]
fn two_heads_of_two_histories_are_not_consistent() {
    let ours = log();
    let theirs = Log::of((1..=9).map(|n| note(if n == 4 { 44 } else { n })).collect());
    let anchor = Anchor::key(&ours.key.public());
    let evidence = |from: u64, earlier: &Log| ConsistencyEvidence {
        earlier: Some(earlier.signed(&earlier.head(from))),
        ..ours.consistency(from, 9)
    };
    for from in 1..=9 {
        let (earlier, later) = evidence(from, &ours).verify(Some(&anchor), None).unwrap();
        assert_eq!((earlier, later), (ours.head(from), ours.head(9)));
        let split = evidence(from, &theirs).verify(Some(&anchor), None);
        if from < 4 {
            split.unwrap();
        } else {
            assert!(
                matches!(split, Err(EvidenceError::Proof(ProofError::Wrong))),
                "{from}"
            );
        }
    }
    // The earlier head from elsewhere, and none at all.
    let without = ConsistencyEvidence {
        earlier: None,
        ..ours.consistency(3, 9)
    };
    without.verify(Some(&anchor), Some(&ours.head(3))).unwrap();
    assert!(matches!(
        without.verify(Some(&anchor), Some(&ours.head(4))),
        Err(EvidenceError::Other(_))
    ));
    assert!(matches!(
        without.verify(Some(&anchor), None),
        Err(EvidenceError::NoHead("earlier"))
    ));
}

#[test]
fn a_proof_is_about_its_record_and_its_tree_only() {
    let log = log();
    let anchor = Anchor::key(&log.key.public());
    let good = log.inclusion(4, 9);
    assert_eq!(good.verify(Some(&anchor), None).unwrap(), log.head(9));
    let mut other_record = good.clone();
    other_record.record = log.inclusion(5, 9).record;
    assert!(matches!(
        other_record.verify(Some(&anchor), None),
        Err(EvidenceError::Other(_))
    ));
    let mut other_tree = good.clone();
    other_tree.signed = Some(log.signed(&log.head(8)));
    assert!(matches!(
        other_tree.verify(Some(&anchor), None),
        Err(EvidenceError::Other(_))
    ));
    let mut no_record = good;
    no_record.record.truncate(40);
    assert!(matches!(
        no_record.verify(Some(&anchor), None),
        Err(EvidenceError::Record(_))
    ));
}

#[test]
fn a_kept_head_is_always_held_against_what_came() {
    let ours = log();
    let theirs = Log::of((1..=9).map(|n| note(if n == 4 { 44 } else { n })).collect());
    let anchor = Anchor::key(&ours.key.public());
    let kept = |error: EvidenceError| match error {
        EvidenceError::Kept { source, .. } => source,
        other => panic!("{other}"),
    };
    // Another time of signing is no other tree.
    let again = TreeHead {
        at: Timestamp::EPOCH,
        ..ours.head(6)
    };
    ours.head_evidence(6)
        .verify(Some(&anchor), Some(&again))
        .unwrap();
    ours.inclusion(2, 6)
        .verify(Some(&anchor), Some(&again))
        .unwrap();
    ours.consistency(6, 9)
        .verify(Some(&anchor), Some(&again))
        .unwrap();

    let elsewhere = TreeHead {
        iss: "https://other.example".parse().unwrap(),
        ..ours.head(6)
    };
    let root = TreeHead {
        root: theirs.head(6).root,
        ..ours.head(6)
    };
    let hash = TreeHead {
        hash: theirs.head(6).hash,
        ..ours.head(6)
    };
    for known in [
        theirs.head(6),
        root,
        hash,
        elsewhere,
        ours.head(5),
        theirs.head(5),
        ours.head(9),
    ] {
        // All three hold by themselves, and each is about another head than the one that was kept.
        let found = [
            ours.head_evidence(6)
                .verify(Some(&anchor), Some(&known))
                .unwrap_err(),
            ours.inclusion(2, 6)
                .verify(Some(&anchor), Some(&known))
                .unwrap_err(),
            ours.consistency(6, 9)
                .verify(Some(&anchor), Some(&known))
                .map(|_| ())
                .unwrap_err(),
        ];
        for error in found {
            let words = error.to_string();
            match kept(error) {
                KeptError::Size { kept, found: 6 } if kept == known.size => {
                    assert!(
                        words.contains("not comparable") && words.contains("audit prove --since"),
                        "{words}"
                    );
                }
                KeptError::History { size: 6, .. } => {
                    assert_eq!((known.size, known.iss.as_str()), (6, ISSUER))
                }
                KeptError::Broker { .. } => assert_ne!(known.iss.as_str(), ISSUER),
                other => panic!("{other}"),
            }
        }
    }
}
