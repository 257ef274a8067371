//! Token exchange: an agent that was handed a pass gets a narrower one of its own, which ends with it.

use std::time::Duration;

use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey},
    token::{Narrowing, PassToken, UnverifiedPass, attenuate},
};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    client::{exchange, ledger, pass_of, refused, register, token},
    introspection::{secret, told, told_verifier},
    proofs::proof,
};
use support::SERVER;
use test_broker::operator::ARCHIVE;
use test_broker::{TestBroker, body_of, task};

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A helper that may read, and a pass of the bot's that may read and search.
struct ExchangeSetup {
    fixture: TestBroker,
    helper: String,
    asking: String,
    pass: String,
    task: String,
}

impl ExchangeSetup {
    async fn new() -> Self {
        let fixture = TestBroker::new().await;
        let helper = register(&fixture, "helper-bot", json!([])).await;
        let asking = secret(&fixture, "ledger").await;
        let mut request = task();
        request["authorization_details"][0]["tools"] = json!(["read_ledger", "search_ledger"]);
        let issued = body_of(
            fixture
                .agent(Method::POST, "/v1/tasks")
                .json(&request)
                .send()
                .await
                .unwrap(),
        )
        .await;
        let [pass, task] =
            ["token", "task_id"].map(|name| issued[name].as_str().unwrap().to_owned());
        Self {
            fixture,
            helper,
            asking,
            pass,
            task,
        }
    }

    /// The helper exchanges `pass`.
    fn exchange(&self, pass: &str, parameters: &[(&str, &str)]) -> RequestBuilder {
        self.exchange_as(("helper-bot", &self.helper), pass, parameters)
    }

    fn exchange_as(
        &self,
        client: (&str, &str),
        pass: &str,
        parameters: &[(&str, &str)],
    ) -> RequestBuilder {
        exchange(&self.fixture, client, (pass, "access_token"), parameters)
    }

    async fn told(&self, pass: &str) -> Value {
        told(&self.fixture, ("ledger", &self.asking), pass).await
    }
}

