//! Clients that nobody registered: by a metadata document, and by themselves.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::State, http::Uri, response::IntoResponse};
use hallpass::server::{
    OAuthOptions, Options,
    outbound::{Addresses, FetchOptions, Fetcher, Names, Reach},
};
use hallpass_broker::identity::AgentKey;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::log::Log;
use crate::oauth::{
    browser::{Browser, CALLBACK, query, redeem, refresh, steward},
    client::{ASSERTION_TYPE, ask, refused, token},
};
use hallpass_core::base::client_url::ClientUrl;
use support::ISSUER;
use support::{idp::SigningKey, tls};
use test_broker::{TestBroker, body_of, options, task};

/// `app.example` on this machine, with the documents that it has.
struct DocumentSite {
    port: u16,
    certificate: String,
    documents: Documents,
}

#[derive(Clone, Default)]
struct Documents {
    at: Arc<Mutex<HashMap<String, Value>>>,
    asked: Arc<AtomicUsize>,
}

async fn serve(State(documents): State<Documents>, uri: Uri) -> axum::response::Response {
    documents.asked.fetch_add(1, Ordering::SeqCst);
    let found = documents.at.lock().unwrap().get(uri.path()).cloned();
    match found {
        Some(Value::String(elsewhere)) => {
            axum::response::Redirect::temporary(&elsewhere).into_response()
        }
        Some(document) => {
            let keep = if uri.path().starts_with(KEPT) {
                "max-age=600"
            } else {
                "max-age=0"
            };
            ([("cache-control", keep)], axum::Json(document)).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// What is below may be kept for a while.
const KEPT: &str = "/kept/";

/// Whatever is asked for is here.
#[derive(Debug)]
struct Here;

impl Names for Here {
    fn addresses(&self, _: String) -> Addresses {
        Box::pin(async { Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]) })
    }
}

impl DocumentSite {
    async fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["app.example".to_owned()]).unwrap();
        let documents = Documents::default();
        let router = Router::new().fallback(serve).with_state(documents.clone());
        let (address, served) = tls::serve(&certified, router);
        tokio::spawn(served);
        Self {
            port: address.port(),
            certificate: certified.cert.pem(),
            documents,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://app.example:{}{path}", self.port)
    }

    /// Puts a document at `path`, made of the usual one and `change`; returns its URL.
    fn put(&self, path: &str, change: Value) -> String {
        let url = self.url(path);
        let mut document = json!({
            "client_id": url, "client_name": "Desk", "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "none",
        });
        document
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        self.documents
            .at
            .lock()
            .unwrap()
            .insert(path.to_owned(), document);
        url
    }

    /// A broker that reads documents here, with a grant to all clients that have one.
    async fn fixture(&self) -> TestBroker {
        let fetch = FetchOptions {
            root_certificates: Some(self.certificate.clone().into_bytes()),
            names: Arc::new(Here),
            ..FetchOptions::new(Reach::with_loopback())
        };
        let client_documents = Some(Arc::new(Fetcher::new(fetch).unwrap()));
        granted(
            TestBroker::with(Options {
                client_documents,
                ..options()
            })
            .await,
            "client-documents",
        )
        .await
    }
}

async fn granted(fixture: TestBroker, group: &str) -> TestBroker {
    let grant = json!({"id": "clients", "agents": [format!("group:{group}")], "server": "ledger",
        "tools": ["read_*"], "max_ttl": "10m"});
    let written = fixture
        .operator(Method::POST, "/v1/policy/grants")
        .json(&grant)
        .send()
        .await
        .unwrap();
    assert_eq!(
        written.status(),
        StatusCode::CREATED,
        "{:?}",
        written.text().await
    );
    fixture
}

