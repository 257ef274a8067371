//! One key, one effect, one answer.

use std::time::Duration;

use hallpass::server::Options;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use test_broker::{TestBroker, body_of, options, problem, refused, task};

fn open(fixture: &TestBroker, key: &str) -> RequestBuilder {
    fixture
        .agent(Method::POST, "/v1/tasks")
        .header("idempotency-key", key)
}

fn opened(fixture: &TestBroker) -> usize {
    fixture.records().get("task_opened").copied().unwrap_or(0)
}

#[tokio::test]
async fn a_replay_gets_the_very_same_answer() {
    let fixture = TestBroker::new().await;
    let first = open(&fixture, "k").json(&task()).send().await.unwrap();
    assert_eq!(first.status(), StatusCode::CREATED);
    let second = open(&fixture, "k").json(&task()).send().await.unwrap();
    assert_eq!(second.status(), StatusCode::CREATED);
    assert_eq!(first.bytes().await.unwrap(), second.bytes().await.unwrap());
    assert_eq!(opened(&fixture), 1);
    // Another key, another principal and no key are other requests.
    open(&fixture, "k2").json(&task()).send().await.unwrap();
    fixture.open_task().await;
    assert_eq!(opened(&fixture), 3);
}

#[tokio::test]
async fn the_same_key_for_another_body_is_refused() {
    let fixture = TestBroker::new().await;
    open(&fixture, "k").json(&task()).send().await.unwrap();
    let mut other = task();
    other["ttl_seconds"] = json!(301);
    let (status, body) = refused(open(&fixture, "k").json(&other)).await;
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("idempotency_conflict"))
    );
    assert_eq!(opened(&fixture), 1);
}

#[tokio::test]
async fn twenty_at_once_mint_one_pass() {
    let fixture = TestBroker::new().await;
    let sent = (0..20).map(|_| open(&fixture, "k").json(&task()).send());
    let answers = futures_util::future::join_all(sent).await;
    let mut tokens = Vec::new();
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        tokens.push(body_of(answer).await["token"].as_str().unwrap().to_owned());
    }
    tokens.dedup();
    assert_eq!((tokens.len(), opened(&fixture)), (1, 1));
}

#[tokio::test]
async fn after_a_restart_the_key_names_the_task_and_mints_nothing() {
    let fixture = TestBroker::new().await;
    let first = body_of(open(&fixture, "k").json(&task()).send().await.unwrap()).await;
    let fixture = fixture.restarted().await;
    let (status, body) = refused(open(&fixture, "k").json(&task())).await;
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("idempotency_conflict"))
    );
    assert_eq!(body["task_id"], first["task_id"]);
    assert_eq!(opened(&fixture), 1);
}

#[tokio::test]
async fn once_the_answer_is_forgotten_the_key_names_the_task_and_mints_nothing() {
    let fixture = TestBroker::with(Options {
        repeat_answers: Duration::from_millis(200),
        ..options()
    })
    .await;
    let first = body_of(open(&fixture, "k").json(&task()).send().await.unwrap()).await;
    let forgotten = async {
        loop {
            let answer = open(&fixture, "k").json(&task()).send().await.unwrap();
            if answer.status() != StatusCode::CREATED {
                return problem(answer).await;
            }
            assert_eq!(body_of(answer).await["token"], first["token"]);
        }
    };
    let (status, body) = tokio::time::timeout(Duration::from_secs(20), forgotten)
        .await
        .unwrap();
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("idempotency_conflict"))
    );
    assert_eq!((&body["task_id"], opened(&fixture)), (&first["task_id"], 1));
}

#[tokio::test]
async fn a_refused_request_leaves_the_key_free() {
    let fixture = TestBroker::new().await;
    let mut refused_task = task();
    refused_task["authorization_details"][0]["tools"] = json!(["delete_ledger"]);
    assert_eq!(
        refused(open(&fixture, "k").json(&refused_task)).await.0,
        403
    );
    assert_eq!(
        open(&fixture, "k")
            .json(&task())
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn operators_creations_are_done_once_too() {
    let fixture = TestBroker::new().await;
    let cases: [(&str, Value, &str); 3] = [
        (
            "/v1/revocations",
            json!({"agent": "research-bot"}),
            "revoked",
        ),
        (
            "/v1/operators",
            json!({"operator": "second", "roles": ["auditor"], "ttl_seconds": 60}),
            "operator_added",
        ),
        ("/v1/keys/root/rotate", json!({}), "key_changed"),
    ];
    for (path, body, event) in cases {
        let send = || {
            fixture
                .operator(Method::POST, path)
                .header("idempotency-key", "k")
                .json(&body)
                .send()
        };
        let before = fixture.records().get(event).copied().unwrap_or(0);
        let first = send().await.unwrap().bytes().await.unwrap();
        let second = send().await.unwrap();
        assert_eq!(second.status(), StatusCode::CREATED, "{path}");
        assert_eq!(second.bytes().await.unwrap(), first, "{path}");
        assert_eq!(fixture.records()[event], before + 1, "{path}");
    }
}

#[tokio::test]
async fn a_key_is_one_short_visible_word() {
    let fixture = TestBroker::new().await;
    for bad in ["", "a b", &"k".repeat(129)] {
        let (status, body) = refused(open(&fixture, bad).json(&task())).await;
        assert_eq!(
            (status, &body["field"]),
            (400, &json!("Idempotency-Key")),
            "{bad}"
        );
    }
    let twice = open(&fixture, "a")
        .header("idempotency-key", "b")
        .json(&task());
    assert_eq!(refused(twice).await.0, 400);
    assert_eq!(
        open(&fixture, &"k".repeat(128))
            .json(&task())
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::CREATED
    );
    assert_eq!(opened(&fixture), 1);
}
