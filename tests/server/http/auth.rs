//! Who may do what.

use hallpass::server::Options;
use hallpass_broker::identity::AgentKey;
use hallpass_core::token::{PassToken, attenuate_operator};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use test_broker::{TestBroker, assertion, body_of, options, refused, task};

fn without_request(mut problem: Value) -> Value {
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

#[tokio::test]
async fn outsiders_cannot_tell_why_they_are_refused() {
    let fixture = TestBroker::new().await;
    let stranger = AgentKey::generate("stranger".parse().unwrap());
    let impostor = AgentKey::generate("research-bot".parse().unwrap());
    let pass = fixture.open_task().await["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut changed = fixture.admin.clone();
    changed.replace_range(40..41, if &changed[40..41] == "A" { "B" } else { "A" });
    let credentials = [
        None,
        Some("Basic YTpi".to_owned()),
        Some("Bearer".to_owned()),
        Some(format!("Bearer {}", assertion(&stranger))),
        Some(format!("Bearer {}", assertion(&impostor))),
        Some(format!("Bearer {pass}")),
        Some(format!("Bearer {changed}")),
        Some("Bearer AAAA".to_owned()),
        Some("Bearer a.b.c".to_owned()),
    ];
    let before = fixture.records();
    let mut answers = Vec::new();
    for credential in &credentials {
        for path in ["/v1/tasks", "/v1/agents"] {
            let mut request = fixture.request(Method::GET, path);
            if let Some(credential) = credential {
                request = request.header("authorization", credential);
            }
            let response = request.send().await.unwrap();
            assert_eq!(
                response.headers()["www-authenticate"],
                "Bearer realm=\"hallpass\""
            );
            let (status, body) = test_broker::problem(response).await;
            answers.push((status, without_request(body)));
        }
    }
    assert_eq!(answers[0].0, 401);
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(fixture.records(), before);
}

#[tokio::test]
async fn two_credentials_are_none() {
    let fixture = TestBroker::new().await;
    let both = fixture
        .operator(Method::GET, "/v1/agents")
        .header("authorization", format!("Bearer {}", fixture.admin));
    assert_eq!(refused(both).await.0, 401);
}

#[tokio::test]
async fn an_assertion_is_used_once_even_to_read_and_even_over_a_restart() {
    let fixture = TestBroker::new().await;
    let (read, written, failed) = (
        assertion(&fixture.bot),
        assertion(&fixture.bot),
        assertion(&fixture.bot),
    );
    let get = |fixture: &TestBroker, text: &str| {
        fixture.request(Method::GET, "/v1/tasks").bearer_auth(text)
    };
    assert_eq!(
        get(&fixture, &read).send().await.unwrap().status(),
        StatusCode::OK
    );
    let open = fixture
        .request(Method::POST, "/v1/tasks")
        .bearer_auth(&written)
        .json(&task());
    assert_eq!(open.send().await.unwrap().status(), StatusCode::CREATED);
    // One whose request was refused before anything was recorded is used up, too.
    let bad = fixture
        .request(Method::POST, "/v1/tasks")
        .bearer_auth(&failed)
        .json(&json!({}));
    assert_eq!(refused(bad).await.0, 400);
    for text in [&read, &written, &failed] {
        assert_eq!(refused(get(&fixture, text)).await.0, 401);
    }
    let fixture = fixture.restarted().await;
    for text in [&read, &written, &failed] {
        assert_eq!(refused(get(&fixture, text)).await.0, 401);
    }
    assert_eq!(
        fixture
            .agent(Method::GET, "/v1/tasks")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn one_of_twenty_requests_with_one_assertion_is_served() {
    let fixture = TestBroker::new().await;
    let text = assertion(&fixture.bot);
    let sent = (0..20).map(|_| {
        fixture
            .request(Method::GET, "/v1/tasks")
            .bearer_auth(&text)
            .send()
    });
    let answers = futures_util::future::join_all(sent).await;
    let served = answers
        .iter()
        .filter(|answer| answer.as_ref().unwrap().status() == StatusCode::OK);
    assert_eq!(served.count(), 1);
}

#[tokio::test]
async fn agents_do_nothing_of_operators_and_operators_nothing_of_agents() {
    let fixture = TestBroker::new().await;
    let id = fixture.open_task().await["task_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = fixture.records();
    for (method, path) in [
        (Method::GET, "/v1/agents".to_owned()),
        (Method::POST, "/v1/agents".to_owned()),
        (Method::DELETE, "/v1/agents/research-bot".to_owned()),
        (Method::POST, "/v1/revocations".to_owned()),
        (Method::POST, "/v1/revocations/bulk".to_owned()),
        (Method::GET, "/v1/revocations".to_owned()),
        (Method::PUT, "/v1/servers".to_owned()),
        (Method::DELETE, "/v1/servers/ledger".to_owned()),
        (Method::GET, "/v1/stewards".to_owned()),
        (Method::POST, "/v1/operators".to_owned()),
        (Method::POST, "/v1/keys/root/rotate".to_owned()),
        (Method::GET, "/v1/policy".to_owned()),
        (Method::POST, "/v1/policy/reload".to_owned()),
        (Method::GET, "/v1/audit".to_owned()),
        (Method::GET, "/v1/audit/head".to_owned()),
        (
            Method::GET,
            "/v1/audit/proofs/inclusion?sequence=1".to_owned(),
        ),
        (
            Method::GET,
            "/v1/audit/proofs/consistency?from=1".to_owned(),
        ),
        (Method::GET, "/v1/audit/export".to_owned()),
        (Method::GET, "/v1/audit/reports/activity".to_owned()),
        (
            Method::GET,
            "/v1/audit/reports/reach?server=ledger&tool=read_ledger".to_owned(),
        ),
        (Method::GET, "/v1/audit/reports/refusals".to_owned()),
        (Method::GET, "/v1/audit/reports/live".to_owned()),
        (Method::GET, "/v1/audit/reports/entitlements".to_owned()),
        (Method::GET, "/v1/decisions".to_owned()),
        (Method::POST, "/v1/decisions".to_owned()),
        (Method::GET, format!("/v1/feed?server={}", support::SERVER)),
    ] {
        assert_eq!(
            refused(fixture.agent(method, &path).json(&json!({})))
                .await
                .0,
            403,
            "{path}"
        );
    }
    for path in [
        "/v1/tasks".to_owned(),
        format!("/v1/tasks/{id}/tokens"),
        format!("/v1/tasks/{id}/complete"),
        format!("/v1/tasks/{id}/delegations"),
    ] {
        assert_eq!(
            refused(fixture.operator(Method::POST, &path).json(&task()))
                .await
                .0,
            403,
            "{path}"
        );
    }
    assert_eq!(fixture.records(), before);
}

#[tokio::test]
async fn an_agent_sees_nothing_of_another_agents_tasks() {
    let fixture = TestBroker::new().await;
    let id = fixture.open_task().await["task_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = AgentKey::generate("other-bot".parse().unwrap());
    fixture.add_agent(&other).await;
    let unknown = "tsk_00000000000000000000000000000001";
    let mut answers = Vec::new();
    for task in [id.as_str(), unknown] {
        for (method, end) in [
            (Method::GET, ""),
            (Method::POST, "/tokens"),
            (Method::POST, "/complete"),
        ] {
            let request = fixture
                .request(method, &format!("/v1/tasks/{task}{end}"))
                .bearer_auth(assertion(&other));
            let (status, body) = refused(request.json(&json!({}))).await;
            answers.push((end, status, body["code"].clone(), body["detail"].clone()));
        }
    }
    let (own, none) = answers.split_at(3);
    assert_eq!(own, none);
    assert!(own.iter().all(|answer| answer.1 == 404), "{own:?}");
    let listed = fixture
        .request(Method::GET, "/v1/tasks")
        .bearer_auth(assertion(&other))
        .send()
        .await
        .unwrap();
    assert_eq!(body_of(listed).await["items"], json!([]));
    let asked = fixture
        .request(Method::GET, "/v1/tasks?agent=research-bot")
        .bearer_auth(assertion(&other));
    assert_eq!(refused(asked).await.0, 403);
}

#[tokio::test]
async fn an_attenuated_token_does_its_operation_and_no_other() {
    let fixture = TestBroker::new().await;
    let admin = PassToken::from_text(fixture.admin.clone());
    let narrowed = attenuate_operator(&admin, &["revocations:create"], None).unwrap();
    let narrowed = |method, path| {
        fixture
            .request(method, path)
            .bearer_auth(narrowed.token.expose())
    };
    let id = fixture.open_task().await["task_id"].clone();
    for (method, path) in [
        (Method::GET, "/v1/agents"),
        (Method::GET, "/v1/revocations"),
        (Method::POST, "/v1/operators"),
    ] {
        assert_eq!(
            refused(narrowed(method, path).json(&json!({}))).await.0,
            403,
            "{path}"
        );
    }
    let revoked = narrowed(Method::POST, "/v1/revocations")
        .json(&json!({"task": id}))
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn an_operator_token_where_agents_belong_counts_against_the_address() {
    let mut few = options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 5.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    let misused = || fixture.operator(Method::POST, "/v1/tasks").json(&task());
    let mut refusals = 0;
    while refused(misused()).await.0 == 403 {
        refusals += 1;
        assert!(refusals < 1_000, "it is refused for ever");
    }
    assert!(refusals >= 5, "{refusals}");
}

#[tokio::test]
async fn roles_hold_over_http() {
    let fixture = TestBroker::new().await;
    let other = "https://other.example/mcp";
    let manifest = json!({"server": other, "name": "other"});
    fixture
        .operator(Method::POST, "/v1/servers")
        .json(&manifest)
        .send()
        .await
        .unwrap();
    let verifier = fixture
        .token("ledger-verifier", &["verifier"], &[support::SERVER])
        .await;
    let auditor = fixture.token("auditor", &["auditor"], &[]).await;
    let try_all = async |token: &str| {
        let mut statuses = Vec::new();
        for (method, path) in [
            (Method::GET, format!("/v1/feed?server={}", support::SERVER)),
            (Method::GET, format!("/v1/feed?server={other}")),
            (Method::GET, "/v1/feed?server=nothing".to_owned()),
            (Method::GET, "/v1/agents".to_owned()),
            (Method::GET, "/v1/audit".to_owned()),
            (Method::GET, "/v1/decisions".to_owned()),
            (Method::GET, "/v1/tasks".to_owned()),
            (Method::POST, "/v1/revocations".to_owned()),
            (Method::POST, "/v1/operators".to_owned()),
            (Method::POST, "/v1/tasks".to_owned()),
        ] {
            let request = fixture
                .request(method, &path)
                .bearer_auth(token)
                .json(&json!({}));
            statuses.push(request.send().await.unwrap().status().as_u16());
        }
        statuses
    };
    assert_eq!(
        try_all(&verifier).await,
        [200, 403, 403, 403, 403, 403, 403, 403, 403, 403]
    );
    assert_eq!(
        try_all(&auditor).await,
        [200, 200, 404, 200, 200, 200, 200, 403, 403, 403]
    );
}

#[tokio::test]
async fn a_removed_operator_and_a_revoked_token_are_refused_at_once() {
    let fixture = TestBroker::new().await;
    let token = fixture.token("second", &["admin"], &[]).await;
    let get = || {
        fixture
            .request(Method::GET, "/v1/agents")
            .bearer_auth(&token)
    };
    assert_eq!(get().send().await.unwrap().status(), StatusCode::OK);
    let removed = fixture
        .operator(Method::DELETE, "/v1/operators/second")
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    assert_eq!(refused(get()).await.0, 401);

    let body = json!({"operator": "third", "roles": ["admin"], "ttl_seconds": 3600});
    let made = body_of(
        fixture
            .operator(Method::POST, "/v1/operators")
            .json(&body)
            .send()
            .await
            .unwrap(),
    )
    .await;
    let revoke = json!({"revocation_id": made["revocation_id"]});
    fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&revoke)
        .send()
        .await
        .unwrap();
    let third = fixture
        .request(Method::GET, "/v1/agents")
        .bearer_auth(made["token"].as_str().unwrap());
    assert_eq!(refused(third).await.0, 401);
}

#[tokio::test]
async fn too_many_requests_are_429_with_a_time_to_wait() {
    let mut few = options();
    few.rates.per_second = 1.try_into().unwrap();
    few.rates.burst = 5.try_into().unwrap();
    let fixture = TestBroker::with(few).await;
    let flood = async |credential: &str| {
        let mut last = (0, Value::Null);
        for _ in 0..12 {
            let response = fixture
                .request(Method::GET, "/v1/agents")
                .bearer_auth(credential)
                .send()
                .await
                .unwrap();
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                assert!(
                    response.headers()["retry-after"]
                        .to_str()
                        .unwrap()
                        .parse::<u64>()
                        .unwrap()
                        >= 1
                );
                last = test_broker::problem(response).await;
                break;
            }
        }
        last
    };
    let (status, body) = flood(&fixture.admin).await;
    assert_eq!((status, &body["code"]), (429, &json!("rate_limited")));
    // The agent has a quota of its own.
    assert_eq!(
        fixture
            .agent(Method::GET, "/v1/tasks")
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    // An address that proves nothing is refused before its credential is looked at.
    assert_eq!(flood("AAAA").await.0, 429);
}

#[tokio::test]
async fn no_more_requests_at_once_than_allowed() {
    let fixture = TestBroker::with(Options {
        max_requests: 1,
        ..options()
    })
    .await;
    // The body never ends, so the request stays under way.
    let (keep, body) = futures_util::future::abortable(futures_util::future::pending::<()>());
    drop(body);
    let stuck = reqwest::Body::wrap_stream(futures_util::stream::once(async move {
        let _ = keep.await;
        Ok::<_, std::io::Error>(Vec::<u8>::new())
    }));
    let pending = tokio::spawn(
        fixture
            .operator(Method::POST, "/v1/stewards")
            .header("content-type", "application/json")
            .body(stuck)
            .send(),
    );
    let mut status = StatusCode::OK;
    for _ in 0..200 {
        status = fixture
            .operator(Method::GET, "/v1/agents")
            .send()
            .await
            .unwrap()
            .status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    pending.abort();
}

#[tokio::test]
async fn agents_that_hold_every_place_keep_no_operator_from_revoking() {
    let fixture = TestBroker::with(Options {
        max_requests: 8,
        ..options()
    })
    .await;
    let mut stuck = Vec::new();
    for number in 0..8 {
        let key = AgentKey::generate(format!("slow-{number}").parse().unwrap());
        fixture.add_agent(&key).await;
        // The body never comes, so the request stays under way.
        let head = format!(
            "POST /v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n",
            assertion(&key)
        );
        let mut connection = tokio::net::TcpStream::connect(fixture.address)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes())
            .await
            .unwrap();
        stuck.push(connection);
    }
    let mut status = StatusCode::OK;
    for _ in 0..200 {
        status = fixture
            .agent(Method::GET, "/v1/tasks")
            .send()
            .await
            .unwrap()
            .status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let revoked = fixture
        .operator(Method::POST, "/v1/revocations")
        .json(&json!({"agent": "slow-1"}))
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn one_operator_has_its_share_of_the_streams() {
    let fixture = TestBroker::with(Options {
        max_streams: 8,
        ..options()
    })
    .await;
    let follow = async |token: &str| {
        let feed = fixture
            .request(Method::GET, &format!("/v1/feed?server={}", support::SERVER))
            .bearer_auth(token);
        feed.header("accept", "text/event-stream")
            .send()
            .await
            .unwrap()
    };
    let other = fixture
        .token("ledger-verifier", &["verifier"], &[support::SERVER])
        .await;
    let first = follow(&fixture.admin).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(
        follow(&fixture.admin).await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(follow(&other).await.status(), StatusCode::OK);
}
