//! Keys: their files, their life, and what is refused when it is over.

use hallpass_broker::{KeyProtection, KeyView, domain::event::KeyState};
use hallpass_core::token::VerifiedOperator;

use super::*;

fn sealed(passphrase: &str) -> KeysAtRest {
    KeysAtRest::Sealed(Arc::new(KeyProtection::passphrase(passphrase).unwrap()))
}

const PASSPHRASE: &str = "correct horse battery staple";

impl BrokerFiles {
    /// Opens with other ways of keeping keys, or says why not.
    async fn keeping(&self, keys_at_rest: KeysAtRest) -> Result<Arc<Broker>, String> {
        let options = Options {
            keys_at_rest,
            ..self.options()
        };
        Broker::open(options, self.clock.clone())
            .await
            .map(|opened| opened.broker)
            .map_err(|error| error.to_string())
    }

    fn key_file(&self, name: &str) -> std::path::PathBuf {
        self.directory
            .path()
            .join("data/keys")
            .join(format!("{name}.key"))
    }
}

fn states(broker: &Broker, purpose: KeyPurpose) -> Vec<(u32, KeyState)> {
    broker
        .keys
        .keys()
        .into_iter()
        .filter(|key| key.purpose == purpose)
        .map(|key| (key.id.0, key.state))
        .collect()
}

#[tokio::test]
async fn a_key_that_signed_for_its_time_is_rotated_by_itself_and_once() {
    let fixture = BrokerFiles::new();
    let options = Options {
        rotate_keys_after: Some(Duration::from_secs(24 * 3600)),
        ..fixture.options()
    };
    let broker = Broker::open(options, fixture.clock.clone())
        .await
        .unwrap()
        .broker;
    broker.maintain().await.unwrap();
    assert_eq!(states(&broker, KeyPurpose::Root), [(1, KeyState::Active)]);
    fixture.clock.advance(Duration::from_secs(24 * 3600));
    for _ in 0..3 {
        broker.maintain().await.unwrap();
    }
    for purpose in [KeyPurpose::Root, KeyPurpose::Feed] {
        assert_eq!(
            states(&broker, purpose),
            [(1, KeyState::Active), (2, KeyState::Pending)],
            "{purpose:?}"
        );
    }
    assert_eq!(
        states(&broker, KeyPurpose::Operator)[1],
        (2, KeyState::Active),
        "nobody else has to hear of it"
    );
    fixture.clock.advance(Duration::from_secs(91));
    for _ in 0..3 {
        broker.maintain().await.unwrap();
    }
    assert_eq!(states(&broker, KeyPurpose::Root)[1], (2, KeyState::Active));
    assert_eq!(states(&broker, KeyPurpose::Root).len(), 2);
}

#[tokio::test]
async fn the_file_of_a_revoked_key_is_destroyed_and_the_next_start_misses_nothing() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Root)
        .await
        .unwrap();
    fixture.clock.advance(Duration::from_secs(91));
    broker.maintain().await.unwrap();
    assert!(
        fixture.key_file("root-1").exists(),
        "what retires can still be looked at"
    );
    fixture.clock.advance(Duration::from_secs(3600));
    broker.maintain().await.unwrap();
    assert_eq!(
        states(&broker, KeyPurpose::Root),
        [(1, KeyState::Revoked), (2, KeyState::Active)]
    );
    assert!(!fixture.key_file("root-1").exists());
    broker.close().await.unwrap();
    drop(broker);
    let broker = fixture.open().await;
    assert_eq!(states(&broker, KeyPurpose::Root)[0], (1, KeyState::Revoked));
}

#[tokio::test]
async fn a_verifier_that_hears_nothing_of_a_removed_key_refuses_all_the_same_within_the_staleness_bound()
 {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (told, deaf) = (fixture.verifier(&broker), fixture.verifier(&broker));
    let old = open_task(&broker, &["read_ledger"]).await.unwrap();
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Root)
        .await
        .unwrap();
    fixture.clock.advance(Duration::from_secs(91));
    broker.maintain().await.unwrap();
    for verifier in [&told, &deaf] {
        fixture.tell(&broker, verifier);
        assert_eq!(codes(verifier, &old), []);
    }
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Key(old.record.key)))
        .await
        .unwrap();
    fixture.tell(&broker, &told);
    assert!(!codes(&told, &old).is_empty(), "told at once");
    assert_eq!(codes(&deaf, &old), [], "not told yet");
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(codes(&deaf, &old), [ReasonCode::FeedStale]);
}

