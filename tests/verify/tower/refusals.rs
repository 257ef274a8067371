//! Everything that is refused: status, challenge, body, and that the server was not reached.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hallpass_core::{
    token::{Narrowing, PassToken, attenuate},
    wire::document::{RevocationEntry, Subjects},
};
use hallpass_verify::tower::HallpassLayer;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::tower::guarded::{
    Answered, Guarded, METADATA, call, foreign_pass, json_response, message, request,
};
use support::{Issuer, rights};

/// Sends and expects a refusal that does not reach the server and says nothing of the token.
async fn refused(guarded: &Guarded, request: Request<Full<Bytes>>) -> Answered {
    let token = request
        .headers()
        .get("authorization")
        .map(|value| value.to_str().unwrap_or_default().to_owned());
    let answered = guarded.send(request).await;
    assert!(
        guarded.reached().is_empty(),
        "reached the server: {}",
        answered.text
    );
    assert_eq!(answered.json()["jsonrpc"], "2.0");
    assert_eq!(answered.header("content-type"), "application/json");
    let secret = token
        .as_deref()
        .and_then(|value| value.split(' ').nth(1))
        .filter(|secret| secret.len() > 8);
    if let Some(secret) = secret {
        assert!(!format!("{} {:?}", answered.text, answered.headers).contains(secret));
    }
    answered
}

