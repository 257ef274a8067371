//! Running: health, draining, TLS, and a journal that stopped.

use std::{sync::Arc, time::Duration};

use hallpass::server::{self, Server, TlsFiles};
use hallpass_core::base::time::{Clock as _, ManualClock, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use test_broker::{Recorder, TestBroker, options, task};

async fn admin(fixture: &TestBroker, path: &str) -> (StatusCode, String) {
    let response = fixture
        .client
        .get(format!("http://{}{path}", fixture.admin_address))
        .send()
        .await
        .unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn health_and_metrics_are_on_their_own_listener() {
    let fixture = TestBroker::new().await;
    assert_eq!(
        admin(&fixture, "/livez").await,
        (StatusCode::OK, "alive\n".to_owned())
    );
    assert_eq!(
        admin(&fixture, "/readyz").await,
        (StatusCode::OK, "ready\n".to_owned())
    );
    assert_eq!(
        admin(&fixture, "/metrics").await,
        (StatusCode::OK, "# EOF\n".to_owned())
    );
    assert_eq!(admin(&fixture, "/v1/tasks").await.0, StatusCode::NOT_FOUND);
    for path in ["/livez", "/readyz", "/metrics"] {
        let response = fixture.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_clock_that_jumped_is_not_ready_and_operators_can_revoke_all_the_same() {
    let now = SystemClock::default().now();
    let clock = Arc::new(ManualClock::new(now));
    let fixture = TestBroker::new().await.restarted_at(clock.clone()).await;
    assert_eq!(admin(&fixture, "/readyz").await.0, StatusCode::OK);
    clock.set(now.plus(Duration::from_secs(3600)));
    let (status, why) = admin(&fixture, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("jumped 3600 s ahead"), "{why}");
    let revoked = fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&json!({"agent": "research-bot"}))
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::CREATED);
    clock.set(now);
    assert_eq!(admin(&fixture, "/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_has_an_id_of_our_own_and_says_how_it_may_be_kept() {
    let fixture = TestBroker::new().await;
    let request = fixture
        .operator(Method::GET, "/v1/agents")
        .header("x-request-id", "req_mine");
    let response = request.send().await.unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap();
    assert!(id.starts_with("req_") && id.len() == 36, "{id}");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    let seen = fixture.recorder.seen.lock().unwrap().clone();
    assert_eq!(
        seen.last().unwrap(),
        &("GET".to_owned(), "/v1/agents".to_owned(), 200)
    );
}

#[tokio::test]
async fn the_trace_id_is_in_the_audit_trail() {
    let fixture = TestBroker::new().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let open = fixture
        .agent(Method::POST, "/v1/tasks")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    open.json(&task()).send().await.unwrap();
    let page = fixture
        .operator(Method::GET, "/v1/audit?limit=1")
        .send()
        .await
        .unwrap();
    let page: serde_json::Value = page.json().await.unwrap();
    assert_eq!(page["items"][0]["trace"], trace);
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_ends_streams() {
    let mut fixture = TestBroker::new().await;
    let follow = format!("/v1/feed?server={}", support::SERVER);
    let mut feed = fixture
        .operator(Method::GET, &follow)
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert!(feed.chunk().await.unwrap().is_some());

    // A request whose body is still coming when the stop is asked for.
    let body = json!({"name": "bob"}).to_string();
    let mut connection = TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "POST /v1/stewards HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        fixture.admin,
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    // Answered later on another connection, so the server has the first one's head by then.
    assert_eq!(
        fixture
            .operator(Method::GET, "/v1/agents")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    let address = fixture.address;
    fixture.begin_stop();
    // The feed ends because of the stop, so the stop has begun.
    while feed.chunk().await.unwrap().is_some() {}
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    fixture.stopped().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_cannot_be_recorded_is_503() {
    let fixture = TestBroker::new().await;
    // What a failed sync does to the journal: nothing is recorded any more.
    fixture.broker.close().await.unwrap();
    let response = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(&task())
        .send()
        .await
        .unwrap();
    assert!(response.headers().contains_key("retry-after"));
    let (status, body) = test_broker::problem(response).await;
    assert_eq!((status, &body["code"]), (503, &json!("unavailable")));
    // Not even a read is answered when its assertion cannot be recorded.
    assert_eq!(
        fixture
            .agent(Method::GET, "/v1/tasks")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn a_slow_head_and_a_slow_request_are_cut_off() {
    let mut short = options();
    short.times = server::Times {
        head: Duration::from_millis(200),
        request: Duration::from_millis(300),
        ..short.times
    };
    let fixture = TestBroker::with(short).await;
    let mut connection = TcpStream::connect(fixture.address).await.unwrap();
    connection
        .write_all(b"GET /v1/tasks HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read =
        tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection is still open");

    let mut connection = TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "POST /v1/stewards HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
        fixture.admin
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(
        Duration::from_secs(10),
        connection.read_to_string(&mut answer),
    )
    .await;
    read.unwrap().unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 504 ") && answer.contains("\"timeout\""),
        "{answer}"
    );
}

#[tokio::test]
async fn tls_is_served_with_the_certificate_that_is_configured() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = TlsFiles {
        certificate: files.path().join("cert.pem"),
        key: files.path().join("key.pem"),
    };
    std::fs::write(&tls.certificate, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&tls.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let plain = TestBroker::new().await;
    let with_tls = server::Options {
        tls: Some(tls.clone()),
        ..options()
    };
    let bind = || {
        Server::bind(
            with_tls.clone(),
            plain.broker.clone(),
            Arc::new(Recorder::default()),
        )
    };
    assert!(
        bind()
            .await
            .unwrap_err()
            .to_string()
            .contains("accessible to other users")
    );
    std::fs::set_permissions(&tls.key, std::fs::Permissions::from_mode(0o600)).unwrap();

    let server = bind().await.unwrap();
    let url = format!(
        "https://localhost:{}/v1/keys.json",
        server.local_addr().port()
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(async { drop(stopped.await) }));
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let response = client.get(&url).send().await.unwrap();
    assert_eq!(
        (response.status(), response.version()),
        (StatusCode::OK, reqwest::Version::HTTP_2)
    );
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(stranger.get(&url).send().await.is_err());
    drop((client, stop));
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let fixture = TestBroker::new().await;
    let taken = server::Options {
        listen: fixture.address,
        ..options()
    };
    let error = Server::bind(taken, fixture.broker.clone(), Arc::new(Recorder::default()))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(&fixture.address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn no_more_connections_than_allowed() {
    let fixture = TestBroker::with(server::Options {
        max_connections: 8,
        ..options()
    })
    .await;
    let mut open = Vec::new();
    let mut closed = false;
    // One address has half of them, of which the fixture's own client keeps some.
    for _ in 0..8 {
        let mut connection = TcpStream::connect(fixture.address).await.unwrap();
        connection
            .write_all(b"GET /v1/keys.json HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut answer = [0; 12];
        let read = tokio::time::timeout(Duration::from_secs(5), connection.read_exact(&mut answer))
            .await
            .unwrap();
        match read {
            Ok(_) => open.push(connection),
            Err(_) => closed = true,
        }
    }
    assert!(closed && !open.is_empty(), "{} are open", open.len());
    drop(open);
}
