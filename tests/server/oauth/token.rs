//! The token endpoint: who gets a token, and how everybody else is refused.

use std::time::Instant;

use hallpass_broker::identity::AgentKey;
use hallpass_core::token::UnverifiedPass;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use crate::oauth::client::{
    ASSERTION_TYPE, TOKEN, ask, basic, error, ledger, refused, register, token,
};
use support::SERVER;
use test_broker::{self, TestBroker, assertion};

#[tokio::test]
async fn a_secret_gets_a_pass_however_it_is_sent() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let encoded = secret.replace('-', "%2D").replace('_', "%5F");
    let before = fixture.records();
    let requests = [
        ask(&fixture, &[]).header("authorization", basic("build-bot", &secret)),
        ask(&fixture, &[]).header("authorization", basic("build%2Dbot", &encoded)),
        ask(&fixture, &[("client_id", "build-bot")])
            .header("authorization", basic("build-bot", &secret)),
        ask(
            &fixture,
            &[("client_id", "build-bot"), ("client_secret", &secret)],
        ),
        // What nobody knows is ignored, what is empty is absent.
        ask(
            &fixture,
            &[
                ("client_id", "build-bot"),
                ("client_secret", &secret),
                ("audience", SERVER),
                ("scope", ""),
            ],
        ),
    ];
    let count = requests.len();
    for request in requests {
        let answer = token(request).await;
        assert_eq!(
            (&answer["token_type"], &answer["scope"]),
            (&json!("Bearer"), &json!("tool:read_ledger"))
        );
        // Who asked for no details is told none.
        let members: Vec<_> = answer.as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["access_token", "token_type", "expires_in", "scope"]
        );
        assert!(
            matches!(answer["expires_in"].as_u64(), Some(290..=300)),
            "{}",
            answer["expires_in"]
        );
        UnverifiedPass::parse(answer["access_token"].as_str().unwrap()).unwrap();
    }
    let after = fixture.records();
    for kind in ["task_opened", "token_issued"] {
        assert_eq!(
            after[kind] - before.get(kind).copied().unwrap_or(0),
            count,
            "{kind}"
        );
    }
    let tasks = fixture.tasks_of("build-bot").await;
    assert_eq!(
        (tasks.len(), &tasks[0]["purpose"]),
        (count, &json!("OAuth client credentials"))
    );
}