fn bearing(authorization: &[&str]) -> Request<Full<Bytes>> {
    let mut request = request("", call("read_ledger", &json!({})));
    request.headers_mut().remove("authorization");
    for value in authorization {
        request
            .headers_mut()
            .append("authorization", value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn without_a_token_there_is_a_challenge_and_nothing_else() {
    let guarded = Guarded::new();
    let pass = guarded.pass();
    for authorization in [
        vec![],
        vec!["Basic dXNlcjpwYXNz".to_owned()],
        vec![pass.clone()],
        vec!["Bearer".to_owned()],
    ] {
        let values: Vec<_> = authorization.iter().map(String::as_str).collect();
        let answered = refused(&guarded, bearing(&values)).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::UNAUTHORIZED, "token_missing")
        );
        assert_eq!(
            answered.header("www-authenticate"),
            format!("Bearer resource_metadata=\"{METADATA}\"")
        );
    }
}

#[tokio::test]
async fn a_client_that_names_its_call_in_headers_gets_the_scope() {
    let guarded = Guarded::new();
    for (method, name, scope) in [
        ("tools/call", "transfer", "scope=\"tool:transfer\", "),
        (
            "prompts/get",
            "=?base64?c3VtbWFyeQ==?=",
            "scope=\"prompt:summary\", ",
        ),
        (
            "resources/read",
            "file:///srv/data/x",
            "scope=\"resource:file:///srv/data/x\", ",
        ),
        ("tools/call", "a\" error=\"x", ""),
        ("tools/list", "transfer", ""),
        ("resources/read", "file:///srv/scope=x", ""),
    ] {
        let mut request = bearing(&[]);
        request
            .headers_mut()
            .insert("mcp-method", method.parse().unwrap());
        request
            .headers_mut()
            .insert("mcp-name", name.parse().unwrap());
        let answered = refused(&guarded, request).await;
        let expected = format!("Bearer {scope}resource_metadata=\"{METADATA}\"");
        assert_eq!(answered.header("www-authenticate"), expected, "{name}");
    }
}

#[tokio::test]
async fn outsiders_get_one_answer_whatever_is_wrong_with_the_token() {
    let guarded = Guarded::new();
    let pass = guarded.pass();
    let mut foreign = Issuer::new();
    foreign.root = hallpass_core::token::RootKey::new(
        hallpass_core::base::ids::KeyId(1),
        &hallpass_core::base::key::PrivateKey::from_seed(&[9; 32]),
    )
    .unwrap();
    let unknown_key = foreign.mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
    let flipped = pass.char_indices().map(|(at, c)| {
        if at == 60 {
            if c == 'A' { 'B' } else { 'A' }
        } else {
            c
        }
    });
    let tokens = [
        "x".to_owned(),
        String::new(),
        "not base64 at all".to_owned(),
        "A".repeat(20_000),
        flipped.collect(),
        pass[..pass.len() - 8].to_owned(),
        format!("{pass}A"),
        unknown_key.expose().to_owned(),
    ];
    let mut answers = std::collections::BTreeSet::new();
    for token in &tokens {
        let answered = refused(&guarded, request(token, call("read_ledger", &json!({})))).await;
        assert_eq!(
            answered.status,
            StatusCode::UNAUTHORIZED,
            "{}",
            answered.text
        );
        answers.insert((
            answered.reason(),
            answered.text.clone(),
            format!("{:?}", answered.headers),
        ));
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let (reason, _, headers) = answers.pop_first().unwrap();
    assert_eq!(reason, "token_invalid");
    assert!(headers.contains(&format!(
        "Bearer error=\\\"invalid_token\\\", resource_metadata=\\\"{METADATA}\\\", error_description="
    )));
}

#[tokio::test]
async fn an_expired_pass_gets_the_reason() {
    for (what, reason) in [
        ("revoked", "revoked_task"),
        ("narrowed and the parent revoked", "revoked_token"),
        ("expired", "expired"),
        ("narrowed and expired", "expired"),
        ("foreign", "audience"),
    ] {
        let guarded = Guarded::new();
        let pass = PassToken::from_text(guarded.pass());
        let mut narrowing = Narrowing::default();
        narrowing.read_only = true;
        narrowing.expires_at = Some(guarded.issuer.now().plus(Duration::from_secs(20)));
        let narrowed = attenuate(&pass, &narrowing).unwrap();
        let subject = match what {
            "revoked" => Some(Subjects::task(&guarded.issuer.content(vec![]).task)),
            "narrowed and the parent revoked" => Some(Subjects::token(&narrowed.blocks[0])),
            _ => None,
        };
        if let Some(subject) = subject {
            let expires_at = guarded.issuer.now().plus(Duration::from_secs(600));
            guarded.issuer.revoke(
                &guarded.verifier,
                RevocationEntry {
                    subject,
                    cut_off: None,
                    expires_at,
                },
            );
        }
        let seconds = if what == "expired" {
            301
        } else if what == "narrowed and expired" {
            21
        } else {
            0
        };
        guarded.issuer.clock.advance(Duration::from_secs(seconds));
        guarded
            .issuer
            .tell(&guarded.verifier, guarded.issuer.frame());
        if what == "revoked" || what == "narrowed and the parent revoked" {
            // A frame without revocations is a snapshot: what was revoked is told again.
            let subject = subject.unwrap();
            let expires_at = guarded.issuer.now().plus(Duration::from_secs(600));
            guarded.issuer.revoke(
                &guarded.verifier,
                RevocationEntry {
                    subject,
                    cut_off: None,
                    expires_at,
                },
            );
        }
        let token = match what {
            "foreign" => foreign_pass(&guarded.issuer),
            "revoked" | "expired" => pass.expose().to_owned(),
            _ => narrowed.token.expose().to_owned(),
        };
        for body in [
            call("read_ledger", &json!({})),
            message("tools/list", &json!({})),
            message("ping", &json!({})),
        ] {
            let answered = refused(&guarded, request(&token, body)).await;
            assert_eq!(
                (answered.status, answered.reason().as_str()),
                (StatusCode::UNAUTHORIZED, reason),
                "{what}"
            );
            assert!(
                answered
                    .header("www-authenticate")
                    .starts_with("Bearer error=\"invalid_token\", resource_metadata=")
            );
        }
    }
}

#[tokio::test]
async fn what_the_pass_does_not_allow_is_refused_with_every_reason_and_the_scope() {
    let guarded = Guarded::new();
    for (body, scope, reason) in [
        (
            call("delete_ledger", &json!({})),
            "scope=\"tool:delete_ledger\", ",
            "not_granted",
        ),
        (
            call("transfer", &json!({"amount": 101})),
            "scope=\"tool:transfer\", ",
            "argument_constraint",
        ),
        (
            call("transfer", &json!({"amount": "5"})),
            "scope=\"tool:transfer\", ",
            "argument_type",
        ),
        (
            call("transfer", &json!({})),
            "scope=\"tool:transfer\", ",
            "argument_constraint",
        ),
        (
            call("no_such_tool", &json!({})),
            "scope=\"tool:no_such_tool\", ",
            "not_in_manifest",
        ),
        (
            call("Read_Ledger", &json!({})),
            "scope=\"tool:Read_Ledger\", ",
            "not_in_manifest",
        ),
        (call("read_ledger ", &json!({})), "", "not_in_manifest"),
        (call("read_ledger\u{0}", &json!({})), "", "not_in_manifest"),
        (
            message("prompts/get", &json!({"name": "other"})),
            "scope=\"prompt:other\", ",
            "not_in_manifest",
        ),
        (
            resource("file:///srv/data/shut"),
            "scope=\"resource:file:///srv/data/shut\", ",
            "not_granted",
        ),
        (resource("file:///srv/data/open/../shut"), "", "not_granted"),
        (
            resource("file:///srv/data/open/%2e%2e/shut"),
            "",
            "not_granted",
        ),
        (
            resource("file:///srv/data/openly"),
            "scope=\"resource:file:///srv/data/openly\", ",
            "not_granted",
        ),
        (
            resource("file://host/srv/data/open/x"),
            "scope=\"resource:file://host/srv/data/open/x\", ",
            "not_granted",
        ),
        (
            message("resources/subscribe", &json!({"uri": "file:///etc"})),
            "scope=\"resource:file:///etc\", ",
            "not_granted",
        ),
        (
            message("resources/unsubscribe", &json!({"uri": "file:///etc"})),
            "scope=\"resource:file:///etc\", ",
            "not_granted",
        ),
        (
            message(
                "completion/complete",
                &json!({"ref": {"type": "ref/resource", "uri": "file:///etc/{name}"}}),
            ),
            "scope=\"resource:file:///etc/{name}\", ",
            "not_granted",
        ),
        (
            message(
                "completion/complete",
                &json!({"ref": {"type": "ref/prompt", "name": "other"}}),
            ),
            "scope=\"prompt:other\", ",
            "not_in_manifest",
        ),
    ] {
        let answered = refused(&guarded, request(&guarded.pass(), body.clone())).await;
        assert_eq!(answered.reason(), reason, "{body}");
        // Only what is not granted is a matter of scope.
        let (status, expected) = if reason == "not_granted" {
            let challenge = format!(
                "Bearer error=\"insufficient_scope\", {scope}resource_metadata=\"{METADATA}\", \
                 error_description=\"the pass does not allow this call\""
            );
            (StatusCode::FORBIDDEN, challenge)
        } else {
            (StatusCode::OK, String::new())
        };
        assert_eq!(answered.status, status, "{body}: {}", answered.text);
        assert_eq!(answered.header("www-authenticate"), expected, "{body}");
        assert_eq!(answered.json()["id"], 1);
        assert_eq!(answered.json()["error"]["code"], -32010);
    }
}

fn resource(uri: &str) -> String {
    message("resources/read", &json!({"uri": uri}))
}

#[tokio::test]
async fn every_reason_names_the_block_that_refused() {
    let guarded = Guarded::new();
    let pass = PassToken::from_text(guarded.pass());
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&pass, &narrowing).unwrap();
    let body = call("transfer", &json!({"amount": 101}));
    let answered = refused(&guarded, request(narrowed.token.expose(), body)).await;
    let reasons = answered.json()["error"]["data"]["reasons"].clone();
    let told: Vec<_> = reasons
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["code"].as_str(), one["block"].as_u64()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("argument_constraint"), Some(0)),
            (Some("read_only"), Some(1))
        ]
    );
    assert!(
        reasons
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["detail"].as_str().is_some_and(|text| !text.is_empty()))
    );
}

