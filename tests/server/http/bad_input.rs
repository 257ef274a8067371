//! Bad input: a 4xx problem that names the member, and nothing half-done.

use hallpass::server::Options;
use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use test_broker::{TestBroker, options, problem, refused, task};

/// What a request's body is made of, and what is wrong with it.
struct Case(Method, &'static str, String, &'static str);

fn with(mut body: Value, members: Value) -> String {
    body.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    body.to_string()
}

fn without(mut body: Value, member: &str) -> String {
    body.as_object_mut().unwrap().remove(member);
    body.to_string()
}

fn detail(members: Value) -> String {
    let mut detail = json!({"type": "mcp", "server": support::SERVER, "tools": ["read_ledger"]});
    detail
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    with(task(), json!({"authorization_details": [detail]}))
}

fn agent_cases() -> Vec<Case> {
    let case = |body: String, field| Case(Method::POST, "/v1/tasks", body, field);
    vec![
        case(String::new(), "body"),
        case("{".to_owned(), "body"),
        case("[]".to_owned(), "body"),
        case("null".to_owned(), "body"),
        case(format!("{} x", task()), "body"),
        case(format!("\u{feff}{}", task()), "body"),
        case(
            format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
            "body",
        ),
        case(
            task()
                .to_string()
                .replacen('{', "{\"purpose\":\"other\",", 1),
            "purpose",
        ),
        case(
            task()
                .to_string()
                .replace("\"tools\"", "\"server\":\"https://x.example\",\"tools\""),
            "server",
        ),
        case(without(task(), "purpose"), "purpose"),
        case(with(task(), json!({"purpose": " "})), "purpose"),
        case(with(task(), json!({"purpose": "x".repeat(501)})), "purpose"),
        case(with(task(), json!({"purpose": 7})), "purpose"),
        case(without(task(), "ttl_seconds"), "ttl_seconds"),
        case(with(task(), json!({"ttl_seconds": 0})), "ttl_seconds"),
        case(with(task(), json!({"ttl_seconds": -1})), "ttl_seconds"),
        case(with(task(), json!({"ttl_seconds": 1.5})), "ttl_seconds"),
        case(with(task(), json!({"ttl_seconds": "300"})), "ttl_seconds"),
        case(
            with(task(), json!({"ttl_seconds": u64::MAX})),
            "ttl_seconds",
        ),
        case(
            without(task(), "authorization_details"),
            "authorization_details",
        ),
        case(
            with(task(), json!({"authorization_details": []})),
            "authorization_details",
        ),
        case(detail(json!({"tools": []})), "authorization_details"),
        case(
            detail(json!({"type": "other"})),
            "authorization_details[0].type",
        ),
        case(
            detail(json!({"server": "https://Ledger.example/mcp"})),
            "authorization_details[0].server",
        ),
        case(
            detail(json!({"tools": ["a b"]})),
            "authorization_details[0].tools[0]",
        ),
        case(
            detail(json!({"admin": true})),
            "authorization_details[0].admin",
        ),
        case(
            with(task(), json!({"allow_partial": "yes"})),
            "allow_partial",
        ),
        case(with(task(), json!({"context": {"a": 1.5}})), "context"),
        case(with(task(), json!({"context": {"a": []}})), "context"),
        case(with(task(), json!({"subject_token": "x"})), "subject_token"),
        case(with(task(), json!({"holder_key": {}})), "holder_key"),
        case(
            with(task(), json!({"max_delegation_depth": 1})),
            "max_delegation_depth",
        ),
        case(with(task(), json!({"ttl": 1})), "ttl"),
        Case(Method::POST, "/v1/tasks?x=1", task().to_string(), "query"),
        Case(
            Method::POST,
            "/v1/tasks/tsk_1/tokens",
            "{}".to_owned(),
            "task_id",
        ),
        Case(
            Method::POST,
            "/v1/tasks/TSK_00000000000000000000000000000001/complete",
            "{}".to_owned(),
            "task_id",
        ),
        Case(
            Method::POST,
            "/v1/tasks/tsk_00000000000000000000000000000001/complete",
            "{\"x\":1}".to_owned(),
            "x",
        ),
        Case(Method::GET, "/v1/tasks?limit=0", String::new(), "limit"),
        Case(Method::GET, "/v1/tasks?limit=201", String::new(), "limit"),
        Case(
            Method::GET,
            "/v1/tasks?limit=1&limit=1",
            String::new(),
            "limit",
        ),
        Case(Method::GET, "/v1/tasks?colour=red", String::new(), "colour"),
        Case(Method::GET, "/v1/tasks?agent=A", String::new(), "agent"),
        Case(Method::GET, "/v1/tasks?agent=", String::new(), "agent"),
        Case(
            Method::GET,
            "/v1/tasks?cursor=AAAA",
            String::new(),
            "cursor",
        ),
    ]
}