async fn agents(fixture: &TestBroker) -> Vec<Value> {
    let listed = fixture
        .operator(Method::GET, "/v1/agents")
        .send()
        .await
        .unwrap();
    body_of(listed).await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_client_with_a_document_becomes_an_agent_by_the_first_consent() {
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let url = site.put("/client.json", json!({}));
    let asked = query(&[("client_id", &url)]);
    let browser = Browser::new(&fixture);
    let first = browser.open(&asked).await;
    for shown in [
        "Desk",
        &url,
        "http://127.0.0.1:43210",
        "any program there can say that it is",
    ] {
        assert!(first.html.contains(shown), "{shown}: {}", first.html);
    }
    let second = browser.sign_in(&asked, "bob").await;
    assert!(
        second.html.contains("read_ledger") && !second.html.contains("delete_ledger"),
        "{}",
        second.html
    );
    assert_eq!(agents(&fixture).await.len(), 1, "nobody consented yet");
    let told = browser
        .post(&[("step", "allow"), ("form", &second.hidden("form"))])
        .await
        .told();
    let client = ("client_id", url.as_str());
    let bobs = token(redeem(&fixture, &told["code"], &[client])).await;
    assert_eq!(bobs["scope"], "tool:read_ledger");

    let carols = browser.allow(&asked, "carol").await.told()["code"].clone();
    let carols = token(redeem(&fixture, &carols, &[client])).await;
    let known = agents(&fixture).await;
    let agent = known
        .iter()
        .find(|agent| agent["client_document"] == url)
        .unwrap();
    assert_eq!(
        (known.len(), &agent["groups"]),
        (2, &json!(["client-documents"]))
    );
    assert_eq!(agent["steward"], steward(&fixture, "bob").await);
    assert!(
        agent["agent"].as_str().unwrap().starts_with("app.example-"),
        "{agent}"
    );
    // Whoever happened to be the first is one of them, no more.
    fixture.revoke(json!({"steward": agent["steward"]})).await;
    let ended = refused(refresh(
        &fixture,
        bobs["refresh_token"].as_str().unwrap(),
        &[client],
    ))
    .await;
    assert_eq!(ended, (400, "invalid_grant".to_owned()));
    let carols = token(refresh(
        &fixture,
        carols["refresh_token"].as_str().unwrap(),
        &[client],
    ))
    .await;
    // The agent's id is not a client's.
    let as_agent = ("client_id", agent["agent"].as_str().unwrap());
    let next = carols["refresh_token"].as_str().unwrap();
    assert_eq!(
        refused(refresh(&fixture, next, &[as_agent])).await,
        (401, "invalid_client".to_owned())
    );
    assert_eq!(browser.open(&query(&[as_agent])).await.status, 400);

    let removed = fixture
        .operator(Method::DELETE, &format!("/v1/agents/{}", as_agent.1))
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), StatusCode::NO_CONTENT);
    let gone = browser.sign_in(&asked, "dave").await;
    assert_eq!(
        (gone.status, gone.location),
        (403, None),
        "an operator removed it: {}",
        gone.html
    );
    assert_eq!(
        refused(refresh(&fixture, next, &[client])).await,
        (401, "invalid_client".to_owned())
    );
}

