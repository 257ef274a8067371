//! A person at the consent page in a real Chromium, which holds pages to their policies as no script does.
//!
//! The client's redirect URI redirects on to another origin, as those of hosted clients do, or to the private scheme of
//! an app. Chromium holds every redirect after a form to the `form-action` of the form's page.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::IntoResponse,
    routing,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::{
    broker_and_server::BrokerAndServer,
    packages::{Packages, finished, shelf},
};
use support::skip::skipped;

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_uri_that_redirects_on_works_in_chromium() {
    let (Some(node), Some(browser)) = (Packages::Node.fetched(), Packages::Browser.fetched())
    else {
        return;
    };
    let fixture = BrokerAndServer::open().await;
    let client = Client::open(&fixture).await;
    // The packaged browser is unpacked into it once.
    let unpacked = tempfile::tempdir_in(shelf()).unwrap();
    let run = |button: &'static str, path: &str, end: String| {
        let url = client.authorization(&fixture, path);
        let code = fixture.sign_in_code("alice");
        let mut command = node.node_beside(&browser, "browser.mjs");
        command.args([&url, &code, button, &end]);
        let output = finished(command.env("TMPDIR", unpacked.path()), PATIENCE);
        if output.status.code() == Some(NO_BROWSER) {
            skipped(
                "the consent page in a real Chromium",
                String::from_utf8_lossy(&output.stderr),
            );
            return None;
        }
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said = shown["said"].as_array().unwrap();
        assert!(said.is_empty(), "{path}: {shown}");
        Some(shown)
    };

    let Some(shown) = run("Allow", "callback", client.done.clone()) else {
        return;
    };
    let at: Url = shown["at"].as_str().unwrap().parse().unwrap();
    assert_eq!(shown["shows"], "You can close this page.");
    let code = parameter(&at, "code").unwrap_or_else(|| panic!("no code: {shown}"));
    assert_eq!(parameter(&at, "state").as_deref(), Some(STATE));
    let redirect_uri = client.redirect_uri("callback");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("client_id", APP),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", VERIFIER),
    ];
    let redeemed = fixture
        .http()
        .post(format!("{}/oauth/token", fixture.issuer()))
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(redeemed.status(), StatusCode::OK);

    let refused = run("Refuse", "callback", client.done.clone()).unwrap();
    let at: Url = refused["at"].as_str().unwrap().parse().unwrap();
    assert_eq!(parameter(&at, "error").as_deref(), Some("access_denied"));

    // A browser without the app stays on the page, from which the person can try again; the client had its answer.
    let shown = run("Allow", "to-the-app", "-".to_owned()).unwrap();
    assert!(
        shown["at"].as_str().unwrap().starts_with(fixture.issuer()),
        "{shown}"
    );
    let calls = client.calls.lock().unwrap();
    let paths: Vec<_> = calls.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/callback", "/callback", "/to-the-app"]);
    // Where the person comes from is not the client's to know, and the address may have a secret in it.
    assert!(calls.iter().all(|(_, referrer)| !referrer), "{calls:?}");
}

/// A client with a callback that redirects on, on this machine.
struct Client {
    origin: String,
    /// Where it ends, at another origin.
    done: String,
    /// The paths that browsers came to, and whether they said from where.
    calls: Calls,
}

type Calls = Arc<Mutex<Vec<(String, bool)>>>;

impl Client {
    async fn open(fixture: &BrokerAndServer) -> Self {
        let calls = Calls::default();
        let last = Router::new().route(
            "/done",
            routing::get(|| async { "You can close this page." }),
        );
        let done = format!("http://localhost:{}/done", serve(last).await);
        let seen = |calls: &Calls, uri: &Uri, headers: &HeaderMap| {
            let call = (uri.path().to_owned(), headers.contains_key(header::REFERER));
            calls.lock().unwrap().push(call);
        };
        let on = done.clone();
        let callback = async move |State(calls): State<Calls>, uri: Uri, headers: HeaderMap| {
            seen(&calls, &uri, &headers);
            let location = format!("{on}?{}", uri.query().unwrap_or_default());
            (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
        };
        let to_the_app = async move |State(calls): State<Calls>, uri: Uri, headers: HeaderMap| {
            seen(&calls, &uri, &headers);
            let location = [(header::LOCATION, "example-app://done")];
            (StatusCode::FOUND, location).into_response()
        };
        let first = Router::new()
            .route("/callback", routing::get(callback))
            .route("/to-the-app", routing::get(to_the_app))
            .with_state(Arc::clone(&calls));
        let origin = format!("http://127.0.0.1:{}", serve(first).await);
        let client = Self {
            origin,
            done,
            calls,
        };
        let uris = ["callback", "to-the-app"].map(|path| client.redirect_uri(path));
        fixture.register_app_at(APP, &uris).await;
        client
    }

    fn redirect_uri(&self, path: &str) -> String {
        format!("{}/{path}", self.origin)
    }

    fn authorization(&self, fixture: &BrokerAndServer, path: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        let parameters = [
            ("response_type", "code"),
            ("client_id", APP),
            ("redirect_uri", &self.redirect_uri(path)),
            ("state", STATE),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("resource", fixture.server()),
        ];
        let endpoint = format!("{}/oauth/authorize", fixture.issuer());
        Url::parse_with_params(&endpoint, parameters)
            .unwrap()
            .into()
    }
}

async fn serve(router: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    port
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

const APP: &str = "hosted-app";

/// The script's exit code where no Chromium runs.
const NO_BROWSER: i32 = 3;

/// With what addresses and attributes escape.
const STATE: &str = "a&b=c \"d' <e>;url=x #f";

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// For one browser, from its start to its end.
const PATIENCE: Duration = Duration::from_secs(90);
