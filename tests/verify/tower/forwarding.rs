//! What the server gets to see of a request.

use std::sync::Arc;

use hallpass_verify::{Pass, Permit, tower::HallpassLayer};
use http::{Request, StatusCode, request::Parts};
use http_body_util::Full;
use serde_json::json;
use support::Issuer;

use crate::tower::guarded::{Guarded, METADATA, call, json_response, message, request, strict};

#[tokio::test]
async fn what_was_cleared_is_written_out_anew() {
    let guarded = Guarded::new();
    let body = "  {\"m\\u0065thod\" : \"tools\\/call\", \"jsonrpc\":\"2.0\",\n \"params\":{\"n\\u0061me\":\"read_ledger\",\
                \"arguments\":{\"big\":18446744073709551615,\"low\":-9223372036854775808,\"half\":0.5,\"s\":\"\\ud83d\\ude00\"}},\
                \"id\":9007199254740993}  ";
    let answered = guarded.post(body).await;
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
    let reached = guarded.reached();
    let (parts, forwarded) = &reached[0];
    let text = std::str::from_utf8(forwarded).unwrap();
    assert_eq!(strict(text.as_bytes()), strict(body.as_bytes()));
    for exact in [
        "\"method\":\"tools/call\"",
        "\"name\":\"read_ledger\"",
        "\"big\":18446744073709551615,",
        "\"id\":9007199254740993",
    ] {
        assert!(text.contains(exact), "{text}");
    }
    assert!(!text.contains([' ', '\n', '\\']), "{text}");
    assert_eq!(
        parts.headers["content-length"],
        forwarded.len().to_string().as_str()
    );
}

