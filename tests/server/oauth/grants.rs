//! The jwt-bearer grant: platforms' tokens for workloads, identity assertions for clients.

use futures_util::future::join_all;
use hallpass_broker::identity::AgentKey;
use hallpass_core::base::{holder::HolderKey, key::PrivateKey};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    client::{ASSERTION_TYPE, TOKEN, ask, basic, error, ledger, refused, register, token},
    introspection::told_verifier,
    proofs::proof,
    provider::{JWT_BEARER, Provider, bearer},
};
use support::SERVER;
use support::idp::SigningKey;
use test_broker::{TestBroker, assertion, body_of, refused as problem};

const READ: (&str, &str) = ("scope", "tool:read_ledger");
const AT: (&str, &str) = ("resource", SERVER);

#[tokio::test]
async fn a_workload_needs_no_secret_of_ours() {
    let platform = Provider::start().await;
    let fixture = platform.fixture().await;
    let proof = platform.workload(json!({}));
    // The platform gives one token for an hour, so it is taken as often as it comes.
    for parameters in [
        &[READ, AT][..],
        &[READ, AT, ("client_id", "research-bot")],
        &[READ, AT, ("client_secret", "")],
    ] {
        let answer = token(bearer(&fixture, &proof, parameters)).await;
        assert_eq!(
            (&answer["token_type"], &answer["scope"]),
            (&json!("Bearer"), &json!("tool:read_ledger"))
        );
        assert!(
            answer.get("refresh_token").is_none() && answer.get("authorization_details").is_none()
        );
    }
    let as_client = [
        ("client_assertion", &*proof),
        ("client_assertion_type", ASSERTION_TYPE),
        READ,
        AT,
    ];
    for _ in 0..2 {
        token(ask(&fixture, &as_client)).await;
    }
    assert_eq!(platform.idp.fetches(), 1);
    let tasks = fixture.tasks_of("research-bot").await;
    assert_eq!(tasks.len(), 5);
    assert!(
        tasks
            .iter()
            .all(|task| task.get("steward_verified_by").is_none())
    );
    assert_eq!(tasks[4]["purpose"], "OAuth workload token");
    // What is asked for is decided as for every other client.
    let wide = bearer(&fixture, &proof, &[("scope", "tool:transfer"), AT]);
    assert_eq!(refused(wide).await, (400, "invalid_scope".to_owned()));
    let elsewhere = bearer(
        &fixture,
        &proof,
        &[READ, ("resource", "https://other.example/mcp")],
    );
    assert_eq!(refused(elsewhere).await, (400, "invalid_target".to_owned()));
}

#[tokio::test]
async fn a_workload_that_is_not_believed_gets_nothing() {
    let platform = Provider::start().await;
    let fixture = platform.fixture().await;
    let stranger = SigningKey::p256("one");
    let before = fixture.records();
    let bad = [
        platform.workload(json!({"aud": "https://other.example"})),
        platform.workload(json!({"exp": 1})),
        platform.workload(json!({"exp": "never"})),
        platform.workload(json!({"exp": 253_402_300_799_u64})),
        platform.workload(json!({"sub": "ns:prod:nobody"})),
        // Whom the settings map to an agent that nobody registered.
        platform.workload(json!({"sub": "ns:prod:ghost"})),
        platform.workload(json!({"iss": "https://other.example"})),
        stranger.sign(None, &platform.claims(json!({"sub": "ns:prod:research"}))),
        platform.jag(json!({"sub": "ns:prod:research"})),
        platform.id_token(json!({"sub": "ns:prod:research"})),
        assertion(&fixture.bot),
        fixture.admin.clone(),
        "a.b.c".to_owned(),
        " ".to_owned(),
    ];
    for proof in &bad {
        assert_eq!(
            refused(bearer(&fixture, proof, &[READ, AT])).await,
            (400, "invalid_grant".to_owned()),
            "{proof}"
        );
    }
    // As a client's credential, it is refused in the words for any other.
    for proof in &bad[..8] {
        let with = [
            ("client_assertion", &**proof),
            ("client_assertion_type", ASSERTION_TYPE),
            READ,
            AT,
        ];
        assert_eq!(
            refused(ask(&fixture, &with)).await,
            (401, "invalid_client".to_owned()),
            "{proof}"
        );
    }
    let good = platform.workload(json!({}));
    let named = bearer(&fixture, &good, &[READ, AT, ("client_id", "other-bot")]);
    assert_eq!(refused(named).await, (400, "invalid_grant".to_owned()));
    for (pairs, told) in [
        (&[("grant_type", JWT_BEARER), READ][..], "invalid_request"),
        (
            &[("grant_type", JWT_BEARER), ("assertion", ""), READ],
            "invalid_request",
        ),
        (
            &[
                ("grant_type", JWT_BEARER),
                ("assertion", &good),
                ("assertion", &good),
                READ,
            ],
            "invalid_request",
        ),
        (
            &[
                ("grant_type", JWT_BEARER),
                ("grant_type", JWT_BEARER),
                ("assertion", &good),
                READ,
            ],
            "invalid_request",
        ),
        (
            &[
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:saml2-bearer",
                ),
                ("assertion", &good),
            ],
            "unsupported_grant_type",
        ),
    ] {
        let request = fixture.request(Method::POST, TOKEN).form(pairs);
        assert_eq!(refused(request).await, (400, told.to_owned()), "{pairs:?}");
    }
    assert_eq!(fixture.records(), before);
    fixture.revoke(json!({"agent": "research-bot"})).await;
    assert_eq!(
        refused(bearer(&fixture, &good, &[READ, AT])).await,
        (400, "unauthorized_client".to_owned())
    );
}