#[tokio::test]
async fn a_verifier_that_lost_its_broker_says_so_and_is_no_challenge() {
    let guarded = Guarded::new();
    guarded.issuer.clock.advance(Duration::from_secs(61));
    let answered = refused(
        &guarded,
        request(&guarded.pass(), call("read_ledger", &json!({}))),
    )
    .await;
    assert_eq!(
        (answered.status, answered.reason().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "feed_stale")
    );
    assert_eq!(
        (
            answered.header("retry-after"),
            answered.header("www-authenticate")
        ),
        ("5", "")
    );
}

#[tokio::test]
async fn the_token_travels_in_one_header_and_nowhere_else() {
    let guarded = Guarded::new();
    let pass = guarded.pass();
    let bearer = format!("Bearer {pass}");
    let twice = bearing(&[&bearer, &bearer]);
    let mut in_query = request(&pass, call("read_ledger", &json!({})));
    *in_query.uri_mut() = format!("/mcp?a=b&access_token={pass}").parse().unwrap();
    let mut hidden_in_query = bearing(&[]);
    *hidden_in_query.uri_mut() = "/mcp?Access%5ftoken=x".parse().unwrap();
    for request in [twice, in_query, hidden_in_query] {
        let answered = refused(&guarded, request).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_request")
        );
        assert!(
            answered
                .header("www-authenticate")
                .starts_with("Bearer error=\"invalid_request\", resource_metadata=")
        );
    }
}

