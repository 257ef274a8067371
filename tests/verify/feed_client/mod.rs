//! The feed client against a broker on a real socket, which says what each test tells it to.

mod scripted_broker;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use hallpass_core::{
    base::{
        ReasonCode, digest::SubjectDigest, jws::MAX_JWS_BYTES, key::PrivateKey, time::ManualClock,
    },
    token::{Call, PassToken},
    wire::document::{Frame, KeyDocument, KeyLink, RevocationEntry},
};
use hallpass_verify::{
    Verifier,
    feed::{self, FeedClient, FeedError, FeedHandle, StateFileError},
};
use scripted_broker::ScriptedBroker;
use serde_json::json;
use support::{ISSUER, Issuer, SERVER, manifest, rights};
use tokio::time::timeout;

const TOKEN: &str = "hpv_a-secret-that-no-log-may-show";

/// What must happen happens at once; this only ends a test that would wait for ever.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_verifier_becomes_ready_and_follows_the_deltas() {
    let (issuer, mut broker, verifier, feed) = followed().await;
    assert!(!feed.status().ready);

    let asked = broker.asked().await;
    let query = [("server", SERVER), ("format", "1")];
    assert_eq!(
        asked.query,
        query.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(
        asked.headers[header::AUTHORIZATION],
        format!("Bearer {TOKEN}")
    );
    assert_eq!(asked.headers[header::ACCEPT], "text/event-stream");
    let stream = asked.stream();
    stream.frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
    assert_eq!(verifier.revocation_count(), 0);

    stream.raw(": a comment\n\nevent: news\ndata: from a later broker\n\n");
    stream.frame(&signed(&issuer, revoking_delta(&issuer, "tsk_1")));
    let status = until(&feed, |status| status.frames == 2).await;
    assert_eq!(verifier.revocation_count(), 1);
    assert!(
        status.connected && status.ready && status.last_error.is_none() && status.failures == 0,
        "{status:?}"
    );
    assert!(status.since_last_frame.unwrap() < LONG);
}

#[tokio::test]
async fn without_its_broker_a_verifier_refuses_after_the_bound_and_recovers_alone() {
    let (issuer, mut broker, verifier, feed) = followed().await;
    let stream = broker.asked().await.stream();
    stream.frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
    let (pass, revoked) = (
        pass(&issuer, "tsk_00000000000000000000000000000001"),
        pass(&issuer, OTHER_TASK),
    );
    assert_eq!(
        [&pass, &revoked].map(|pass| refusal(&verifier, pass)),
        [None, None]
    );

    let address = broker.kill().await;
    drop(stream);
    until(&feed, |status| !status.connected).await;
    issuer.clock.advance(Duration::from_secs(60));
    assert_eq!(
        [&pass, &revoked].map(|pass| refusal(&verifier, pass)),
        [None, None]
    );
    issuer.clock.advance(Duration::from_millis(1));
    assert_eq!(
        [&pass, &revoked].map(|pass| refusal(&verifier, pass)),
        [Some(ReasonCode::FeedStale); 2]
    );
    let status = until(&feed, |status| status.failures >= 2).await;
    assert!(status.last_error.is_some() && !status.ready, "{status:?}");

    let mut broker = ScriptedBroker::start_at(address, &issuer.key_document()).await;
    let asked = broker.asked().await;
    assert_eq!(asked.since(), Some(issuer.sequence.get()));
    let stream = asked.stream();
    stream.frame(&signed(&issuer, revoking_delta(&issuer, OTHER_TASK)));
    until(&feed, |status| status.ready && status.last_error.is_none()).await;
    assert_eq!(refusal(&verifier, &pass), None);
    assert_eq!(refusal(&verifier, &revoked), Some(ReasonCode::RevokedTask));
}

