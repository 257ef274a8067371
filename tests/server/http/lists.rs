//! Lists: every item once, in pages.

use hallpass_broker::identity::AgentKey;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use test_broker::{TestBroker, body_of, refused};

/// Every item of the list at `path`, fetched `limit` at a time.
async fn all(fixture: &TestBroker, path: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    let join = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = fixture
            .operator(Method::GET, &format!("{path}{join}limit={limit}{cursor}"))
            .send()
            .await
            .unwrap();
        let page = body_of(page).await;
        let of_page = page["items"].as_array().unwrap();
        assert!(of_page.len() <= limit);
        items.extend(of_page.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

#[tokio::test]
async fn pages_together_are_the_whole_list_in_order() {
    let fixture = TestBroker::new().await;
    for name in ["a", "b", "c", "d"] {
        fixture
            .add_agent(&AgentKey::generate(format!("bot-{name}").parse().unwrap()))
            .await;
        fixture.open_task().await;
        fixture
            .token(&format!("operator-{name}"), &["auditor"], &[])
            .await;
        let server = json!({"server": format!("https://{name}.example/mcp"), "name": format!("server-{name}")});
        fixture
            .operator(Method::POST, "/v1/servers")
            .json(&server)
            .send()
            .await
            .unwrap();
        fixture
            .operator(Method::POST, "/v1/stewards")
            .json(&json!({"name": name}))
            .send()
            .await
            .unwrap();
        let agent = json!({"agent": format!("bot-{name}")});
        fixture
            .operator(Method::POST, "/v1/revocations")
            .json(&agent)
            .send()
            .await
            .unwrap();
    }
    let lists = [
        ("/v1/agents", 5),
        ("/v1/tasks", 4),
        ("/v1/operators", 5),
        ("/v1/servers", 5),
        ("/v1/stewards", 5),
        ("/v1/revocations", 4),
        ("/v1/audit?agent=research-bot&order=oldest", 13),
        ("/v1/audit?agent=research-bot", 13),
    ];
    for (path, count) in lists {
        let whole = all(&fixture, path, 200).await;
        assert_eq!(whole.len(), count, "{path}");
        for limit in [1, 2, 3] {
            assert_eq!(all(&fixture, path, limit).await, whole, "{path} by {limit}");
        }
    }
    let (newest, oldest) = (
        all(&fixture, "/v1/audit", 200).await,
        all(&fixture, "/v1/audit?order=oldest", 200).await,
    );
    assert!(newest.iter().rev().eq(oldest.iter()));
}

#[tokio::test]
async fn a_cursor_is_refused_by_another_list_and_another_filter() {
    let fixture = TestBroker::new().await;
    for _ in 0..3 {
        fixture.open_task().await;
    }
    let page = fixture
        .operator(Method::GET, "/v1/tasks?limit=1")
        .send()
        .await
        .unwrap();
    let cursor = body_of(page).await["next"].as_str().unwrap().to_owned();
    for path in [
        "/v1/tasks?agent=research-bot",
        "/v1/agents?limit=1",
        "/v1/audit?order=oldest",
    ] {
        let (status, body) =
            refused(fixture.operator(Method::GET, &format!("{path}&cursor={cursor}"))).await;
        assert_eq!((status, &body["field"]), (400, &json!("cursor")), "{path}");
    }
}

#[tokio::test]
async fn the_audit_trail_is_found_by_what_it_is_about() {
    let fixture = TestBroker::new().await;
    let task = fixture.open_task().await["task_id"]
        .as_str()
        .unwrap()
        .to_owned();
    fixture.open_task().await;
    let of_task = all(&fixture, &format!("/v1/audit?task={task}"), 200).await;
    let types: Vec<_> = of_task
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["token_issued", "task_opened"]);
    assert!(
        of_task
            .iter()
            .all(|event| event["request"].as_str().unwrap().starts_with("req_"))
    );
    let by_steward = all(&fixture, "/v1/audit?steward=alice", 200).await;
    assert!(by_steward.len() > 4);
    let head = body_of(
        fixture
            .operator(Method::GET, "/v1/audit/head")
            .send()
            .await
            .unwrap(),
    )
    .await;
    let last = &all(&fixture, "/v1/audit", 1).await[0];
    assert_eq!(
        (&head["sequence"], &head["hash"]),
        (&last["seq"], &last["hash"])
    );
}

/// A task may have a thousand passes and delegations, and a list hundreds of tasks.
#[tokio::test]
async fn a_list_of_tasks_does_not_grow_with_what_each_has() {
    let fixture = TestBroker::new().await;
    let issued = fixture.open_task().await;
    let (task, first) = (
        issued["task_id"].as_str().unwrap(),
        issued["revocation_id"].as_str().unwrap(),
    );
    for number in 0..120_u32 {
        let report =
            json!({"blocks": [first, format!("{number:0128x}")], "delegate": "summariser"});
        let reported = fixture
            .agent(Method::POST, &format!("/v1/tasks/{task}/delegations"))
            .json(&report)
            .send()
            .await
            .unwrap();
        assert_eq!(reported.status(), StatusCode::CREATED);
        // What was reported, and not the whole task each time.
        let reported = body_of(reported).await;
        assert_eq!(reported["blocks"], report["blocks"]);
        assert!(reported.get("task_id").is_none());
    }
    let listed = all(&fixture, "/v1/tasks", 10).await;
    assert_eq!(listed[0]["delegation_count"], 120);
    assert!(listed[0].to_string().len() < 1_000, "{}", listed[0]);
    let shown = fixture
        .operator(Method::GET, &format!("/v1/tasks/{task}"))
        .send()
        .await
        .unwrap();
    let shown = body_of(shown).await;
    let delegations = shown["delegations"].as_array().unwrap();
    assert_eq!(
        (delegations.len(), &shown["delegation_count"]),
        (100, &json!(120))
    );
    assert_eq!(delegations[99]["blocks"][1], format!("{:0128x}", 119));
}
