//! `/v1/decisions`: who may report what, whole batches or nothing, and how it is read.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use support::SERVER;
use test_broker::{TestBroker, body_of, refused};

/// A report of a call in a task, as `POST /v1/tasks` answered it.
fn call(n: u32, task: &Value) -> Value {
    json!({
        "type": "call", "id": format!("rpt_{n:032x}"), "at": "2026-11-22T10:00:00Z", "server": SERVER,
        "decision": "allowed",
        "call": {"method": "tools/call", "kind": "tool", "name": "read_ledger", "arguments": "0".repeat(64)},
        "task": task["task_id"], "agent": "research-bot", "steward": task["steward"],
        "chain": [task["revocation_id"]],
        "caused_by": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    })
}

fn with(mut report: Value, pointer: &str, value: Value) -> Value {
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    report.pointer_mut(parent).unwrap()[member] = value;
    report
}

/// A fixture with a verifier's token, and a task with its steward.
async fn with_registrations() -> (TestBroker, String, Value) {
    let fixture = TestBroker::new().await;
    let token = fixture
        .token("ledger-verifier", &["verifier"], &[SERVER])
        .await;
    let task = task(&fixture).await;
    (fixture, token, task)
}

async fn task(fixture: &TestBroker) -> Value {
    let mut task = fixture.open_task().await;
    let path = format!("/v1/tasks/{}", task["task_id"].as_str().unwrap());
    let view = body_of(fixture.operator(Method::GET, &path).send().await.unwrap()).await;
    task["steward"] = view["steward"].clone();
    task
}

fn post(fixture: &TestBroker, token: &str, reports: &[Value]) -> reqwest::RequestBuilder {
    fixture
        .request(Method::POST, "/v1/decisions")
        .bearer_auth(token)
        .json(&json!({"reports": reports}))
}

/// How many were recorded and how many were known.
async fn recorded(request: reqwest::RequestBuilder) -> (u64, u64) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let body = body_of(answer).await;
    (
        body["recorded"].as_u64().unwrap(),
        body["known"].as_u64().unwrap(),
    )
}

