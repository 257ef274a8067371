//! The story: ask, get a pass, use it, hand it on, revoke it.

use hallpass_core::{
    base::ReasonCode,
    token::{Narrowing, PassToken, attenuate},
};
use reqwest::{Method, StatusCode};
use serde_json::json;

use test_broker::{TestBroker, body_of, codes, refused, task};

#[tokio::test]
async fn a_pass_is_asked_for_used_narrowed_and_revoked() {
    let fixture = TestBroker::new().await;
    let verifier = fixture.verifier().await;
    let issued = fixture.open_task().await;
    assert_eq!(issued["token_type"], "Bearer");
    assert_eq!(issued["decided_by"][0]["grant"], "research-reads");
    let token = issued["token"].as_str().unwrap();
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&PassToken::from_text(token.to_owned()), &narrowing).unwrap();
    fixture.tell(&verifier).await;
    assert_eq!(codes(&verifier, token), []);
    assert_eq!(codes(&verifier, narrowed.token.expose()), []);

    let revoke = json!({"revocation_id": issued["revocation_id"], "reason": "laptop lost"});
    let revoked = fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&revoke)
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::CREATED);
    assert_eq!(body_of(revoked).await["task_id"], issued["task_id"]);
    fixture.tell(&verifier).await;
    assert_eq!(codes(&verifier, token), [ReasonCode::RevokedToken]);
    assert_eq!(
        codes(&verifier, narrowed.token.expose()),
        [ReasonCode::RevokedToken]
    );
    let again = fixture.agent(
        Method::POST,
        &format!("/v1/tasks/{}/tokens", issued["task_id"].as_str().unwrap()),
    );
    let (status, body) = refused(again.json(&json!({}))).await;
    assert_eq!((status, &body["code"]), (409, &json!("task_ended")));
}

#[tokio::test]
async fn a_refusal_lists_every_reason() {
    let fixture = TestBroker::new().await;
    let mut wanted = task();
    wanted["authorization_details"][0]["tools"] = json!(["delete_ledger", "transfer"]);
    let (status, body) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&wanted)).await;
    assert_eq!((status, &body["code"]), (403, &json!("no_grant")));
    let rights: Vec<_> = body["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["right"].clone())
        .collect();
    assert_eq!(
        rights,
        [json!("tool delete_ledger"), json!("tool transfer")]
    );
    assert_eq!(fixture.records()["request_refused"], 1);
    let mut other = task();
    other["steward"] = json!("mallory");
    let (status, body) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&other)).await;
    assert_eq!((status, &body["code"]), (403, &json!("steward_mismatch")));
}

#[tokio::test]
async fn a_revoked_agent_is_refused_until_it_is_reinstated() {
    let fixture = TestBroker::new().await;
    fixture.revoke(json!({"agent": "research-bot"})).await;
    let (status, body) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&task())).await;
    assert_eq!((status, &body["code"]), (403, &json!("suspended")));
    let reinstated = fixture
        .operator(Method::POST, "/v1/agents/research-bot/reinstate")
        .send()
        .await
        .unwrap();
    assert_eq!(body_of(reinstated).await["suspended"], false);
    fixture.open_task().await;
}

#[tokio::test]
async fn a_pass_that_would_be_too_large_is_refused_and_recorded() {
    let fixture = TestBroker::new().await;
    let mut wanted = task();
    let years: Vec<_> = (0..100).map(|year| format!("{year:050}")).collect();
    wanted["authorization_details"][0]["constraints"] =
        json!({"read_ledger": {"/year": {"in": years}}});
    let (status, body) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&wanted)).await;
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("pass_too_large")),
        "{body}"
    );
    let records = fixture.records();
    assert_eq!(
        (records.get("request_refused"), records.get("token_issued")),
        (Some(&1), None)
    );
}