#[tokio::test]
async fn a_revoked_operator_key_ends_every_token_that_it_signed() {
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let token =
        std::fs::read_to_string(fixture.directory.path().join("data/operator.token")).unwrap();
    let is_genuine =
        || VerifiedOperator::verify(token.trim(), |id| broker.state().operator_key(id)).is_ok();
    let revoke = |id: u32, own: Option<u32>| {
        broker
            .keys
            .revoke_operator_key(&BROKER, (KeyId(id), own.map(KeyId)))
    };
    assert!(
        revoke(1, None)
            .await
            .unwrap_err()
            .to_string()
            .contains("rotate first")
    );
    broker
        .keys
        .rotate_key(&admin(), KeyPurpose::Operator)
        .await
        .unwrap();
    assert!(is_genuine(), "a key that retires is believed");
    assert!(
        revoke(1, Some(1))
            .await
            .unwrap_err()
            .to_string()
            .contains("your own token")
    );
    assert!(matches!(
        revoke(7, None).await,
        Err(BrokerError::NotFound(_))
    ));
    let view: KeyView = revoke(1, Some(2)).await.unwrap();
    assert_eq!((view.id.0, view.state), (1, KeyState::Revoked));
    assert!(!is_genuine());
    assert!(
        revoke(1, Some(2))
            .await
            .unwrap_err()
            .to_string()
            .contains("already")
    );
    assert!(
        revoke(2, None)
            .await
            .unwrap_err()
            .to_string()
            .contains("rotate first"),
        "the last one stays"
    );
    assert!(!fixture.key_file("operator-1").exists());
}

#[tokio::test]
async fn encrypted_key_files_open_under_their_passphrase_only() {
    let fixture = BrokerFiles::new();
    let broker = fixture.keeping(sealed(PASSPHRASE)).await.unwrap();
    let thumbprints = |broker: &Broker| {
        broker
            .keys
            .keys()
            .into_iter()
            .map(|key| key.thumbprint)
            .collect::<Vec<_>>()
    };
    let before = thumbprints(&broker);
    broker.close().await.unwrap();
    drop(broker);
    for name in ["root-1", "feed-1", "operator-1", "checkpoint-1"] {
        let text = std::fs::read_to_string(fixture.key_file(name)).unwrap();
        assert!(text.starts_with("eyJ") && !text.contains("\"d\""), "{text}");
    }
    let plain = fixture.keeping(KeysAtRest::Plain).await.unwrap_err();
    assert!(
        plain.contains("is encrypted") && plain.contains("keys.passphrase_file"),
        "{plain}"
    );
    let other = fixture
        .keeping(sealed("another passphrase"))
        .await
        .unwrap_err();
    assert!(
        other.contains("another one") && !other.contains("another passphrase"),
        "{other}"
    );
    let broker = fixture.keeping(sealed(PASSPHRASE)).await.unwrap();
    assert_eq!(thumbprints(&broker), before);
}

#[tokio::test]
async fn a_plain_key_file_among_encrypted_ones_is_refused_until_it_is_meant() {
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let before: Vec<_> = broker
        .keys
        .keys()
        .into_iter()
        .map(|key| key.thumbprint)
        .collect();
    broker.close().await.unwrap();
    drop(broker);
    let refused = fixture.keeping(sealed(PASSPHRASE)).await.unwrap_err();
    assert!(
        refused.contains("is not encrypted") && refused.contains("hallpass keys encrypt"),
        "{refused}"
    );
    let protection = || Arc::new(KeyProtection::passphrase(PASSPHRASE).unwrap());
    for (change, after) in [
        (KeysAtRest::Sealing(protection()), sealed(PASSPHRASE)),
        (KeysAtRest::Unsealing(protection()), KeysAtRest::Plain),
    ] {
        let broker = fixture.keeping(change).await.unwrap();
        assert_eq!(broker.keys.rewrite_key_files().unwrap(), 4);
        broker.close().await.unwrap();
        drop(broker);
        let broker = fixture.keeping(after).await.unwrap();
        assert_eq!(
            broker
                .keys
                .keys()
                .into_iter()
                .map(|key| key.thumbprint)
                .collect::<Vec<_>>(),
            before
        );
        broker.close().await.unwrap();
    }
}

static BROKER: Caller = Caller::broker();