#[tokio::test]
async fn a_server_that_trusts_nobody_takes_nobodys_word() {
    let platform = Provider::start().await;
    let fixture = TestBroker::new().await;
    let proof = platform.workload(json!({}));
    assert_eq!(
        refused(bearer(&fixture, &proof, &[READ, AT])).await,
        (400, "invalid_grant".to_owned())
    );
    assert_eq!(platform.idp.site.log().len(), 0);
    let metadata = async |fixture: &TestBroker| {
        let at = "/.well-known/oauth-authorization-server";
        body_of(fixture.request(Method::GET, at).send().await.unwrap()).await
    };
    let silent = metadata(&fixture).await;
    assert!(
        !silent["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!(JWT_BEARER))
    );
    let told = metadata(&platform.fixture().await).await;
    assert!(
        told["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!(JWT_BEARER))
    );
    let profiles = json!(["urn:ietf:params:oauth:grant-profile:id-jag"]);
    assert_eq!(told["authorization_grant_profiles_supported"], profiles);
}

#[tokio::test]
async fn what_is_good_once_is_good_once_also_after_a_restart() {
    let platform = Provider::start().await.once();
    let fixture = platform.fixture().await;
    let proof = platform.workload(json!({}));
    let all = join_all((0..20).map(|_| bearer(&fixture, &proof, &[READ, AT]).send())).await;
    let good = all
        .into_iter()
        .filter(|answer| answer.as_ref().unwrap().status() == StatusCode::OK);
    assert_eq!(good.count(), 1);
    // Whether the grant or the client's credential: it is one token.
    let as_client = [
        ("client_assertion", &*proof),
        ("client_assertion_type", ASSERTION_TYPE),
        READ,
        AT,
    ];
    assert_eq!(
        refused(ask(&fixture, &as_client)).await,
        (401, "invalid_client".to_owned())
    );
    let fixture = fixture.restarted_with(platform.trusted()).await;
    assert_eq!(
        refused(bearer(&fixture, &proof, &[READ, AT])).await,
        (400, "invalid_grant".to_owned())
    );
    token(bearer(&fixture, &platform.workload(json!({})), &[READ, AT])).await;
}

#[tokio::test]
async fn a_renewal_does_not_escape_the_limits_of_an_identity_assertion() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    provider.link(&fixture, "carol", "00u1").await;
    // An agent with a key renews over `/v1` what its identity assertion opened at the OAuth endpoint.
    let proof = assertion(&fixture.bot);
    let as_client = [
        ("client_assertion", &*proof),
        ("client_assertion_type", ASSERTION_TYPE),
    ];
    let jag = provider.jag(json!({"client_id": "research-bot", "scope": "tool:read_ledger"}));
    token(bearer(&fixture, &jag, &as_client)).await;
    let task = fixture.tasks_of("research-bot").await[0]["task_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let renew = |body: Value| {
        fixture
            .agent(Method::POST, &format!("/v1/tasks/{task}/tokens"))
            .json(&body)
    };
    for more in [
        &["search_ledger"][..],
        &["read_ledger", "search_ledger"],
        &["*"],
        &["read_ledger"],
    ] {
        let (status, body) = problem(renew(json!({"authorization_details": ledger(more)}))).await;
        assert_eq!(
            (status, &body["field"]),
            (400, &json!("authorization_details")),
            "{more:?}"
        );
    }
    let again = renew(json!({})).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::CREATED);
    assert_eq!(
        body_of(again).await["authorization_details"],
        ledger(&["read_ledger"])
    );
    // So it is after a restart, too: the limit is in the record.
    let fixture = fixture.restarted_with(provider.trusted()).await;
    let renew = fixture.agent(Method::POST, &format!("/v1/tasks/{task}/tokens"));
    let (status, _) =
        problem(renew.json(&json!({"authorization_details": ledger(&["search_ledger"])}))).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_client_acts_for_the_person_whom_an_identity_assertion_names() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let secret = register(&fixture, "build-bot", json!([])).await;
    let carol = provider.link(&fixture, "carol", "00u1").await;
    let header = basic("build-bot", &secret);
    // Everything stands in the assertion, as stock clients send it.
    let jag = provider.jag(json!({"scope": "tool:read_ledger"}));
    let answer = token(bearer(&fixture, &jag, &[]).header("authorization", &header)).await;
    assert_eq!(answer["scope"], "tool:read_ledger");
    assert!(answer.get("refresh_token").is_none() && answer.get("authorization_details").is_none());
    let task = &fixture.tasks_of("build-bot").await[0];
    assert_eq!(
        (&task["steward"], &task["steward_verified_by"]),
        (&json!(carol), &json!(provider.idp.issuer()))
    );
    assert_eq!(task["purpose"], "OAuth identity assertion");
    let again = bearer(&fixture, &jag, &[]).header("authorization", &header);
    assert_eq!(refused(again).await, (400, "invalid_grant".to_owned()));
    // A request may ask for less, and gets no more.
    let jag = || provider.jag(json!({"scope": "tool:read_ledger tool:search_ledger"}));
    let less = token(bearer(&fixture, &jag(), &[READ, AT]).header("authorization", &header)).await;
    assert_eq!(less["scope"], "tool:read_ledger");
    let narrow = provider.jag(json!({"scope": "tool:read_ledger"}));
    let more = bearer(
        &fixture,
        &narrow,
        &[("scope", "tool:read_ledger tool:search_ledger")],
    );
    assert_eq!(
        token(more.header("authorization", &header)).await["scope"],
        "tool:read_ledger"
    );
    let details = ledger(&["read_ledger", "search_ledger"]).to_string();
    let narrow = provider.jag(json!({"scope": "tool:search_ledger"}));
    let rich = bearer(&fixture, &narrow, &[("authorization_details", &details)]);
    let rich = token(rich.header("authorization", &header)).await;
    assert_eq!(rich["authorization_details"], ledger(&["search_ledger"]));
}

