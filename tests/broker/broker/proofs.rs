//! Proofs of a broker's own trail: over restarts, over key rotation, over an upgrade.

use std::time::Duration;

use hallpass_broker::{
    Broker, BrokerError, Retention,
    domain::event::{KeyPurpose, LedgerEvent},
    ledger::{
        audit::{self, Anchor, Claims, TreeHead},
        file::{Journal, Options},
    },
};

use crate::broker::{BrokerFiles, admin, open_task};
use support::records::AppendBlocking as _;

fn anchor(broker: &Broker) -> Anchor {
    Anchor::key(&broker.feed.key_document().unwrap().checkpoint_key.unwrap())
}

fn head(broker: &Broker, anchor: &Anchor) -> TreeHead {
    broker
        .history
        .signed_head()
        .unwrap()
        .verify(Some(anchor), None)
        .unwrap()
}

#[tokio::test]
async fn every_record_is_proven_under_one_key_over_restarts() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let anchor = anchor(&broker);
    open_task(&broker, &["read_ledger"]).await.unwrap();
    let early = head(&broker, &anchor);
    assert_eq!(early.chain_head(), broker.views().head());
    broker.close().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(fixture.directory.path().join("data/tree")).unwrap_or_default();

    let broker = fixture.open().await;
    open_task(&broker, &["read_ledger"]).await.unwrap();
    let late = head(&broker, &anchor);
    assert!(late.size > early.size);
    for sequence in 1..=late.size {
        let proof = broker.history.prove_inclusion(sequence, None).unwrap();
        assert_eq!(proof.verify(Some(&anchor), None).unwrap().size, late.size);
        if sequence <= early.size {
            broker
                .history
                .prove_inclusion(sequence, Some(early.size))
                .unwrap()
                .verify(Some(&anchor), Some(&early))
                .unwrap();
        }
    }
    let (from, to) = broker
        .history
        .prove_consistency(early.size, None)
        .unwrap()
        .verify(Some(&anchor), Some(&early))
        .unwrap();
    assert_eq!((from, to.size), (early, late.size));
    for (sequence, size) in [
        (0, None),
        (late.size + 1, None),
        (5, Some(4)),
        (1, Some(late.size + 1)),
    ] {
        let refused = broker.history.prove_inclusion(sequence, size).unwrap_err();
        assert!(matches!(refused, BrokerError::Invalid { .. }), "{refused}");
    }
    for (from, to) in [(0, None), (late.size + 1, None), (1, Some(late.size + 1))] {
        assert!(matches!(
            broker.history.prove_consistency(from, to),
            Err(BrokerError::Invalid { .. })
        ));
    }
    for (from, to) in [
        (Some(0), None),
        (None, Some(0)),
        (Some(3), Some(2)),
        (None, Some(late.size + 1)),
    ] {
        assert!(matches!(
            broker.history.export(from, to),
            Err(BrokerError::Invalid { .. })
        ));
    }
}

#[tokio::test]
async fn a_rotated_checkpoint_key_is_vouched_for_by_the_one_before() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let first = anchor(&broker);
    let before = broker.history.signed_head().unwrap();
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Checkpoint)
        .await
        .unwrap();
    // Announced, and not signing yet: the chain that travels does not run ahead of the key.
    assert!(
        broker
            .history
            .signed_head()
            .unwrap()
            .signed
            .checkpoint_key_chain
            .is_empty()
    );
    head(&broker, &first);
    fixture.clock.advance(Duration::from_secs(91));
    broker.maintain().await.unwrap();
    let after = broker.history.signed_head().unwrap();
    assert_ne!(after.signed.checkpoint_key, before.signed.checkpoint_key);
    after.verify(Some(&first), None).unwrap();
    let second = anchor(&broker);
    after.verify(Some(&second), None).unwrap();
    assert!(
        before.verify(Some(&second), None).is_err(),
        "a later key does not vouch for an earlier one"
    );
    before
        .verify(
            Some(&Anchor::document(&broker.feed.key_document().unwrap()).unwrap()),
            None,
        )
        .unwrap();
}

