//! The feed and the audit trail, followed.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use test_broker::{TestBroker, body_of, refused};

/// The events of a stream as they come: name, id and data.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/event-stream")
        );
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, String, String)> {
        while !self.text.contains("\n\n") {
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk())
                .await
                .unwrap();
            self.text
                .push_str(std::str::from_utf8(&chunk.unwrap()?).unwrap());
        }
        let (event, rest) = self.text.split_once("\n\n").unwrap();
        let member = |name: &str| {
            let prefix = format!("{name}: ");
            event
                .lines()
                .find_map(|line| line.strip_prefix(&prefix))
                .unwrap_or_default()
                .to_owned()
        };
        let found = (member("event"), member("id"), member("data"));
        self.text = rest.to_owned();
        Some(found)
    }
}

fn feed() -> String {
    format!("/v1/feed?server={}", support::SERVER)
}

#[tokio::test]
async fn a_snapshot_has_a_tag_and_is_not_sent_twice() {
    let fixture = TestBroker::new().await;
    let response = fixture.operator(Method::GET, &feed()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/jose");
    let tag = response.headers()["etag"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    fixture.verifier().await.accept_frame(&text).unwrap();
    let again = || {
        fixture
            .operator(Method::GET, &feed())
            .header("if-none-match", &tag)
    };
    assert_eq!(
        again().send().await.unwrap().status(),
        StatusCode::NOT_MODIFIED
    );
    let epoch = fixture.broker.state().epoch();
    assert_eq!(
        tag,
        format!("\"{epoch}-{}\"", fixture.broker.state().last_sequence())
    );
    fixture.open_task().await;
    assert_eq!(again().send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_revocation_is_pushed_and_its_sequence_is_that_of_the_answer() {
    let fixture = TestBroker::new().await;
    let verifier = fixture.verifier().await;
    let task = fixture.open_task().await["task_id"].clone();
    let token = fixture
        .token("ledger-verifier", &["verifier"], &[support::SERVER])
        .await;
    let mut events = Events::of(fixture.request(Method::GET, &feed()).bearer_auth(&token)).await;
    let (name, _, frame) = events.next().await.unwrap();
    assert_eq!(name, "frame");
    verifier.accept_frame(&frame).unwrap();
    let revoked = fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&json!({"task": task}))
        .send()
        .await
        .unwrap();
    let sequence = body_of(revoked).await["sequence"].as_u64().unwrap();
    while verifier.revocation_count() == 0 {
        let (_, id, frame) = events.next().await.unwrap();
        verifier.accept_frame(&frame).unwrap();
        assert!(verifier.revocation_count() == 0 || id.parse::<u64>().unwrap() >= sequence);
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_operator_is_removed() {
    let fixture = TestBroker::new().await;
    let token = fixture.token("auditor", &["auditor"], &[]).await;
    let mut trail = Events::of(
        fixture
            .request(Method::GET, "/v1/audit")
            .bearer_auth(&token),
    )
    .await;
    let mut frames = Events::of(fixture.request(Method::GET, &feed()).bearer_auth(&token)).await;
    frames.next().await.unwrap();
    fixture
        .operator(Method::DELETE, "/v1/operators/auditor")
        .send()
        .await
        .unwrap();
    // Something that both would be told.
    fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&json!({"server": "ledger"}))
        .send()
        .await
        .unwrap();
    while frames.next().await.is_some() {}
    while trail.next().await.is_some() {}
    assert_eq!(
        refused(fixture.request(Method::GET, &feed()).bearer_auth(&token))
            .await
            .0,
        401
    );
}

#[tokio::test]
async fn following_the_trail_shows_every_event_that_the_filter_wants_once() {
    let fixture = TestBroker::new().await;
    let mut trail = Events::of(fixture.operator(Method::GET, "/v1/audit?agent=research-bot")).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(fixture.open_task().await["task_id"].clone());
        fixture
            .operator(Method::POST, "/v1/stewards")
            .json(&json!({"name": "bob"}))
            .send()
            .await
            .unwrap();
    }
    let (mut opened, mut last) = (Vec::new(), 0);
    while opened.len() < 3 {
        let (name, id, data) = trail.next().await.unwrap();
        let event: Value = serde_json::from_str(&data).unwrap();
        assert_eq!(
            (name.as_str(), &event["agent"]),
            ("audit", &json!("research-bot"))
        );
        assert!(id.parse::<u64>().unwrap() > last);
        last = id.parse().unwrap();
        if event["type"] == "task_opened" {
            opened.push(event["task"].clone());
        }
    }
    assert_eq!(opened, tasks);
    // Taken up again where it was left.
    let again = fixture
        .operator(Method::GET, "/v1/audit?agent=research-bot")
        .header("last-event-id", (last - 1).to_string());
    assert_eq!(
        Events::of(again).await.next().await.unwrap().1,
        last.to_string()
    );
}

#[tokio::test]
async fn no_more_streams_than_allowed() {
    let fixture = TestBroker::with(hallpass::server::Options {
        max_streams: 1,
        ..test_broker::options()
    })
    .await;
    let first = Events::of(fixture.operator(Method::GET, "/v1/audit")).await;
    let second = fixture
        .operator(Method::GET, "/v1/audit")
        .header("accept", "text/event-stream");
    assert_eq!(refused(second).await.0, 503);
    drop(first);
}
