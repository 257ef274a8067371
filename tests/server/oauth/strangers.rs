//! What people cannot do who know a client's id and nothing else, or who registered a client of their own.

use hallpass::server::OAuthOptions;
use hallpass_core::base::key::PrivateKey;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    browser::{APP, Browser, query, redeem, refresh, register_app},
    client::{refused, token},
    proofs::proof,
};
use test_broker::{TestBroker, body_of, options};

#[tokio::test]
async fn a_public_clients_requests_are_counted() {
    let mut few = options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 8.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    register_app(&fixture, APP, &["http://127.0.0.1/callback"]).await;
    let code = Browser::new(&fixture)
        .allow(&query(&[]), "bob")
        .await
        .told()["code"]
        .clone();
    let answer = token(redeem(&fixture, &code, &[])).await;
    // Each is refused for what it asks for, and none is a failure to prove anything.
    let mut seen = Vec::new();
    for _ in 0..12 {
        let elsewhere = refresh(
            &fixture,
            answer["refresh_token"].as_str().unwrap(),
            &[("resource", "https://x.example")],
        );
        seen.push(refused(elsewhere).await);
    }
    assert_eq!(seen.first().unwrap(), &(400, "invalid_target".to_owned()));
    assert_eq!(
        seen.last().unwrap(),
        &(429, "temporarily_unavailable".to_owned()),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_proof_counts_once_there_is_something_to_prove() {
    let fixture = TestBroker::new().await;
    register_app(&fixture, APP, &["http://127.0.0.1/callback"]).await;
    let code = Browser::new(&fixture)
        .allow(&query(&[]), "bob")
        .await
        .told()["code"]
        .clone();
    let proof = proof(&PrivateKey::from_seed(&[7; 32]), json!({}), json!({}));
    for made_up in [
        redeem(&fixture, "hpc_unknown", &[]),
        refresh(&fixture, "hpr_unknown", &[]),
    ] {
        assert_eq!(
            refused(made_up.header("dpop", &proof)).await,
            (400, "invalid_grant".to_owned())
        );
    }
    // It was not remembered for those.
    assert_eq!(
        token(redeem(&fixture, &code, &[]).header("dpop", &proof)).await["token_type"],
        "DPoP"
    );
    let code = Browser::new(&fixture)
        .allow(&query(&[]), "bob")
        .await
        .told()["code"]
        .clone();
    let again = redeem(&fixture, &code, &[]).header("dpop", &proof);
    assert_eq!(refused(again).await, (400, "invalid_dpop_proof".to_owned()));
}

#[tokio::test]
async fn nobody_opens_programs_by_a_scheme_unseen() {
    let oauth = OAuthOptions {
        dynamic_registration: true,
        ..OAuthOptions::default()
    };
    let fixture = TestBroker::with(hallpass::server::Options { oauth, ..options() }).await;
    let wrong = async |redirect: &str| {
        let body = json!({"redirect_uris": [redirect]});
        let made = fixture
            .request(Method::POST, "/oauth/register")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        let made: Value = body_of(made).await;
        let client = made["client_id"].as_str().unwrap();
        Browser::new(&fixture)
            .open(&query(&[
                ("client_id", client),
                ("redirect_uri", redirect),
                ("scope", "admin"),
            ]))
            .await
    };
    let shown = wrong("com.example.app:/display").await;
    assert_eq!((shown.status, &shown.location), (400, &None));
    assert!(
        shown
            .html
            .contains("href=\"com.example.app:/display?error=invalid_scope&amp;"),
        "{}",
        shown.html
    );
    assert_eq!(
        wrong("http://127.0.0.1:43210/callback").await.told_error(),
        "invalid_scope"
    );
    // Schemes that an operating system handles itself are nobody's own.
    for taken in [
        "ms-settings:/display",
        "search-ms:/query",
        "x-apple.systempreferences:/x",
    ] {
        let refused = fixture
            .request(Method::POST, "/oauth/register")
            .json(&json!({"redirect_uris": [taken]}));
        assert_eq!(
            refused.send().await.unwrap().status(),
            StatusCode::BAD_REQUEST
        );
    }
}