#[tokio::test]
async fn whoever_does_not_prove_itself_learns_nothing() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let other = register(&fixture, "other-bot", ledger(&["read_ledger"])).await;
    let stranger = AgentKey::generate("stranger".parse().unwrap());
    let impostor = AgentKey::generate("research-bot".parse().unwrap());
    let with = |assertion: &str, client_id: &str| {
        ask(
            &fixture,
            &[
                ("client_assertion", assertion),
                ("client_assertion_type", ASSERTION_TYPE),
                ("client_id", client_id),
            ],
        )
    };
    let post =
        |id: &str, secret: &str| ask(&fixture, &[("client_id", id), ("client_secret", secret)]);
    let header = |value: &str| ask(&fixture, &[]).header("authorization", value);
    let replayed = assertion(&fixture.bot);
    let first = with(&replayed, "").send().await.unwrap();
    assert_ne!(first.status(), StatusCode::UNAUTHORIZED);
    let before = fixture.records();
    let attempts: Vec<RequestBuilder> = vec![
        ask(&fixture, &[]),
        ask(&fixture, &[("client_id", "build-bot")]),
        post("unknown", &secret),
        post("build-bot", &other),
        post("build-bot", &secret[1..]),
        post("build-bot", "%00"),
        post("research-bot", &secret),
        post("Build-Bot", &secret),
        post("https://build-bot.example/", &secret),
        post("tsk_00000000000000000000000000000001", &secret),
        header(&basic("unknown", &secret)),
        header(&basic("build-bot", &other)),
        header(&basic("build-bot", "")),
        header("Basic !"),
        header("Bearer a.b.c"),
        header(&format!("Bearer {}", fixture.admin)),
        header(&format!("Bearer {}", assertion(&fixture.bot))),
        with(&assertion(&stranger), ""),
        with(&assertion(&impostor), ""),
        with(&assertion(&fixture.bot), "build-bot"),
        with(&replayed, ""),
        with("a.b.c", ""),
        with(&fixture.admin, ""),
    ];
    let mut answers = Vec::new();
    for (at, attempt) in attempts.into_iter().enumerate() {
        let response = attempt.send().await.unwrap();
        let mut headers: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.retain(|header| !header.starts_with("x-request-id") && !header.starts_with("date"));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "attempt {at}");
        answers.push((headers, response.text().await.unwrap()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(fixture.records(), before);
}

#[tokio::test]
async fn an_assertion_gets_one_token() {
    let fixture = TestBroker::new().await;
    let read = ("scope", "tool:read_ledger");
    for client_id in ["", "research-bot"] {
        let text = assertion(&fixture.bot);
        let with = || {
            ask(
                &fixture,
                &[
                    ("client_assertion", &text),
                    ("client_assertion_type", ASSERTION_TYPE),
                    ("client_id", client_id),
                    read,
                    ("resource", SERVER),
                ],
            )
        };
        assert_eq!(token(with()).await["scope"], "tool:read_ledger");
        assert_eq!(refused(with()).await, (401, "invalid_client".to_owned()));
        let api = fixture
            .request(Method::GET, "/v1/tasks")
            .bearer_auth(&text)
            .send()
            .await
            .unwrap();
        assert_eq!(api.status(), StatusCode::UNAUTHORIZED);
    }
    // One whose request was refused is used up, too, and over a restart.
    let text = assertion(&fixture.bot);
    let fixture = {
        let with = ask(
            &fixture,
            &[
                ("client_assertion", &text),
                ("client_assertion_type", ASSERTION_TYPE),
                ("scope", "admin"),
            ],
        );
        assert_eq!(refused(with).await, (400, "invalid_scope".to_owned()));
        let with = ask(
            &fixture,
            &[
                ("client_assertion", &text),
                ("client_assertion_type", ASSERTION_TYPE),
            ],
        );
        assert_eq!(
            refused(with).await,
            (400, "invalid_scope".to_owned()),
            "a malformed request does not use it up"
        );
        fixture.restarted().await
    };
    let with = ask(
        &fixture,
        &[
            ("client_assertion", &text),
            ("client_assertion_type", ASSERTION_TYPE),
            read,
            ("resource", SERVER),
        ],
    );
    assert_eq!(refused(with).await, (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn malformed_requests_get_the_codes_of_the_rfcs() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let authorization = basic("build-bot", &secret);
    let before = fixture.records();
    let unknown_member = r#"authorization_details=[{"type":"mcp","server":"https://ledger.example/mcp","tools":["read_ledger"],"extra":1}]"#;
    for (body, code) in [
        ("", "invalid_request"),
        ("scope=tool:read_ledger", "invalid_request"),
        ("grant_type=", "invalid_request"),
        (
            "grant_type=client_credentials&grant_type=client_credentials",
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&scope=tool:read_ledger&scope=tool:read_ledger",
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&client_secret=x",
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&client_id=other-bot",
            "invalid_request",
        ),
        (
            "grant_type=client_credentials&client_assertion=a.b.c",
            "invalid_request",
        ),
        ("grant_type=client_credentials&x=%zz", "invalid_request"),
        (
            "grant_type=password&username=a&password=b",
            "unsupported_grant_type",
        ),
        ("grant_type=Client_Credentials", "unsupported_grant_type"),
        ("grant_type=client_credentials&scope=admin", "invalid_scope"),
        (
            "grant_type=client_credentials&scope=tool:read_ledger+admin",
            "invalid_scope",
        ),
        (
            "grant_type=client_credentials&scope=tool:delete_ledger",
            "invalid_scope",
        ),
        (
            "grant_type=client_credentials&scope=tool:nothing",
            "invalid_scope",
        ),
        (
            "grant_type=client_credentials&resource=https://other.example/mcp",
            "invalid_target",
        ),
        (
            "grant_type=client_credentials&resource=https://ledger.example/mcp/",
            "invalid_target",
        ),
        (
            "grant_type=client_credentials&resource=ledger",
            "invalid_target",
        ),
        (
            "grant_type=client_credentials&resource=https://ledger.example/mcp&resource=https://x.example",
            "invalid_target",
        ),
        (
            "grant_type=client_credentials&authorization_details=[]",
            "invalid_authorization_details",
        ),
        (
            &format!("grant_type=client_credentials&{unknown_member}"),
            "invalid_authorization_details",
        ),
    ] {
        let request = fixture
            .request(Method::POST, TOKEN)
            .header("authorization", &authorization);
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned());
        assert_eq!(refused(request).await, (400, code.to_owned()), "{body}");
    }
    let after = fixture.records();
    let mut issued: Vec<_> = after
        .keys()
        .filter(|kind| after.get(*kind) != before.get(*kind))
        .collect();
    issued.sort();
    assert_eq!(
        issued,
        ["request_refused"],
        "what policy refuses is recorded, and nothing else happened"
    );
}

#[tokio::test]
async fn what_is_no_token_request_is_refused_in_oauth_words() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let request = |method: Method, path: &str| {
        fixture
            .request(method, path)
            .header("authorization", basic("build-bot", &secret))
    };
    let body = "grant_type=client_credentials";
    let json = request(Method::POST, TOKEN).json(&json!({"grant_type": "client_credentials"}));
    assert_eq!(refused(json).await, (415, "invalid_request".to_owned()));
    assert_eq!(
        refused(request(Method::POST, TOKEN).body(body)).await,
        (415, "invalid_request".to_owned())
    );
    assert_eq!(
        refused(request(Method::GET, TOKEN)).await,
        (405, "invalid_request".to_owned())
    );
    let in_url = request(Method::POST, &format!("{TOKEN}?client_secret={secret}"))
        .form(&[("grant_type", "client_credentials")]);
    assert_eq!(refused(in_url).await, (400, "invalid_request".to_owned()));
    let long = "x".repeat(300 * 1024);
    let long =
        request(Method::POST, TOKEN).form(&[("grant_type", "client_credentials"), ("x", &long)]);
    assert_eq!(refused(long).await, (413, "invalid_request".to_owned()));
}

#[tokio::test]
async fn scope_resource_and_details_say_what_the_token_allows_and_policy_decides() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let ask = |parameters: &[(&str, &str)]| {
        ask(&fixture, parameters).header("authorization", basic("build-bot", &secret))
    };
    let scope = async |parameters: &[(&str, &str)]| token(ask(parameters)).await["scope"].clone();
    assert_eq!(scope(&[]).await, "tool:read_ledger");
    assert_eq!(scope(&[("resource", SERVER)]).await, "tool:read_ledger");
    assert_eq!(
        scope(&[("scope", "tool:search_*")]).await,
        "tool:search_ledger"
    );
    // What is not granted is left out, and the answer says so.
    let asked = [
        ("resource", SERVER),
        ("scope", "tool:delete_ledger tool:search_ledger tool:read_*"),
    ];
    assert_eq!(scope(&asked).await, "tool:read_ledger tool:search_ledger");
    let details = json!([{"type": "mcp", "server": SERVER, "tools": ["read_*", "search_*"],
        "constraints": {"read_ledger": {"/year": {"equal": 2026}}}}]);
    let text = details.to_string();
    let answer = token(ask(&[
        ("authorization_details", &text),
        ("resource", SERVER),
    ]))
    .await;
    assert_eq!(
        answer["authorization_details"][0]["constraints"],
        details[0]["constraints"]
    );
    assert_eq!(answer["scope"], "tool:read_ledger tool:search_ledger");
    let narrowed = token(ask(&[
        ("authorization_details", &text),
        ("scope", "tool:read_*"),
    ]))
    .await;
    assert_eq!(narrowed["scope"], "tool:read_ledger");
    assert_eq!(
        narrowed["authorization_details"][0]["constraints"],
        details[0]["constraints"]
    );
}

