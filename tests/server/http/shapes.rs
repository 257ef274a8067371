//! Shapes: real answers against the OpenAPI document.

use reqwest::Method;
use serde_json::{Value, json};

use test_broker::{TestBroker, task};

/// Whether `value` is of the shape `schema`: every member is known, every required one is there.
fn holds(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return holds(
            document,
            document.pointer(reference.trim_start_matches('#')).unwrap(),
            value,
            place,
        );
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if let Some(choices) = schema["oneOf"].as_array() {
        let is_it = |choice: &&Value| {
            let choice = match choice["$ref"].as_str() {
                Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
                None => *choice,
            };
            let mut required = choice["required"].as_array().into_iter().flatten();
            (choice["type"] == kind || choice["oneOf"].is_array())
                && required.all(|name| value.get(name.as_str().unwrap()).is_some())
        };
        let choice = choices
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{place} is none of its choices: {value}"));
        return holds(document, choice, value, place);
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => return,
        one => vec![one.clone()],
    };
    assert!(
        types.iter().any(|of| of == kind),
        "{place} is a {kind}, not {types:?}"
    );
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| {
                holds(document, &schema["items"], item, &format!("{place}[{at}]"))
            });
        }
        Value::Object(members) => {
            let Some(properties) = schema["properties"].as_object() else {
                let more = &schema["additionalProperties"];
                return members.iter().for_each(|(name, value)| {
                    holds(document, more, value, &format!("{place}.{name}"))
                });
            };
            for (name, value) in members {
                let property = properties
                    .get(name)
                    .unwrap_or_else(|| panic!("{place}.{name} is not in the document"));
                holds(document, property, value, &format!("{place}.{name}"));
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(
                    members.contains_key(name.as_str().unwrap()),
                    "{place}.{name} is missing"
                );
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn answers_have_the_shapes_that_the_document_says() {
    let fixture = TestBroker::new().await;
    let document: Value = fixture
        .request(Method::GET, "/openapi.json")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let check = async |template: &str, method: Method, request: reqwest::RequestBuilder| -> Value {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16().to_string();
        let place = format!("{method} {template} {status}");
        let operation = &document["paths"][template][method.as_str().to_lowercase()];
        let ranged = format!("{}XX", &status[..1]);
        let responses = &operation["responses"];
        let described = responses
            .get(&status)
            .or_else(|| responses.get(&ranged))
            .unwrap_or_else(|| panic!("{place}"));
        let content = response
            .headers()
            .get("content-type")
            .map(|value| value.to_str().unwrap().to_owned());
        let Some(content) = content else {
            return Value::Null;
        };
        let schema = &described["content"][&content]["schema"];
        assert!(
            schema.is_object(),
            "{place}: {content} is not in the document"
        );
        let value: Value = response.json().await.unwrap();
        holds(&document, schema, &value, &place);
        value
    };
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let mut partial = task();
    partial["allow_partial"] = json!(true);
    partial["authorization_details"][0]["tools"] = json!(["read_ledger", "delete_ledger"]);
    let issued = check(
        "/v1/tasks",
        post.clone(),
        fixture.agent(post.clone(), "/v1/tasks").json(&partial),
    )
    .await;
    assert!(issued["dropped"].is_array());
    let mut refused = task();
    refused["authorization_details"][0]["tools"] = json!(["delete_ledger"]);
    check(
        "/v1/tasks",
        post.clone(),
        fixture.agent(post.clone(), "/v1/tasks").json(&refused),
    )
    .await;
    let id = issued["task_id"].as_str().unwrap();
    let path = |end: &str| format!("/v1/tasks/{id}{end}");
    check(
        "/v1/tasks/{task_id}/tokens",
        post.clone(),
        fixture
            .agent(post.clone(), &path("/tokens"))
            .json(&json!({})),
    )
    .await;
    let blocks =
        json!({"blocks": [issued["revocation_id"], "ab".repeat(64)], "delegate": "helper"});
    check(
        "/v1/tasks/{task_id}/delegations",
        post.clone(),
        fixture
            .agent(post.clone(), &path("/delegations"))
            .json(&blocks),
    )
    .await;
    check(
        "/v1/tasks/{task_id}",
        get.clone(),
        fixture.operator(get.clone(), &path("")),
    )
    .await;
    check(
        "/v1/tasks",
        get.clone(),
        fixture.operator(get.clone(), "/v1/tasks"),
    )
    .await;
    check(
        "/v1/tasks/{task_id}/complete",
        post.clone(),
        fixture.agent(post.clone(), &path("/complete")),
    )
    .await;

    let server = support::SERVER;
    let report = json!({"type": "call", "id": "rpt_0123456789abcdef0123456789abcdef", "at": "2026-11-22T10:00:00Z",
        "server": server, "decision": {"refused": ["expired"]}, "task": id, "agent": "research-bot",
        "call": {"method": "tools/call", "kind": "tool", "name": "read_ledger", "arguments": "0".repeat(64)},
        "steward": "stw_0123456789abcdef0123456789abcdef", "chain": [issued["revocation_id"], "ab".repeat(64)],
        "delegates": [{"block": 1, "agent": "scout", "key": "A".repeat(43)}], "holder": "A".repeat(43),
        "caused_by": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"});
    let gap = json!({"type": "lost", "id": "rpt_0123456789abcdef0123456789abcdee", "server": server, "count": 1,
        "from": "2026-11-22T10:00:00Z", "to": "2026-11-22T10:00:00Z"});
    let reports = json!({"reports": [report, gap]});
    let told = fixture
        .operator(post.clone(), "/v1/decisions")
        .json(&reports);
    assert_eq!(
        check("/v1/decisions", post.clone(), told).await["recorded"],
        2
    );

    let client = json!({"agent": "ci-bot", "steward": "alice", "groups": ["research"], "secret": true,
        "default_details": [{"type": "mcp", "server": server, "tools": ["read_*"]}]});
    let client = check(
        "/v1/agents",
        post.clone(),
        fixture.operator(post.clone(), "/v1/agents").json(&client),
    )
    .await;
    let form = |more: &[(&'static str, String)]| {
        let mut form = vec![
            ("grant_type", "client_credentials".to_owned()),
            ("client_id", "ci-bot".to_owned()),
        ];
        form.push((
            "client_secret",
            client["client_secret"].as_str().unwrap().to_owned(),
        ));
        form.extend(more.iter().cloned());
        fixture.request(Method::POST, "/oauth/token").form(&form)
    };
    let details = (
        "authorization_details",
        client["default_details"].to_string(),
    );
    assert!(
        check("/oauth/token", post.clone(), form(&[details])).await["authorization_details"]
            .is_array()
    );
    check(
        "/oauth/token",
        post.clone(),
        form(&[("scope", "admin".to_owned())]),
    )
    .await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/oauth/jwks.json",
    ] {
        check(path, get.clone(), fixture.request(get.clone(), path)).await;
    }
    let (secrets, made) = (
        "/v1/agents/{agent}/secrets",
        fixture.operator(post.clone(), "/v1/agents/ci-bot/secrets"),
    );
    check(secrets, post.clone(), made).await;
    let secret = client["secrets"][0]["secret_id"].as_str().unwrap();
    let removed = fixture.operator(
        delete.clone(),
        &format!("/v1/agents/ci-bot/secrets/{secret}"),
    );
    check(
        "/v1/agents/{agent}/secrets/{secret_id}",
        delete.clone(),
        removed,
    )
    .await;

    let revoke = json!({"revocation_id": issued["revocation_id"], "reason": "lost"});
    check(
        "/v1/revocations",
        post.clone(),
        fixture
            .operator(post.clone(), "/v1/revocations")
            .json(&revoke),
    )
    .await;
    let steward = json!({"steward": "alice"});
    check(
        "/v1/revocations",
        post.clone(),
        fixture
            .operator(post.clone(), "/v1/revocations")
            .json(&steward),
    )
    .await;
    for template in [
        "/v1/revocations",
        "/v1/agents",
        "/v1/servers",
        "/v1/stewards",
        "/v1/operators",
        "/v1/keys",
        "/v1/policy",
        "/v1/audit",
        "/v1/audit/head",
        "/v1/decisions",
    ] {
        check(
            template,
            get.clone(),
            fixture.operator(get.clone(), template),
        )
        .await;
    }
    for (template, query) in [
        ("/v1/audit/proofs/inclusion", "?sequence=3"),
        ("/v1/audit/proofs/inclusion", "?sequence=3&size=4"),
        ("/v1/audit/proofs/consistency", "?from=3"),
        ("/v1/audit/proofs/consistency", "?from=3&to=4"),
        ("/v1/audit/reports/activity", "?limit=200"),
        (
            "/v1/audit/reports/reach",
            "?server=ledger&tool=read_ledger&at=2020-01-01T00:00:00Z",
        ),
        ("/v1/audit/reports/refusals", ""),
        ("/v1/audit/reports/live", ""),
        ("/v1/audit/reports/entitlements", "?server=ledger&limit=1"),
    ] {
        let answer = check(
            template,
            get.clone(),
            fixture.operator(get.clone(), &format!("{template}{query}")),
        )
        .await;
        assert!(answer.is_object(), "{template}{query}: {answer}");
    }
    check(
        "/v1/keys.json",
        get.clone(),
        fixture.request(get.clone(), "/v1/keys.json"),
    )
    .await;
    check(
        "/v1/agents/{agent}",
        get.clone(),
        fixture.operator(get.clone(), "/v1/agents/research-bot"),
    )
    .await;
    check(
        "/v1/servers/{name}",
        get.clone(),
        fixture.operator(get.clone(), "/v1/servers/ledger"),
    )
    .await;
    check(
        "/v1/servers/{name}",
        get.clone(),
        fixture.operator(
            get.clone(),
            "/v1/servers/https%3A%2F%2Fledger.example%2Fmcp",
        ),
    )
    .await;
    let change = json!({"steward": "bob", "keys": [fixture.bot.public_jwk()]});
    check(
        "/v1/agents/{agent}",
        put.clone(),
        fixture
            .operator(put.clone(), "/v1/agents/research-bot")
            .json(&change),
    )
    .await;
    check(
        "/v1/keys/{purpose}/rotate",
        post.clone(),
        fixture.operator(post.clone(), "/v1/keys/feed/rotate"),
    )
    .await;
    fixture
        .operator(post.clone(), "/v1/keys/operator/rotate")
        .send()
        .await
        .unwrap();
    // Refused, since the token that asks is signed with it.
    check(
        "/v1/keys/operator/{id}/revoke",
        post.clone(),
        fixture.operator(post.clone(), "/v1/keys/operator/1/revoke"),
    )
    .await;
    let operator = json!({"operator": "second", "roles": ["auditor"], "ttl_seconds": 60});
    check(
        "/v1/operators",
        post.clone(),
        fixture
            .operator(post.clone(), "/v1/operators")
            .json(&operator),
    )
    .await;
    for template in ["/v1/policy/check", "/v1/policy/reload"] {
        check(
            template,
            post.clone(),
            fixture.operator(post.clone(), template),
        )
        .await;
    }
    let grant = json!({"id": "more", "agents": ["research-bot"], "server": "ledger", "tools": ["transfer"], "max_ttl": "1m"});
    check(
        "/v1/policy/grants",
        post.clone(),
        fixture
            .operator(post.clone(), "/v1/policy/grants")
            .json(&grant),
    )
    .await;
    for mut question in [task(), refused, partial] {
        question["agent"] = json!("research-bot");
        check(
            "/v1/policy/explain",
            post.clone(),
            fixture
                .operator(post.clone(), "/v1/policy/explain")
                .json(&question),
        )
        .await;
    }
    check(
        "/v1/agents/{agent}",
        delete.clone(),
        fixture.operator(delete.clone(), "/v1/agents/research-bot"),
    )
    .await;
    check(
        "/v1/servers/{name}",
        delete.clone(),
        fixture.operator(delete.clone(), "/v1/servers/ledger"),
    )
    .await;
}
