//! The consent page: what it shows, to whom it sends anybody, and who can sign in at it.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::oauth::browser::{
    Browser, CALLBACK, VERIFIER, fixture, query, register_app, sign_in_code, steward,
};
use support::SERVER;
use test_broker::GRANT;

#[tokio::test]
async fn a_refused_or_malformed_request_goes_back_to_the_client_that_is_known() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    for (more, error) in [
        (vec![("response_type", "")], "invalid_request"),
        (
            vec![("response_type", "token")],
            "unsupported_response_type",
        ),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge_method", "")], "invalid_request"),
        (
            vec![
                ("code_challenge_method", "plain"),
                ("code_challenge", VERIFIER),
            ],
            "invalid_request",
        ),
        (vec![("scope", "admin")], "invalid_scope"),
        (
            vec![("resource", "https://other.example")],
            "invalid_target",
        ),
        (
            vec![("authorization_details", "[{}]")],
            "invalid_authorization_details",
        ),
        (vec![("request", "a.b.c")], "invalid_request"),
    ] {
        let sent = browser.open(&query(&more)).await;
        assert_eq!(sent.told_error(), error, "{more:?}");
        assert_eq!(sent.told()["state"], "af0ifj&sl=dkj #");
    }
    let first = browser
        .open(&query(&[
            ("prompt", "none"),
            ("nonce", "x"),
            ("unknown", "x"),
        ]))
        .await;
    let refusal = browser
        .post(&[("step", "refuse"), ("request", &first.hidden("request"))])
        .await;
    assert_eq!(refusal.told_error(), "access_denied");
    let second = browser.sign_in(&query(&[]), "bob").await;
    let form = second.hidden("form");
    assert_eq!(
        browser
            .post(&[("step", "refuse"), ("form", &form)])
            .await
            .told_error(),
        "access_denied"
    );
    assert_eq!(
        browser
            .post(&[("step", "allow"), ("form", &form)])
            .await
            .status,
        409,
        "a form is sent once"
    );
    assert!(!fixture.records().contains_key("consent_given"));
}

#[tokio::test]
async fn nobody_is_sent_anywhere_that_is_not_the_clients() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    for more in [
        [("client_id", "")],
        [("client_id", "unknown")],
        [("client_id", "research-bot")],
        [("client_id", "https://app.example/client.json")],
        [("client_id", "<script>alert(1)</script>")],
        [("redirect_uri", "")],
        [("redirect_uri", "http://127.0.0.1:43210/callback/")],
        [("redirect_uri", "http://127.0.0.1:43210/callback?x=1")],
        [("redirect_uri", "http://127.0.0.1@evil.example/callback")],
        [("redirect_uri", "http://localhost:43210/callback")],
        [("redirect_uri", "https://desk.example:8443/cb")],
        [("redirect_uri", "https://desk.example/cb#x")],
        [("redirect_uri", "https://desk.example/cb\\x")],
        [("redirect_uri", "https://evil.example/cb")],
        [("redirect_uri", "javascript:alert(1)")],
    ] {
        let shown = browser.open(&query(&more)).await;
        assert_eq!((shown.status, &shown.location), (400, &None), "{more:?}");
        if more[0].0 == "client_id" && !more[0].1.starts_with("https:") {
            assert!(
                shown.html.contains("is not known"),
                "{more:?}: {}",
                shown.html
            );
        }
        assert!(
            shown.headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
        assert!(
            !shown.html.contains("evil") && !shown.html.contains("<script"),
            "{}",
            shown.html
        );
        let posted = browser
            .post(&[("step", "refuse"), ("request", &query(&more))])
            .await;
        assert_eq!((posted.status, posted.location), (400, None), "{more:?}");
    }
    for twice in [
        "client_id=desk-app",
        "redirect_uri=https://desk.example/cb",
        "state=x",
        "scope=",
        "code_challenge=x",
    ] {
        let shown = browser
            .open(&format!("{}&scope=tool:read_ledger&{twice}", query(&[])))
            .await;
        assert_eq!((shown.status, shown.location), (400, None), "{twice}");
    }
    let long = browser.open(&query(&[("state", &"x".repeat(3000))])).await;
    assert_eq!((long.status, &long.location), (400, &None));
    assert!(long.html.contains("too long"), "{}", long.html);
}