#[tokio::test]
async fn a_document_is_believed_about_itself_only() {
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let browser = Browser::new(&fixture);
    site.put("/good.json", json!({}));
    let long = "x".repeat(6000);
    for (path, change) in [
        ("/other", json!({"client_id": site.url("/good.json")})),
        ("/secret", json!({"client_secret": "x"})),
        (
            "/basic",
            json!({"token_endpoint_auth_method": "client_secret_basic"}),
        ),
        (
            "/keyless",
            json!({"token_endpoint_auth_method": "private_key_jwt"}),
        ),
        (
            "/badkey",
            json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [{"kty": "oct", "k": "x"}]}}),
        ),
        ("/nowhere", json!({"redirect_uris": []})),
        (
            "/plain",
            json!({"redirect_uris": ["http://app.example/cb"]}),
        ),
        ("/long", json!({"padding": long})),
    ] {
        let url = site.put(path, change);
        let shown = browser.open(&query(&[("client_id", &url)])).await;
        assert_eq!(
            (shown.status, &shown.location),
            (400, &None),
            "{path}: {}",
            shown.html
        );
        assert!(
            shown.html.contains("describes itself at an address"),
            "{path}: {}",
            shown.html
        );
    }
    site.documents
        .at
        .lock()
        .unwrap()
        .insert("/moved".to_owned(), json!(site.url("/good.json")));
    for path in ["/moved", "/absent"] {
        let shown = browser
            .open(&query(&[("client_id", &site.url(path))]))
            .await;
        assert!(
            shown.status == 400 && shown.html.contains("describes itself at an address"),
            "{path}: {}",
            shown.html
        );
    }
    let asked = site.documents.asked.load(Ordering::SeqCst);
    for client in [
        site.put("/", json!({})),
        site.put("/good.json?x", json!({})),
        site.url("/good.json#x"),
        site.url("/good.json").replace("https:", "http:"),
        site.url("/good.json").replace("app.", "user@app."),
    ] {
        let shown = browser.open(&query(&[("client_id", &client)])).await;
        assert!(
            shown.status == 400 && shown.html.contains("is not known"),
            "{client}: {}",
            shown.html
        );
    }
    assert_eq!(
        site.documents.asked.load(Ordering::SeqCst),
        asked,
        "what is no client's URL is not fetched"
    );
    // Another redirect URI than the document has now.
    let url = site.put(
        "/good.json",
        json!({"redirect_uris": ["https://app.example/cb"]}),
    );
    assert_eq!(
        browser.open(&query(&[("client_id", &url)])).await.status,
        400
    );
}

#[tokio::test]
async fn a_document_is_kept_for_as_long_as_its_server_says_and_a_failure_is_not() {
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let browser = Browser::new(&fixture);
    let open = async |url: &str| browser.open(&query(&[("client_id", url)])).await.status;
    for (path, fetches) in [("/kept/client.json", 1), ("/client.json", 3)] {
        let before = site.documents.asked.load(Ordering::SeqCst);
        // Not there yet; as soon as it is, it is found.
        assert_eq!(open(&site.url(path)).await, 400, "{path}");
        let url = site.put(path, json!({}));
        for _ in 0..3 {
            assert_eq!(open(&url).await, 200, "{path}");
        }
        assert_eq!(
            site.documents.asked.load(Ordering::SeqCst) - before,
            1 + fetches,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_name_is_text_and_nobody_is_sent_to_strangers_unseen() {
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let browser = Browser::new(&fixture);
    let name = "<script>alert(1)</script>\u{202e}\" onload=\"x";
    let place = "https://app.example/cb";
    let url = site.put(
        "/x.json",
        json!({"client_name": name, "redirect_uris": [place]}),
    );
    let asked = [("client_id", url.as_str()), ("redirect_uri", place)];
    let second = browser.sign_in(&query(&asked), "bob").await;
    for shown in [&browser.open(&query(&asked)).await.html, &second.html] {
        assert!(
            shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&quot;x"),
            "{shown}"
        );
        assert!(
            !shown.contains("<script") && !shown.contains('\u{202e}'),
            "{shown}"
        );
    }
    let wrong = [&asked[..], &[("scope", "admin")]].concat();
    let stopped = browser.open(&query(&wrong)).await;
    assert_eq!((stopped.status, &stopped.location), (400, &None));
    assert!(
        stopped
            .html
            .contains("href=\"https://app.example/cb?error=invalid_scope&amp;"),
        "{}",
        stopped.html
    );
    // A person who has seen where it goes may go.
    let refusal = browser
        .post(&[("step", "refuse"), ("form", &second.hidden("form"))])
        .await;
    assert_eq!(refusal.told_error(), "access_denied");
}

#[tokio::test]
async fn a_client_with_a_document_proves_its_key_and_opens_nothing_of_its_own() {
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let key = AgentKey::generate("desk".parse().unwrap());
    let change = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.public_jwk()]}});
    let url = site.put("/key.json", change);
    let asked = query(&[("client_id", &url)]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let client = ("client_id", url.as_str());
    assert_eq!(
        refused(redeem(&fixture, &code, &[client])).await,
        (401, "invalid_client".to_owned())
    );
    let signed_as = |name: &str, key: &AgentKey| {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let jti = hex::encode(rand_bytes());
        let claims = json!({"iss": name, "sub": name, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti});
        hallpass_core::base::jws::sign(key.key(), "JWT", None, &claims).unwrap()
    };
    let signed = |key: &AgentKey| signed_as(&url, key);
    let impostor = AgentKey::generate("desk".parse().unwrap());
    let forged = signed(&impostor);
    let proof = |assertion: &'static str| {
        [
            ("client_assertion", assertion),
            ("client_assertion_type", ASSERTION_TYPE),
        ]
    };
    let forged: &'static str = forged.leak();
    let wrong = [&[client][..], &proof(forged)].concat();
    assert_eq!(
        refused(redeem(&fixture, &code, &wrong)).await,
        (401, "invalid_client".to_owned())
    );
    let good = [&[client][..], &proof(signed(&key).leak())].concat();
    token(redeem(&fixture, &code, &good)).await;
    // Nobody answers for what it would do of itself.
    let own = [
        &[("scope", "tool:read_ledger"), ("resource", support::SERVER)][..],
        &proof(signed(&key).leak()),
    ];
    let own = refused(ask(&fixture, &own.concat())).await;
    assert_eq!(own, (400, "invalid_scope".to_owned()));
    // Nor at the API, by whichever of its names.
    let known = agents(&fixture).await;
    let agent = known
        .iter()
        .find(|agent| agent["client_document"] == url)
        .unwrap()["agent"]
        .as_str()
        .unwrap();
    for name in [agent, &url] {
        let opened = fixture
            .request(Method::POST, "/v1/tasks")
            .bearer_auth(signed_as(name, &key))
            .json(&task());
        let (status, _) = test_broker::refused(opened).await;
        assert!(matches!(status, 401 | 403), "{name}: {status}");
    }
    assert_eq!(
        fixture.tasks_of(agent).await.len(),
        1,
        "the one that bob allowed"
    );
}

