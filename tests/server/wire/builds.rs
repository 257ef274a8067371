//! Brokers and verifiers of two builds with each other, over HTTP.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use hallpass_core::{
    base::{format::Format, jws},
    token::Call,
    wire::{self, Document, document::Frame},
};
use hallpass_verify::{
    ReportSink as _, Verifier,
    feed::{FeedClient, FeedHandle, FeedStatus},
};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use support::SERVER;
use test_broker::{TestBroker, body_of, refused};

use super::setup::{frame, key, key_document, pass, signed, told, verifier, with};

const LONG: Duration = Duration::from_secs(20);

/// A frame as a later build may read it.
#[derive(Debug, Deserialize)]
struct LaterFrame {
    v: Format,
    sequence: u64,
    #[serde(default)]
    later: Option<String>,
}

impl Document for LaterFrame {}

#[test]
fn a_later_reader_reads_the_frames_of_this_build() {
    let frame: LaterFrame = wire::verify(&key(2).public(), Frame::TYP, &signed(&frame(7))).unwrap();
    assert_eq!(
        (frame.v, frame.sequence, frame.later),
        (Format::One, 7, None)
    );
}

/// The payload of a compact JWS.
fn payload(text: &str, fixture: &TestBroker) -> Value {
    let feed = fixture.broker.feed.key_document().unwrap().feed_key;
    serde_json::from_slice(&jws::verify(&feed, Frame::TYP, text).unwrap()).unwrap()
}

#[tokio::test]
async fn the_broker_writes_the_format_that_is_asked_for_and_names_those_that_it_writes() {
    let fixture = TestBroker::new().await;
    let token = fixture
        .token("ledger-verifier", &["verifier"], &[SERVER])
        .await;
    let feed = |query: &str| {
        let path = format!("/v1/feed?server={SERVER}{query}");
        fixture.request(Method::GET, &path).bearer_auth(&token)
    };
    for query in ["", "&format=1", "&since=1&format=1"] {
        let answer = feed(query).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{query}");
        let frame = payload(&answer.text().await.unwrap(), &fixture);
        assert_eq!(frame["v"], 1, "{query}");
        if query.is_empty() {
            assert_eq!(frame["manifest"]["v"], 1);
        }
    }
    for accept in ["application/jose", "text/event-stream"] {
        for format in ["0", "2", "01", "1.0", "-1", "one", "18446744073709551616"] {
            let request = feed(&format!("&format={format}")).header("accept", accept);
            let (status, problem) = refused(request).await;
            assert_eq!(
                (status, &problem["field"]),
                (400, &json!("format")),
                "{format}"
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.ends_with("unknown format: expected 1"), "{detail}");
        }
    }
    let keys = fixture.request(Method::GET, "/v1/keys.json");
    assert_eq!(body_of(keys.send().await.unwrap()).await["v"], 1);
}

