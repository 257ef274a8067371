//! Challenges as stock clients read them: by the patterns in their sources, and by rmcp's own reader.

use bytes::Bytes;
use hallpass_core::{
    token::{Narrowing, PassToken, attenuate},
    wire::document::{RevocationEntry, Subjects},
};
use http::{Request, StatusCode};
use http_body_util::Full;
use regex::Regex;
use rmcp::transport::auth::WWWAuthenticateParams;
use serde_json::json;

use crate::tower::guarded::{Answered, Guarded, METADATA, call, message, request};
use support::SERVER;

/// What a client knows of a challenge.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    error: Option<String>,
    scope: Option<String>,
    resource_metadata: Option<String>,
}

/// `extract_field_from_www_auth` of Python's `mcp` 1.30 and 2.3: `re.search` over the whole header.
fn as_python_reads(header: &str) -> Read {
    read_by_pattern(header)
}

/// `extractWWWAuthenticateParams` of TypeScript's `@modelcontextprotocol/sdk` 1.32, which knows one scheme, and
/// `@modelcontextprotocol/client` 2.4, which knows two: nothing, unless the first word is a scheme and a second follows.
fn as_typescript_reads(header: &str, schemes: &[&str]) -> Read {
    let mut words = header.split(' ');
    let scheme = words.next().unwrap().to_lowercase();
    if !schemes.contains(&scheme.as_str()) || words.next().is_none_or(str::is_empty) {
        return Read {
            error: None,
            scope: None,
            resource_metadata: None,
        };
    }
    read_by_pattern(header)
}

