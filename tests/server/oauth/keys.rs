//! `private_key_jwt` with keys of every kind, signed by a standard library as stock clients do.

use hallpass_core::base::time::{Clock as _, SystemClock};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::oauth::client::{ASSERTION_TYPE, ask, ledger, refused, token};
use support::ISSUER;
use support::foreign::Foreign;
use test_broker::TestBroker;

fn claims(jti: &str, changes: Value) -> String {
    let now = SystemClock::default().now().unix_seconds();
    let mut claims = json!({"iss": "build-bot", "sub": "build-bot", "aud": ISSUER, "iat": now, "exp": now + 300, "jti": jti});
    claims
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    claims.to_string()
}

async fn register(fixture: &TestBroker, jwk: &Value) {
    let body = json!({"agent": "build-bot", "steward": "alice", "groups": ["research"], "keys": [jwk],
        "default_details": ledger(&["read_ledger"])});
    let added = fixture
        .operator(Method::POST, "/v1/agents")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(added.status(), StatusCode::CREATED);
}

fn with(fixture: &TestBroker, assertion: &str) -> reqwest::RequestBuilder {
    ask(
        fixture,
        &[
            ("client_assertion", assertion),
            ("client_assertion_type", ASSERTION_TYPE),
        ],
    )
}

#[tokio::test]
async fn every_algorithm_of_the_metadata_gets_a_token() {
    let fixture = TestBroker::new().await;
    let metadata = fixture
        .request(Method::GET, "/.well-known/oauth-authorization-server")
        .send()
        .await
        .unwrap();
    let metadata: Value = metadata.json().await.unwrap();
    let offered = metadata["token_endpoint_auth_signing_alg_values_supported"]
        .as_array()
        .unwrap()
        .clone();
    let mut tried = Vec::new();
    for key in Foreign::all() {
        let change = json!({"agent": "build-bot", "steward": "alice", "groups": ["research"], "keys": [key.jwk],
            "default_details": ledger(&["read_ledger"])});
        if tried.is_empty() {
            register(&fixture, &key.jwk).await;
        }
        let changed = fixture
            .operator(Method::PUT, "/v1/agents/build-bot")
            .json(&change)
            .send()
            .await
            .unwrap();
        assert_eq!(changed.status(), StatusCode::OK);
        for (jti, typ) in [
            ("a", None),
            ("b", Some("JWT")),
            ("c", Some("client-authentication+jwt")),
        ] {
            let header = typ.map_or_else(
                || key.header(),
                |typ| format!(r#"{{"alg":"{:?}","typ":"{typ}"}}"#, key.algorithm),
            );
            let jti = format!("{jti}-{:?}", key.algorithm);
            assert_eq!(
                token(with(&fixture, &key.sign(&header, &claims(&jti, json!({}))))).await["scope"],
                "tool:read_ledger"
            );
        }
        for (jti, audience) in [("d", json!([ISSUER])), ("e", json!(format!("{ISSUER}/")))] {
            let claims = claims(
                &format!("{jti}-{:?}", key.algorithm),
                json!({"aud": audience}),
            );
            token(with(&fixture, &key.sign(&key.header(), &claims))).await;
        }
        tried.push(json!(format!("{:?}", key.algorithm)));
    }
    let sorted = |mut list: Vec<Value>| {
        list.sort_by_key(ToString::to_string);
        list
    };
    // The other name of the same (RFC 9864).
    tried.push(json!("Ed25519"));
    assert_eq!(sorted(tried), sorted(offered));
}

#[tokio::test]
async fn an_assertion_for_somebody_else_or_too_long_is_no_credential() {
    let fixture = TestBroker::new().await;
    let key = Foreign::p256();
    register(&fixture, &key.jwk).await;
    let now = SystemClock::default().now().unix_seconds();
    for (at, changes) in [
        json!({"aud": format!("{ISSUER}/oauth/token")}),
        json!({"aud": format!("{ISSUER}//")}),
        json!({"aud": [ISSUER, "https://other.example"]}),
        json!({"aud": []}),
        json!({"exp": now + 3600}),
        json!({"exp": now - 60}),
        json!({"exp": (now + 60).to_string()}),
        json!({"sub": "research-bot"}),
        json!({"iss": "research-bot", "sub": "research-bot"}),
        json!({"jti": null}),
    ]
    .into_iter()
    .enumerate()
    {
        let text = key.sign(&key.header(), &claims(&at.to_string(), changes.clone()));
        assert_eq!(
            refused(with(&fixture, &text)).await,
            (401, "invalid_client".to_owned()),
            "{changes}"
        );
    }
    let plain = key.sign(&key.header(), &claims("good", json!({})));
    token(with(&fixture, &plain)).await;
}