/// What ChatGPT publishes, names replaced: its keys are at another address of the same origin, and it does not fall back
/// to being a public client.
fn chat_client(site: &DocumentSite, jwks_uri: &str) -> (String, String) {
    let path = "/oauth/ID/client.json";
    let (url, redirect_uri) = (site.url(path), site.url("/connector/oauth/ID"));
    let document = json!({"client_id": url, "client_name": "C", "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "RS256",
        "jwks_uri": jwks_uri});
    let mut at = site.documents.at.lock().unwrap();
    at.insert(path.to_owned(), document);
    (url, redirect_uri)
}

impl DocumentSite {
    fn publish(&self, path: &str, keys: &[Value]) {
        let set = json!({"keys": keys});
        let mut at = self.documents.at.lock().unwrap();
        at.insert(path.to_owned(), set);
    }

    fn asked(&self) -> usize {
        self.documents.asked.load(Ordering::SeqCst)
    }
}

/// The parameters of an assertion of `client` by `key`.
fn assertion_of(client: &str, key: &SigningKey) -> [(&'static str, &'static str); 2] {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let jti = hex::encode(rand_bytes());
    let claims = json!({"iss": client, "sub": client, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti});
    let assertion: &'static str = key.sign(Some("JWT"), &claims).leak();
    [
        ("client_assertion", assertion),
        ("client_assertion_type", ASSERTION_TYPE),
    ]
}