#[tokio::test]
async fn a_restarted_verifier_refuses_without_a_broker_and_accepts_no_older_frame() {
    let issuer = Issuer::new();
    let mut broker = ScriptedBroker::start(&issuer.key_document()).await;
    let home = VerifierDirectory::new();
    let old = signed(&issuer, issuer.frame());
    let first = home.verifier(&issuer);
    let feed = home.follow(&first, &broker);
    let stream = broker.asked().await.stream();
    stream.frame(&old);
    issuer.clock.advance(Duration::from_millis(5));
    stream.frame(&signed(&issuer, revoking_delta(&issuer, "tsk_1")));
    until(&feed, |status| status.frames == 2).await;
    let pass = pass(&issuer, OTHER_TASK);
    assert_eq!(refusal(&first, &pass), None);
    feed.shutdown().await;
    assert_eq!(home.memory(), first.memory());

    let address = broker.kill().await;
    let second = home.verifier(&issuer);
    assert_eq!(second.memory(), first.memory());
    let feed = home.follow(&second, &broker);
    until(&feed, |status| status.failures == 1).await;
    assert_eq!(refusal(&second, &pass), Some(ReasonCode::FeedStale));

    let mut broker = ScriptedBroker::start_at(address, &issuer.key_document()).await;
    let asked = broker.asked().await;
    assert_eq!(asked.since(), None);
    asked.stream().frame(&old);
    until_error(&feed, "older than one accepted before").await;
    assert!(!second.is_ready());
    assert_eq!(second.memory(), first.memory());
    assert_eq!(refusal(&second, &pass), Some(ReasonCode::FeedStale));

    broker
        .asked()
        .await
        .stream()
        .frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
    assert_eq!(refusal(&second, &pass), None);
}

#[tokio::test]
async fn the_state_file_holds_a_new_sequence_while_the_client_runs() {
    let issuer = Issuer::new();
    let mut broker = ScriptedBroker::start(&issuer.key_document()).await;
    let home = VerifierDirectory::new();
    let verifier = home.verifier(&issuer);
    let feed = home.follow(&verifier, &broker);
    let stream = broker.asked().await.stream();
    for _ in 0..3 {
        stream.frame(&signed(&issuer, issuer.frame()));
        let sequence = issuer.sequence.get();
        let is_written = async {
            while home.memory().sequence != sequence {
                tokio::task::yield_now().await;
            }
        };
        // Well before the interval at which the passing of time is written.
        timeout(Duration::from_secs(4), is_written).await.unwrap();
    }
    assert_eq!(feed.status().state_file_error, None);
}

#[tokio::test]
async fn a_state_file_is_not_overwritten_by_a_verifier_that_forgot_it() {
    let issuer = Issuer::new();
    let home = VerifierDirectory::new();
    let knowing = issuer.verifier();
    let client = |verifier: &Arc<Verifier>| {
        FeedClient::builder(Arc::clone(verifier), ISSUER, TOKEN)
            .state_file(&home.path)
            .build()
    };
    client(&Arc::new(knowing)).unwrap();
    let before = home.memory();
    let forgetful = client(&verifier(&issuer)).unwrap_err();
    assert!(
        matches!(
            forgetful,
            FeedError::StateFile(StateFileError::Forgotten { .. })
        ),
        "{forgetful}"
    );
    assert_eq!(home.memory(), before);

    std::fs::write(&home.path, "{").unwrap();
    let damaged = client(&verifier(&issuer)).unwrap_err();
    assert!(
        matches!(
            damaged,
            FeedError::StateFile(StateFileError::Damaged { .. })
        ),
        "{damaged}"
    );
    let nowhere = FeedClient::builder(verifier(&issuer), ISSUER, TOKEN)
        .state_file(home.path.join("feed.json"))
        .build();
    assert!(matches!(nowhere.unwrap_err(), FeedError::StateFile(_)));
}

#[tokio::test]
async fn a_gap_leads_to_a_snapshot() {
    let (issuer, mut broker, verifier, feed) = followed().await;
    let stream = broker.asked().await.stream();
    stream.frame(&signed(&issuer, issuer.frame()));
    until(&feed, |status| status.frames == 1).await;

    issuer.sequence.set(issuer.sequence.get() + 5);
    stream.frame(&signed(&issuer, revoking_delta(&issuer, "tsk_2")));
    let asked = broker.asked().await;
    assert_eq!(asked.since(), None);
    assert_eq!(verifier.revocation_count(), 0);
    let mut snapshot = issuer.frame();
    snapshot.revocations = vec![revocation(&issuer, "tsk_1"), revocation(&issuer, "tsk_2")];
    asked.stream().frame(&signed(&issuer, snapshot));
    until(&feed, |status| status.frames == 2).await;
    assert_eq!(verifier.revocation_count(), 2);
}