#[tokio::test]
async fn methods_and_origins_are_refused_before_the_token_is_looked_at() {
    let guarded = Guarded::new();
    for method in [
        Method::OPTIONS,
        Method::PUT,
        Method::PATCH,
        Method::HEAD,
        Method::TRACE,
        Method::CONNECT,
    ] {
        let mut request = request(&guarded.pass(), "");
        *request.method_mut() = method;
        let answered = refused(&guarded, request).await;
        assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answered.header("allow"), "POST, GET, DELETE");
    }
    for origin in [
        "http://evil.test",
        "null",
        "http://127.0.0.1.evil.test",
        "https://ledger.example.evil.test",
        "https://evil.test:443",
        "http://localhost.evil.test",
        "http://user@localhost",
        "http://localhost:99999",
        "file://localhost",
        "localhost",
        "",
        "https://[::1].evil.test",
        "https://127.0.0.1:80:80",
    ] {
        let mut request = bearing(&[]);
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        let answered = refused(&guarded, request).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::FORBIDDEN, "forbidden"),
            "{origin}"
        );
        assert_eq!(answered.header("www-authenticate"), "");
    }
    let layer = HallpassLayer::builder(guarded.verifier.clone())
        .allow_origin("https://app.example")
        .build();
    let issuer = Issuer::new();
    let allowing = Guarded::with_layer(issuer, layer, guarded.verifier.clone(), |_| {
        json_response(&json!({}))
    });
    for origin in [
        "https://ledger.example",
        "http://localhost:3000",
        "http://[::1]:3000",
        "https://app.example",
    ] {
        let mut request = request(&guarded.pass(), call("read_ledger", &json!({})));
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        assert_eq!(
            allowing.send(request).await.status,
            StatusCode::OK,
            "{origin}"
        );
    }
    let mut twice = request(&guarded.pass(), call("read_ledger", &json!({})));
    twice
        .headers_mut()
        .append("origin", "https://app.example".parse().unwrap());
    twice
        .headers_mut()
        .append("origin", "https://app.example".parse().unwrap());
    assert_eq!(allowing.send(twice).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn get_and_delete_need_a_pass_too() {
    let guarded = Guarded::new();
    for method in [Method::GET, Method::DELETE] {
        let mut without = bearing(&[]);
        *without.method_mut() = method.clone();
        assert_eq!(
            refused(&guarded, without).await.status,
            StatusCode::UNAUTHORIZED
        );
        let mut with = request(&guarded.pass(), "");
        *with.method_mut() = method;
        assert_eq!(guarded.send(with).await.status, StatusCode::OK);
        assert_eq!(guarded.reached().len(), 1);
    }
}

#[tokio::test]
async fn no_body_is_read_before_the_token_verifies() {
    let guarded = Guarded::new();
    // A body that would be refused itself: what is told is that the token is not valid.
    let answered = refused(&guarded, request("x", vec![b'['; 2_000_000])).await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
}

/// What a client sends in two pieces must not end the connection that it goes on with, unless it is told.
#[tokio::test]
async fn a_short_body_of_a_refused_request_is_thrown_away_and_after_a_long_one_the_connection_ends()
{
    let guarded = Guarded::new();
    for (bytes, is_declared, ends) in [
        (0, true, false),
        (64 * 1024, true, false),
        (64 * 1024 + 1, true, true),
        (100, false, true),
    ] {
        let left = Arc::new(AtomicUsize::new(bytes));
        let body = Pieces {
            left: Arc::clone(&left),
            is_declared,
        };
        let request = Request::post("/mcp")
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let response = guarded
            .layer
            .layer(service_fn(unreachable))
            .oneshot(request)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let closes = response
            .headers()
            .get("connection")
            .is_some_and(|value| value == "close");
        let unread = if ends { bytes } else { 0 };
        assert_eq!(
            (closes, left.load(Ordering::SeqCst)),
            (ends, unread),
            "{bytes} bytes, declared: {is_declared}"
        );
    }
}

async fn unreachable(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    panic!("it was refused")
}

/// A body that comes in pieces.
struct Pieces {
    left: Arc<AtomicUsize>,
    is_declared: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.left.load(Ordering::SeqCst);
        let piece = left.min(1000);
        self.left.store(left - piece, Ordering::SeqCst);
        Poll::Ready((piece > 0).then(|| Ok(Frame::data(vec![b' '; piece].into()))))
    }

    fn size_hint(&self) -> SizeHint {
        let left = u64::try_from(self.left.load(Ordering::SeqCst)).unwrap();
        if self.is_declared {
            SizeHint::with_exact(left)
        } else {
            SizeHint::default()
        }
    }
}

