//! Subject tokens: tasks on behalf of a person who proved it, and what policy and revocation make of that.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::oauth::{
    client::{self, ledger, register, token},
    provider::Provider,
};
use support::idp::SigningKey;
use test_broker::{TestBroker, body_of, codes, refused, task};

#[tokio::test]
async fn a_task_is_on_behalf_of_the_person_whose_id_token_it_is() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let carol = provider.link(&fixture, "carol", "00u1").await;
    let id_token = provider.id_token(json!({"groups": ["finance"]}));
    // A person's token is good for as many tasks as they hand out.
    for named in [json!(null), json!("carol"), json!(carol)] {
        let opened = open(
            &fixture,
            json!({"subject_token": id_token, "steward": named}),
        )
        .await;
        let path = format!("/v1/tasks/{}", opened["task_id"].as_str().unwrap());
        let view = body_of(fixture.operator(Method::GET, &path).send().await.unwrap()).await;
        assert_eq!(
            (&view["steward"], &view["steward_verified_by"]),
            (&json!(carol), &json!(provider.idp.issuer()))
        );
        let again = fixture
            .agent(Method::POST, &format!("{path}/tokens"))
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), StatusCode::CREATED);
    }
    let asserted = open(&fixture, json!({"subject_token": null})).await;
    let path = format!("/v1/tasks/{}", asserted["task_id"].as_str().unwrap());
    let view = body_of(fixture.operator(Method::GET, &path).send().await.unwrap()).await;
    assert!(
        view["steward"] != carol && view.get("steward_verified_by").is_none(),
        "{view}"
    );
    // The trail says who vouched, and nowhere who the person is.
    let trail = fixture
        .operator(Method::GET, "/v1/audit?limit=200")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        trail.contains(&format!("steward verified by {}", provider.idp.issuer())),
        "{trail}"
    );
    assert!(
        trail.contains("steward_identified") && !trail.contains("00u1") && !trail.contains("carol")
    );
    let journal = fixture.journal();
    assert!(
        !journal.contains("00u1") && !journal.contains("carol") && !journal.contains(&id_token)
    );
}

#[tokio::test]
async fn a_subject_token_that_is_not_believed_opens_nothing() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    provider.link(&fixture, "carol", "00u1").await;
    for malformed in ["", " ", "x", "a.b", "a..c", "a.b.c.d"] {
        let (status, body) = ask(&fixture, json!({"subject_token": malformed})).await;
        assert_eq!(
            (status, &body["field"]),
            (400, &json!("subject_token")),
            "{malformed:?}"
        );
    }
    for malformed in [
        json!(1),
        json!({}),
        json!([provider.id_token(json!({}))]),
        json!(true),
    ] {
        assert_eq!(
            ask(&fixture, json!({"subject_token": malformed})).await.0,
            400
        );
    }
    let good = provider.id_token(json!({}));
    let mut twice = with(json!({"subject_token": good})).to_string();
    twice.insert_str(1, &format!("\"subject_token\":\"{good}\","));
    let twice = fixture
        .agent(Method::POST, "/v1/tasks")
        .header("content-type", "application/json")
        .body(twice);
    assert_eq!(refused(twice).await.0, 400);
    let before = fixture.records().get("task_opened").copied().unwrap_or(0);
    let forged =
        SigningKey::p256("one").sign(Some("JWT"), &provider.claims(json!({"aud": "web-app"})));
    let bad = [
        "a.b.c".to_owned(),
        forged,
        provider.id_token(json!({"aud": support::ISSUER})),
        provider.id_token(json!({"exp": 1})),
        provider.id_token(json!({"exp": "9999999999"})),
        provider.id_token(json!({"exp": 253_402_300_799_u64})),
        provider.id_token(json!({"groups": {"admins": true}})),
        provider.id_token(json!({"iss": "https://other.example"})),
        provider.jag(json!({})),
        provider.workload(json!({})),
        // A person whom nobody registered.
        provider.id_token(json!({"sub": "00u2"})),
        provider.id_token(json!({"sub": "carol"})),
        fixture.admin.clone() + ".b.c",
    ];
    for subject in &bad {
        let (status, body) = ask(&fixture, json!({"subject_token": subject})).await;
        assert_eq!(
            (status, &body["code"]),
            (403, &json!("subject_token")),
            "{body}"
        );
        assert!(!body.to_string().contains("00u"));
    }
    let records = fixture.records();
    assert_eq!(
        (
            records["request_refused"],
            records.get("task_opened").copied().unwrap_or(0)
        ),
        (bad.len(), before)
    );
    // A token is for the person whom it names, whoever the agent says.
    let (status, body) = ask(&fixture, json!({"subject_token": good, "steward": "alice"})).await;
    assert_eq!((status, &body["code"]), (403, &json!("steward_mismatch")));
    let (status, body) = ask(&fixture, json!({"steward": "carol"})).await;
    assert_eq!((status, &body["code"]), (403, &json!("steward_mismatch")));
}