#[tokio::test]
async fn a_client_whose_document_says_where_its_keys_are_authenticates_by_them() {
    let log = Log::of_this_process();
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let key = SigningKey::rsa("one");
    let encrypts =
        json!({"kty": "RSA", "kid": "chat-enc", "use": "enc", "n": key.jwk["n"], "e": "AQAB"});
    site.publish("/oauth/jwks.json", &[key.jwk.clone(), encrypts]);
    let (url, place) = chat_client(&site, &site.url("/oauth/jwks.json"));
    let client = ("client_id", url.as_str());
    let place = ("redirect_uri", place.as_str());
    let asked = query(&[client, place]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let with = |more: &[(&'static str, &'static str)]| {
        redeem(&fixture, &code, &[&[client, place][..], more].concat())
    };
    let unproven = (401, "invalid_client".to_owned());
    let before = site.asked();
    // It is no public client, for all that no key of it is recorded.
    assert_eq!(refused(with(&[])).await, unproven);
    assert_eq!(site.asked(), before, "nothing was fetched for that");
    let stranger = SigningKey::rsa("one");
    assert_eq!(
        refused(with(&assertion_of(&url, &stranger))).await,
        unproven
    );
    // The key does both paddings, and the document says which one the client uses.
    let other_padding = SigningKey::rsa_pss("one");
    assert_eq!(
        refused(with(&assertion_of(&url, &other_padding))).await,
        unproven
    );
    let unheard = SigningKey::rsa("unheard-of");
    assert_eq!(refused(with(&assertion_of(&url, &unheard))).await, unproven);
    let left_out = SigningKey::rsa("chat-enc");
    assert_eq!(
        refused(with(&assertion_of(&url, &left_out))).await,
        unproven
    );
    let answer = token(with(&assertion_of(&url, &key))).await;
    assert_eq!(answer["scope"], "tool:read_ledger");
    let next = answer["refresh_token"].as_str().unwrap();
    assert_eq!(refused(refresh(&fixture, next, &[client])).await, unproven);
    let proof = assertion_of(&url, &key);
    let renewed = token(refresh(&fixture, next, &[&[client][..], &proof].concat())).await;
    let again = refresh(
        &fixture,
        renewed["refresh_token"].as_str().unwrap(),
        &[&[client][..], &proof].concat(),
    );
    assert_eq!(refused(again).await, unproven, "an assertion is used once");
    assert_eq!(site.asked() - before, 1, "its keys are cached");
    let agent = url.parse::<ClientUrl>().unwrap().agent().unwrap();
    let lines = log.lines_with(agent.as_str());
    let line = lines.iter().find(|line| line.contains("chat-enc")).unwrap();
    assert!(line.contains("`use` names another purpose"), "{line}");

    let known = agents(&fixture).await;
    let known = known.iter().find(|agent| agent["client_document"] == url);
    let known = known.unwrap();
    assert_eq!(
        (&known["keys"], &known["jwks_uri"]),
        (&json!([]), &json!(site.url("/oauth/jwks.json")))
    );
    // An operator who changes its rights does not make a public client of it.
    let change = json!({"steward": "alice", "groups": ["client-documents"]});
    let path = format!("/v1/agents/{agent}");
    let changed = fixture.operator(Method::PUT, &path).json(&change);
    let changed = body_of(changed.send().await.unwrap()).await;
    assert_eq!(changed["jwks_uri"], known["jwks_uri"], "{changed}");
    let next = renewed["refresh_token"].as_str().unwrap();
    assert_eq!(refused(refresh(&fixture, next, &[client])).await, unproven);
    let proof = assertion_of(&url, &key);
    token(refresh(&fixture, next, &[&[client][..], &proof].concat())).await;
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_an_outage_and_no_refusal() {
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let key = SigningKey::rsa("one");
    let (url, place) = chat_client(&site, &site.url("/oauth/jwks.json"));
    let (client, place) = (
        ("client_id", url.as_str()),
        ("redirect_uri", place.as_str()),
    );
    let asked = query(&[client, place]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let before = site.asked();
    for _ in 0..20 {
        let proof = assertion_of(&url, &key);
        let more = [&[client, place][..], &proof].concat();
        let outage = refused(redeem(&fixture, &code, &more)).await;
        assert_eq!(outage, (503, "temporarily_unavailable".to_owned()));
    }
    assert_eq!(site.asked() - before, 1, "it is not asked again at once");
}

#[tokio::test]
async fn keys_at_another_origin_are_not_fetched() {
    let log = Log::of_this_process();
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let (url, place) = chat_client(&site, "https://keys.example/jwks.json");
    let asked = query(&[("client_id", &url), ("redirect_uri", &place)]);
    let shown = Browser::new(&fixture).open(&asked).await;
    assert_eq!(shown.status, 400, "{}", shown.html);
    let line = log.info(&url);
    assert!(
        line.contains("`jwks_uri` is not an https URL of the document's own origin"),
        "{line}"
    );
    let request = shown.headers["x-request-id"].to_str().unwrap();
    assert!(line.contains(request), "{line}");
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn a_key_of_a_document_that_cannot_be_used_is_left_out_and_named_in_the_log() {
    let log = Log::of_this_process();
    let site = DocumentSite::start().await;
    let fixture = site.fixture().await;
    let key = SigningKey::p256("doc-good");
    let mut good = key.jwk.clone();
    good["x5c"] = json!(["MIIB"]);
    good["iat"] = json!(1);
    good["use"] = Value::Null;
    let encrypts = json!({"kty": "EC", "crv": "P-256", "kid": "doc-enc", "use": "enc", "x": good["x"], "y": good["y"]});
    let wide = json!({"kty": "EC", "crv": "P-521", "kid": "doc-521", "x": "AA", "y": "AA"});
    let more: Vec<_> = (0..4)
        .map(|number| SigningKey::ed25519(&format!("doc-more-{number}")).jwk)
        .collect();
    let keys = [&[encrypts.clone(), good, wide.clone()][..], &more].concat();
    let method = json!("private_key_jwt");
    let change = json!({"token_endpoint_auth_method": method, "jwks": {"keys": keys}});
    let url = site.put("/kept/odd.json", change);
    let asked = query(&[("client_id", &url)]);
    let code = Browser::new(&fixture).allow(&asked, "bob").await.told()["code"].clone();
    let proof = assertion_of(&url, &key);
    token(redeem(
        &fixture,
        &code,
        &[&[("client_id", url.as_str())][..], &proof].concat(),
    ))
    .await;
    for (kid, why) in [
        ("doc-enc", "`use` names another purpose"),
        ("doc-521", "none of OKP"),
        ("doc-more-3", "1 to 4 keys"),
    ] {
        let line = log.info(&format!("kid \"{kid}\""));
        assert!(line.contains(why) && line.contains(&url), "{line}");
    }
    let change = json!({"token_endpoint_auth_method": method, "jwks": {"keys": [encrypts, wide]}});
    let url = site.put("/none.json", change);
    let shown = Browser::new(&fixture)
        .open(&query(&[("client_id", &url)]))
        .await;
    assert_eq!(shown.status, 400, "{}", shown.html);
    let line = log.info(&url);
    let request = shown.headers["x-request-id"].to_str().unwrap();
    for part in ["doc-enc", "doc-521", "no key that can be used", request] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

fn rand_bytes() -> [u8; 16] {
    *hallpass_core::base::random::bytes::<16>()
}

#[tokio::test]
async fn registration_is_off_until_somebody_turns_it_on() {
    let fixture = TestBroker::new().await;
    let body = json!({"redirect_uris": [CALLBACK]});
    let answer = fixture
        .request(Method::POST, "/oauth/register")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let metadata = fixture
        .request(Method::GET, "/.well-known/oauth-authorization-server")
        .send()
        .await
        .unwrap();
    let metadata = body_of(metadata).await;
    assert_eq!(metadata.get("registration_endpoint"), None);
    assert_eq!(metadata["client_id_metadata_document_supported"], false);
    assert!(!fixture.records().contains_key("client_registered"));
}

async fn open_house() -> TestBroker {
    let oauth = OAuthOptions {
        dynamic_registration: true,
        ..OAuthOptions::default()
    };
    granted(
        TestBroker::with(Options { oauth, ..options() }).await,
        "registered-clients",
    )
    .await
}

#[tokio::test]
async fn a_client_that_registered_itself_is_an_agent_once_somebody_consents() {
    let fixture = open_house().await;
    for (method, has_secret) in [
        ("none", false),
        ("client_secret_post", true),
        ("client_secret_basic", true),
    ] {
        let body = json!({"redirect_uris": ["http://127.0.0.1/callback"], "client_name": "Desk",
            "application_type": "native", "token_endpoint_auth_method": method, "scope": "x", "unknown": 1,
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]});
        let made = fixture
            .request(Method::POST, "/oauth/register")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        assert_eq!(made.headers()["cache-control"], "no-store");
        let made = body_of(made).await;
        for echoed in [
            "redirect_uris",
            "client_name",
            "application_type",
            "token_endpoint_auth_method",
            "grant_types",
        ] {
            assert_eq!(made[echoed], body[echoed], "{echoed}");
        }
        assert_eq!(made.get("client_secret").is_some(), has_secret, "{made}");
        assert_eq!(
            made.get("client_secret_expires_at"),
            has_secret.then_some(&json!(0))
        );
        let id = made["client_id"].as_str().unwrap();
        let known = fixture
            .operator(Method::GET, &format!("/v1/agents/{id}"))
            .send()
            .await
            .unwrap();
        assert_eq!(
            known.status(),
            StatusCode::NOT_FOUND,
            "nobody consented yet"
        );
        let client = ("client_id", id);
        let browser = Browser::new(&fixture);
        let asked = query(&[client]);
        assert!(browser.open(&asked).await.html.contains("is not verified"));
        let code = browser.allow(&asked, "bob").await.told()["code"].clone();
        let secret = made["client_secret"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if has_secret {
            assert_eq!(
                refused(redeem(&fixture, &code, &[client])).await,
                (401, "invalid_client".to_owned())
            );
        }
        let answer = token(redeem(
            &fixture,
            &code,
            &[client, ("client_secret", &secret)],
        ))
        .await;
        assert_eq!(answer["scope"], "tool:read_ledger");
        let known = body_of(
            fixture
                .operator(Method::GET, &format!("/v1/agents/{id}"))
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(known["groups"], json!(["registered-clients"]));
        if has_secret {
            let own = refused(ask(
                &fixture,
                &[
                    client,
                    ("client_secret", &secret),
                    ("resource", support::SERVER),
                    ("scope", "tool:read_ledger"),
                ],
            ))
            .await;
            assert_eq!(own, (400, "invalid_scope".to_owned()));
        }
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_registered() {
    let fixture = open_house().await;
    let post = async |body: Value| {
        let request = fixture.request(Method::POST, "/oauth/register").json(&body);
        refused_registration(request).await
    };
    for bad in [
        json!({}),
        json!({"redirect_uris": []}),
        json!({"redirect_uris": ["http://desk.example/cb"]}),
    ] {
        assert_eq!(post(bad).await, "invalid_redirect_uri");
    }
    let with = |name: &str, value: Value| json!({"redirect_uris": [CALLBACK], name: value});
    for bad in [
        with("token_endpoint_auth_method", json!("private_key_jwt")),
        with("token_endpoint_auth_method", json!("client_secret_jwt")),
        with("grant_types", json!(["client_credentials"])),
        with("client_name", json!(1)),
    ] {
        assert_eq!(post(bad.clone()).await, "invalid_client_metadata", "{bad}");
    }
    assert_eq!(post(json!([])).await, "invalid_client_metadata");
    assert!(!fixture.records().contains_key("client_registered"));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let body = json!({"redirect_uris": [CALLBACK]});
        statuses.push(
            fixture
                .request(Method::POST, "/oauth/register")
                .json(&body)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

async fn refused_registration(request: reqwest::RequestBuilder) -> String {
    let (status, error) = refused(request).await;
    assert_eq!(status, 400);
    error
}