fn operator_cases() -> Vec<Case> {
    let post = |path, body: Value, field| Case(Method::POST, path, body.to_string(), field);
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let agent = |members: Value| {
        let agent = json!({"agent": "other-bot", "steward": "bob", "keys": [jwk.clone()]});
        serde_json::from_str::<Value>(&with(agent, members)).unwrap()
    };
    let operator = json!({"operator": "eve", "roles": ["admin"], "ttl_seconds": 3600});
    let operator =
        |members: Value| serde_json::from_str::<Value>(&with(operator.clone(), members)).unwrap();
    vec![
        post("/v1/revocations", json!({}), "subject"),
        post(
            "/v1/revocations",
            json!({"agent": "research-bot", "steward": "alice"}),
            "subject",
        ),
        post(
            "/v1/revocations",
            json!({"agent": "research-bot", "only_token": true}),
            "only_token",
        ),
        post(
            "/v1/revocations",
            json!({"revocation_id": "ab"}),
            "revocation_id",
        ),
        post("/v1/revocations", json!({"key": -1}), "key"),
        post(
            "/v1/revocations",
            json!({"agent": "research-bot", "reason": "x".repeat(501)}),
            "reason",
        ),
        post("/v1/agents", agent(json!({"agent": "Other-Bot"})), "agent"),
        post("/v1/agents", agent(json!({"keys": []})), "keys"),
        post("/v1/agents", agent(json!({"keys": [jwk, jwk]})), "keys"),
        post(
            "/v1/agents",
            agent(json!({"keys": [{"kty": "oct", "k": "AAAA"}]})),
            "keys",
        ),
        post("/v1/agents", agent(json!({"steward": ""})), "steward"),
        post(
            "/v1/agents",
            agent(json!({"steward": "stw_00000000000000000000000000000009"})),
            "steward",
        ),
        post(
            "/v1/agents",
            agent(json!({"groups": ["a", "B"]})),
            "groups[1]",
        ),
        post("/v1/operators", operator(json!({"roles": []})), "roles"),
        post(
            "/v1/operators",
            operator(json!({"roles": ["root"]})),
            "roles[0]",
        ),
        post(
            "/v1/operators",
            operator(json!({"roles": ["approver"]})),
            "roles[0]",
        ),
        post(
            "/v1/operators",
            operator(json!({"roles": ["verifier"]})),
            "servers",
        ),
        post(
            "/v1/operators",
            operator(json!({"servers": [support::SERVER]})),
            "servers",
        ),
        post(
            "/v1/operators",
            operator(json!({"ttl_seconds": 1})),
            "ttl_seconds",
        ),
        post("/v1/stewards", json!({"name": "a\nb"}), "name"),
        post(
            "/v1/policy/grants",
            json!({"id": "g", "agents": ["*"], "server": "ledger", "tools": ["*"], "max_ttl": "soon"}),
            "max_ttl",
        ),
        post(
            "/v1/policy/grants",
            json!({"id": "../g", "agents": ["*"], "server": "ledger", "tools": ["*"], "max_ttl": "1m"}),
            "id",
        ),
        post("/v1/policy/explain", task(), "agent"),
        Case(
            Method::PUT,
            "/v1/servers",
            json!({"server": support::SERVER, "name": "ledger", "x": 1}).to_string(),
            "x",
        ),
        Case(
            Method::PUT,
            "/v1/servers",
            json!({"server": support::SERVER, "name": "ledger", "verifier": {"mask": true}})
                .to_string(),
            "verifier",
        ),
        Case(
            Method::PUT,
            "/v1/agents/research-bot",
            agent(json!({})).to_string(),
            "agent",
        ),
        Case(
            Method::DELETE,
            "/v1/agents/Research",
            String::new(),
            "agent",
        ),
        Case(
            Method::POST,
            "/v1/keys/other/rotate",
            String::new(),
            "purpose",
        ),
        Case(
            Method::GET,
            "/v1/audit?order=random",
            String::new(),
            "order",
        ),
        Case(
            Method::GET,
            "/v1/audit?from=yesterday",
            String::new(),
            "from",
        ),
        Case(
            Method::GET,
            "/v1/audit/proofs/inclusion",
            String::new(),
            "sequence",
        ),
        Case(
            Method::GET,
            "/v1/audit/proofs/inclusion?sequence=0",
            String::new(),
            "sequence",
        ),
        Case(
            Method::GET,
            "/v1/audit/proofs/inclusion?sequence=1&size=100000",
            String::new(),
            "size",
        ),
        Case(
            Method::GET,
            "/v1/audit/proofs/consistency?from=100000",
            String::new(),
            "from",
        ),
        Case(
            Method::GET,
            "/v1/audit/export?from=2&to=1",
            String::new(),
            "from",
        ),
        Case(Method::GET, "/v1/audit/export?to=-1", String::new(), "to"),
        Case(
            Method::GET,
            "/v1/audit/reports/reach?server=ledger",
            String::new(),
            "tool",
        ),
        Case(
            Method::GET,
            "/v1/audit/reports/refusals?from=yesterday",
            String::new(),
            "from",
        ),
        Case(Method::GET, "/v1/feed", String::new(), "server"),
        Case(
            Method::GET,
            "/v1/feed?server=ledger&since=-1",
            String::new(),
            "since",
        ),
    ]
}