#[tokio::test]
async fn content_that_could_be_read_in_two_ways_is_refused() {
    let guarded = Guarded::new();
    let body = call("read_ledger", &json!({}));
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonp",
        "application/json; boundary=x",
        "text/json",
        "application/json, text/plain",
    ] {
        let mut request = request(&guarded.pass(), body.clone());
        request
            .headers_mut()
            .insert("content-type", content_type.parse().unwrap());
        let answered = refused(&guarded, request).await;
        assert_eq!(
            answered.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{content_type}"
        );
        assert_eq!(answered.reason(), "unsupported_media_type");
    }
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-encoding", "identity"),
        ("content-type", "application/json"),
    ] {
        let mut request = request(&guarded.pass(), body.clone());
        request.headers_mut().append(name, value.parse().unwrap());
        assert_eq!(
            refused(&guarded, request).await.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{name}: {value}"
        );
    }
    let mut missing = request(&guarded.pass(), body.clone());
    missing.headers_mut().remove("content-type");
    assert_eq!(
        refused(&guarded, missing).await.status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    for content_type in ["application/json", "Application/JSON; Charset=\"UTF-8\""] {
        let mut request = request(&guarded.pass(), body.clone());
        request
            .headers_mut()
            .insert("content-type", content_type.parse().unwrap());
        assert_eq!(
            guarded.send(request).await.status,
            StatusCode::OK,
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn a_body_longer_than_the_cap_is_refused_at_the_cap_and_not_before() {
    let issuer = Issuer::new();
    let verifier = Arc::new(issuer.verifier());
    let body = call("read_ledger", &json!({}));
    for (cap, status) in [
        (body.len(), StatusCode::OK),
        (body.len() - 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let layer = HallpassLayer::builder(verifier.clone())
            .max_message_bytes(cap)
            .build();
        let guarded = Guarded::with_layer(Issuer::new(), layer, verifier.clone(), |_| {
            json_response(&json!({}))
        });
        let pass = guarded.pass();
        let answered = guarded.send(request(&pass, body.clone())).await;
        assert_eq!(
            (answered.status, guarded.reached().len()),
            (status, usize::from(status == StatusCode::OK))
        );
        if status != StatusCode::OK {
            assert_eq!(answered.reason(), "message_too_large");
        }
    }
}

#[tokio::test]
async fn what_is_not_one_strict_message_is_refused() {
    let guarded = Guarded::new();
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}1{}}}}}"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let read = r#"{"name":"read_ledger"}"#;
    let bodies: Vec<(Vec<u8>, i64)> = [
        ("", -32700),
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","name":"delete_ledger"}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_ledger","name":"read_ledger"}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","n\u0061me":"delete_ledger"}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"transfer","arguments":{"amount":1,"amount":9}}}"#, -32700),
        ("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}"#, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e999}}"#, -32700),
        (&deep, -32700),
        ("[]", -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        ("1", -32600),
        ("null", -32600),
        (r#"{"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/list"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#, -32600),
        (&format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{read}}}"#), -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"2.0","result":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":[]}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","Name":"delete_ledger"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","argument\u017f":{}}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","name\u0000":"x"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","arguments":[]}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_ledger","arguments":null}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"name":"x"}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/tool","name":"x"}}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{}}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"transfer","arguments":{"amount":18446744073709551616}}}"#, -32600),
    ]
    .into_iter()
    .map(|(body, code)| (body.as_bytes().to_vec(), code))
    .chain([(utf16, -32700), (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}".to_vec(), -32700)])
    .collect();
    for (body, code) in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answered = refused(&guarded, request(&guarded.pass(), body)).await;
        assert_eq!(
            answered.status,
            StatusCode::BAD_REQUEST,
            "{shown}: {}",
            answered.text
        );
        assert_eq!(answered.reason(), "message_malformed", "{shown}");
        assert_eq!(answered.json()["error"]["code"], code, "{shown}");
    }
    let long_id = json!({"jsonrpc": "2.0", "id": "i".repeat(257), "method": "ping"}).to_string();
    let answered = refused(&guarded, request(&guarded.pass(), long_id)).await;
    assert_eq!(
        (answered.status, &answered.json()["id"]),
        (StatusCode::BAD_REQUEST, &Value::Null)
    );
}