#[tokio::test]
async fn the_pages_run_nothing_frame_nowhere_and_post_home() {
    let fixture = fixture().await;
    let hostile = "https://desk.example/cb";
    register_app(&fixture, "hostile-app", &[hostile]).await;
    let browser = Browser::new(&fixture);
    let state = "\"><script>alert(1)</script><input value='";
    let asked = query(&[
        ("client_id", "hostile-app"),
        ("redirect_uri", hostile),
        ("state", state),
    ]);
    let first = browser.open(&asked).await;
    let second = browser.sign_in(&asked, "bob").await;
    for shown in [&first, &second] {
        assert!(!shown.html.contains("<script"), "{}", shown.html);
        let policy = shown.headers["content-security-policy"].to_str().unwrap();
        for directive in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(directive), "{policy}");
        }
        // Browsers hold redirects after a form to this too; where the answer goes is no business of it.
        assert!(policy.contains("form-action 'self';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("script-src"),
            "{policy}"
        );
        assert_eq!(shown.headers["cache-control"], "no-store");
        assert_eq!(shown.headers["x-frame-options"], "DENY");
        assert_eq!(shown.headers["referrer-policy"], "same-origin");
        assert!(!shown.headers.contains_key("access-control-allow-origin"));
        assert!(!shown.headers.contains_key("set-cookie"));
    }
    // What is posted back is what was asked, to the letter.
    assert_eq!(first.hidden("request"), asked);
    let form = second.hidden("form");
    for origin in [
        "",
        "null",
        "https://evil.example",
        "http://broker.example",
        "https://broker.example.evil.example",
    ] {
        let posted = browser
            .post_from(origin, &[("step", "allow"), ("form", &form)])
            .await;
        assert_eq!(posted.status, 403, "{origin}");
    }
    let sent = browser.post(&[("step", "allow"), ("form", &form)]).await;
    assert_eq!(sent.told()["state"], state);
    assert!(!sent.html.contains("<script"), "{}", sent.html);
}

/// Chromium holds the whole chain of redirects after a form to `form-action`, and what comes after the client's address
/// is the client's business: another origin, or the private scheme of an app.
#[tokio::test]
async fn no_form_is_answered_with_a_redirect() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    let first = browser.open(&query(&[])).await;
    let refused_at_once = browser
        .post(&[("step", "refuse"), ("request", &first.hidden("request"))])
        .await;
    let second = browser.sign_in(&query(&[]), "bob").await;
    let refused = browser
        .post(&[("step", "refuse"), ("form", &second.hidden("form"))])
        .await;
    // What was asked is not what can be had any more: found after the form was sent.
    let gone = browser
        .post(&[
            ("step", "sign_in"),
            ("request", &query(&[("scope", "admin")])),
        ])
        .await;
    let allowed = browser.allow(&query(&[]), "bob").await;
    for sent in [&refused_at_once, &refused, &gone, &allowed] {
        assert_eq!(sent.status, 200, "{}", sent.html);
        assert!(!sent.headers.contains_key("location"));
        let location = sent.location.as_deref().unwrap();
        assert!(location.starts_with(&format!("{CALLBACK}?")), "{location}");
        assert_eq!(sent.headers["referrer-policy"], "no-referrer");
        assert_eq!(sent.headers["cache-control"], "no-store");
        // The same by a click, escaped alike.
        let link = format!(
            "<a href=\"{}\" rel=\"noreferrer\">",
            location.replace('&', "&amp;")
        );
        assert!(sent.html.contains(&link), "{link}: {}", sent.html);
        assert!(!sent.html.contains("<form"), "{}", sent.html);
    }
    assert!(allowed.told().contains_key("code"));
    assert_eq!(gone.told_error(), "invalid_scope");
    // A link is followed by a redirect, as clients that look for one expect.
    let linked = browser.open(&query(&[("scope", "admin")])).await;
    assert_eq!(linked.status, 303);
}

