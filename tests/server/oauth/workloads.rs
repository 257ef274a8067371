//! Workloads as clients at every endpoint, and issuers that cannot be asked.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    client::{ASSERTION_TYPE, ask, basic, ledger, refused, register, token},
    provider::{Provider, bearer},
};
use support::SERVER;
use support::idp::{Reply, raw};
use test_broker::{TestBroker, body_of, options, task};

const READ: (&str, &str) = ("scope", "tool:read_ledger");
const AT: (&str, &str) = ("resource", SERVER);

fn as_client(proof: &str) -> [(&str, &str); 2] {
    [
        ("client_assertion", proof),
        ("client_assertion_type", ASSERTION_TYPE),
    ]
}

#[tokio::test]
async fn a_workload_gives_back_what_it_was_given() {
    let platform = Provider::start().await;
    let fixture = platform.fixture().await;
    let proof = platform.workload(json!({}));
    let pass = token(bearer(&fixture, &proof, &[READ, AT])).await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let form = [&as_client(&proof)[..], &[("token", &pass)]].concat();
    let revoke = fixture.request(Method::POST, "/oauth/revoke").form(&form);
    assert_eq!(revoke.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(fixture.records()["revoked"], 1);
}

#[tokio::test]
async fn a_token_that_comes_for_another_client_is_not_used_up() {
    let platform = Provider::start().await.once();
    let fixture = platform.fixture().await;
    let proof = platform.workload(json!({}));
    let other = ("client_id", "build-bot");
    let wrong = ask(
        &fixture,
        &[&as_client(&proof)[..], &[READ, AT, other]].concat(),
    );
    assert_eq!(refused(wrong).await, (401, "invalid_client".to_owned()));
    assert_eq!(
        refused(bearer(&fixture, &proof, &[READ, AT, other])).await,
        (400, "invalid_grant".to_owned())
    );
    token(bearer(&fixture, &proof, &[READ, AT])).await;
    assert_eq!(
        refused(bearer(&fixture, &proof, &[READ, AT])).await,
        (400, "invalid_grant".to_owned())
    );
}

#[tokio::test]
async fn an_issuer_that_is_down_is_nobodys_failure() {
    let provider = Provider::start().await;
    provider
        .idp
        .site
        .set("/keys", Reply::Raw(raw("500 X", "", "")));
    let mut few = provider.trusted();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 20.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let unavailable = async |request: RequestBuilder| {
        let answer = request.send().await.unwrap();
        assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
        let told: (u16, Value) = (answer.status().as_u16(), answer.json().await.unwrap());
        (
            told.0,
            told.1["error"]
                .as_str()
                .or(told.1["code"].as_str())
                .unwrap()
                .to_owned(),
        )
    };
    let (workload, id_token) = (provider.workload(json!({})), provider.id_token(json!({})));
    let exchange = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", &*id_token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
    ];
    let basic = basic("build-bot", &secret);
    for _ in 0..8 {
        for request in [
            bearer(&fixture, &workload, &[READ, AT]),
            ask(&fixture, &[&as_client(&workload)[..], &[READ, AT]].concat()),
            bearer(&fixture, &provider.jag(json!({})), &[]).header("authorization", &basic),
            fixture
                .request(Method::POST, crate::oauth::client::TOKEN)
                .form(&exchange)
                .header("authorization", &basic),
        ] {
            assert_eq!(
                unavailable(request).await,
                (503, "temporarily_unavailable".to_owned())
            );
        }
    }
    let mut body = task();
    body["subject_token"] = json!(id_token);
    let opened = fixture.agent(Method::POST, "/v1/tasks").json(&body);
    assert_eq!(unavailable(opened).await, (503, "unavailable".to_owned()));
    assert!(
        !fixture.records().contains_key("request_refused"),
        "nothing was decided"
    );
}

#[tokio::test]
async fn a_subject_token_that_is_refused_is_explained() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let mut question = task();
    question["agent"] = json!("research-bot");
    question["subject_token"] = json!(provider.id_token(json!({"exp": 1})));
    let explained = fixture
        .operator(Method::POST, "/v1/policy/explain")
        .json(&question)
        .send()
        .await
        .unwrap();
    assert_eq!(explained.status(), StatusCode::OK);
    let explained = body_of(explained).await;
    assert_eq!(
        (&explained["decision"], &explained["reasons"][0]["code"]),
        (&json!("refused"), &json!("subject_token"))
    );
}

#[tokio::test]
async fn trusting_somebody_adds_a_grant_and_takes_none_away() {
    let provider = Provider::start().await;
    let grants = async |options| {
        let fixture = TestBroker::with(options).await;
        let metadata = fixture
            .request(Method::GET, "/.well-known/oauth-authorization-server")
            .send()
            .await
            .unwrap();
        let metadata = body_of(metadata).await;
        metadata["grant_types_supported"]
            .as_array()
            .unwrap()
            .clone()
    };
    let (alone, trusting) = (grants(options()).await, grants(provider.trusted()).await);
    assert!(
        alone.contains(&json!("urn:ietf:params:oauth:grant-type:token-exchange")),
        "{alone:?}"
    );
    let bearer = json!(crate::oauth::provider::JWT_BEARER);
    assert!(!alone.contains(&bearer));
    assert_eq!(trusting, [&alone[..], &[bearer]].concat());
}
