//! Bound passes from the broker: asked for with a key, granted with proof, revoked with their agents.

use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::{
        ReasonCode,
        holder::HolderKey,
        key::PrivateKey,
        time::{Clock as _, SystemClock},
    },
    possession::{Presented, ProofContent, sign_proof},
    token::{Call, Delegation, Narrowing, VerifiedPass, delegate},
};
use hallpass_verify::{Denial, Permit, Verifier, broker_side::verify_signatures};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use test_broker::{TestBroker, body_of, refused, task};

fn bound_task(key: &Value, depth: u8) -> Value {
    let mut task = task();
    task["holder_key"] = key.clone();
    task["max_delegation_depth"] = json!(depth);
    task
}

async fn open(fixture: &TestBroker, body: &Value) -> Value {
    let opened = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(body)
        .send()
        .await
        .unwrap();
    assert_eq!(opened.status(), StatusCode::CREATED);
    body_of(opened).await
}

/// The pass as its holder verifies it before handing it on: with the broker's published keys.
fn genuine(fixture: &TestBroker, token: &str) -> VerifiedPass {
    verify_signatures(&fixture.broker.feed.key_document().unwrap(), token).unwrap()
}

fn use_as(verifier: &Verifier, key: &PrivateKey, token: &str) -> Result<Permit, Denial> {
    let now = SystemClock::default().now();
    let content = ProofContent {
        token,
        method: "POST",
        url: support::SERVER,
        now,
        nonce: None,
        call: None,
    };
    let proof = sign_proof(key, &content).unwrap();
    let pass = verifier.verify_with_proof(token, &Presented::new(&proof, "POST"))?;
    verifier.clear(&pass, &Call::tool("read_ledger", None))
}

#[tokio::test]
async fn a_pass_is_bound_to_the_key_that_is_sent_and_so_are_those_that_follow_in_its_task() {
    let fixture = TestBroker::new().await;
    let verifier = fixture.verifier().await;
    fixture.tell(&verifier).await;
    let issued = open(&fixture, &bound_task(&fixture.bot.public_jwk(), 0)).await;
    assert_eq!(issued["token_type"], "DPoP");
    let path = format!("/v1/tasks/{}/tokens", issued["task_id"].as_str().unwrap());
    let again = body_of(
        fixture
            .agent(Method::POST, &path)
            .json(&json!({}))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(again["token_type"], "DPoP");
    for token in [&issued, &again].map(|issued| issued["token"].as_str().unwrap()) {
        let permit = use_as(&verifier, fixture.bot.key(), token).unwrap();
        assert_eq!(
            permit.holder(),
            Some(&HolderKey::Ed25519(fixture.bot.key().public()))
        );
        assert_eq!(
            verifier.verify(token).unwrap_err().code(),
            ReasonCode::ProofRequired
        );
    }
    let thumbprint = fixture.bot.key().public().thumbprint();
    let audit = fixture
        .operator(Method::GET, "/v1/audit?limit=100")
        .send()
        .await
        .unwrap();
    assert!(
        audit.text().await.unwrap().contains(&thumbprint),
        "the trail names the holder's key"
    );
}

#[tokio::test]
async fn a_grant_that_requires_proof_gives_nothing_to_bearers_and_call_proofs_for_what_cannot_be_undone()
 {
    let fixture = TestBroker::new().await;
    let grant = json!({"id": "pays", "agents": ["*"], "server": "ledger", "tools": ["transfer", "search_ledger"],
        "max_ttl": "5m", "require_call_proof": true});
    let written = fixture
        .operator(Method::POST, "/v1/policy/grants")
        .json(&grant)
        .send()
        .await
        .unwrap();
    assert_eq!(written.status(), StatusCode::CREATED);
    let mut wanted = task();
    wanted["authorization_details"][0]["tools"] = json!(["transfer", "search_ledger"]);
    let (status, body) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&wanted)).await;
    assert_eq!(
        (status, &body["code"]),
        (403, &json!("holder_key_required"))
    );
    wanted["holder_key"] = fixture.bot.public_jwk();
    let issued = open(&fixture, &wanted).await;
    assert_eq!(
        issued["authorization_details"][0]["call_proof"],
        json!(["transfer"])
    );
    // A wider grant beside it takes nothing back.
    let wide =
        json!({"id": "all", "agents": ["*"], "server": "ledger", "tools": ["*"], "max_ttl": "5m"});
    fixture
        .operator(Method::POST, "/v1/policy/grants")
        .json(&wide)
        .send()
        .await
        .unwrap();
    let issued = open(&fixture, &wanted).await;
    assert_eq!(
        issued["authorization_details"][0]["call_proof"],
        json!(["transfer"])
    );
    // What an agent demands of itself must be of what it asks for.
    let mut stray = wanted.clone();
    stray["authorization_details"][0]["call_proof"] = json!(["transfr"]);
    let (status, body) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&stray)).await;
    assert!(
        matches!(status, 400 | 403) && body.to_string().contains("call_proof"),
        "{status} {body}"
    );
    // A dry run says the same.
    let mut question = wanted.clone();
    question["agent"] = json!("research-bot");
    let explained = fixture
        .operator(Method::POST, "/v1/policy/explain")
        .json(&question)
        .send()
        .await
        .unwrap();
    assert_eq!(body_of(explained).await["decision"], "granted");
}