#[tokio::test]
async fn a_data_directory_without_a_checkpoint_key_gets_one_at_the_next_start() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let reader = broker.views().clone();
    broker.close().await.unwrap();
    drop(broker);
    let is_new = |event: &LedgerEvent| {
        matches!(
            event,
            LedgerEvent::KeyChanged {
                purpose: KeyPurpose::Checkpoint,
                ..
            }
        )
    };
    let entries = reader
        .records_from(1)
        .unwrap()
        .map(|record| record.unwrap().entry);
    let old: Vec<_> = entries.filter(|entry| !is_new(&entry.event)).collect();
    drop(reader);
    let data = fixture.directory.path().join("data");
    for gone in ["journal", "index", "tree"] {
        std::fs::remove_dir_all(data.join(gone)).unwrap_or_default();
    }
    std::fs::remove_file(data.join("keys/checkpoint-1.key")).unwrap();
    tokio::task::spawn_blocking(move || {
        let (recovered, _) = <Journal>::open(&data, Options::default(), |_| {}).unwrap();
        let journal = recovered.start(Box::new(|_| {})).unwrap();
        journal.append_blocking(old).unwrap();
    })
    .await
    .unwrap();

    let broker = fixture.open().await;
    let head = head(&broker, &anchor(&broker));
    let records = broker.views().records_from(1).unwrap().map(Result::unwrap);
    let made: Vec<_> = records
        .filter(|record| is_new(&record.entry.event))
        .map(|record| record.sequence)
        .collect();
    let [made] = made[..] else { panic!("{made:?}") };
    broker
        .history
        .prove_inclusion(made, Some(head.size))
        .unwrap()
        .verify(None, Some(&head))
        .unwrap();
    open_task(&broker, &["read_ledger"]).await.unwrap();
}

#[tokio::test]
async fn what_is_kept_is_proven_after_older_segments_went() {
    let fixture = BrokerFiles::new();
    drop(fixture.with_registrations().await);
    let hour = Duration::from_secs(3600);
    let keeping = Retention {
        segment_bytes: 16 * 1024,
        keep_for: Some(hour),
        ..Retention::default()
    };
    let broker = fixture.open_keeping(keeping.clone()).await;
    let anchor = anchor(&broker);
    for _ in 0..60 {
        open_task(&broker, &["read_ledger"]).await.unwrap();
    }
    let early = head(&broker, &anchor);
    fixture.clock.advance(2 * hour);
    open_task(&broker, &["read_ledger"]).await.unwrap();
    broker.maintain().await.unwrap();
    broker.retire().unwrap();
    let (first, late) = (broker.views().first(), head(&broker, &anchor));
    assert!(1 < first && first <= late.size, "{first} of {}", late.size);
    for sequence in [first, first + 1, late.size] {
        broker
            .history
            .prove_inclusion(sequence, None)
            .unwrap()
            .verify(Some(&anchor), None)
            .unwrap();
    }
    for gone in [1, first - 1] {
        assert!(
            matches!(
                broker.history.prove_inclusion(gone, None),
                Err(BrokerError::Archived(_))
            ),
            "{gone}"
        );
        assert!(
            matches!(
                broker.history.export(Some(gone), None),
                Err(BrokerError::Archived(_))
            ),
            "{gone}"
        );
    }
    broker
        .history
        .prove_consistency(early.size, None)
        .unwrap()
        .verify(Some(&anchor), Some(&early))
        .unwrap();
    let mut export = broker.history.export(None, None).unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = export.next_piece().unwrap() {
        bytes.extend(piece);
    }
    let claims = Claims {
        anchor: Some(anchor.clone()),
        tree_head: Some(early),
        ..Claims::default()
    };
    assert_eq!(audit::verify(&bytes[..], &claims).unwrap().from, first);
    broker.close().await.unwrap();
    drop(broker);

    // The files of the tree are lost, and most of their records with them: the snapshot has the edge.
    std::fs::remove_dir_all(fixture.directory.path().join("data/tree")).unwrap();
    let broker = fixture.open_keeping(keeping).await;
    let last = head(&broker, &anchor);
    broker
        .history
        .prove_inclusion(last.size, None)
        .unwrap()
        .verify(Some(&anchor), None)
        .unwrap();
    broker
        .history
        .prove_consistency(late.size, None)
        .unwrap()
        .verify(Some(&anchor), Some(&late))
        .unwrap();
}
