//! A person's browser at the consent page, and the client that sent it there.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, redirect::Policy};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::oauth::client::TOKEN;
use support::{ISSUER, SERVER};
use test_broker::{TestBroker, body_of};

pub const APP: &str = "desk-app";
pub const CALLBACK: &str = "http://127.0.0.1:43210/callback";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// What a browser shows, or where it is sent.
#[derive(Debug)]
pub struct Shown {
    pub status: u16,
    pub html: String,
    /// Where it is sent, by a redirect or by a page that goes on by itself.
    pub location: Option<String>,
    pub headers: reqwest::header::HeaderMap,
}

impl Shown {
    /// The value of a hidden field.
    pub fn hidden(&self, name: &str) -> String {
        let start = format!("<input type=\"hidden\" name=\"{name}\" value=\"");
        let rest = self
            .html
            .split(&start)
            .nth(1)
            .unwrap_or_else(|| panic!("no field {name} in {}", self.html));
        let value = rest.split('"').next().unwrap();
        unescaped(value)
    }

    /// What the client is told at its redirect URI, each parameter once.
    pub fn told(&self) -> BTreeMap<String, String> {
        let location = self
            .location
            .as_deref()
            .unwrap_or_else(|| panic!("{} {}", self.status, self.html));
        assert!(matches!(self.status, 200 | 303));
        let pairs: Vec<_> = Url::parse(location)
            .unwrap()
            .query_pairs()
            .into_owned()
            .collect();
        let told: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(told.len(), pairs.len(), "told twice: {location}");
        told
    }

    pub fn told_error(&self) -> String {
        let told = self.told();
        assert!(!told.contains_key("code"));
        assert_eq!(told["iss"], ISSUER);
        told["error"].clone()
    }
}

/// A browser that keeps nothing, goes nowhere by itself, and names its origin with every form.
pub struct Browser<'h> {
    fixture: &'h TestBroker,
    client: Client,
}

impl<'h> Browser<'h> {
    pub fn new(fixture: &'h TestBroker) -> Self {
        Self {
            fixture,
            client: Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()
                .unwrap(),
        }
    }

    /// Opens another page of the broker's, with a cookie.
    pub async fn come_back(&self, path_and_query: &str, cookie: &str) -> Shown {
        let request = self.client.get(self.fixture.url(path_and_query));
        self.send(request.header("cookie", cookie)).await
    }

    async fn send(&self, request: RequestBuilder) -> Shown {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let html = response.text().await.unwrap();
        let by_header = headers
            .get("location")
            .map(|it| it.to_str().unwrap().to_owned());
        Shown {
            status,
            headers,
            location: by_header.or_else(|| gone_on(&html)),
            html,
        }
    }

    pub async fn open(&self, query: &str) -> Shown {
        self.send(
            self.client
                .get(self.fixture.url(&format!("/oauth/authorize?{query}"))),
        )
        .await
    }

    pub async fn post(&self, fields: &[(&str, &str)]) -> Shown {
        self.post_from(ISSUER, fields).await
    }

    pub async fn post_from(&self, origin: &str, fields: &[(&str, &str)]) -> Shown {
        let request = self
            .client
            .post(self.fixture.url("/oauth/authorize"))
            .form(fields);
        self.send(if origin.is_empty() {
            request
        } else {
            request.header("origin", origin)
        })
        .await
    }

    /// Opens the page and signs in with a new code of `steward`.
    pub async fn sign_in(&self, query: &str, steward: &str) -> Shown {
        let first = self.open(query).await;
        assert_eq!(first.status, 200, "{}", first.html);
        let code = sign_in_code(self.fixture, steward).await;
        self.post(&[
            ("step", "sign_in"),
            ("request", &first.hidden("request")),
            ("code", &code),
        ])
        .await
    }

    /// Opens the page, signs in and allows what is shown.
    pub async fn allow(&self, query: &str, steward: &str) -> Shown {
        let second = self.sign_in(query, steward).await;
        assert_eq!(second.status, 200, "{}", second.html);
        self.post(&[("step", "allow"), ("form", &second.hidden("form"))])
            .await
    }
}

/// Where a page goes on to by itself, as browsers read it.
fn gone_on(html: &str) -> Option<String> {
    let rest = html
        .split("<meta http-equiv=\"refresh\" content=\"0; url=")
        .nth(1)?;
    rest.split('"').next().map(unescaped)
}

fn unescaped(value: &str) -> String {
    value
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// The id of the steward of this name, registered when new.
pub async fn steward(fixture: &TestBroker, name: &str) -> String {
    let made = fixture
        .operator(Method::POST, "/v1/stewards")
        .json(&json!({"name": name}))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    body_of(made).await["steward"].as_str().unwrap().to_owned()
}

pub async fn sign_in_code(fixture: &TestBroker, name: &str) -> String {
    let path = format!("/v1/stewards/{}/code", steward(fixture, name).await);
    let made = fixture
        .operator(Method::POST, &path)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CREATED);
    body_of(made).await["code"].as_str().unwrap().to_owned()
}

/// A broker with [`APP`], a public client of people.
pub async fn fixture() -> TestBroker {
    let fixture = TestBroker::new().await;
    register_app(
        &fixture,
        APP,
        &["http://127.0.0.1/callback", "https://desk.example/cb"],
    )
    .await;
    fixture
}

/// Registers `agent` as a public client of people.
pub async fn register_app(fixture: &TestBroker, agent: &str, redirect_uris: &[&str]) {
    let body = json!({"agent": agent, "steward": "alice", "groups": ["research"], "redirect_uris": redirect_uris});
    let added = fixture
        .operator(Method::POST, "/v1/agents")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(
        added.status(),
        StatusCode::CREATED,
        "{:?}",
        added.text().await
    );
}

pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// The query of an authorization request of [`APP`], with `more` parameters and others replaced.
pub fn query(more: &[(&str, &str)]) -> String {
    let challenge = challenge(VERIFIER);
    let usual = [
        ("response_type", "code"),
        ("client_id", APP),
        ("redirect_uri", CALLBACK),
        ("state", "af0ifj&sl=dkj #"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", SERVER),
    ];
    let kept = usual
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    let pairs: Vec<_> = kept
        .chain(more)
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let encode = |text: &str| {
        text.bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect::<String>()
    };
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// The request that redeems `code`, with other parameters replaced.
pub fn redeem(fixture: &TestBroker, code: &str, more: &[(&str, &str)]) -> RequestBuilder {
    let usual = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("client_id", APP),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let kept = usual
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    fixture
        .request(Method::POST, TOKEN)
        .form(&kept.chain(more).collect::<Vec<_>>())
}

pub fn refresh(fixture: &TestBroker, token: &str, more: &[(&str, &str)]) -> RequestBuilder {
    let usual = [
        ("grant_type", "refresh_token"),
        ("refresh_token", token),
        ("client_id", APP),
    ];
    let kept = usual
        .iter()
        .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    fixture
        .request(Method::POST, TOKEN)
        .form(&kept.chain(more).collect::<Vec<_>>())
}

/// The only task of `agent`, as operators see it.
pub async fn task_of(fixture: &TestBroker, agent: &str) -> Value {
    let tasks = fixture.tasks_of(agent).await;
    assert_eq!(tasks.len(), 1, "{tasks:?}");
    tasks[0].clone()
}