#[tokio::test]
async fn frames_that_the_broker_did_not_sign_are_never_accepted() {
    let issuer = Issuer::new();
    let mut broker = ScriptedBroker::start(&issuer.key_document()).await;
    let foreign_key = issuer
        .frame()
        .sign(&PrivateKey::from_seed(&[9; 32]))
        .unwrap();
    let foreign_server = Frame {
        aud: "https://payroll.example/mcp".parse().unwrap(),
        ..issuer.frame()
    };
    let foreign_broker = Frame {
        iss: "https://other.example".parse().unwrap(),
        ..issuer.frame()
    };
    let changed = signed(&issuer, issuer.frame()).replacen('A', "B", 1);
    let cases = [
        (event("garbage"), "no trusted feed key"),
        (event(""), "no trusted feed key"),
        (event(&changed), "no trusted feed key"),
        (event(&foreign_key), "no trusted feed key"),
        (event(&signed(&issuer, foreign_server)), "another server"),
        (event(&signed(&issuer, foreign_broker)), "another broker"),
        (
            "event: frame\ndata: \u{fffd}\n\n".into(),
            "no trusted feed key",
        ),
        (event(&"A".repeat(MAX_JWS_BYTES + 1)), "no trusted feed key"),
        (
            format!("event: frame\ndata: {}", "A".repeat(MAX_JWS_BYTES + 1024)),
            "a message of more than",
        ),
        (
            "event: frame\ndata: cut off".to_owned(),
            "closed the stream",
        ),
    ];
    for (bytes, problem) in cases {
        let verifier = verifier(&issuer);
        let feed = follow(&verifier, &broker);
        broker.asked().await.stream().raw(bytes);
        let status = until(&feed, |status| status.failures == 1).await;
        assert!(
            status.last_error.as_ref().unwrap().contains(problem),
            "{problem}: {status:?}"
        );
        assert!(status.frames == 0 && !status.ready, "{status:?}");
        broker
            .asked()
            .await
            .stream()
            .frame(&signed(&issuer, issuer.frame()));
        timeout(LONG, feed.ready()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn other_answers_than_a_stream_are_refused_and_redirects_not_followed() {
    let (issuer, mut broker, verifier, feed) = followed().await;
    let frame = signed(&issuer, issuer.frame());
    let cases = [
        (
            (StatusCode::SERVICE_UNAVAILABLE, "later").into_response(),
            "503",
        ),
        (
            ([(header::CONTENT_TYPE, "application/jose")], frame).into_response(),
            "text/event-stream",
        ),
        (
            (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, "/v1/feed?again")],
            )
                .into_response(),
            "redirects",
        ),
        // Last, because the next attempt is half a minute away.
        (
            (StatusCode::UNAUTHORIZED, TOKEN).into_response(),
            "verifier's token",
        ),
    ];
    for (answer, problem) in cases {
        let asked = broker.asked().await;
        assert!(!asked.query.iter().any(|(name, _)| name == "again"));
        asked.answer(answer);
        until_error(&feed, problem).await;
    }
    assert!(!verifier.is_ready());
    assert!(!format!("{feed:?}").contains(TOKEN));
    // Longer than any other wait between two attempts.
    assert!(
        timeout(Duration::from_secs(4), broker.asked.recv())
            .await
            .is_err(),
        "a refused token is not tried again soon"
    );
}

#[tokio::test]
async fn a_changed_feed_key_is_learned_from_the_key_document() {
    let mut issuer = Issuer::new();
    let mut broker = ScriptedBroker::start(&issuer.key_document()).await;
    let verifier = verifier(&issuer);
    let feed = follow(&verifier, &broker);
    broker
        .asked()
        .await
        .stream()
        .frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();

    let old = std::mem::replace(&mut issuer.feed, PrivateKey::from_seed(&[3; 32]));
    let link = KeyLink {
        v: hallpass_core::base::format::Format::One,
        iss: ISSUER.parse().unwrap(),
        old: old.public(),
        new: issuer.feed.public(),
    };
    let document = KeyDocument {
        feed_key_chain: vec![link.sign(KeyLink::FEED_TYP, &old).unwrap()],
        ..issuer.key_document()
    };
    broker.publish(&document);
    let frame = signed(&issuer, issuer.frame());
    let mut rounds = 0;
    while verifier.memory().feed_keys != [issuer.feed.public()] {
        broker.asked().await.stream().frame(&frame);
        rounds += 1;
        until(&feed, |status| status.failures >= rounds).await;
        assert!(rounds <= 3, "{:?}", feed.status());
    }
}

#[tokio::test]
async fn a_foreign_key_document_is_refused() {
    let issuer = Issuer::new();
    let stranger = PrivateKey::from_seed(&[9; 32]);
    let mut broker = ScriptedBroker::start(&KeyDocument {
        feed_key: stranger.public(),
        ..issuer.key_document()
    })
    .await;
    let verifier = verifier(&issuer);
    let feed = follow(&verifier, &broker);
    until_error(&feed, "thumbprint").await;
    broker.publish(&KeyDocument {
        iss: "https://other.example".parse().unwrap(),
        ..issuer.key_document()
    });
    until_error(&feed, "issuer").await;
    broker.publish_text("x".repeat(1024 * 1024 + 1));
    until_error(&feed, "a message of more than").await;
    broker.publish_text("{}".to_owned());
    until_error(&feed, "cannot be read").await;
    assert_eq!(verifier.memory().feed_keys, []);
    broker.publish(&issuer.key_document());
    broker
        .asked()
        .await
        .stream()
        .frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_silent_broker_is_left_and_asked_again() {
    let issuer = Issuer::new();
    let mut broker = ScriptedBroker::start(&issuer.key_document()).await;
    let verifier = verifier(&issuer);
    let client = FeedClient::builder(Arc::clone(&verifier), &broker.url(), TOKEN);
    let feed = client
        .idle_timeout(Duration::from_millis(200))
        .build()
        .unwrap()
        .spawn();
    let silent = broker.asked().await.stream();
    let second = broker.asked().await;
    assert_eq!(feed.status().failures, 1);
    drop(silent);

    // A peer that keeps the line warm and says nothing is silent, too.
    let warm = second.stream();
    let warming = tokio::spawn(async move {
        while warm
            .0
            .send(Ok(Bytes::from_static(b": still here\n\n")))
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    broker
        .asked()
        .await
        .stream()
        .frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
    timeout(LONG, warming).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_named_and_only_then() {
    let issuer = Issuer::new();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut broker = ScriptedBroker::start_tls(&issuer.key_document(), &certified).await;
    let verifier = verifier(&issuer);
    let client = || FeedClient::builder(Arc::clone(&verifier), &broker.url(), TOKEN);
    let untrusting = client()
        .root_certificate(other_authority())
        .build()
        .unwrap()
        .spawn();
    until_error(&untrusting, "certificate").await;
    drop(untrusting);

    let feed = client()
        .root_certificate(certified.cert.pem())
        .build()
        .unwrap()
        .spawn();
    broker
        .asked()
        .await
        .stream()
        .frame(&signed(&issuer, issuer.frame()));
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
}

#[test]
fn bad_settings_are_refused_before_anything_is_sent() {
    let issuer = Issuer::new();
    let build =
        |broker: &str, token: &str| FeedClient::builder(verifier(&issuer), broker, token).build();
    for bad in [
        "http://broker.example",
        "http://192.168.0.1:7400",
        "http://127.0.0.1.broker.example",
        "https://user:secret@broker.example",
        "https://broker.example/?x",
        "ftp://broker.example",
        "broker.example",
        "",
    ] {
        assert!(
            matches!(build(bad, TOKEN), Err(FeedError::Broker(_))),
            "{bad}"
        );
    }
    for good in [
        "https://broker.example",
        "https://broker.example/hallpass",
        "http://127.0.0.1:7400",
        "http://[::1]:7400",
    ] {
        let client = build(good, TOKEN).unwrap();
        assert!(!format!("{client:?}").contains(TOKEN));
    }
    for bad in ["", "two words", "line\nend", "caf\u{e9}"] {
        let error = build("https://broker.example", bad).unwrap_err();
        assert!(matches!(error, FeedError::Token), "{error}");
        assert!(bad.is_empty() || !error.to_string().contains(bad));
    }
    for bad in [
        "",
        "no pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let client = FeedClient::builder(verifier(&issuer), ISSUER, TOKEN).root_certificate(bad);
        assert!(client.build().is_err(), "{bad}");
    }
    let builder = FeedClient::builder(verifier(&issuer), ISSUER, TOKEN);
    assert!(!format!("{builder:?}").contains(TOKEN));
}

const OTHER_TASK: &str = "tsk_00000000000000000000000000000002";

/// A pass for reading in `task`.
fn pass(issuer: &Issuer, task: &str) -> PassToken {
    let mut content = issuer.content(vec![rights(json!({"tools": ["read_ledger"]}))]);
    content.task = task.parse().unwrap();
    issuer.mint_content(&content)
}

/// Why reading with `pass` is refused; `None` when it is cleared.
fn refusal(verifier: &Verifier, pass: &PassToken) -> Option<ReasonCode> {
    let cleared = verifier
        .verify(pass.expose())
        .and_then(|pass| verifier.clear(&pass, &Call::tool("read_ledger", None)));
    cleared.err().map(|denial| denial.code())
}

/// A verifier that knows nothing but its pin.
fn verifier(issuer: &Issuer) -> Arc<Verifier> {
    verifier_with(issuer, hallpass_verify::Memory::default())
}

fn verifier_with(issuer: &Issuer, memory: hallpass_verify::Memory) -> Arc<Verifier> {
    let clock: Arc<ManualClock> = Arc::clone(&issuer.clock);
    let builder = Verifier::builder(
        ISSUER.parse().unwrap(),
        issuer.feed.public().thumbprint(),
        manifest(),
    );
    Arc::new(builder.clock(clock).memory(memory).build())
}

/// A broker, and a verifier of its that follows it.
async fn followed() -> (Issuer, ScriptedBroker, Arc<Verifier>, FeedHandle) {
    let issuer = Issuer::new();
    let broker = ScriptedBroker::start(&issuer.key_document()).await;
    let verifier = verifier(&issuer);
    let feed = follow(&verifier, &broker);
    (issuer, broker, verifier, feed)
}

fn follow(verifier: &Arc<Verifier>, broker: &ScriptedBroker) -> FeedHandle {
    FeedClient::builder(Arc::clone(verifier), &broker.url(), TOKEN)
        .build()
        .unwrap()
        .spawn()
}

async fn until(
    feed: &FeedHandle,
    condition: impl Fn(&feed::FeedStatus) -> bool,
) -> feed::FeedStatus {
    match timeout(LONG, feed.wait_for(condition)).await {
        Ok(status) => status.unwrap(),
        Err(_) => panic!("still {:?}", feed.status()),
    }
}

async fn until_error(feed: &FeedHandle, text: &str) {
    until(feed, |status| {
        status
            .last_error
            .as_ref()
            .is_some_and(|error| error.contains(text))
    })
    .await;
}

fn signed(issuer: &Issuer, frame: Frame) -> String {
    frame.sign(&issuer.feed).unwrap()
}

fn revocation(issuer: &Issuer, task: &str) -> RevocationEntry {
    let expires_at = issuer.now().plus(Duration::from_secs(3600));
    RevocationEntry {
        subject: SubjectDigest::new("task", task),
        cut_off: None,
        expires_at,
    }
}

fn revoking_delta(issuer: &Issuer, task: &str) -> Frame {
    let since = Some(issuer.sequence.get());
    Frame {
        since,
        keys: None,
        feed_keys: None,
        revocations: vec![revocation(issuer, task)],
        ..issuer.frame()
    }
}

fn event(data: &str) -> String {
    format!("event: frame\nid: 1\ndata: {data}\n\n")
}

fn other_authority() -> String {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])
        .unwrap()
        .cert
        .pem()
}

/// A verifier's directory, with its state file.
struct VerifierDirectory {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl VerifierDirectory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed.json");
        Self {
            _directory: directory,
            path,
        }
    }

    fn memory(&self) -> hallpass_verify::Memory {
        feed::load_memory(&self.path, &ISSUER.parse().unwrap(), &support::server()).unwrap()
    }

    fn verifier(&self, issuer: &Issuer) -> Arc<Verifier> {
        verifier_with(issuer, self.memory())
    }

    fn follow(&self, verifier: &Arc<Verifier>, broker: &ScriptedBroker) -> FeedHandle {
        let client = FeedClient::builder(Arc::clone(verifier), &broker.url(), TOKEN);
        client.state_file(&self.path).build().unwrap().spawn()
    }
}
