//! Clocks, and the word of the broker: what was ended stays ended.

use std::time::Duration;

use hallpass_core::{
    base::{ReasonCode, time::Timestamp},
    token::PassToken,
    wire::document::{Frame, RevocationEntry, Subjects},
};
use hallpass_verify::{FrameError, Verifier};
use serde_json::json;

use super::code;
use support::{Issuer, manifest, raw, rights};

struct HeardVerifier {
    issuer: Issuer,
    verifier: Verifier,
    pass: PassToken,
}

impl HeardVerifier {
    fn new() -> Self {
        let issuer = Issuer::new();
        let verifier = issuer.verifier();
        let pass = issuer.mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
        Self {
            issuer,
            verifier,
            pass,
        }
    }

    fn read(&self, pass: &PassToken) -> Option<ReasonCode> {
        code(&self.verifier, pass, "read_ledger", &json!({}))
    }

    fn hear(&self) {
        self.issuer.tell(&self.verifier, self.issuer.frame());
    }

    fn heartbeat(&self) -> Frame {
        let since = Some(self.issuer.sequence.get());
        let frame = self.issuer.frame();
        Frame {
            since,
            keys: None,
            feed_keys: None,
            ..frame
        }
    }

    fn revoke_agent(&self, cut_off: Option<Timestamp>) {
        let expires_at = self.issuer.now().plus(Duration::from_secs(900));
        let subject = Subjects::agent(&"research-bot".parse().unwrap());
        self.issuer.revoke(
            &self.verifier,
            RevocationEntry {
                subject,
                cut_off,
                expires_at,
            },
        );
    }
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

#[test]
fn a_clock_set_back_revives_nothing() {
    let setup = HeardVerifier::new();
    let start = setup.issuer.now();
    for _ in 0..6 {
        setup.issuer.clock.advance(Duration::from_secs(55));
        setup.hear();
    }
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::Expired));
    setup.issuer.clock.set(start);
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::Expired));
    // Nor does it make old word young: the monotonic clock goes on.
    setup.issuer.clock.advance(Duration::from_secs(61));
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::FeedStale));
}

#[test]
fn a_clock_set_forward_refuses_until_it_is_corrected_and_forgets_nothing() {
    let setup = HeardVerifier::new();
    let other = setup
        .issuer
        .mint_content(&hallpass_core::token::PassContent {
            agent: "other-bot".parse().unwrap(),
            ..setup
                .issuer
                .content(vec![rights(json!({"tools": ["read_ledger"]}))])
        });
    setup.revoke_agent(None);
    let heartbeat = setup.heartbeat();
    setup
        .issuer
        .clock
        .set(setup.issuer.now().plus(minutes(60 * 24)));
    assert_eq!(setup.read(&other), Some(ReasonCode::FeedStale));
    // Word comes while the clock is wrong.
    setup.issuer.tell(&setup.verifier, heartbeat);
    assert_eq!(setup.read(&other), Some(ReasonCode::FeedStale));
    setup
        .issuer
        .clock
        .set("2026-11-22T10:00:01Z".parse().unwrap());
    assert_eq!(setup.read(&other), None);
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::RevokedAgent));
}

#[test]
fn a_revocation_is_remembered_until_what_it_ends_has_ended() {
    let setup = HeardVerifier::new();
    setup.revoke_agent(None);
    setup.issuer.clock.advance(Duration::from_secs(50));
    setup.issuer.tell(&setup.verifier, setup.heartbeat());
    assert_eq!(setup.verifier.revocation_count(), 1);
    for _ in 0..20 {
        setup.issuer.clock.advance(Duration::from_secs(50));
        setup.issuer.tell(&setup.verifier, setup.heartbeat());
    }
    assert_eq!(setup.verifier.revocation_count(), 0);
    // For the answers of calls that outlive the pass.
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::RevokedAgent));
    for _ in 0..80 {
        setup.issuer.clock.advance(Duration::from_secs(50));
        setup.issuer.tell(&setup.verifier, setup.heartbeat());
    }
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::Expired));
}

#[test]
fn the_same_word_again_is_no_news() {
    let setup = HeardVerifier::new();
    let frame = setup.issuer.frame().sign(&setup.issuer.feed).unwrap();
    setup.verifier.accept_frame(&frame).unwrap();
    let start = setup.issuer.now();
    for _ in 0..3 {
        setup.issuer.clock.advance(Duration::from_secs(25));
        setup.issuer.clock.set(start);
        setup.verifier.accept_frame(&frame).unwrap();
    }
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::FeedStale));
}

