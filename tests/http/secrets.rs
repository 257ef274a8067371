//! Secrets: what was sent in a wrong place comes back nowhere.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::house::{House, assertion, task};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const CANARY: &str = "canary-7f3a9c";

#[tokio::test]
async fn what_was_sent_in_a_wrong_place_is_in_no_answer_and_no_log() {
    let log = Log::default();
    // Other crates' lines are not ours to write; the default filter leaves them out at this level.
    let subscriber = tracing_subscriber::fmt().with_env_filter("hallpass=trace").with_writer(log.clone()).finish();
    // For the whole process: a subscriber of one thread may miss what others were first to reach.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let tokens = send_canaries().await;
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("answered") && logged.contains("the request was refused"), "nothing was logged");
    for secret in tokens.iter().map(String::as_str).chain([CANARY]) {
        let found = logged.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "{found:?}");
    }
}

/// Sends canaries everywhere; gives the secrets that were used.
async fn send_canaries() -> Vec<String> {
    let house = House::new().await;
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
        let open =
            |request: reqwest::RequestBuilder| request.header("content-type", "application/json").body(canary(body));
        requests.push(open(house.agent(Method::POST, "/v1/tasks")));
        requests.push(open(house.operator(Method::POST, "/v1/policy/explain")));
        requests.push(open(house.operator(Method::POST, "/v1/revocations")));
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
        requests.push(house.operator(Method::GET, &canary(path)));
        requests.push(house.operator(Method::DELETE, &canary(path)));
    }
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": CANARY});
    let agent = json!({"agent": "other-bot", "steward": "bob", "keys": [jwk]});
    requests.push(house.operator(Method::POST, "/v1/agents").json(&agent));
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
        requests.push(house.agent(Method::POST, "/v1/tasks").header(name, canary(value)).json(&task()));
    }
    for credential in ["Bearer CANARY", "Basic CANARY", "CANARY", "Bearer CANARY.CANARY.CANARY"] {
        requests.push(house.request(Method::GET, "/v1/agents").header("Authorization", canary(credential)));
    }
    for request in requests {
        let response = request.send().await.unwrap();
        let headers = format!("{:?}", response.headers());
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(!headers.contains(CANARY) && !text.contains(CANARY), "{status} {headers} {text}");
    }
    let issued = house.open_task().await;
    let used = assertion(&house.bot);
    house.request(Method::GET, "/v1/tasks").bearer_auth(&used).send().await.unwrap();
    let journal = std::fs::read_dir(house.directory.path().join("data/journal")).unwrap();
    for file in journal {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(CANARY));
        assert!(!text.contains(issued["token"].as_str().unwrap()));
    }
    vec![issued["token"].as_str().unwrap().to_owned(), used, house.admin.clone()]
}