#[tokio::test]
async fn an_exchange_gives_a_narrower_pass_of_the_actors() {
    let setup = ExchangeSetup::new().await;
    let answer = token(setup.exchange(
        &setup.pass,
        &[("scope", "tool:read_ledger tool:delete_ledger")],
    ))
    .await;
    assert_eq!(answer["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(
        (&answer["token_type"], &answer["scope"]),
        (&json!("Bearer"), &json!("tool:read_ledger"))
    );
    assert!(answer.get("refresh_token").is_none() && answer["expires_in"].as_u64().unwrap() <= 300);
    let pass = pass_of(&answer);
    let claims = UnverifiedPass::parse(&pass)
        .unwrap()
        .dangerous_unverified_summary()
        .claims
        .unwrap();
    assert_eq!(claims.agent, "helper-bot");
    assert_ne!(claims.task, setup.task);
    let told = setup.told(&pass).await;
    assert_eq!(
        (&told["client_id"], &told["sub"]),
        (&json!("helper-bot"), &json!("research-bot"))
    );
    assert_eq!(
        (&told["act"], &told["scope"]),
        (&json!({"sub": "helper-bot"}), &json!("tool:read_ledger"))
    );
    // Everything that is left, where nothing is asked for; by name or URI of the server.
    for parameters in [
        &[][..],
        &[("resource", SERVER)],
        &[("audience", SERVER)],
        &[("audience", "ledger")],
    ] {
        let answer = token(setup.exchange(&setup.pass, parameters)).await;
        assert_eq!(
            answer["scope"], "tool:read_ledger tool:search_ledger",
            "{parameters:?}"
        );
    }
    // Both tasks tell of each other.
    let view = setup
        .fixture
        .operator(Method::GET, &format!("/v1/tasks/{}", claims.task))
        .send()
        .await
        .unwrap();
    assert_eq!(
        body_of(view).await["parent"],
        json!({"task_id": setup.task, "agent": "research-bot"})
    );
    let view = setup
        .fixture
        .operator(Method::GET, &format!("/v1/tasks/{}", setup.task))
        .send()
        .await
        .unwrap();
    assert_eq!(body_of(view).await["children"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn an_exchanged_pass_ends_with_its_parent_and_says_who_acts_for_whom() {
    let setup = ExchangeSetup::new().await;
    let third = register(&setup.fixture, "third-bot", json!([])).await;
    let child = pass_of(&token(setup.exchange(&setup.pass, &[])).await);
    let grandchild = pass_of(&token(setup.exchange_as(("third-bot", &third), &child, &[])).await);
    let told = setup.told(&grandchild).await;
    assert_eq!(
        told["act"],
        json!({"sub": "third-bot", "act": {"sub": "helper-bot"}})
    );
    assert_eq!(told["sub"], "research-bot");
    let complete = format!("/v1/tasks/{}/complete", setup.task);
    assert_eq!(
        setup
            .fixture
            .agent(Method::POST, &complete)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    for dead in [&setup.pass, &child, &grandchild] {
        assert_eq!(setup.told(dead).await, json!({"active": false}));
        assert_eq!(
            refused(setup.exchange(dead, &[])).await,
            (400, "invalid_request".to_owned())
        );
    }
}

#[tokio::test]
async fn an_exchange_never_widens() {
    let setup = ExchangeSetup::new().await;
    let mut narrowing = Narrowing::default();
    narrowing.rights = Some(vec![support::rights(json!({"tools": ["read_ledger"],
        "constraints": {"read_ledger": {"/year": {"equal": 2026}}}}))]);
    let narrowed = attenuate(&PassToken::from_text(setup.pass.clone()), &narrowing)
        .unwrap()
        .token;
    let wide = ledger(&["read_ledger", "search_ledger"]).to_string();
    for parameters in [
        &[][..],
        &[("scope", "tool:*")],
        &[("authorization_details", wide.as_str())],
    ] {
        let answer = token(setup.exchange(narrowed.expose(), parameters)).await;
        assert_eq!(answer["scope"], "tool:read_ledger", "{parameters:?}");
        let told = setup.told(&pass_of(&answer)).await;
        assert_eq!(told["scope"], "", "its constraint is no plain name");
        let details = told["authorization_details"].to_string();
        assert!(details.contains(r#""/year":{"equal":2026}"#), "{details}");
    }
    assert_eq!(
        refused(setup.exchange(narrowed.expose(), &[("scope", "tool:search_ledger")])).await,
        (400, "invalid_scope".to_owned())
    );
    for (name, value) in [
        ("resource", "https://other.example/mcp"),
        ("audience", "other"),
        ("audience", "https://other.example/mcp"),
    ] {
        assert_eq!(
            refused(setup.exchange(&setup.pass, &[(name, value)])).await,
            (400, "invalid_target".to_owned()),
            "{value}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_tokens_gets_no_token() {
    let setup = ExchangeSetup::new().await;
    let own = pass_of(&token(setup.exchange(&setup.pass, &[])).await);
    let type_of = |name| (name, ACCESS_TOKEN);
    let id_token = "urn:ietf:params:oauth:token-type:saml2";
    let before = setup.fixture.records();
    for (pass, parameters) in [
        ("", vec![]),
        ("x", vec![]),
        (setup.fixture.admin.as_str(), vec![]),
        (&setup.pass[1..], vec![]),
        (&setup.pass, vec![("requested_token_type", id_token)]),
        (&setup.pass, vec![("actor_token", own.as_str())]),
        (&setup.pass, vec![type_of("actor_token_type")]),
        (
            &setup.pass,
            vec![
                ("actor_token", own.as_str()),
                ("actor_token_type", id_token),
            ],
        ),
        // Somebody else's.
        (
            &setup.pass,
            vec![
                ("actor_token", setup.pass.as_str()),
                type_of("actor_token_type"),
            ],
        ),
        (
            &setup.pass,
            vec![("actor_token", "x"), type_of("actor_token_type")],
        ),
        (&setup.pass, vec![("subject_token_type", ACCESS_TOKEN)]),
    ] {
        let answer = refused(setup.exchange(pass, &parameters)).await;
        assert_eq!(
            answer,
            (400, "invalid_request".to_owned()),
            "{parameters:?}"
        );
    }
    assert_eq!(setup.fixture.records(), before);
    let good = [
        ("actor_token", own.as_str()),
        type_of("actor_token_type"),
        ("requested_token_type", ACCESS_TOKEN),
    ];
    token(setup.exchange(&setup.pass, &good)).await;
    let unproven = setup.exchange_as(("helper-bot", "x"), &setup.pass, &[]);
    assert_eq!(refused(unproven).await, (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn a_bound_pass_is_exchanged_by_its_holder_alone_and_stays_bound() {
    let setup = ExchangeSetup::new().await;
    let (holder, thief) = (
        PrivateKey::from_seed(&[7; 32]),
        PrivateKey::from_seed(&[8; 32]),
    );
    let mut request = task();
    request["holder_key"] = HolderKey::Ed25519(holder.public()).to_jwk();
    request["max_delegation_depth"] = json!(1);
    let issued = body_of(
        setup
            .fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&request)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let pass = issued["token"].as_str().unwrap();
    let with = |key: &PrivateKey| {
        setup
            .exchange(pass, &[])
            .header("dpop", proof(key, json!({}), json!({})))
    };
    assert_eq!(
        refused(setup.exchange(pass, &[])).await,
        (400, "invalid_dpop_proof".to_owned())
    );
    assert_eq!(
        refused(with(&thief)).await,
        (400, "invalid_dpop_proof".to_owned())
    );
    let answer = token(with(&holder)).await;
    assert_eq!(answer["token_type"], "DPoP");
    let told = told_verifier(&setup.fixture, &pass_of(&answer)).await;
    let thumbprint = HolderKey::Ed25519(holder.public()).thumbprint();
    assert_eq!(
        told["cnf"],
        json!({"jkt": thumbprint}),
        "as bound as its parent"
    );
    // A bearer pass may become a bound one.
    let bound = setup
        .exchange(&setup.pass, &[])
        .header("dpop", proof(&thief, json!({}), json!({})));
    assert_eq!(token(bound).await["token_type"], "DPoP");
}

#[tokio::test]
async fn policy_is_asked_for_the_actor() {
    let setup = ExchangeSetup::new().await;
    let body = json!({"agent": "poor-bot", "steward": "alice", "secret": true});
    let made = body_of(
        setup
            .fixture
            .operator(Method::POST, "/v1/agents")
            .json(&body)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let poor = ("poor-bot", made["client_secret"].as_str().unwrap());
    let answer = refused(setup.exchange_as(poor, &setup.pass, &[])).await;
    assert_eq!(answer, (400, "unauthorized_client".to_owned()));
    assert_eq!(setup.fixture.records()["request_refused"], 1);
}

#[tokio::test]
async fn a_child_task_has_its_parents_purpose_and_context_and_a_short_life() {
    let setup = ExchangeSetup::new().await;
    let mut request = task();
    (request["ttl_seconds"], request["context"]) = (json!(3600), json!({"ticket": "T-1"}));
    let issued = body_of(
        setup
            .fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&request)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let answer = token(setup.exchange(issued["token"].as_str().unwrap(), &[])).await;
    assert!(answer["expires_in"].as_u64().unwrap() <= 300, "{answer}");
    let state = setup.fixture.broker.state();
    let child = &state
        .tasks()
        .find(|task| task.record.agent.as_str() == "helper-bot")
        .unwrap()
        .record;
    assert_eq!(child.purpose, request["purpose"].as_str().unwrap());
    assert_eq!(
        serde_json::to_value(&child.context).unwrap(),
        request["context"]
    );
    // `oauth.token_ttl`, as it is when nobody set it.
    assert_eq!(
        child.ends_at.since(child.opened_at),
        Duration::from_secs(300)
    );
}

#[tokio::test]
async fn resource_and_audience_add_up() {
    let setup = ExchangeSetup::new().await;
    setup.fixture.add_archive().await;
    let mut request = task();
    let archive = json!({"type": "mcp", "server": ARCHIVE, "tools": ["read"]});
    request["authorization_details"]
        .as_array_mut()
        .unwrap()
        .push(archive);
    let issued = body_of(
        setup
            .fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&request)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let pass = issued["token"].as_str().unwrap();
    for (parameters, scope) in [
        (&[("resource", SERVER)][..], "tool:read_ledger"),
        (&[("audience", "archive")], "tool:read"),
        (
            &[("resource", SERVER), ("audience", "archive")],
            "tool:read tool:read_ledger",
        ),
        (
            &[("audience", "ledger"), ("audience", ARCHIVE)],
            "tool:read tool:read_ledger",
        ),
        (
            &[("resource", SERVER), ("audience", SERVER)],
            "tool:read_ledger",
        ),
    ] {
        assert_eq!(
            token(setup.exchange(pass, parameters)).await["scope"],
            scope,
            "{parameters:?}"
        );
    }
}