async fn list(fixture: &TestBroker, query: &str) -> Vec<Value> {
    let answer = fixture
        .operator(Method::GET, &format!("/v1/decisions?order=oldest{query}"))
        .send()
        .await
        .unwrap();
    body_of(answer).await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_report_counts_once_however_often_it_is_sent() {
    let (fixture, token, task) = with_registrations().await;
    let reports = [call(1, &task), call(2, &task)];
    let keyed = || post(&fixture, &token, &reports).header("idempotency-key", "one");
    assert_eq!(recorded(keyed()).await, (2, 0));
    // The same batch gets the same answer; under another key its reports are known.
    assert_eq!(recorded(keyed()).await, (2, 0));
    assert_eq!(
        recorded(post(&fixture, &token, &[call(2, &task), call(3, &task)])).await,
        (1, 1)
    );
    let (one, two) = tokio::join!(
        recorded(post(&fixture, &token, &[call(4, &task)])),
        recorded(post(
            &fixture,
            &token,
            &[call(4, &task), call(4 + 1, &task)]
        )),
    );
    assert_eq!((one.0 + two.0, one.1 + two.1), (2, 1));
    let fixture = fixture.restarted().await;
    assert_eq!(recorded(post(&fixture, &token, &reports)).await, (0, 2));
    assert_eq!(list(&fixture, "").await.len(), 5);
}

#[tokio::test]
async fn a_verifier_reports_for_its_own_servers_and_nobody_else_reports() {
    let (fixture, token, task) = with_registrations().await;
    let foreign = with(
        call(2, &task),
        "/server",
        json!("https://other.example/mcp"),
    );
    let (status, problem) =
        refused(post(&fixture, &token, &[call(1, &task), foreign.clone()])).await;
    assert_eq!(
        (status, &problem["field"]),
        (403, &json!("reports[1].server"))
    );
    let gap = json!({"type": "lost", "id": format!("rpt_{:032x}", 9), "server": "https://other.example/mcp",
        "from": "2026-11-22T10:00:00Z", "to": "2026-11-22T10:00:01Z"});
    assert_eq!(refused(post(&fixture, &token, &[gap])).await.0, 403);
    let auditor = fixture.token("auditor", &["auditor"], &[]).await;
    assert_eq!(
        refused(post(&fixture, &auditor, &[call(1, &task)])).await.0,
        403
    );
    let agent = fixture
        .agent(Method::POST, "/v1/decisions")
        .json(&json!({"reports": [call(1, &task)]}));
    assert_eq!(refused(agent).await.0, 403);
    assert_eq!(
        refused(
            fixture
                .request(Method::GET, "/v1/decisions")
                .bearer_auth(&token)
        )
        .await
        .0,
        403
    );
    assert_eq!(list(&fixture, "").await, [Value::Null; 0]);
    // Another server's ids are its own.
    let server = json!({"server": "https://other.example/mcp", "name": "other"});
    fixture
        .operator(Method::POST, "/v1/servers")
        .json(&server)
        .send()
        .await
        .unwrap();
    let other = fixture
        .token(
            "other-verifier",
            &["verifier"],
            &["https://other.example/mcp"],
        )
        .await;
    assert_eq!(
        recorded(post(
            &fixture,
            &other,
            &[with(foreign, "/id", call(1, &task)["id"].clone())]
        ))
        .await,
        (1, 0)
    );
    assert_eq!(
        recorded(post(&fixture, &token, &[call(1, &task)])).await,
        (1, 0)
    );
}

#[tokio::test]
async fn a_batch_is_about_few_servers() {
    let (fixture, _, task) = with_registrations().await;
    let about = |n: u32| {
        with(
            call(n, &task),
            "/server",
            json!(format!("https://s{n}.example/mcp")),
        )
    };
    let many: Vec<Value> = (0..65).map(about).collect();
    let (status, problem) = refused(post(&fixture, &fixture.admin, &many)).await;
    assert_eq!(
        (status, &problem["field"]),
        (400, &json!("reports[64].server"))
    );
    let again: Vec<Value> = (0..64)
        .chain(100..103)
        .map(|n| with(about(n % 64), "/id", call(n, &task)["id"].clone()))
        .collect();
    assert_eq!(
        recorded(post(&fixture, &fixture.admin, &again)).await,
        (67, 0)
    );
}

#[tokio::test]
async fn a_batch_with_one_bad_report_is_refused_whole_and_the_report_is_named() {
    let (fixture, token, task) = with_registrations().await;
    let block = task["revocation_id"].clone();
    let bad = [
        ("/id", json!("rpt_1")),
        ("/at", json!("yesterday")),
        ("/decision", json!("perhaps")),
        ("/decision", json!({"refused": []})),
        ("/decision", json!({"refused": ["no_such_reason"]})),
        ("/call/method", json!("tools/list")),
        ("/call/name", json!("a\u{0}b")),
        ("/call/name", json!("x".repeat(1025))),
        ("/call/arguments", json!({"year": 2026})),
        ("/chain", json!([])),
        ("/chain", Value::Array(vec![block; 10])),
        (
            "/delegates",
            json!([{"block": 1, "agent": "scout", "key": "x"}]),
        ),
        ("/holder", json!("x".repeat(5000))),
        ("/caused_by", json!("00-zz")),
        ("/call", Value::Null),
    ];
    for (pointer, value) in bad {
        let report = with(call(2, &task), pointer, value.clone());
        let (status, problem) = refused(post(&fixture, &token, &[call(1, &task), report])).await;
        let field = problem["field"].as_str().unwrap_or_default();
        assert!(
            status == 400 && field.starts_with("reports[1]"),
            "{pointer} {value}: {problem}"
        );
    }
    let twice = refused(post(&fixture, &token, &[call(1, &task), call(1, &task)])).await;
    assert_eq!((twice.0, &twice.1["field"]), (400, &json!("reports[1].id")));
    let many: Vec<Value> = (0..501).map(|n| call(n, &task)).collect();
    assert_eq!(
        refused(post(&fixture, &token, &many)).await.1["field"],
        "reports"
    );
    assert_eq!(
        refused(post(&fixture, &token, &[])).await.1["field"],
        "reports"
    );
    let long = with(call(1, &task), "/padding", json!("x".repeat(1024 * 1024)));
    assert_eq!(refused(post(&fixture, &token, &[long])).await.0, 413);
    let raw = fixture
        .request(Method::POST, "/v1/decisions")
        .bearer_auth(&token)
        .header("content-type", "application/json");
    assert_eq!(
        refused(raw.body(r#"{"reports":[],"reports":[]}"#)).await.0,
        400
    );
    assert_eq!(list(&fixture, "").await, [Value::Null; 0]);
    assert_eq!(
        recorded(post(&fixture, &token, &many[..500])).await,
        (500, 0)
    );
}

#[tokio::test]
async fn what_the_records_do_not_bear_out_is_kept_and_flagged() {
    let (fixture, token, task) = with_registrations().await;
    let another = fixture.open_task().await;
    let other_server = json!({"server": "https://other.example/mcp", "name": "other"});
    fixture
        .operator(Method::POST, "/v1/servers")
        .json(&other_server)
        .send()
        .await
        .unwrap();
    let both = fixture
        .token(
            "both",
            &["verifier"],
            &[SERVER, "https://other.example/mcp"],
        )
        .await;
    let cases = [
        ("confirmed", "/task", task["task_id"].clone()),
        (
            "unknown_task",
            "/task",
            json!("tsk_000000000000000000000000000000ff"),
        ),
        ("other_agent", "/agent", json!("somebody")),
        (
            "other_steward",
            "/steward",
            json!("stw_000000000000000000000000000000ff"),
        ),
        ("other_pass", "/chain", json!([another["revocation_id"]])),
        ("other_pass", "/chain", json!(["ab".repeat(64)])),
        (
            "other_server",
            "/server",
            json!("https://other.example/mcp"),
        ),
    ];
    let reports: Vec<Value> = cases
        .iter()
        .zip(0..)
        .map(|((_, pointer, value), n)| with(call(n, &task), pointer, value.clone()))
        .collect();
    assert_eq!(recorded(post(&fixture, &both, &reports)).await, (7, 0));
    let kept = list(&fixture, "").await;
    for ((expected, pointer, value), kept) in cases.iter().zip(&kept) {
        assert_eq!(kept["attribution"], *expected, "{pointer}");
        assert_eq!(kept["attributed"], *expected == "confirmed");
        assert_eq!(kept.pointer(pointer), Some(value), "as it was told");
        assert_eq!(kept.get("grant").is_some(), *expected == "confirmed");
    }
    assert_eq!(kept[1].get("purpose"), None);
    // To refuse a pass at the wrong server is what a verifier is for.
    let wrong = with(
        with(
            call(8, &task),
            "/server",
            json!("https://other.example/mcp"),
        ),
        "/decision",
        json!({"refused": ["audience"]}),
    );
    assert_eq!(recorded(post(&fixture, &both, &[wrong])).await, (1, 0));
    assert_eq!(
        list(&fixture, "&decision=refused").await[0]["attribution"],
        "confirmed"
    );
    assert_eq!(
        recorded(post(&fixture, &token, &[call(9, &task)])).await,
        (1, 0)
    );
}

#[tokio::test]
async fn calls_are_found_by_what_they_are_about_page_by_page() {
    let (fixture, token, first) = with_registrations().await;
    let second = task(&fixture).await;
    let at = |n: u32| json!(format!("2026-11-22T10:00:{n:02}Z"));
    let mut reports: Vec<Value> = (0..6)
        .map(|n| with(call(n, if n < 4 { &first } else { &second }), "/at", at(n)))
        .collect();
    reports[1] = with(
        reports[1].clone(),
        "/decision",
        json!({"refused": ["not_granted", "expired"]}),
    );
    // Later calls come first: an outage reorders them.
    reports.reverse();
    reports.push(json!({"type": "lost", "id": format!("rpt_{:032x}", 99), "server": SERVER, "count": 3, "from": at(1), "to": at(2)}));
    assert_eq!(recorded(post(&fixture, &token, &reports)).await, (7, 0));
    let (one, two) = (
        first["task_id"].as_str().unwrap(),
        second["task_id"].as_str().unwrap(),
    );
    for (query, expected) in [
        (String::new(), 7),
        (format!("&task={one}"), 4),
        (format!("&task={two}"), 2),
        (format!("&task={one}&decision=refused"), 1),
        ("&agent=research-bot".to_owned(), 6),
        ("&agent=nobody".to_owned(), 0),
        ("&steward=alice".to_owned(), 6),
        ("&server=ledger".to_owned(), 7),
        ("&decision=allowed".to_owned(), 5),
        ("&decision=lost".to_owned(), 1),
        (
            "&from=2026-11-22T10:00:01Z&to=2026-11-22T10:00:03Z".to_owned(),
            3,
        ),
        (format!("&task={two}&from=2026-11-22T10:00:05Z"), 1),
    ] {
        let found = list(&fixture, &query).await;
        assert_eq!(found.len(), expected, "{query}: {found:?}");
    }
    let mut seen = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/decisions?limit=2&server=ledger{cursor}");
        let page = body_of(fixture.operator(Method::GET, &path).send().await.unwrap()).await;
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|call| call["seq"].as_u64().unwrap()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (1..=7).collect());
    assert_eq!(
        refused(fixture.operator(Method::GET, "/v1/decisions?decision=perhaps"))
            .await
            .1["field"],
        "decision"
    );
    assert_eq!(
        refused(fixture.operator(Method::GET, "/v1/decisions?verdict=lost"))
            .await
            .0,
        400
    );
}