#[tokio::test]
async fn the_broker_takes_reports_of_a_later_verifier_unless_it_must_understand_them() {
    let fixture = TestBroker::new().await;
    let token = fixture
        .token("ledger-verifier", &["verifier"], &[SERVER])
        .await;
    let lost = |n: u32| {
        let time = "2026-11-22T10:00:00Z";
        json!({"type": "lost", "id": format!("rpt_{n:032x}"), "server": SERVER, "count": 3, "from": time, "to": time})
    };
    let post = |body: Value| {
        fixture
            .request(Method::POST, "/v1/decisions")
            .bearer_auth(&token)
            .json(&body)
    };
    let more = json!({"v": 1, "later": {"crit": ["x"]}, "reports": [
        with(lost(1), "", json!({"later": [1]})),
        with(lost(2), "", json!({"crit": ["type", "id"]})),
    ]});
    let answer = post(more).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(body_of(answer).await["recorded"], 2);

    // What is ignored is recorded nowhere.
    let secret = with(lost(5), "", json!({"token": "hp_secret"}));
    let answer = post(json!({"reports": [secret]})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let list = fixture.operator(Method::GET, "/v1/decisions").send().await;
    let list = list.unwrap().text().await.unwrap();
    assert!(
        list.contains("\"lost\"") && !list.contains("hp_secret"),
        "{list}"
    );

    let critical = with(lost(3), "", json!({"later": 1, "crit": ["later"]}));
    let empty = with(lost(3), "", json!({"crit": []}));
    for (body, field, words) in [
        (
            json!({"v": 2, "reports": "another form"}),
            "v",
            "expected 1",
        ),
        (
            json!({"v": 1, "reports": [lost(4), critical]}),
            "reports[1].crit",
            "`later`",
        ),
        (
            json!({"later": 1, "crit": ["later"], "reports": []}),
            "crit",
            "`later`",
        ),
        (json!({"v": 1, "reports": [empty]}), "reports[0]", "empty"),
        (json!({"v": 1}), "reports", "required"),
        (json!({"v": "1", "reports": []}), "v", "expected u64"),
    ] {
        let (status, problem) = refused(post(body.clone())).await;
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{body}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
    }
    // What is asked of the broker by people stays strict.
    let manifest = json!({"server": "https://b.example/mcp", "name": "b", "later": 1});
    let request = fixture
        .operator(Method::POST, "/v1/servers")
        .json(&manifest);
    let (status, problem) = refused(request).await;
    assert_eq!((status, &problem["field"]), (400, &json!("later")));
    for (v, expected) in [(json!(2), 400), (json!(1), 201)] {
        let manifest = json!({"server": "https://b.example/mcp", "name": "b", "v": v});
        let request = fixture
            .operator(Method::POST, "/v1/servers")
            .json(&manifest);
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
}

/// A broker of another build.
struct Other {
    url: String,
    told: Arc<Told>,
}

/// What it answers.
struct Told {
    keys: Value,
    /// A stream with this frame, or a problem with this field and detail.
    feed: Result<String, (&'static str, &'static str)>,
    /// Whether it takes reports; if not, it does not know their format.
    takes_reports: AtomicBool,
    reports: Mutex<Vec<Value>>,
}

impl Other {
    async fn start(keys: Value, feed: Result<String, (&'static str, &'static str)>) -> Self {
        let told = Arc::new(Told {
            keys,
            feed,
            takes_reports: AtomicBool::new(false),
            reports: Mutex::default(),
        });
        let router = Router::new()
            .route(
                "/v1/keys.json",
                get(async |State(told): State<Arc<Told>>| Json(told.keys.clone())),
            )
            .route("/v1/feed", get(feed_of))
            .route("/v1/decisions", post(take_reports))
            .with_state(Arc::clone(&told));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, told }
    }

    fn client(&self, verifier: &Arc<Verifier>) -> FeedClient {
        let client = FeedClient::builder(Arc::clone(verifier), &self.url, "hpv_token");
        client.build().unwrap()
    }
}

fn problem(field: &str, detail: &str) -> Response {
    let body = json!({"status": 400, "field": field, "detail": detail});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

async fn feed_of(State(told): State<Arc<Told>>) -> Response {
    match &told.feed {
        Ok(frame) => {
            let event = format!("event: frame\nid: 1\ndata: {frame}\n\n");
            ([(header::CONTENT_TYPE, "text/event-stream")], event).into_response()
        }
        Err((field, detail)) => problem(field, detail),
    }
}

async fn take_reports(State(told): State<Arc<Told>>, Json(body): Json<Value>) -> Response {
    if !told.takes_reports.load(Ordering::SeqCst) {
        return problem("v", "expected 0");
    }
    told.reports.lock().unwrap().push(body);
    (
        StatusCode::CREATED,
        Json(json!({"recorded": 1, "known": 0})),
    )
        .into_response()
}

async fn failed(feed: &FeedHandle) -> FeedStatus {
    let failed = feed.wait_for(|status| status.failures > 0);
    timeout(LONG, failed).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_verifier_says_which_side_is_to_be_upgraded() {
    let keys = serde_json::to_value(key_document()).unwrap();
    let plain = || Ok(signed(&frame(2)));
    let critical = with(
        frame(2),
        "/manifest/tools/transfer",
        json!({"later": 1, "crit": ["later"]}),
    );
    let link_of_later = json!({"v": 2, "iss": "https://broker.example", "old": key(2).public(), "new": key(3).public()});
    let link_of_later = jws::sign(&key(2), "hallpass-feed-key+jwt", None, &link_of_later).unwrap();
    let later_link = json!({"feed_key": key(3).public(), "feed_key_chain": [link_of_later]});
    let cases = [
        (
            keys.clone(),
            Err(("format", "expected 2, 3\u{7}")),
            "(expected 2, 3): upgrade the broker",
        ),
        (
            keys.clone(),
            Err(("since", "no number")),
            "the broker answered 400",
        ),
        (
            keys.clone(),
            Ok(signed(&critical)),
            "requires the member `manifest.tools.transfer.later` (`crit`), which this build does not know: upgrade this verifier",
        ),
        (
            keys.clone(),
            Ok(signed(&with(frame(2), "", json!({"v": 2})))),
            "of format 2, which this build does not read: upgrade this verifier",
        ),
        (
            keys.clone(),
            Ok(signed(&with(frame(2), "", json!({"crit": []})))),
            "`crit`: an empty list",
        ),
        (
            with(keys.clone(), "", json!({"v": 2})),
            plain(),
            "of format 2, which this build does not read: upgrade this verifier",
        ),
        (
            with(keys.clone(), "", json!({"later": 1, "crit": ["later"]})),
            plain(),
            "requires the member `later` (`crit`)",
        ),
        (
            with(keys, "", later_link),
            plain(),
            "of format 2, which this build does not read: upgrade this verifier",
        ),
    ];
    for (keys, feed, words) in cases {
        let broker = Other::start(keys, feed).await;
        let verifier = Arc::new(verifier());
        let status = failed(&broker.client(&verifier).spawn()).await;
        let error = status.last_error.as_deref().unwrap();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!verifier.is_ready() && verifier.memory().sequence == 0);
    }
}

#[tokio::test]
async fn a_verifier_follows_a_later_broker() {
    let later = json!({"later": {"crit": ["x"]}});
    let keys = with(
        serde_json::to_value(key_document()).unwrap(),
        "",
        later.clone(),
    );
    let frame = with(with(frame(2), "", later.clone()), "/revocations/0", later);
    let broker = Other::start(keys, Ok(signed(&frame))).await;
    let verifier = Arc::new(verifier());
    let feed = broker.client(&verifier).spawn();
    timeout(LONG, feed.ready()).await.unwrap().unwrap();
    assert_eq!(verifier.revocation_count(), 1);
}

#[tokio::test]
async fn reports_wait_for_a_broker_that_is_too_old_for_them() {
    let keys = serde_json::to_value(key_document()).unwrap();
    let broker = Other::start(keys, Ok(signed(&frame(2)))).await;
    let verifier = Arc::new(told(&signed(&frame(2))));
    let spool = tempfile::tempdir().unwrap();
    let client = broker.client(&verifier);

    let reports = client.reports(spool.path()).spawn().unwrap();
    let pass = verifier.verify(&pass()).unwrap();
    let call = Call::tool("read_ledger", None);
    let permit = verifier.clear(&pass, &call).unwrap();
    reports.report(permit.report(&call));
    let failed = reports.wait_for(|status| status.failures > 0);
    let status = timeout(LONG, failed).await.unwrap().unwrap();
    let error = status.last_error.unwrap();
    assert!(
        error.ends_with("(`v`: expected 0): upgrade the broker"),
        "{error}"
    );
    assert!(status.lost == 0 && status.delivered == 0 && status.waiting_bytes > 0);
    reports.shutdown().await;

    broker.told.takes_reports.store(true, Ordering::SeqCst);
    let reports = client.reports(spool.path()).spawn().unwrap();
    let delivered = reports.wait_for(|status| status.delivered == 1);
    timeout(LONG, delivered).await.unwrap().unwrap();
    reports.shutdown().await;
    let taken = broker.told.reports.lock().unwrap();
    assert_eq!((taken.len(), &taken[0]["v"]), (1, &json!(1)));
    assert_eq!(taken[0]["reports"][0]["task"], json!(permit.task()));
}
