//! Secrets: what was sent in a wrong place comes back nowhere.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::log::Log;
use test_broker::{TestBroker, assertion, task};

const CANARY: &str = "canary-7f3a9c";

#[tokio::test]
async fn what_was_sent_in_a_wrong_place_is_in_no_answer_and_no_log() {
    let log = Log::of_this_process();
    let tokens = send_canaries().await;
    let logged = log.text();
    assert!(
        logged.contains("answered") && logged.contains("the request was refused"),
        "nothing was logged"
    );
    for secret in tokens.iter().map(String::as_str).chain([CANARY]) {
        let found = logged.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{found:?}");
    }
}

/// Sends canaries everywhere; gives the secrets that were used.
async fn send_canaries() -> Vec<String> {
    let fixture = TestBroker::new().await;
    let app = json!({"agent": "desk-app", "steward": "alice", "groups": ["research"],
        "redirect_uris": ["https://desk.example/cb"]});
    fixture
        .operator(Method::POST, "/v1/agents")
        .json(&app)
        .send()
        .await
        .unwrap();
    let canary = |text: &str| text.replace("CANARY", CANARY);
    let bodies = [
        r#"{"purpose":["CANARY"],"ttl_seconds":1,"authorization_details":[]}"#,
        r#"{"purpose":"x","ttl_seconds":"CANARY","authorization_details":[]}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":"CANARY"}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[{"type":"CANARY","server":"https://a.example"}]}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[{"type":"mcp","server":"CANARY"}]}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[{"type":"mcp","server":"https://a.example","tools":["CANARY !"]}]}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[],"steward":{"CANARY":1}}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[],"subject_token":"CANARY"}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[],"holder_key":{"d":"CANARY"}}"#,
        r#"{"purpose":"x","ttl_seconds":1,"authorization_details":[],"token":"CANARY"}"#,
        r#"{"purpose":CANARY}"#,
        r#""CANARY"#,
        "CANARY",
    ];
    let mut requests = Vec::new();
    for body in bodies {
        let open = |request: RequestBuilder| {
            request
                .header("content-type", "application/json")
                .body(canary(body))
        };
        requests.push(open(fixture.agent(Method::POST, "/v1/tasks")));
        requests.push(open(fixture.operator(Method::POST, "/v1/policy/explain")));
        requests.push(open(fixture.operator(Method::POST, "/v1/revocations")));
    }
    for path in [
        "/v1/tasks/CANARY",
        "/v1/agents/CANARY",
        "/v1/servers/CANARY",
        "/v1/stewards/CANARY/name",
        "/CANARY",
        "/v1/tasks?cursor=CANARY",
        "/v1/tasks?agent=CANARY!",
        "/v1/audit?from=CANARY",
        "/v1/audit?steward=CANARY",
        "/v1/feed?server=CANARY",
    ] {
        requests.push(fixture.operator(Method::GET, &canary(path)));
        requests.push(fixture.operator(Method::DELETE, &canary(path)));
    }
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": CANARY});
    let agent = json!({"agent": "other-bot", "steward": "bob", "keys": [jwk]});
    requests.push(fixture.operator(Method::POST, "/v1/agents").json(&agent));
    for (name, value) in [
        ("idempotency-key", "CANARY CANARY"),
        ("traceparent", "CANARY"),
        ("x-request-id", "CANARY"),
        ("content-type", "text/CANARY"),
        ("content-encoding", "CANARY"),
        ("if-none-match", "CANARY"),
        ("last-event-id", "CANARY"),
        ("origin", "https://CANARY.example"),
        ("cookie", "CANARY"),
        ("x-api-key", "CANARY"),
    ] {
        requests.push(
            fixture
                .agent(Method::POST, "/v1/tasks")
                .header(name, canary(value))
                .json(&task()),
        );
    }
    requests.extend(oauth(&fixture));
    for credential in [
        "Bearer CANARY",
        "Basic CANARY",
        "CANARY",
        "Bearer CANARY.CANARY.CANARY",
    ] {
        requests.push(
            fixture
                .request(Method::GET, "/v1/agents")
                .header("Authorization", canary(credential)),
        );
    }
    for request in requests {
        let response = request.send().await.unwrap();
        let headers = format!("{:?}", response.headers());
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(
            !headers.contains(CANARY) && !text.contains(CANARY),
            "{status} {headers} {text}"
        );
    }
    let issued = fixture.open_task().await;
    let used = assertion(&fixture.bot);
    fixture
        .request(Method::GET, "/v1/tasks")
        .bearer_auth(&used)
        .send()
        .await
        .unwrap();
    let journal = fixture.journal();
    assert!(!journal.contains(CANARY) && !journal.contains(issued["token"].as_str().unwrap()));
    vec![
        issued["token"].as_str().unwrap().to_owned(),
        used,
        fixture.admin.clone(),
    ]
}

/// What clients and people send to the OAuth door.
fn oauth(fixture: &TestBroker) -> Vec<RequestBuilder> {
    let post = |path: &str, form: &[(&str, &str)]| fixture.request(Method::POST, path).form(form);
    let client = [("client_id", "research-bot"), ("client_secret", CANARY)];
    let jwt = format!("{CANARY}.{CANARY}.{CANARY}");
    let grant = |name: &str, more: &[(&str, &str)]| {
        post(
            "/oauth/token",
            &[&[("grant_type", name)], &client[..], more].concat(),
        )
    };
    let signed = [
        ("client_assertion", &*jwt),
        ("client_assertion_type", ASSERTION_TYPE),
    ];
    let subject = [
        ("subject_token", CANARY),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let page =
        |form: &[(&str, &str)]| post("/oauth/authorize", form).header("origin", support::ISSUER);
    vec![
        grant("client_credentials", &[("scope", CANARY)]),
        grant(
            "authorization_code",
            &[
                ("code", CANARY),
                ("code_verifier", CANARY),
                ("redirect_uri", CANARY),
            ],
        ),
        grant("refresh_token", &[("refresh_token", CANARY)]),
        grant(
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            &[("assertion", &jwt)],
        ),
        grant("urn:ietf:params:oauth:grant-type:token-exchange", &subject),
        post(
            "/oauth/token",
            &[&[("grant_type", "client_credentials")], &signed[..]].concat(),
        ),
        post("/oauth/token", &[("grant_type", "client_credentials")])
            .basic_auth("research-bot", Some(CANARY)),
        post("/oauth/token", &[("grant_type", "client_credentials")])
            .basic_auth(CANARY, Some(CANARY)),
        post("/oauth/token", &[("grant_type", CANARY)]),
        post("/oauth/token", &[("grant_type", "client_credentials")]).header("dpop", &jwt),
        post(
            "/oauth/revoke",
            &[&[("token", CANARY)], &client[..]].concat(),
        ),
        post("/oauth/introspect", &[("token", CANARY)]).basic_auth("ledger", Some(CANARY)),
        fixture
            .request(Method::POST, "/oauth/register")
            .json(&json!({"redirect_uris": [CANARY], "client_secret": CANARY})),
        fixture.request(
            Method::GET,
            &format!("/oauth/authorize?client_id={CANARY}&state={CANARY}"),
        ),
        page(&[("step", "sign_in"), ("request", CANARY), ("code", CANARY)]),
        page(&[("step", "sign_in"), ("request", PEOPLES), ("code", CANARY)]),
        page(&[("step", "allow"), ("form", CANARY)]),
    ]
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A request of the app that a person is asked about.
const PEOPLES: &str = "response_type=code&client_id=desk-app&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
                       &code_challenge_method=S256&resource=https://ledger.example/mcp";
