//! Secrets: made once, told once, two at most, kept as digests.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::oauth::client::{ask, basic, ledger, refused, register, token};
use test_broker::{self, TestBroker, body_of};

async fn add(fixture: &TestBroker, agent: &str) -> Value {
    let path = format!("/v1/agents/{agent}/secrets");
    let added = fixture.operator(Method::POST, &path).send().await.unwrap();
    assert_eq!(added.status(), StatusCode::CREATED);
    body_of(added).await
}

fn remove(fixture: &TestBroker, agent: &str, id: &Value) -> reqwest::RequestBuilder {
    fixture.operator(
        Method::DELETE,
        &format!("/v1/agents/{agent}/secrets/{}", id.as_str().unwrap()),
    )
}

fn ids(view: &Value) -> Vec<Value> {
    view["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|secret| secret["secret_id"].clone())
        .collect()
}

#[tokio::test]
async fn secrets_rotate_without_a_gap_and_outlive_a_restart() {
    let fixture = TestBroker::new().await;
    let first = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let works = async |fixture: &TestBroker, secret: &str| {
        let answer = ask(fixture, &[])
            .header("authorization", basic("build-bot", secret))
            .send()
            .await
            .unwrap();
        answer.status() == StatusCode::OK
    };
    let view = add(&fixture, "build-bot").await;
    let second = view["client_secret"].as_str().unwrap().to_owned();
    assert!(works(&fixture, &first).await && works(&fixture, &second).await);
    let third = fixture.operator(Method::POST, "/v1/agents/build-bot/secrets");
    assert_eq!(test_broker::refused(third).await.0, 409);

    let fixture = fixture.restarted().await;
    assert!(works(&fixture, &first).await && works(&fixture, &second).await);
    let ids = ids(&view);
    assert_eq!(
        remove(&fixture, "build-bot", &ids[0])
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    assert!(!works(&fixture, &first).await && works(&fixture, &second).await);
    assert_eq!(
        test_broker::refused(remove(&fixture, "build-bot", &ids[0]))
            .await
            .0,
        404
    );
    // Without it nobody could come as this agent any more.
    assert_eq!(
        test_broker::refused(remove(&fixture, "build-bot", &ids[1]))
            .await
            .0,
        409
    );
    assert!(works(&fixture, &second).await);
}

#[tokio::test]
async fn a_change_of_the_agent_leaves_its_secret_and_removal_takes_it() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let request = || ask(&fixture, &[]).header("authorization", basic("build-bot", &secret));
    token(request()).await;
    let change = json!({"steward": "alice", "groups": ["research"], "default_details": ledger(&["search_ledger"])});
    let changed = fixture
        .operator(Method::PUT, "/v1/agents/build-bot")
        .json(&change)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), StatusCode::OK);
    assert_eq!(token(request()).await["scope"], "tool:search_ledger");
    let removed = fixture
        .operator(Method::DELETE, "/v1/agents/build-bot")
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(refused(request()).await, (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn an_agent_with_neither_key_nor_secret_is_refused() {
    let fixture = TestBroker::new().await;
    let bare = json!({"agent": "bare", "steward": "alice"});
    let (status, problem) =
        test_broker::refused(fixture.operator(Method::POST, "/v1/agents").json(&bare)).await;
    assert_eq!((status, &problem["field"]), (400, &json!("keys")));
    let bare = json!({"steward": "alice"});
    let change = fixture
        .operator(Method::PUT, "/v1/agents/research-bot")
        .json(&bare);
    assert_eq!(test_broker::refused(change).await.0, 400);
    let vague = json!({"agent": "vague", "steward": "alice", "secret": true,
        "default_details": [{"type": "mcp", "server": support::SERVER}]});
    let (status, problem) =
        test_broker::refused(fixture.operator(Method::POST, "/v1/agents").json(&vague)).await;
    assert_eq!(
        (status, &problem["field"]),
        (400, &json!("default_details"))
    );
}

/// With redirect URIs alone whoever knows its id would be it.
#[tokio::test]
async fn a_client_with_redirect_uris_does_not_become_public_by_losing_what_it_proves_itself_by() {
    let fixture = TestBroker::new().await;
    let uris = json!(["http://127.0.0.1/callback"]);
    let client =
        json!({"agent": "web-app", "steward": "alice", "secret": true, "redirect_uris": uris});
    let made = body_of(
        fixture
            .operator(Method::POST, "/v1/agents")
            .json(&client)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        test_broker::refused(remove(&fixture, "web-app", &ids(&made)[0]))
            .await
            .0,
        409
    );
    let keyless = json!({"steward": "alice", "redirect_uris": uris});
    let change = fixture
        .operator(Method::PUT, "/v1/agents/research-bot")
        .json(&keyless);
    assert_eq!(test_broker::refused(change).await.0, 400);
}

#[tokio::test]
async fn a_secret_is_told_once_and_stands_nowhere_else() {
    let mut fixture = TestBroker::new().await;
    let first = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let second = add(&fixture, "build-bot").await["client_secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(first.len() == 43 && first != second);
    token(ask(&fixture, &[]).header("authorization", basic("build-bot", &first))).await;
    let mut told = String::new();
    for path in [
        "/v1/agents",
        "/v1/agents/build-bot",
        "/v1/audit",
        "/v1/audit/export",
        "/v1/tasks",
    ] {
        told += &fixture
            .operator(Method::GET, path)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
    }
    fixture.begin_stop();
    let (directory, _) = fixture.stopped().await;
    let mut files = vec![directory.path().to_owned()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            told += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
        }
    }
    assert!(told.contains("build-bot"));
    assert!(!told.contains(&first) && !told.contains(&second));
}

#[tokio::test]
async fn adding_a_secret_again_under_one_key_tells_the_same() {
    let fixture = TestBroker::new().await;
    register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let add = || {
        fixture
            .operator(Method::POST, "/v1/agents/build-bot/secrets")
            .header("idempotency-key", "one")
    };
    let (first, again) = (add().send().await.unwrap(), add().send().await.unwrap());
    assert_eq!(body_of(first).await, body_of(again).await);
}
