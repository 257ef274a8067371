//! Tasks with a client of their own: a stock OAuth client gets exactly the task's pass, for as long as the task lasts.

use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey},
    token::UnverifiedPass,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    client::{ask, basic, ledger, refused, register, token},
    proofs::proof,
};
use support::SERVER;
use test_broker::{GRANT, TestBroker, body_of, problem, task};

/// Opens a task for a client of its own.
pub async fn open(fixture: &TestBroker) -> Value {
    let mut request = task();
    request["credentials"] = json!("client_secret");
    let opened = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(&request)
        .send()
        .await
        .unwrap();
    assert_eq!(opened.status(), StatusCode::CREATED);
    body_of(opened).await
}

pub fn credential(opened: &Value) -> String {
    basic(
        opened["client_id"].as_str().unwrap(),
        opened["client_secret"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn a_pass_is_charged_by_its_rights_each_time() {
    let mut few = test_broker::options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 60.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    let tools: serde_json::Map<String, Value> = (0..200)
        .map(|at| (format!("read_{at}"), json!({"read_only": true})))
        .collect();
    let wide = "https://wide.example/mcp";
    let manifest = json!({"server": wide, "name": "wide", "tools": tools});
    let added = fixture
        .operator(Method::POST, "/v1/servers")
        .json(&manifest);
    assert_eq!(added.send().await.unwrap().status(), StatusCode::CREATED);
    let grant = json!({"id": "wide", "agents": ["research-bot"], "server": wide, "tools": ["read_0"], "max_ttl": "5m"});
    let granted = fixture
        .operator(Method::POST, "/v1/policy/grants")
        .json(&grant);
    assert_eq!(granted.send().await.unwrap().status(), StatusCode::CREATED);
    let mut request = task();
    request["credentials"] = json!("client_secret");
    request["allow_partial"] = json!(true);
    request["authorization_details"] =
        json!([{"type": "mcp", "server": wide, "tools": ["read_*"]}]);
    let opened = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(&request)
        .send()
        .await
        .unwrap();
    assert_eq!(opened.status(), StatusCode::CREATED);
    let opened = body_of(opened).await;
    // 25 of 60 went with the task, 25 go with the first pass.
    let client = || ask(&fixture, &[]).header("authorization", credential(&opened));
    token(client()).await;
    assert_eq!(refused(client()).await.0, 429);
}

#[tokio::test]
async fn a_client_gets_exactly_the_tasks_pass_whatever_it_asks_for() {
    let fixture = TestBroker::new().await;
    let opened = open(&fixture).await;
    assert_eq!(opened["client_id"], opened["task_id"]);
    assert_eq!(
        opened["token_endpoint"],
        format!("{}/oauth/token", support::ISSUER)
    );
    assert_eq!(
        (&opened["resources"], &opened["scope"]),
        (&json!([SERVER]), &json!("tool:read_ledger"))
    );
    assert!(opened.get("token").is_none());
    assert_eq!(
        fixture.records().get("token_issued"),
        None,
        "no pass before it is asked for"
    );
    let (id, secret) = (
        opened["client_id"].as_str().unwrap(),
        opened["client_secret"].as_str().unwrap(),
    );
    let all = r#"[{"type":"mcp","server":"https://ledger.example/mcp","tools":["*"]}]"#;
    for asked in [
        &[][..],
        &[("scope", "mine")],
        &[("scope", "tool:delete_ledger tool:read_ledger")],
        &[("scope", "tool:search_ledger"), ("resource", SERVER)],
        &[("authorization_details", all)],
        &[("authorization_details", "nonsense"), ("resource", SERVER)],
    ] {
        let in_body: Vec<_> = asked
            .iter()
            .copied()
            .chain([("client_id", id), ("client_secret", secret)])
            .collect();
        for request in [
            ask(&fixture, asked).header("authorization", credential(&opened)),
            ask(&fixture, &in_body),
        ] {
            let answer = token(request).await;
            assert_eq!(answer["scope"], "tool:read_ledger", "{asked:?}");
            assert!(
                answer.get("authorization_details").is_none()
                    && answer.get("refresh_token").is_none()
            );
            let pass = UnverifiedPass::parse(answer["access_token"].as_str().unwrap()).unwrap();
            let claims = pass.dangerous_unverified_summary().claims.unwrap();
            assert_eq!(
                (claims.task.as_str(), claims.agent.as_str()),
                (id, "research-bot")
            );
        }
    }
    for resource in [
        "https://other.example/mcp",
        "https://ledger.example/mcp/x",
        "ledger",
    ] {
        let request = ask(&fixture, &[("resource", SERVER), ("resource", resource)]);
        let answer = refused(request.header("authorization", credential(&opened))).await;
        assert_eq!(answer, (400, "invalid_target".to_owned()), "{resource}");
    }
}

#[tokio::test]
async fn its_credentials_are_good_for_nothing_else() {
    let fixture = TestBroker::new().await;
    let build = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let opened = open(&fixture).await;
    let other = open(&fixture).await;
    let id = opened["client_id"].as_str().unwrap();
    for wrong in [&build, other["client_secret"].as_str().unwrap(), "", "x"] {
        let request = ask(&fixture, &[]).header("authorization", basic(id, wrong));
        assert_eq!(refused(request).await, (401, "invalid_client".to_owned()));
    }
    let secret = opened["client_secret"].as_str().unwrap();
    for id in [
        "research-bot",
        "build-bot",
        "tsk_00000000000000000000000000000001",
    ] {
        let request = ask(&fixture, &[]).header("authorization", basic(id, secret));
        assert_eq!(
            refused(request).await,
            (401, "invalid_client".to_owned()),
            "{id}"
        );
    }
    let exchange = fixture
        .request(Method::POST, "/oauth/token")
        .header("authorization", credential(&opened));
    let exchange = exchange.form(&[(
        "grant_type",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    )]);
    assert_eq!(
        refused(exchange).await,
        (400, "unauthorized_client".to_owned())
    );
    let asking = fixture
        .request(Method::POST, "/oauth/introspect")
        .header("authorization", credential(&opened));
    assert_eq!(
        refused(asking.form(&[("token", "x")])).await,
        (401, "invalid_client".to_owned())
    );
}

#[tokio::test]
async fn a_client_that_proves_a_key_gets_bound_passes() {
    let fixture = TestBroker::new().await;
    let [one, two] = [7, 8].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let ask_with = |opened: &Value, key: &PrivateKey| {
        let request = ask(&fixture, &[]).header("authorization", credential(opened));
        request.header("dpop", proof(key, json!({}), json!({})))
    };
    assert_eq!(
        token(ask_with(&open(&fixture).await, &one)).await["token_type"],
        "DPoP"
    );
    let mut request = task();
    (request["credentials"], request["holder_key"]) = (
        json!("client_secret"),
        HolderKey::Ed25519(one.public()).to_jwk(),
    );
    let opened = body_of(
        fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&request)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(token(ask_with(&opened, &one)).await["token_type"], "DPoP");
    assert_eq!(
        refused(ask_with(&opened, &two)).await,
        (400, "invalid_dpop_proof".to_owned())
    );
}

#[tokio::test]
async fn no_agent_is_called_as_a_task_is() {
    let fixture = TestBroker::new().await;
    let body = json!({"agent": "tsk_00000000000000000000000000000001", "steward": "alice", "secret": true});
    let (status, body) = problem(
        fixture
            .operator(Method::POST, "/v1/agents")
            .json(&body)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((status, &body["field"]), (400, &json!("agent")));
}

#[tokio::test]
async fn its_credentials_end_with_the_task() {
    let fixture = TestBroker::new().await;
    let [completed, revoked, suspended] = [
        open(&fixture).await,
        open(&fixture).await,
        open(&fixture).await,
    ];
    let ask_as = |opened: &Value| ask(&fixture, &[]).header("authorization", credential(opened));
    for opened in [&completed, &revoked, &suspended] {
        token(ask_as(opened)).await;
    }
    let id = |opened: &Value| opened["task_id"].as_str().unwrap().to_owned();
    let done = fixture
        .agent(
            Method::POST,
            &format!("/v1/tasks/{}/complete", id(&completed)),
        )
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), StatusCode::OK);
    fixture.revoke(json!({"task": id(&revoked)})).await;
    for opened in [&completed, &revoked] {
        assert_eq!(
            refused(ask_as(opened)).await,
            (401, "invalid_client".to_owned())
        );
    }
    fixture.revoke(json!({"server": "ledger"})).await;
    assert_eq!(
        refused(ask_as(&suspended)).await,
        (400, "unauthorized_client".to_owned())
    );
    fixture
        .operator(Method::POST, "/v1/servers/ledger/reinstate")
        .send()
        .await
        .unwrap();
    fixture.revoke(json!({"agent": "research-bot"})).await;
    assert_eq!(
        refused(ask_as(&suspended)).await,
        (400, "unauthorized_client".to_owned())
    );
}

#[tokio::test]
async fn credentials_are_refused_with_every_reason_and_repeated_from_memory_alone() {
    let fixture = TestBroker::new().await;
    let mut request = task();
    request["credentials"] = json!("client_secret");
    let mut wide = request.clone();
    wide["authorization_details"][0]["tools"] = json!(["delete_ledger", "transfer"]);
    let (status, body) = problem(
        fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&wide)
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        (status, body["reasons"].as_array().unwrap().len()),
        (403, 2)
    );
    let mut unknown = request.clone();
    unknown["credentials"] = json!("private_key_jwt");
    assert_eq!(
        problem(
            fixture
                .agent(Method::POST, "/v1/tasks")
                .json(&unknown)
                .send()
                .await
                .unwrap()
        )
        .await
        .0,
        400
    );
    let once = |fixture: &TestBroker| {
        fixture
            .agent(Method::POST, "/v1/tasks")
            .header("idempotency-key", "k1")
            .json(&request)
    };
    let first = body_of(once(&fixture).send().await.unwrap()).await;
    let again = body_of(once(&fixture).send().await.unwrap()).await;
    assert_eq!(first, again);
    let fixture = fixture.restarted().await;
    let (status, body) = problem(once(&fixture).send().await.unwrap()).await;
    assert_eq!((status, &body["task_id"]), (409, &first["task_id"]));
    token(ask(&fixture, &[]).header("authorization", credential(&first))).await;
}

#[tokio::test]
async fn policy_is_asked_again_for_each_pass() {
    let fixture = TestBroker::new().await;
    let opened = open(&fixture).await;
    let request = || ask(&fixture, &[]).header("authorization", credential(&opened));
    token(request()).await;
    fixture.set_grants("").await;
    assert_eq!(
        refused(request()).await,
        (400, "unauthorized_client".to_owned())
    );
    fixture.set_grants(GRANT).await;
    token(request()).await;
}
