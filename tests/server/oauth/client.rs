//! A client at the OAuth door.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use test_broker::{TestBroker, body_of};

pub const TOKEN: &str = "/oauth/token";
pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Registers `agent` with a secret, which is returned, and with rights that it asks for by default.
pub async fn register(fixture: &TestBroker, agent: &str, default_details: Value) -> String {
    let body = json!({"agent": agent, "steward": "alice", "groups": ["research"], "secret": true,
        "default_details": default_details});
    let added = fixture
        .operator(Method::POST, "/v1/agents")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(added.status(), StatusCode::CREATED);
    body_of(added).await["client_secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Rights on the ledger, as authorization details.
pub fn ledger(tools: &[&str]) -> Value {
    json!([{"type": "mcp", "server": support::SERVER, "tools": tools}])
}

pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// A token request with the grant type and `parameters`.
pub fn ask(fixture: &TestBroker, parameters: &[(&str, &str)]) -> RequestBuilder {
    let grant = [("grant_type", "client_credentials")];
    fixture
        .request(Method::POST, TOKEN)
        .form(&grant.iter().chain(parameters).collect::<Vec<_>>())
}

/// A request of `client`, an id and a secret, to exchange a token of a type of RFC 8693.
pub fn exchange(
    fixture: &TestBroker,
    (id, secret): (&str, &str),
    (token, kind): (&str, &str),
    parameters: &[(&str, &str)],
) -> RequestBuilder {
    let kind = format!("urn:ietf:params:oauth:token-type:{kind}");
    let usual = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", &kind),
    ];
    let request = fixture
        .request(Method::POST, TOKEN)
        .form(&usual.iter().chain(parameters).collect::<Vec<_>>());
    request.header("authorization", basic(id, secret))
}

/// The pass of a good answer.
pub fn pass_of(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap().to_owned()
}

/// A good answer.
pub async fn token(request: RequestBuilder) -> Value {
    let response = request.send().await.unwrap();
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "{:?}",
        response.text().await
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["pragma"], "no-cache");
    body_of(response).await
}

/// An error: its status and its code.
pub async fn error(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["pragma"], "no-cache");
    let challenge = response
        .headers()
        .get("www-authenticate")
        .map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(
        challenge,
        (status == 401).then(|| "Basic realm=\"hallpass\"".to_owned())
    );
    let body = body_of(response).await;
    let members: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["error", "error_description"]);
    (status, body["error"].as_str().unwrap().to_owned())
}

pub async fn refused(request: RequestBuilder) -> (u16, String) {
    error(request.send().await.unwrap()).await
}