#[tokio::test]
async fn the_server_never_sees_the_clients_credentials() {
    let guarded = Guarded::new();
    let mut request = request(&guarded.pass(), call("read_ledger", &json!({})));
    for (name, value) in [
        ("dpop", "proof"),
        ("cookie", "session=1"),
        ("proxy-authorization", "Basic x"),
        ("connection", "close, X-Hop"),
        ("x-hop", "1"),
        ("transfer-encoding", "chunked"),
        ("te", "trailers"),
        ("x-kept", "kept"),
        ("mcp-param-year", "2026"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(guarded.send(request).await.status, StatusCode::OK);
    let reached = guarded.reached();
    let mut names: Vec<_> = reached[0]
        .0
        .headers
        .keys()
        .map(|name| name.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "content-type",
            "mcp-param-year",
            "x-kept"
        ]
    );
}

#[tokio::test]
async fn a_call_carries_its_permit_and_every_request_its_pass() {
    let guarded = Guarded::new();
    guarded.post(call("transfer", &json!({"amount": 5}))).await;
    guarded
        .post(message("prompts/get", &json!({"name": "summary"})))
        .await;
    guarded
        .post(message(
            "resources/read",
            &json!({"uri": "file:///srv/data/open/x"}),
        ))
        .await;
    guarded
        .post(message(
            "completion/complete",
            &json!({"ref": {"type": "ref/prompt", "name": "summary"}}),
        ))
        .await;
    guarded.post(message("tools/list", &json!({}))).await;
    let reached = guarded.reached();
    let permits: Vec<_> = reached
        .iter()
        .map(|(parts, _)| parts.extensions.get::<Permit>())
        .collect();
    let named: Vec<_> = permits
        .iter()
        .map(|permit| permit.map(|permit| permit.name().to_owned()))
        .collect();
    let expected = ["transfer", "summary", "file:///srv/data/open/x", "summary"]
        .map(|name| Some(name.to_owned()));
    assert_eq!((&named[..4], &named[4]), (&expected[..], &None));
    assert_eq!(permits[0].unwrap().agent().as_str(), "research-bot");
    assert!(
        reached
            .iter()
            .all(|(parts, _)| parts.extensions.get::<Pass>().is_some())
    );
}

#[tokio::test]
async fn what_calls_nothing_needs_a_verified_pass_only() {
    let guarded = Guarded::new();
    let requests = [
        message("initialize", &json!({"protocolVersion": "2025-11-25"})),
        message("ping", &json!({})),
        message("server/discover", &json!({})),
        message("tools/list", &json!({"cursor": "x"})),
        message("resources/list", &json!({})),
        message("resources/templates/list", &json!({})),
        message("prompts/list", &json!({})),
        message("logging/setLevel", &json!({"level": "info"})),
        r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#
            .to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#.to_owned(),
    ];
    for body in requests {
        let answered = guarded.post(body.clone()).await;
        assert_eq!(answered.status, StatusCode::OK, "{body}: {}", answered.text);
        assert_eq!(guarded.forwarded(), strict(body.as_bytes()));
    }
}

#[tokio::test]
async fn a_server_is_moved_by_no_directories_of_a_client_unless_it_is_meant_to_be() {
    let answer = r#"{"jsonrpc":"2.0","id":7,"result":{"roots":[{"uri":"file:///etc"}]}}"#;
    let guarded = Guarded::new();
    assert_eq!(guarded.post(answer).await.status, StatusCode::OK);
    let none = br#"{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}"#;
    assert_eq!(guarded.forwarded(), strict(none));
    let issuer = Issuer::new();
    let verifier = Arc::new(issuer.verifier());
    let layer = HallpassLayer::builder(Arc::clone(&verifier))
        .forward_roots()
        .build();
    let answers = |_: &Parts| json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    let meant = Guarded::with_layer(issuer, layer, verifier, answers);
    assert_eq!(meant.post(answer).await.status, StatusCode::OK);
    assert_eq!(meant.forwarded(), strict(answer.as_bytes()));
}

#[tokio::test]
async fn the_metadata_is_public_and_says_who_issues_passes() {
    let guarded = Guarded::new();
    assert_eq!(guarded.layer.resource_metadata_url(), METADATA);
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
    ] {
        let answered = guarded
            .send(Request::get(path).body(Full::default()).unwrap())
            .await;
        assert_eq!(answered.status, StatusCode::OK);
        assert_eq!(answered.header("access-control-allow-origin"), "*");
        assert_eq!(
            answered.json(),
            json!({
                "resource": "https://ledger.example/mcp",
                "resource_name": "ledger",
                "authorization_servers": ["https://broker.example"],
                "scopes_supported": [
                    "tool:delete_ledger", "tool:read_ledger", "tool:search_ledger", "tool:transfer", "prompt:summary",
                    "resource:file:///srv/data",
                ],
                "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": ["EdDSA", "ES256"],
            })
        );
        assert_eq!(answered.json(), guarded.layer.resource_metadata());
    }
    for other in [
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/other",
        "/mcp",
    ] {
        let answered = guarded
            .send(Request::get(other).body(Full::default()).unwrap())
            .await;
        assert_eq!(answered.status, StatusCode::UNAUTHORIZED, "{other}");
    }
    assert!(guarded.reached().is_empty());
}

#[tokio::test]
async fn tasks_are_neither_offered_nor_forwarded() {
    let tasks = "io.modelcontextprotocol/tasks";
    for method in ["initialize", "server/discover"] {
        let guarded = Guarded::answering(move |_| {
            let capabilities =
                json!({"tasks": {"list": {}}, "tools": {}, "extensions": {tasks: {}, "x/y": {}}});
            json_response(
                &json!({"jsonrpc": "2.0", "id": 1, "result": {"capabilities": capabilities}}),
            )
        });
        let answered = guarded.post(message(method, &json!({}))).await;
        assert_eq!(
            answered.json()["result"]["capabilities"],
            json!({"tools": {}, "extensions": {"x/y": {}}}),
            "{method}"
        );
    }
    let guarded = Guarded::new();
    for task in ["task", "Task"] {
        let params = json!({"name": "read_ledger", "arguments": {}, task: {"ttl": 60_000}});
        let answered = guarded.post(message("tools/call", &params)).await;
        let status = if task == "task" {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        };
        assert_eq!(
            (answered.status, &answered.json()["id"]),
            (status, &json!(1))
        );
        assert!(guarded.reached().is_empty());
    }
}