#[tokio::test]
async fn a_revoked_agent_gets_nothing_until_it_is_reinstated() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let request = || ask(&fixture, &[]).header("authorization", basic("build-bot", &secret));
    fixture.revoke(json!({"agent": "build-bot"})).await;
    assert_eq!(
        refused(request()).await,
        (400, "unauthorized_client".to_owned())
    );
    let back = fixture
        .operator(Method::POST, "/v1/agents/build-bot/reinstate")
        .send()
        .await
        .unwrap();
    assert_eq!(back.status(), StatusCode::OK);
    token(request()).await;
}

#[tokio::test]
async fn without_defaults_a_client_must_say_what_it_wants() {
    let fixture = TestBroker::new().await;
    let secret = register(&fixture, "build-bot", json!([])).await;
    let ask = |parameters: &[(&str, &str)]| {
        ask(&fixture, parameters).header("authorization", basic("build-bot", &secret))
    };
    assert_eq!(refused(ask(&[])).await.1, "invalid_scope");
    assert_eq!(
        refused(ask(&[("resource", SERVER)])).await.1,
        "invalid_scope"
    );
    assert_eq!(
        refused(ask(&[("scope", "tool:read_ledger")])).await.1,
        "invalid_target"
    );
    assert_eq!(
        token(ask(&[("scope", "tool:read_ledger"), ("resource", SERVER)])).await["scope"],
        "tool:read_ledger"
    );
}