#[tokio::test]
async fn guardrails_see_the_person_and_the_agent() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let carol = provider.link(&fixture, "carol", "00u1").await;
    provider.link(&fixture, "dave", "00u3").await;
    let guardrails = format!(
        r#"@id("searches-are-for-finance")
        forbid (principal, action == Action::"call", resource)
        when {{ resource.name == "search_ledger" && !context.steward_groups.contains("finance") }};
        @id("others-only-when-verified")
        forbid (principal, action, resource)
        when {{ context.steward != principal.steward && !context.steward_verified }};
        @id("carol-by-night-bot-only")
        forbid (principal, action, resource)
        when {{ principal != Agent::"night-bot" && context.steward == Steward::"{carol}" && context.purpose == "night" }};"#
    );
    std::fs::write(
        fixture.directory.path().join("policy/people.cedar"),
        guardrails,
    )
    .unwrap();
    let loaded = fixture
        .operator(Method::POST, "/v1/policy/reload")
        .send()
        .await
        .unwrap();
    assert_eq!(
        loaded.status(),
        StatusCode::OK,
        "{}",
        loaded.text().await.unwrap()
    );
    let search = |subject: Value, purpose: &str| {
        let mut body = with(json!({"subject_token": subject, "purpose": purpose}));
        body["authorization_details"][0]["tools"] = json!(["search_ledger"]);
        fixture.agent(Method::POST, "/v1/tasks").json(&body)
    };
    let by = async |request: reqwest::RequestBuilder| {
        let (status, body) = refused(request).await;
        (
            status,
            body["reasons"][0]["decided_by"]["name"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    let finance = provider.id_token(json!({"groups": ["finance"]}));
    assert_eq!(
        search(json!(finance), "day").send().await.unwrap().status(),
        StatusCode::CREATED
    );
    assert_eq!(
        by(search(json!(finance), "night")).await,
        (403, "carol-by-night-bot-only".to_owned())
    );
    let other = provider.id_token(json!({"sub": "00u3", "groups": ["sales"]}));
    assert_eq!(
        by(search(json!(other), "day")).await,
        (403, "searches-are-for-finance".to_owned())
    );
    assert_eq!(
        by(search(json!(null), "day")).await,
        (403, "searches-are-for-finance".to_owned())
    );
    // Asked again later in the task, it is the same person in the same groups.
    let mut both = with(json!({"subject_token": finance}));
    both["authorization_details"][0]["tools"] = json!(["search_ledger", "read_ledger"]);
    let opened = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(&both)
        .send()
        .await
        .unwrap();
    let task = body_of(opened).await["task_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let again = fixture
        .agent(Method::POST, &format!("/v1/tasks/{task}/tokens"))
        .json(&json!({}));
    assert_eq!(again.send().await.unwrap().status(), StatusCode::CREATED);
    // And so it is explained.
    let mut question = both.clone();
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
async fn a_link_is_one_persons_and_can_be_undone() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let carol = provider.link(&fixture, "carol", "00u1").await;
    assert_eq!(provider.link(&fixture, "carol", "00u1").await, carol);
    let link = |name: &str, issuer: &str, subject: &str| {
        let identity = json!({"issuer": issuer, "subject": subject});
        fixture
            .operator(Method::POST, "/v1/stewards")
            .json(&json!({"name": name, "identity": identity}))
    };
    assert_eq!(
        refused(link("mallory", provider.idp.issuer(), "00u1"))
            .await
            .0,
        409
    );
    let (status, body) = refused(link("mallory", "https://other.example", "00u1")).await;
    assert_eq!((status, &body["field"]), (400, &json!("identity.issuer")));
    for subject in ["", "a\nb", &"x".repeat(600)] {
        assert_eq!(
            refused(link("mallory", provider.idp.issuer(), subject))
                .await
                .0,
            400,
            "{subject:?}"
        );
    }
    let subject = json!({"subject_token": provider.id_token(json!({}))});
    open(&fixture, subject.clone()).await;
    let fixture = fixture.restarted_with(provider.trusted()).await;
    open(&fixture, subject.clone()).await;
    let unlink = async |fixture: &TestBroker, what: &str| {
        let path = format!("/v1/stewards/{carol}/{what}");
        fixture
            .operator(Method::DELETE, &path)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(unlink(&fixture, "identities").await, 204);
    assert_eq!(unlink(&fixture, "identities").await, 404);
    assert_eq!(
        ask(&fixture, subject.clone()).await.1["code"],
        "subject_token"
    );
    assert_eq!(fixture.records()["steward_unidentified"], 1);
    // Erased, the person is nobody here, and may be registered anew.
    provider.link(&fixture, "carol", "00u1").await;
    open(&fixture, subject.clone()).await;
    assert_eq!(unlink(&fixture, "name").await, 204);
    assert_eq!(
        ask(&fixture, subject.clone()).await.1["code"],
        "subject_token"
    );
    assert_ne!(provider.link(&fixture, "carol", "00u1").await, carol);
    open(&fixture, subject).await;
}

#[tokio::test]
async fn a_pass_dies_with_the_agent_with_who_answers_for_it_and_with_the_person() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let carol = provider.link(&fixture, "carol", "00u1").await;
    let verifier = fixture.verifier().await;
    let subject = json!({"subject_token": provider.id_token(json!({}))});
    let alice = {
        let listed = body_of(
            fixture
                .operator(Method::GET, "/v1/stewards")
                .send()
                .await
                .unwrap(),
        )
        .await;
        let listed = listed["items"].as_array().unwrap().clone();
        listed
            .iter()
            .find(|steward| steward["name"] == "alice")
            .unwrap()["steward"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (kind, id) in [
        ("steward", &*carol),
        ("steward", &*alice),
        ("agent", "research-bot"),
    ] {
        let pass = open(&fixture, subject.clone()).await["token"]
            .as_str()
            .unwrap()
            .to_owned();
        fixture.tell(&verifier).await;
        assert_eq!(codes(&verifier, &pass), [], "{kind} {id}");
        fixture.revoke(json!({ kind: id })).await;
        fixture.tell(&verifier).await;
        assert!(!codes(&verifier, &pass).is_empty(), "{kind} {id}");
        let (status, body) = ask(&fixture, subject.clone()).await;
        assert_eq!(
            (status, &body["code"]),
            (403, &json!("suspended")),
            "{kind} {id}"
        );
        let path = format!("/v1/{kind}s/{id}/reinstate");
        assert!(
            fixture
                .operator(Method::POST, &path)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
        let fresh = open(&fixture, subject.clone()).await["token"]
            .as_str()
            .unwrap()
            .to_owned();
        fixture.tell(&verifier).await;
        assert_eq!(codes(&verifier, &fresh), [], "{kind} {id}");
        assert!(!codes(&verifier, &pass).is_empty(), "what died stays dead");
    }
}

fn with(changes: Value) -> Value {
    let mut body = task();
    body.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    body
}

async fn open(fixture: &TestBroker, changes: Value) -> Value {
    let opened = fixture
        .agent(Method::POST, "/v1/tasks")
        .json(&with(changes))
        .send()
        .await
        .unwrap();
    assert_eq!(
        opened.status(),
        StatusCode::CREATED,
        "{}",
        opened.text().await.unwrap()
    );
    body_of(opened).await
}

async fn ask(fixture: &TestBroker, changes: Value) -> (u16, Value) {
    refused(
        fixture
            .agent(Method::POST, "/v1/tasks")
            .json(&with(changes)),
    )
    .await
}

#[tokio::test]
async fn an_id_token_is_exchanged_for_a_pass_on_the_persons_behalf() {
    let provider = Provider::start().await;
    let fixture = provider.fixture().await;
    let carol = provider.link(&fixture, "carol", "00u1").await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let helper = register(&fixture, "helper-bot", ledger(&["read_ledger"])).await;
    let exchange = |client: (&str, &str), token: (&str, &str), more: &[(&str, &str)]| {
        client::exchange(&fixture, client, token, more)
    };
    let build = ("build-bot", &*secret);
    let id_token = provider.id_token(json!({}));
    let answer = token(exchange(build, (&id_token, "id_token"), &[])).await;
    assert_eq!(
        answer["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(answer["scope"], "tool:read_ledger");
    let on_behalf = async |agent: &str| {
        let task = fixture.tasks_of(agent).await[0].clone();
        (task["steward"].clone(), task["steward_verified_by"].clone())
    };
    let carols = (json!(carol), json!(provider.idp.issuer()));
    assert_eq!(on_behalf("build-bot").await, carols);
    // What comes of it is on the same person's behalf.
    let pass = answer["access_token"].as_str().unwrap();
    token(exchange(
        ("helper-bot", &helper),
        (pass, "access_token"),
        &[],
    ))
    .await;
    assert_eq!(on_behalf("helper-bot").await, carols);
    let before = fixture.records().get("task_opened").copied();
    for bad in [
        "",
        " ",
        "x",
        pass,
        &provider.id_token(json!({"exp": 1})),
        &provider.id_token(json!({"aud": support::ISSUER})),
        &provider.id_token(json!({"sub": "00u2"})),
        &provider.jag(json!({})),
        &SigningKey::p256("one").sign(Some("JWT"), &provider.claims(json!({"aud": "web-app"}))),
    ] {
        let refused = client::refused(exchange(build, (bad, "id_token"), &[])).await;
        assert_eq!(refused, (400, "invalid_request".to_owned()), "{bad}");
    }
    for more in [
        ("subject_token", &*id_token),
        ("actor_token", &*id_token),
        ("requested_token_type", "x"),
    ] {
        let refused = client::refused(exchange(build, (&id_token, "id_token"), &[more])).await;
        assert_eq!(refused, (400, "invalid_request".to_owned()), "{more:?}");
    }
    let thief = client::refused(exchange(
        ("build-bot", &helper),
        (&id_token, "id_token"),
        &[],
    ))
    .await;
    assert_eq!(thief, (401, "invalid_client".to_owned()));
    assert_eq!(fixture.records().get("task_opened").copied(), before);
}