#[tokio::test]
async fn a_sign_in_code_is_good_once_and_guesses_are_few() {
    let fixture = fixture().await;
    let browser = Browser::new(&fixture);
    let request = browser.open(&query(&[])).await.hidden("request");
    let post = async |code: &str| {
        browser
            .post(&[("step", "sign_in"), ("request", &request), ("code", code)])
            .await
    };
    let replaced = sign_in_code(&fixture, "bob").await;
    let code = sign_in_code(&fixture, "bob").await;
    assert_eq!(post(&replaced).await.status, 403, "a new one replaces it");
    assert_eq!(
        post(&code.to_lowercase().replace('-', " ")).await.status,
        200
    );
    assert_eq!(post(&code).await.status, 403, "used");
    let revoked = sign_in_code(&fixture, "bob").await;
    fixture
        .revoke(json!({"steward": steward(&fixture, "bob").await}))
        .await;
    assert_eq!(post(&revoked).await.status, 403, "its steward is revoked");
    let path = format!("/v1/stewards/{}/code", steward(&fixture, "bob").await);
    let made = fixture
        .operator(Method::POST, &path)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::FORBIDDEN);
    let mut statuses = Vec::new();
    for guess in 0..20 {
        statuses.push(
            post(&format!("0000-0000-0000-0000-0000-0000-{guess:04}"))
                .await
                .status,
        );
    }
    assert!(
        statuses[..5].iter().all(|status| *status == 403),
        "{statuses:?}"
    );
    assert!(statuses[12..].contains(&429), "{statuses:?}");
    let signed_in = fixture.records().get("signed_in").copied();
    assert_eq!(signed_in, Some(1));
}

#[tokio::test]
async fn only_an_admin_makes_sign_in_codes() {
    let fixture = fixture().await;
    let path = format!("/v1/stewards/{}/code", steward(&fixture, "bob").await);
    let auditor = fixture.token("eve", &["auditor"], &[]).await;
    let denied = fixture
        .request(Method::POST, &path)
        .bearer_auth(auditor)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(denied.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        fixture
            .agent(Method::POST, &path)
            .json(&json!({}))
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_person_is_told_what_each_tool_does_and_with_which_limits() {
    let fixture = fixture().await;
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["tools"]["post_entry"] = json!({});
    let set = fixture
        .operator(Method::PUT, "/v1/servers")
        .json(&manifest)
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), StatusCode::OK);
    let everything = GRANT.replace("[\"read_*\", \"search_*\"]", "[\"*\"]");
    fixture
        .set_grants(&format!(
            "{everything}\n[grant.constraints.transfer]\n\"/amount\" = {{ max = 100 }}\n"
        ))
        .await;
    let shown = Browser::new(&fixture)
        .sign_in(&query(&[("resource", SERVER)]), "bob")
        .await;
    let of = |tool: &str| {
        let start = format!("<li>call <code>{tool}</code>");
        let rest = shown
            .html
            .split(&start)
            .nth(1)
            .unwrap_or_else(|| panic!("no {tool}: {}", shown.html));
        rest.split("</li>").next().unwrap().to_owned()
    };
    let cannot = "<strong>cannot be undone</strong>";
    assert_eq!(of("read_ledger"), " - reads only");
    assert_eq!(of("post_entry"), " - changes things");
    assert_eq!(of("delete_ledger"), format!(" - {cannot}; risk: high"));
    let limited = of("transfer");
    assert!(
        limited.starts_with(&format!(" - {cannot}<br>")),
        "{limited}"
    );
    assert!(
        limited.contains("only with <code>/amount: {&quot;max&quot;:100"),
        "{limited}"
    );
}
