//! What strangers and single principals use up: nothing that others need.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use test_broker::{TestBroker, body_of, options, task};

/// A connection from an address of its own on this machine.
async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// All that the server sends until it closes the connection.
async fn rest_of(mut connection: TcpStream) -> String {
    let mut sent = Vec::new();
    // A reset is an end as well.
    let _ = connection.read_to_end(&mut sent).await;
    String::from_utf8_lossy(&sent).into_owned()
}

#[tokio::test]
async fn a_connection_that_does_not_say_which_protocol_it_speaks_is_closed() {
    let mut quick = options();
    quick.times.head = Duration::from_millis(100);
    let fixture = TestBroker::with(quick).await;
    for first in [&b""[..], b"P", b"PRI * HT", b"GET / HTTP/1.1\r\nhost: x"] {
        for address in [fixture.address, fixture.admin_address] {
            let mut connection = TcpStream::connect(address).await.unwrap();
            connection.write_all(first).await.unwrap();
            let sent = rest_of(connection).await;
            assert!(
                sent.is_empty() || sent.starts_with("HTTP/1.1 408"),
                "{first:?}: {sent}"
            );
        }
    }
}

#[tokio::test]
async fn silent_connections_of_one_address_leave_places_to_others() {
    let mut few = options();
    few.max_connections = 16;
    let fixture = TestBroker::with(few).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(connect_from("127.0.0.9", fixture.address).await);
    }
    let mut other = connect_from("127.0.0.10", fixture.address).await;
    other
        .write_all(b"GET /v1/keys.json HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = rest_of(other).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        fixture
            .operator(Method::GET, "/v1/agents")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn unfinished_bodies_of_one_address_leave_requests_to_others() {
    let mut few = options();
    few.max_requests = 16;
    let fixture = TestBroker::with(few).await;
    let head = "POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
                content-length: 200\r\n\r\ngrant_type=";
    let mut unfinished = Vec::new();
    for _ in 0..20 {
        let mut connection = connect_from("127.0.0.9", fixture.address).await;
        connection.write_all(head.as_bytes()).await.unwrap();
        unfinished.push(connection);
    }
    // Those that got no share are told so at once; the last of them shows that the others are waited for.
    let mut refused_ones = 0;
    for connection in unfinished.drain(2..) {
        let answer = rest_of_first_line(connection).await;
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
        refused_ones += 1;
    }
    assert_eq!(refused_ones, 18);
    let issued = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(&task())
        .send()
        .await
        .unwrap();
    assert_eq!(issued.status(), StatusCode::CREATED);
    // An operator who revokes is let in from that address, too.
    let body = json!({"agent": "research-bot"}).to_string();
    let mut operator = connect_from("127.0.0.9", fixture.address).await;
    let head = format!(
        "POST /v1/revocations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        fixture.admin,
        body.len()
    );
    operator.write_all(head.as_bytes()).await.unwrap();
    let answer = rest_of(operator).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

async fn rest_of_first_line(mut connection: TcpStream) -> String {
    let mut bytes = [0; 32];
    let read = connection.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn a_token_that_may_do_nothing_uses_up_no_quota_of_its_operator() {
    let mut few = options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 10.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    let auditor = json!({"operator": "carol", "roles": ["auditor"], "ttl_seconds": 3600});
    let made = fixture
        .operator(Method::POST, "/v1/operators")
        .json(&auditor)
        .send()
        .await
        .unwrap();
    let token: Value = body_of(made).await;
    let token = token["token"].as_str().unwrap();
    let ask = async |source: &str, route: &str| {
        let mut connection = connect_from(source, fixture.address).await;
        let head = format!(
            "{route} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        rest_of(connection).await
    };
    // It may not remove agents: whoever tries with it uses up the failures of the own address.
    for _ in 0..10 {
        let answer = ask("127.0.0.9", "DELETE /v1/agents/research-bot").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
    let mut blocked = String::new();
    for _ in 0..10 {
        blocked = ask("127.0.0.9", "DELETE /v1/agents/research-bot").await;
    }
    assert!(blocked.starts_with("HTTP/1.1 429"), "{blocked}");
    let answer = ask("127.0.0.10", "GET /v1/agents").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_operator_whose_quota_is_used_up_still_revokes() {
    let mut few = options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 10.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    loop {
        let read = fixture
            .operator(Method::GET, "/v1/agents")
            .send()
            .await
            .unwrap();
        if read.status() == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    let revoke = json!({"agent": "research-bot"});
    let revoked = fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&revoke)
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_registration_is_not_read_where_registration_is_off() {
    let fixture = TestBroker::new().await;
    let mut connection = TcpStream::connect(fixture.address).await.unwrap();
    let head = "POST /oauth/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500000\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let answer = rest_of_first_line(connection).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_registration_has_sixteen_kibibytes() {
    let mut on = options();
    on.oauth.dynamic_registration = true;
    let fixture = TestBroker::with(on).await;
    let body = json!({"redirect_uris": ["http://127.0.0.1/cb"], "client_name": "x".repeat(17_000)});
    let answer = fixture
        .request(Method::POST, "/oauth/register")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn http_2_frames_without_a_request_are_limited_and_end_their_connection() {
    let fixture = TestBroker::new().await;
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&settings).await.unwrap();
    let (mut answers, mut frames) = stream.into_split();
    // The writer ends by the connection's end alone.
    let flood = async {
        let many = ping.repeat(100);
        while frames.write_all(&many).await.is_ok() {}
    };
    let read = async {
        let mut all = Vec::new();
        let _ = answers.read_to_end(&mut all).await;
        all.len()
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(flood, read) });
    let ((), answered) = ended.await.expect("the connection is ended");
    assert!(answered < 17 * 2_000, "{answered} bytes");
    fixture.open_task().await;
}