#[tokio::test]
async fn an_identity_assertion_that_is_not_for_this_gets_nothing() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let other = register(&fixture, "other-bot", ledger(&["read_ledger"])).await;
    provider.link(&fixture, "carol", "00u1").await;
    let header = basic("build-bot", &secret);
    let with = |jag: &str| bearer(&fixture, jag, &[]).header("authorization", &header);
    let before = fixture.records();
    for (changes, told) in [
        (json!({"aud": "https://other.example"}), "invalid_grant"),
        (json!({"client_id": "other-bot"}), "invalid_grant"),
        (json!({"client_id": null}), "invalid_grant"),
        (json!({"exp": 1}), "invalid_grant"),
        (json!({"exp": 253_402_300_799_u64}), "invalid_grant"),
        (json!({"jti": null}), "invalid_grant"),
        (json!({"resource": null}), "invalid_grant"),
        (json!({"cnf": {"jkt": "somebody"}}), "invalid_grant"),
        (json!({"authorization_details": []}), "invalid_grant"),
        (json!({"sub": "nobody"}), "invalid_grant"),
        (
            json!({"resource": "https://other.example/mcp"}),
            "invalid_target",
        ),
        (
            json!({"resource": [SERVER, "https://other.example/mcp"]}),
            "invalid_target",
        ),
        (json!({"scope": "admin"}), "invalid_scope"),
        (json!({"scope": "tool:transfer"}), "unauthorized_client"),
    ] {
        let jag = provider.jag(changes.clone());
        let (status, code) = refused(with(&jag)).await;
        assert_eq!((status, code.as_str()), (400, told), "{changes}");
    }
    let stranger =
        SigningKey::p256("one").sign(Some("oauth-id-jag+jwt"), &provider.claims(json!({})));
    assert_eq!(refused(with(&stranger)).await.1, "invalid_grant");
    assert_eq!(
        refused(with(&provider.workload(json!({})))).await.1,
        "invalid_grant"
    );
    assert_eq!(
        refused(with(&provider.id_token(json!({})))).await.1,
        "invalid_grant"
    );
    // What is not asked for rightly, and by who is not the client, uses nothing up.
    let jag = provider.jag(json!({}));
    let elsewhere = bearer(&fixture, &jag, &[("resource", "https://other.example")]);
    assert_eq!(
        refused(elsewhere.header("authorization", &header)).await.1,
        "invalid_target"
    );
    assert_eq!(
        refused(bearer(&fixture, &jag, &[])).await.1,
        "invalid_grant"
    );
    assert_eq!(
        refused(bearer(&fixture, &jag, &[("client_id", "build-bot")]))
            .await
            .1,
        "invalid_grant"
    );
    let wrong = bearer(&fixture, &jag, &[]).header("authorization", basic("build-bot", &other));
    assert_eq!(
        error(wrong.send().await.unwrap()).await,
        (401, "invalid_client".to_owned())
    );
    let thief = bearer(&fixture, &jag, &[]).header("authorization", basic("other-bot", &other));
    assert_eq!(refused(thief).await.1, "invalid_grant");
    let refusals = fixture
        .records()
        .get("request_refused")
        .copied()
        .unwrap_or(0)
        - before.get("request_refused").copied().unwrap_or(0);
    // The trail has what a good assertion was not enough for: a person who is no steward, and the policy.
    assert_eq!(
        (refusals, fixture.records().get("task_opened")),
        (2, before.get("task_opened"))
    );
    token(with(&jag)).await;
}