async fn refuse_all(fixture: &TestBroker, cases: Vec<Case>, is_agent: bool) {
    for Case(method, path, body, field) in cases {
        let before = fixture.records();
        let request = if is_agent {
            fixture.agent(method, path)
        } else {
            fixture.operator(method, path)
        };
        let request = if body.is_empty() && !path.ends_with("tasks") {
            request
        } else {
            request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.clone())
        };
        let shown: String = body.chars().take(200).collect();
        let (status, problem) = refused(request).await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("invalid_request")),
            "{path} {shown}: {problem}"
        );
        assert_eq!(problem["field"], field, "{path} {shown}: {problem}");
        assert_eq!(fixture.records(), before, "{path} {shown}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_done() {
    let fixture = TestBroker::new().await;
    refuse_all(&fixture, agent_cases(), true).await;
    refuse_all(&fixture, operator_cases(), false).await;
}

#[tokio::test]
async fn a_body_has_its_type_and_its_size() {
    let fixture = TestBroker::with(Options {
        max_body: 4096,
        ..options()
    })
    .await;
    let json = "application/json";
    for (content_type, status) in [
        (Some("text/plain"), 415),
        (Some("application/json; charset=latin1"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (None, 415),
        (Some("application/json; charset=utf-8"), 201),
        (Some("APPLICATION/JSON"), 201),
    ] {
        let mut request = fixture
            .agent(Method::POST, "/v1/tasks")
            .body(task().to_string());
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        assert_eq!(
            request.send().await.unwrap().status(),
            status,
            "{content_type:?}"
        );
    }
    let gzip = fixture
        .agent(Method::POST, "/v1/tasks")
        .header(header::CONTENT_TYPE, json)
        .header("content-encoding", "gzip");
    assert_eq!(refused(gzip.body(task().to_string())).await.0, 415);

    let padded =
        |bytes: usize| format!("{}{}", task(), " ".repeat(bytes - task().to_string().len()));
    let sized = |bytes| {
        fixture
            .agent(Method::POST, "/v1/tasks")
            .header(header::CONTENT_TYPE, json)
            .body(padded(bytes))
    };
    assert_eq!(
        sized(4096).send().await.unwrap().status(),
        StatusCode::CREATED
    );
    let (status, body) = refused(sized(4097)).await;
    assert_eq!((status, &body["code"]), (413, &json!("request_too_large")));
    // Without a declared length it is counted while it comes.
    let chunks = futures_util::stream::iter(
        padded(5000)
            .into_bytes()
            .chunks(100)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let streamed = fixture
        .agent(Method::POST, "/v1/tasks")
        .header(header::CONTENT_TYPE, json);
    assert_eq!(
        refused(streamed.body(reqwest::Body::wrap_stream(chunks)))
            .await
            .0,
        413
    );
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems_too() {
    let fixture = TestBroker::new().await;
    let (status, body) = refused(fixture.operator(Method::GET, "/v1/nothing")).await;
    assert_eq!((status, &body["code"]), (404, &json!("not_found")));
    let response = fixture
        .operator(Method::PATCH, "/v1/tasks")
        .send()
        .await
        .unwrap();
    assert!(response.headers().contains_key("allow"));
    let (status, body) = problem(response).await;
    assert_eq!(
        (status, &body["code"]),
        (405, &json!("http_method_not_allowed"))
    );
    let (status, body) = refused(
        fixture
            .operator(Method::GET, "/v1/tasks")
            .header("origin", "https://evil.example"),
    )
    .await;
    assert_eq!((status, &body["field"]), (403, &json!("Origin")));
    // A body that is not read any more ends the connection, which is said.
    for (body, closes) in [(None, false), (Some(vec![b' '; 300_000]), true)] {
        let mut request = fixture
            .operator(Method::POST, "/v1/tasks")
            .header("origin", "https://evil.example");
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403);
        let said = response.headers().get("connection");
        assert_eq!(said.is_some_and(|value| value == "close"), closes);
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_there_already_409() {
    let fixture = TestBroker::new().await;
    for (method, path) in [
        (Method::GET, "/v1/agents/nobody"),
        (Method::DELETE, "/v1/agents/nobody"),
        (Method::GET, "/v1/servers/nothing"),
        (Method::DELETE, "/v1/operators/nobody"),
        (
            Method::GET,
            "/v1/tasks/tsk_00000000000000000000000000000001",
        ),
        (
            Method::DELETE,
            "/v1/stewards/stw_00000000000000000000000000000001/name",
        ),
        (Method::GET, "/v1/feed?server=nothing"),
    ] {
        assert_eq!(
            refused(fixture.operator(method, path)).await.0,
            404,
            "{path}"
        );
    }
    let again = fixture
        .operator(Method::POST, "/v1/servers")
        .json(&support::manifest());
    let (status, body) = refused(again).await;
    assert_eq!((status, &body["code"]), (409, &json!("conflict")));
    assert_eq!(
        refused(fixture.operator(Method::POST, "/v1/agents/research-bot/reinstate"))
            .await
            .0,
        409
    );
}

#[tokio::test]
async fn a_grant_that_does_not_check_is_422_with_its_place_and_leaves_no_file() {
    let fixture = TestBroker::new().await;
    let grant = json!({"id": "bad", "agents": ["*"], "server": "ledger", "tools": ["*"], "max_ttl": "1m", "constraints": {"read_ledger": {"/yeer": {"max": 1}}}});
    let before = fixture.records();
    let (status, body) = refused(
        fixture
            .operator(Method::POST, "/v1/policy/grants")
            .json(&grant),
    )
    .await;
    assert_eq!(status, 422);
    assert!(
        body["errors"][0].as_str().unwrap().contains("bad.toml:"),
        "{body}"
    );
    assert!(!fixture.directory.path().join("policy/bad.toml").exists());
    assert_eq!(fixture.records(), before);
}
