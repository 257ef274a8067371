//! Introspection: what a server that cannot verify passes is told, and who is told anything at all.

use hallpass_broker::identity::AgentKey;
use hallpass_core::base::key::PrivateKey;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::client::{basic, ledger, refused, register};
use support::SERVER;
use test_broker::operator::ARCHIVE;
use test_broker::{TestBroker, body_of, task};

const INTROSPECT: &str = "/oauth/introspect";

/// Gives the server `name` a secret.
pub async fn secret(fixture: &TestBroker, name: &str) -> String {
    let made = fixture
        .operator(Method::POST, &format!("/v1/servers/{name}/secrets"))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    let made = body_of(made).await;
    assert_eq!(made["client_id"], name);
    made["client_secret"].as_str().unwrap().to_owned()
}

fn about(fixture: &TestBroker, pass: &str) -> RequestBuilder {
    // As fastmcp's verifier sends it.
    fixture
        .request(Method::POST, INTROSPECT)
        .form(&[("token", pass), ("token_type_hint", "access_token")])
}

/// What the server `name` is told about `pass`.
pub async fn told(fixture: &TestBroker, (name, secret): (&str, &str), pass: &str) -> Value {
    let answer = about(fixture, pass)
        .header("authorization", basic(name, secret))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    body_of(answer).await
}

/// What the operator of the ledger's verifier is told about `pass`.
pub async fn told_verifier(fixture: &TestBroker, pass: &str) -> Value {
    let verifier = fixture
        .token("ledger-verifier", &["verifier"], &[SERVER])
        .await;
    body_of(
        about(fixture, pass)
            .bearer_auth(&verifier)
            .send()
            .await
            .unwrap(),
    )
    .await
}

fn inactive() -> Value {
    json!({"active": false})
}

#[tokio::test]
async fn a_server_is_told_what_stock_verifiers_read_and_another_server_nothing() {
    let fixture = TestBroker::new().await;
    fixture.add_archive().await;
    let (ledger, archive) = (
        secret(&fixture, "ledger").await,
        secret(&fixture, "archive").await,
    );
    let issued = fixture.open_task().await;
    let pass = issued["token"].as_str().unwrap();
    let answer = told(&fixture, ("ledger", &ledger), pass).await;
    let steward = answer["steward"].as_str().unwrap().to_owned();
    assert!(steward.starts_with("stw_"), "{steward}");
    let (exp, iat) = (
        answer["exp"].as_u64().unwrap(),
        answer["iat"].as_u64().unwrap(),
    );
    assert!((290..=300).contains(&(exp - iat)), "{answer}");
    let details = &issued["authorization_details"];
    assert_eq!(
        answer,
        json!({"active": true, "client_id": "research-bot", "sub": "research-bot", "steward": steward,
            "iss": support::ISSUER, "aud": SERVER, "exp": exp, "iat": iat, "token_type": "Bearer",
            "scope": "tool:read_ledger", "authorization_details": details})
    );
    for nothing in ["AAAA", "a.b.c", &fixture.admin, &pass[1..]] {
        assert_eq!(
            told(&fixture, ("ledger", &ledger), nothing).await,
            inactive()
        );
    }
    assert_eq!(
        told(&fixture, ("archive", &archive), pass).await,
        inactive()
    );
    fixture
        .revoke(json!({"revocation_id": issued["revocation_id"], "only_token": true}))
        .await;
    assert_eq!(
        told(&fixture, ("ledger", &ledger), pass).await,
        inactive(),
        "at once"
    );
}

#[tokio::test]
async fn what_names_cannot_say_is_not_in_the_scope() {
    let fixture = TestBroker::new().await;
    let ledger = secret(&fixture, "ledger").await;
    let mut request = task();
    request["authorization_details"][0]["tools"] = json!(["read_ledger", "search_ledger"]);
    request["authorization_details"][0]["constraints"] =
        json!({"read_ledger": {"/year": {"equal": 2026}}});
    let issued = body_of(
        fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&request)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let answer = told(
        &fixture,
        ("ledger", &ledger),
        issued["token"].as_str().unwrap(),
    )
    .await;
    assert_eq!(answer["scope"], "tool:search_ledger");
    let details = answer["authorization_details"].as_array().unwrap();
    assert!(
        details
            .iter()
            .any(|detail| detail["constraints"]["read_ledger"]["/year"]["equal"] == 2026),
        "{answer}"
    );
}

#[tokio::test]
async fn a_bound_pass_is_active_only_for_those_who_ask_for_its_proof() {
    let fixture = TestBroker::new().await;
    let ledger = secret(&fixture, "ledger").await;
    let key =
        hallpass_core::base::holder::HolderKey::Ed25519(PrivateKey::from_seed(&[7; 32]).public());
    let mut request = task();
    request["holder_key"] = key.to_jwk();
    let issued = body_of(
        fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&request)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let pass = issued["token"].as_str().unwrap();
    assert_eq!(told(&fixture, ("ledger", &ledger), pass).await, inactive());
    let answer = told_verifier(&fixture, pass).await;
    assert_eq!(
        (&answer["token_type"], &answer["cnf"]),
        (&json!("DPoP"), &json!({"jkt": key.thumbprint()}))
    );
}