#[tokio::test]
async fn an_identity_assertion_is_good_once_also_after_a_restart() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    provider.link(&fixture, "carol", "00u1").await;
    let (header, jag) = (basic("build-bot", &secret), provider.jag(json!({})));
    let with = |fixture: &TestBroker| bearer(fixture, &jag, &[]).header("authorization", &header);
    let all = join_all((0..20).map(|_| with(&fixture).send())).await;
    let good = all
        .into_iter()
        .filter(|answer| answer.as_ref().unwrap().status() == StatusCode::OK);
    assert_eq!(good.count(), 1);
    let fixture = fixture.restarted_with(provider.trusted()).await;
    assert_eq!(
        refused(with(&fixture)).await,
        (400, "invalid_grant".to_owned())
    );
}

#[tokio::test]
async fn a_key_proves_the_client_of_an_identity_assertion_as_well() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    provider.link(&fixture, "carol", "00u1").await;
    let jag = provider.jag(json!({"client_id": "research-bot", "scope": "tool:read_ledger"}));
    let with = |proof: &str| {
        bearer(
            &fixture,
            &jag,
            &[
                ("client_assertion", proof),
                ("client_assertion_type", ASSERTION_TYPE),
            ],
        )
    };
    let impostor = AgentKey::generate("research-bot".parse().unwrap());
    assert_eq!(
        refused(with(&assertion(&impostor))).await,
        (401, "invalid_client".to_owned())
    );
    token(with(&assertion(&fixture.bot))).await;
    // A platform's token proves it too.
    let jag = provider.jag(json!({"client_id": "research-bot", "scope": "tool:read_ledger"}));
    let proof = provider.workload(json!({}));
    let parameters = [
        ("client_assertion", &*proof),
        ("client_assertion_type", ASSERTION_TYPE),
    ];
    token(bearer(&fixture, &jag, &parameters)).await;
    let tasks = fixture.tasks_of("research-bot").await;
    assert!(
        tasks
            .iter()
            .all(|task| task["steward_verified_by"] == provider.idp.issuer())
    );
}

#[tokio::test]
async fn whoever_proves_a_key_gets_a_bound_pass_and_who_is_named_by_one_must() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    provider.link(&fixture, "carol", "00u1").await;
    let [holder, thief] = [7, 8].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let by = |key: &PrivateKey, request: RequestBuilder| {
        request.header("dpop", proof(key, json!({}), json!({})))
    };
    let workload = provider.workload(json!({}));
    assert_eq!(
        token(by(&holder, bearer(&fixture, &workload, &[READ, AT]))).await["token_type"],
        "DPoP"
    );
    let thumbprint = HolderKey::Ed25519(holder.public()).thumbprint();
    let jag = provider.jag(json!({"cnf": {"jkt": thumbprint}}));
    let with = || bearer(&fixture, &jag, &[]).header("authorization", basic("build-bot", &secret));
    assert_eq!(refused(with()).await, (400, "invalid_grant".to_owned()));
    assert_eq!(
        refused(by(&thief, with())).await,
        (400, "invalid_grant".to_owned())
    );
    let answer = token(by(&holder, with())).await;
    assert_eq!(answer["token_type"], "DPoP");
    let told = told_verifier(&fixture, answer["access_token"].as_str().unwrap()).await;
    assert_eq!(told["cnf"], json!({"jkt": thumbprint}));
}