fn read_by_pattern(header: &str) -> Read {
    let field = |name: &str| {
        let found = Regex::new(&format!(r#"{name}=(?:"([^"]+)"|([^\s,]+))"#))
            .unwrap()
            .captures(header)?;
        found
            .get(1)
            .or(found.get(2))
            .map(|value| value.as_str().to_owned())
    };
    Read {
        error: field("error"),
        scope: field("scope"),
        resource_metadata: field("resource_metadata"),
    }
}

fn as_rmcp_reads(header: &str) -> Read {
    let read = WWWAuthenticateParams::parse(header, &SERVER.parse().unwrap());
    Read {
        error: read.error,
        scope: read.scope,
        resource_metadata: read.resource_metadata_url.map(|url| url.to_string()),
    }
}

/// Every client reads `error` and `scope`, and where the metadata is, from the one challenge there is.
fn assert_read(answered: &Answered, error: Option<&str>, scope: Option<&str>) {
    assert_eq!(
        answered.headers.get_all("www-authenticate").iter().count(),
        1
    );
    let header = answered.header("www-authenticate");
    let expected = Read {
        error: error.map(str::to_owned),
        scope: scope.map(str::to_owned),
        resource_metadata: Some(METADATA.to_owned()),
    };
    assert_eq!(as_python_reads(header), expected, "{header}");
    assert_eq!(
        as_typescript_reads(header, &["bearer"]),
        expected,
        "{header}"
    );
    assert_eq!(
        as_typescript_reads(header, &["bearer", "dpop"]),
        expected,
        "{header}"
    );
    assert_eq!(as_rmcp_reads(header), expected, "{header}");
}

fn without_token(headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let mut request = request("", call("read_ledger", &json!({})));
    request.headers_mut().remove("authorization");
    for (name, value) in headers {
        request.headers_mut().insert(
            http::HeaderName::try_from(*name).unwrap(),
            value.parse().unwrap(),
        );
    }
    request
}

#[tokio::test]
async fn without_a_token_every_client_finds_the_metadata_and_the_scope_of_its_call() {
    let guarded = Guarded::new();
    let hints: [(&[_], _); 5] = [
        (&[], None),
        (&[("mcp-method", "server/discover")], None),
        (
            &[("mcp-method", "tools/call"), ("mcp-name", "read_ledger")],
            Some("tool:read_ledger"),
        ),
        (
            &[
                ("mcp-method", "resources/read"),
                ("mcp-name", "file:///srv/a,b"),
            ],
            Some("resource:file:///srv/a,b"),
        ),
        (
            &[("mcp-method", "tools/call"), ("mcp-name", "x\", error=\"y")],
            None,
        ),
    ];
    for (headers, scope) in hints {
        let answered = guarded.send(without_token(headers)).await;
        assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
        assert_read(&answered, None, scope);
    }
}

/// Where another scope would not help, a status would only make clients ask for one, end the session, and keep the
/// reason from the model.
#[tokio::test]
async fn what_no_scope_can_mend_is_answered_as_an_error_of_the_call() {
    let guarded = Guarded::new();
    let read_only = {
        let mut narrowing = Narrowing::default();
        narrowing.read_only = true;
        let narrowed = attenuate(&PassToken::from_text(guarded.pass()), &narrowing).unwrap();
        narrowed.token.expose().to_owned()
    };
    let cases = [
        (
            guarded.pass(),
            call("transfer", &json!({"amount": 101})),
            "argument_constraint",
        ),
        (
            guarded.pass(),
            call("transfer", &json!({"amount": "1"})),
            "argument_type",
        ),
        (
            read_only,
            call("transfer", &json!({"amount": 1})),
            "read_only",
        ),
        (
            guarded.pass(),
            call("no_such_tool", &json!({})),
            "not_in_manifest",
        ),
    ];
    for (pass, body, reason) in cases {
        let answered = guarded.send(request(&pass, body)).await;
        assert_eq!(answered.status, StatusCode::OK, "{}", answered.text);
        assert_eq!(answered.header("www-authenticate"), "");
        assert_eq!(answered.header("cache-control"), "no-store");
        let (answer, error) = (answered.json(), &answered.json()["error"]);
        assert_eq!(
            (&answer["id"], &error["data"]["reason"]),
            (&json!(1), &json!(reason))
        );
        // Models are shown the message.
        assert!(
            error["message"].as_str().unwrap().contains(reason),
            "{error}"
        );
        assert!(guarded.reached().is_empty());
    }
    // What has no id cannot be answered.
    let notification = json!({"jsonrpc": "2.0", "method": "tools/call",
        "params": {"name": "transfer", "arguments": {"amount": 101}}});
    let answered = guarded
        .send(request(&guarded.pass(), notification.to_string()))
        .await;
    assert!(answered.status.is_client_error(), "{}", answered.status);
}

#[tokio::test]
async fn a_refused_call_sends_every_client_the_scope_that_it_needs() {
    let guarded = Guarded::new();
    let cases = [
        (
            call("delete_ledger", &json!({})),
            Some("tool:delete_ledger"),
        ),
        (
            message("resources/read", &json!({"uri": "file:///srv/shut"})),
            Some("resource:file:///srv/shut"),
        ),
        (
            message("resources/read", &json!({"uri": "file:///srv/a, scope=b"})),
            None,
        ),
        (
            message("resources/read", &json!({"uri": "file:///srv/error=\"x\""})),
            None,
        ),
    ];
    for (body, scope) in cases {
        let answered = guarded.send(request(&guarded.pass(), body)).await;
        assert_eq!(answered.status, StatusCode::FORBIDDEN);
        assert_read(&answered, Some("insufficient_scope"), scope);
        // Clients show the message and keep the data to themselves.
        let error = &answered.json()["error"];
        let (message, reason) = (
            error["message"].as_str().unwrap(),
            error["data"]["reason"].as_str().unwrap(),
        );
        assert!(
            message.starts_with(&format!("the pass does not allow this call: {reason} (")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn every_client_distinguishes_an_expired_pass_from_a_malformed_request() {
    let guarded = Guarded::new();
    let pass = guarded.pass();
    let mut in_query = request(&pass, call("read_ledger", &json!({})));
    *in_query.uri_mut() = "/mcp?access_token=x".parse().unwrap();
    assert_read(&guarded.send(in_query).await, Some("invalid_request"), None);
    assert_read(
        &guarded.send(request("x", "")).await,
        Some("invalid_token"),
        None,
    );

    let expires_at = guarded
        .issuer
        .now()
        .plus(std::time::Duration::from_secs(600));
    let subject = Subjects::task(&guarded.issuer.content(vec![]).task);
    guarded.issuer.revoke(
        &guarded.verifier,
        RevocationEntry {
            subject,
            cut_off: None,
            expires_at,
        },
    );
    let answered = guarded
        .send(request(&pass, call("read_ledger", &json!({}))))
        .await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
    assert_read(&answered, Some("invalid_token"), None);
}

#[tokio::test]
async fn a_client_that_spoke_dpop_reads_its_challenge() {
    let guarded = Guarded::new();
    let mut unproven = request(&guarded.pass(), call("read_ledger", &json!({})));
    unproven.headers_mut().insert(
        "authorization",
        format!("DPoP {}", guarded.pass()).parse().unwrap(),
    );
    let answered = guarded.send(unproven).await;
    assert_eq!(answered.status, StatusCode::UNAUTHORIZED);
    let read = as_typescript_reads(answered.header("www-authenticate"), &["bearer", "dpop"]);
    assert_eq!(
        (read.error.as_deref(), read.scope),
        (Some("invalid_dpop_proof"), None)
    );
    assert_eq!(read.resource_metadata.as_deref(), Some(METADATA));
}