#[test]
fn a_pass_minted_after_a_revocation_lives_and_one_of_the_same_second_does_not() {
    let setup = HeardVerifier::new();
    setup.issuer.clock.advance(Duration::from_millis(10_400));
    let cut_off = setup.issuer.now();
    setup.issuer.clock.advance(Duration::from_millis(300));
    let same_second = setup
        .issuer
        .mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    setup.revoke_agent(Some(cut_off));
    assert_eq!(setup.read(&setup.pass), Some(ReasonCode::RevokedAgent));
    assert_eq!(setup.read(&same_second), Some(ReasonCode::RevokedAgent));
    setup.issuer.clock.advance(Duration::from_millis(300));
    let later = setup
        .issuer
        .mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    assert_eq!(setup.read(&later), None);
    // The wider of two revocations holds, in whatever order they come.
    setup.revoke_agent(None);
    setup.issuer.tell(&setup.verifier, setup.heartbeat());
    assert_eq!(setup.read(&later), Some(ReasonCode::RevokedAgent));
}

#[test]
fn a_restarted_verifier_refuses_until_a_frame_arrives_and_accepts_no_older_one() {
    let setup = HeardVerifier::new();
    let old = setup.issuer.frame().sign(&setup.issuer.feed).unwrap();
    setup.issuer.clock.advance(Duration::from_secs(1));
    setup.revoke_agent(None);
    let restarted = Verifier::builder(
        setup.verifier.issuer().clone(),
        setup.issuer.feed.public().thumbprint(),
        manifest(),
    )
    .clock(setup.issuer.clock.clone())
    .memory(setup.verifier.memory())
    .build();
    assert_eq!(
        code(&restarted, &setup.pass, "read_ledger", &json!({})),
        Some(ReasonCode::FeedStale)
    );
    assert!(matches!(
        restarted.accept_frame(&old),
        Err(FrameError::Older { .. })
    ));
    let delta = setup.heartbeat().sign(&setup.issuer.feed).unwrap();
    assert!(matches!(
        restarted.accept_frame(&delta),
        Err(FrameError::Gap { .. })
    ));
    setup.issuer.tell(&restarted, setup.issuer.frame());
    assert_eq!(
        code(&restarted, &setup.pass, "read_ledger", &json!({})),
        None,
        "a snapshot replaces all"
    );
}

#[test]
fn a_frame_that_is_not_for_us_changes_nothing() {
    let setup = HeardVerifier::new();
    let before = setup.verifier.memory();
    let refused = |change: fn(&mut Frame), expected: FrameError| {
        let mut frame = setup.issuer.frame();
        frame.keys = Some(Vec::new());
        change(&mut frame);
        assert_eq!(
            setup
                .verifier
                .accept_frame(&frame.sign(&setup.issuer.feed).unwrap()),
            Err(expected)
        );
    };
    refused(
        |frame| frame.iss = "https://other.example".parse().unwrap(),
        FrameError::Address,
    );
    refused(
        |frame| frame.aud = "https://b.example/mcp".parse().unwrap(),
        FrameError::Address,
    );
    refused(
        |frame| {
            let mut foreign = manifest();
            foreign.server = "https://b.example/mcp".parse().unwrap();
            frame.manifest = Some(foreign);
        },
        FrameError::Address,
    );
    let mut frame = setup.issuer.frame();
    frame.at = frame.at.minus(Duration::from_millis(1));
    let older = frame.sign(&setup.issuer.feed).unwrap();
    assert!(matches!(
        setup.verifier.accept_frame(&older),
        Err(FrameError::Older { .. })
    ));
    let foreign = setup
        .issuer
        .frame()
        .sign(&hallpass_core::base::key::PrivateKey::from_seed(&[8; 32]))
        .unwrap();
    assert_eq!(
        setup.verifier.accept_frame(&foreign),
        Err(FrameError::Signature)
    );
    let gap = Frame {
        since: Some(1_000),
        sequence: 1_001,
        ..setup.issuer.frame()
    };
    let gap = gap.sign(&setup.issuer.feed).unwrap();
    assert!(matches!(
        setup.verifier.accept_frame(&gap),
        Err(FrameError::Gap { .. })
    ));
    assert_eq!(setup.verifier.memory(), before);
    assert_eq!(setup.read(&setup.pass), None);
}

#[test]
fn a_narrowing_in_time_that_others_wrote_ends_all_use() {
    let setup = HeardVerifier::new();
    for code in [
        "check if time($t), $t <= 2026-11-22T10:00:30Z;",
        "check if time($now), $now < 2026-11-22T10:00:31Z, $now > 2026-11-22T09:00:00Z;",
        "check all time($t), {2026-11-22T10:00:00Z, 2026-11-22T10:00:30Z}.contains($t);",
    ] {
        let token = raw::append(&setup.pass, &setup.issuer.root.public(), code);
        // The same keys, and a clock of its own.
        let setup = HeardVerifier::new();
        let pass = setup.verifier.verify(token.expose()).unwrap();
        assert!(setup.verifier.admit(&pass).is_ok(), "{code}");
        setup.issuer.clock.advance(Duration::from_secs(30));
        assert!(setup.verifier.admit(&pass).is_ok(), "{code}");
        setup.issuer.clock.advance(Duration::from_secs(1));
        assert_eq!(
            setup.verifier.admit(&pass).unwrap_err().codes(),
            [ReasonCode::Expired],
            "{code}"
        );
        assert!(setup.read(&token).is_some(), "{code}");
    }
}