#[tokio::test]
async fn an_operators_token_asks_for_its_own_servers_alone() {
    let fixture = TestBroker::new().await;
    fixture.add_archive().await;
    let pass = fixture.open_task().await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let one = fixture.token("one", &["verifier"], &[SERVER]).await;
    let two = fixture
        .token("two", &["verifier"], &[SERVER, ARCHIVE])
        .await;
    let auditor = fixture.token("auditor", &["auditor"], &[]).await;
    let ask = |resource: &str, token: &str| {
        let form = [("token", pass.as_str()), ("resource", resource)];
        fixture
            .request(Method::POST, INTROSPECT)
            .form(&form)
            .bearer_auth(token)
    };
    let active = async |resource, token| {
        body_of(ask(resource, token).send().await.unwrap()).await["active"].clone()
    };
    for (resource, token, expected) in [
        ("", &one, true),
        (SERVER, &one, true),
        ("ledger", &one, true),
        (SERVER, &two, true),
        (ARCHIVE, &two, false),
        (SERVER, &fixture.admin, true),
    ] {
        assert_eq!(active(resource, token).await, expected, "{resource}");
    }
    assert_eq!(
        refused(ask("", &two)).await,
        (400, "invalid_request".to_owned()),
        "it must say for which"
    );
    let nowhere = "https://nowhere.example/mcp";
    assert_eq!(
        refused(ask(nowhere, &fixture.admin)).await,
        (400, "invalid_target".to_owned())
    );
    // Which servers there are besides is not told.
    for (resource, token) in [
        (ARCHIVE, &one),
        (nowhere, &one),
        ("nowhere", &one),
        (SERVER, &auditor),
    ] {
        assert_eq!(
            ask(resource, token).send().await.unwrap().status(),
            StatusCode::FORBIDDEN,
            "{resource}"
        );
    }
    let gone = fixture
        .operator(Method::DELETE, "/v1/operators/one")
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        refused(ask(SERVER, &one)).await,
        (401, "invalid_client".to_owned())
    );
}

#[tokio::test]
async fn whoever_is_no_server_learns_nothing() {
    let fixture = TestBroker::new().await;
    let ledger_secret = secret(&fixture, "ledger").await;
    let build = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let pass = fixture.open_task().await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let stranger = AgentKey::generate("stranger".parse().unwrap());
    let headers = [
        None,
        Some(basic("ledger", "wrong")),
        Some(basic("ledger", "")),
        Some(basic("unknown", &ledger_secret)),
        Some(basic(SERVER, &ledger_secret)),
        Some(basic("build-bot", &build)),
        Some(format!("Bearer {pass}")),
        Some(format!("Bearer {}", test_broker::assertion(&stranger))),
        Some("Bearer x".to_owned()),
    ];
    for header in headers {
        let request = about(&fixture, &pass);
        let request = match &header {
            Some(header) => request.header("authorization", header),
            None => request,
        };
        assert_eq!(
            refused(request).await,
            (401, "invalid_client".to_owned()),
            "{header:?}"
        );
    }
    let good = || {
        fixture
            .request(Method::POST, INTROSPECT)
            .header("authorization", basic("ledger", &ledger_secret))
    };
    assert_eq!(
        refused(good().form(&[("x", "y")])).await,
        (400, "invalid_request".to_owned())
    );
    assert_eq!(
        refused(good().form(&[("token", &pass), ("token", &pass)])).await,
        (400, "invalid_request".to_owned())
    );
    let page = good()
        .header("origin", "https://page.example")
        .form(&[("token", &pass)]);
    assert_eq!(
        page.send().await.unwrap().status(),
        StatusCode::FORBIDDEN,
        "no browser asks"
    );
}

#[tokio::test]
async fn a_servers_secrets_rotate_and_end() {
    let fixture = TestBroker::new().await;
    let first = secret(&fixture, "ledger").await;
    let second = secret(&fixture, "ledger").await;
    let third = fixture
        .operator(Method::POST, "/v1/servers/ledger/secrets")
        .send()
        .await
        .unwrap();
    assert_eq!(third.status(), StatusCode::CONFLICT);
    let view = body_of(
        fixture
            .operator(Method::GET, "/v1/servers/ledger")
            .send()
            .await
            .unwrap(),
    )
    .await;
    let ids: Vec<_> = view["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kept| kept["secret_id"].clone())
        .collect();
    assert!(!view.to_string().contains(&first) && ids.len() == 2);
    let pass = fixture.open_task().await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    for good in [&first, &second] {
        assert_eq!(
            told(&fixture, ("ledger", good), &pass).await["active"],
            true
        );
    }
    let path = format!("/v1/servers/ledger/secrets/{}", ids[0].as_str().unwrap());
    assert_eq!(
        fixture
            .operator(Method::DELETE, &path)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    assert_eq!(
        fixture
            .operator(Method::DELETE, &path)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::NOT_FOUND
    );
    let gone = about(&fixture, &pass).header("authorization", basic("ledger", &first));
    assert_eq!(refused(gone).await, (401, "invalid_client".to_owned()));
    let fixture = fixture.restarted().await;
    assert_eq!(
        told(&fixture, ("ledger", &second), &pass).await["active"],
        true,
        "over a restart"
    );
    fixture
        .operator(Method::DELETE, "/v1/servers/ledger")
        .send()
        .await
        .unwrap();
    let gone = about(&fixture, &pass).header("authorization", basic("ledger", &second));
    assert_eq!(
        refused(gone).await,
        (401, "invalid_client".to_owned()),
        "with its server"
    );
}