#[tokio::test]
async fn a_bad_holder_key_or_depth_is_400_and_names_the_field() {
    let fixture = TestBroker::new().await;
    let good = fixture.bot.public_jwk();
    let mut private = good.clone();
    private["d"] = json!("AAAA");
    let p256 = json!({"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"});
    for (key, depth, field) in [
        (json!("text"), json!(null), "holder_key"),
        (json!({}), json!(null), "holder_key"),
        (
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}),
            json!(null),
            "holder_key",
        ),
        (private, json!(null), "holder_key"),
        (json!(null), json!(1), "max_delegation_depth"),
        (good.clone(), json!(9), "max_delegation_depth"),
        (good.clone(), json!(-1), "max_delegation_depth"),
        (good, json!(256), "max_delegation_depth"),
        (p256.clone(), json!(1), "max_delegation_depth"),
    ] {
        let mut body = task();
        body["holder_key"] = key;
        body["max_delegation_depth"] = depth;
        let (status, problem) = refused(fixture.agent(Method::POST, "/v1/tasks").json(&body)).await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("invalid_request")),
            "{body} {problem}"
        );
        assert!(problem.to_string().contains(field), "{field}: {problem}");
    }
    assert!(!fixture.records().contains_key("token_issued"));
    assert_eq!(
        open(&fixture, &bound_task(&p256, 0)).await["token_type"],
        "DPoP"
    );
}

#[tokio::test]
async fn revoking_an_agent_or_its_steward_ends_the_passes_that_others_handed_it() {
    for subject in [json!({"agent": "helper"}), json!({"steward": "alice"})] {
        let fixture = TestBroker::new().await;
        let verifier = fixture.verifier().await;
        fixture.tell(&verifier).await;
        let helper = AgentKey::generate("helper".parse().unwrap());
        fixture.add_agent(&helper).await;
        let issued = open(&fixture, &bound_task(&fixture.bot.public_jwk(), 1)).await;
        let token = issued["token"].as_str().unwrap();
        let delegation = Delegation {
            agent: "whatever-it-is-called".parse().unwrap(),
            key: HolderKey::Ed25519(helper.key().public()),
            narrowing: Narrowing::default(),
            may_delegate: 0,
            use_only: false,
        };
        let handed = delegate(&genuine(&fixture, token), fixture.bot.key(), &delegation).unwrap();
        fixture.tell(&verifier).await;
        use_as(&verifier, helper.key(), handed.token.expose()).unwrap();
        let revoked = fixture
            .operator(Method::POST, "/v1/revocations")
            .json(&subject)
            .send()
            .await
            .unwrap();
        assert_eq!(revoked.status(), StatusCode::CREATED);
        fixture.tell(&verifier).await;
        let denial = use_as(&verifier, helper.key(), handed.token.expose()).unwrap_err();
        assert!(
            denial.codes().contains(&ReasonCode::RevokedAgent),
            "{denial}"
        );
        let still = use_as(&verifier, fixture.bot.key(), token);
        assert_eq!(
            still.is_ok(),
            subject.get("agent").is_some(),
            "the pass's own agent goes on: {still:?}"
        );
        if subject.get("agent").is_some() {
            // A revocation reaches all of its second, to which passes are dated.
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
            // Nor can it be handed one that was issued since, until it is reinstated.
            let later = open(&fixture, &bound_task(&fixture.bot.public_jwk(), 1)).await;
            let later = genuine(&fixture, later["token"].as_str().unwrap());
            let later = delegate(&later, fixture.bot.key(), &delegation).unwrap();
            fixture.tell(&verifier).await;
            assert!(use_as(&verifier, helper.key(), later.token.expose()).is_err());
            let again = fixture
                .operator(Method::POST, "/v1/agents/helper/reinstate")
                .send()
                .await
                .unwrap();
            assert_eq!(again.status(), StatusCode::OK);
            fixture.tell(&verifier).await;
            use_as(&verifier, helper.key(), later.token.expose()).unwrap();
            assert!(
                use_as(&verifier, helper.key(), handed.token.expose()).is_err(),
                "the dead stay dead"
            );
        }
        // So it is after a restart, from the records alone.
        let fixture = fixture.restarted().await;
        fixture.tell(&verifier).await;
        assert!(use_as(&verifier, helper.key(), handed.token.expose()).is_err());
    }
}