#[tokio::test]
async fn a_client_has_its_rate_and_a_guesser_the_failures_of_its_address() {
    let mut few = test_broker::options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 5.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    let secret = register(&fixture, "build-bot", ledger(&["read_ledger"])).await;
    let good = || ask(&fixture, &[]).header("authorization", basic("build-bot", &secret));
    // As many as may come at once, and one for every second that passes meanwhile.
    let (began, mut served) = (Instant::now(), 0);
    let limited = loop {
        let answer = good().send().await.unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
        served += 1;
        assert!(served <= 6 + began.elapsed().as_secs(), "{served}");
    };
    assert!(served >= 5, "{served}");
    assert!(limited.headers().contains_key("retry-after"));
    assert_eq!(
        error(limited).await,
        (429, "temporarily_unavailable".to_owned())
    );
    // Guessing uses up what the address may get wrong, whatever is guessed; then nothing is looked at.
    let (began, mut failed) = (Instant::now(), 0);
    for at in 0.. {
        let guess = match at % 4 {
            0 => ask(
                &fixture,
                &[("client_id", "build-bot"), ("client_secret", "guess")],
            ),
            1 => ask(
                &fixture,
                &[
                    ("client_id", &format!("bot-{at}")),
                    ("client_secret", "guess"),
                ],
            ),
            2 => ask(&fixture, &[]).header("authorization", "Basic !"),
            _ => ask(
                &fixture,
                &[
                    ("client_assertion", "a.b.c"),
                    ("client_assertion_type", ASSERTION_TYPE),
                ],
            ),
        };
        if refused(guess).await.0 == 429 {
            break;
        }
        failed += 1;
        assert!(failed <= 6 + began.elapsed().as_secs(), "{failed}");
    }
    assert!(failed >= 5, "{failed}");
    let right = fixture
        .operator(Method::GET, "/v1/agents")
        .send()
        .await
        .unwrap();
    assert_eq!(right.status(), StatusCode::TOO_MANY_REQUESTS);
}