#[tokio::test]
async fn a_method_that_cannot_be_cleared_is_refused() {
    let guarded = Guarded::new();
    for method in [
        "tools/Call",
        "tools/call ",
        "TOOLS/CALL",
        "tasks/get",
        "subscriptions/listen",
        "sampling/createMessage",
        "",
        "x",
    ] {
        let answered = refused(
            &guarded,
            request(
                &guarded.pass(),
                message(method, &json!({"name": "read_ledger"})),
            ),
        )
        .await;
        // 404 would tell a client of an earlier revision that its session is gone.
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::FORBIDDEN, "method_not_allowed"),
            "{method}"
        );
        assert_eq!(
            (&answered.json()["error"]["code"], &answered.json()["id"]),
            (&json!(-32601), &json!(1))
        );
        assert_eq!(answered.header("www-authenticate"), "");
    }
    let notification =
        json!({"jsonrpc": "2.0", "method": "notifications/work/do", "params": {}}).to_string();
    assert_eq!(
        refused(&guarded, request(&guarded.pass(), notification))
            .await
            .reason(),
        "method_not_allowed"
    );
}

#[tokio::test]
async fn headers_that_repeat_the_body_must_repeat_it() {
    let guarded = Guarded::new();
    let body = call("read_ledger", &json!({"year": 2026}));
    let reading = resource("file:///srv/data/open/a b");
    let version = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    let listing = message("tools/list", &json!({}));
    for (body, headers, agrees) in [
        (
            &body,
            &[("mcp-method", "tools/call"), ("mcp-name", "read_ledger")][..],
            true,
        ),
        (&body, &[("mcp-name", "=?base64?cmVhZF9sZWRnZXI=?=")], true),
        (&body, &[("mcp-method", "tools/list")], false),
        (&body, &[("mcp-method", "Tools/Call")], false),
        (&body, &[("mcp-name", "delete_ledger")], false),
        (&body, &[("mcp-name", "")], false),
        (&body, &[("mcp-name", "=?BASE64?cmVhZF9sZWRnZXI=?=")], false),
        (&body, &[("mcp-name", "=?base64?cmVhZF9sZWRnZXI?=")], false),
        (&body, &[("mcp-name", "=?base64?!!!!?=")], false),
        (
            &body,
            &[("mcp-name", "read_ledger"), ("mcp-name", "read_ledger")],
            false,
        ),
        (
            &body,
            &[("mcp-method", "tools/call"), ("mcp-method", "tools/list")],
            false,
        ),
        (
            &body,
            &[("mcp-param-year", "2026"), ("mcp-param-year", "2025")],
            false,
        ),
        (
            &reading,
            &[(
                "mcp-name",
                "=?base64?ZmlsZTovLy9zcnYvZGF0YS9vcGVuL2EgYg==?=",
            )],
            true,
        ),
        (&reading, &[("mcp-name", "file:///srv/data/open")], false),
        (&listing, &[("mcp-method", "tools/list")], true),
        (&listing, &[("mcp-name", "read_ledger")], false),
        (
            &version.to_owned(),
            &[("mcp-protocol-version", "2026-07-28")],
            true,
        ),
        (
            &version.to_owned(),
            &[("mcp-protocol-version", "2025-11-25")],
            false,
        ),
    ] {
        let mut request = request(&guarded.pass(), body.clone());
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        if agrees {
            assert_eq!(
                guarded.send(request).await.status,
                StatusCode::OK,
                "{headers:?}"
            );
            guarded.reached();
            continue;
        }
        let answered = refused(&guarded, request).await;
        assert_eq!(
            (answered.status, answered.reason().as_str()),
            (StatusCode::BAD_REQUEST, "header_mismatch"),
            "{headers:?}"
        );
        assert_eq!(
            (&answered.json()["error"]["code"], &answered.json()["id"]),
            (&json!(-32020), &json!(1))
        );
    }
}
