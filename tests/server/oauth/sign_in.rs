//! People who sign in at the consent page with their identity provider.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use hallpass::server::{
    self,
    outbound::{FetchOptions, Fetcher, Reach, Trust},
};
use hallpass_broker::identity::issuer::TrustedIssuer;
use hallpass_core::base::time::{Clock, SystemClock};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::oauth::{
    browser::{APP, Browser, Shown, challenge, query, redeem, register_app, task_of},
    client::token,
};
use support::{
    ISSUER,
    idp::{Idp, Reply, SigningKey, raw},
};
use test_broker::{TestBroker, body_of, options};

const SECRET: &str = "s3cret & more";

/// An identity provider, and a broker whose people sign in with it.
struct Setup {
    idp: Idp,
    key: SigningKey,
    fixture: TestBroker,
}

/// A person on the way: what the broker sent to the provider, and what the browser keeps.
struct Away {
    asked: HashMap<String, String>,
    cookie: String,
    shown: Shown,
}

impl Setup {
    async fn new() -> Self {
        Self::with(json!({}), json!({})).await
    }

    async fn with(discovery: Value, settings: Value) -> Self {
        let key = SigningKey::p256("one");
        let idp = Idp::start(&[&key]).await;
        let mut document = json!({
            "issuer": idp.issuer(), "jwks_uri": idp.site.at("/keys"),
            "authorization_endpoint": idp.site.at("/authorize?tenant=a"), "token_endpoint": idp.site.at("/token"),
        });
        document
            .as_object_mut()
            .unwrap()
            .extend(discovery.as_object().unwrap().clone());
        idp.site
            .set("/.well-known/openid-configuration", Reply::Json(document));
        let mut trusted = json!({
            "issuer": idp.issuer(), "kinds": ["sign_in"], "sign_in_client_id": "broker-app",
            "sign_in_scopes": ["openid", "groups"],
        });
        trusted
            .as_object_mut()
            .unwrap()
            .extend(settings.as_object().unwrap().clone());
        let issuer = TrustedIssuer::new(serde_json::from_value(trusted).unwrap()).unwrap();
        let fetcher = Fetcher::new(FetchOptions::new(Reach::with_loopback())).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let secret = Zeroizing::new(SECRET.to_owned());
        let secrets = BTreeMap::from([(idp.issuer().to_owned(), secret)]);
        let fixture = TestBroker::with(server::Options {
            trust: Arc::new(Trust::new([(issuer, fetcher)], secrets, &clock)),
            ..options()
        })
        .await;
        register_app(&fixture, APP, &["http://127.0.0.1/callback"]).await;
        let identity = json!({"issuer": idp.issuer(), "subject": "00u1"});
        let bob = fixture
            .operator(Method::POST, "/v1/stewards")
            .json(&json!({"name": "bob", "identity": identity}))
            .send()
            .await
            .unwrap();
        assert_eq!(bob.status(), StatusCode::CREATED);
        Self { idp, key, fixture }
    }

    fn browser(&self) -> Browser<'_> {
        Browser::new(&self.fixture)
    }

    /// Opens the page, and goes to the provider.
    async fn leave(&self) -> Away {
        let first = self.browser().open(&query(&[])).await;
        assert!(
            first.html.contains("Sign in with 127.0.0.1"),
            "{}",
            first.html
        );
        let request = first.hidden("request");
        let shown = self
            .browser()
            .post(&[
                ("step", "identity"),
                ("request", &request),
                ("issuer", self.idp.issuer()),
            ])
            .await;
        let location = shown.location.as_deref().expect("a page that goes on");
        let asked = Url::parse(location).unwrap();
        assert!(location.starts_with(&self.idp.site.at("/authorize?tenant=a&")));
        let set = shown.headers["set-cookie"].to_str().unwrap();
        let cookie = set.split(';').next().unwrap().to_owned();
        Away {
            asked: asked.query_pairs().into_owned().collect(),
            cookie,
            shown,
        }
    }

    /// The provider gives an ID token for the next code.
    fn gives(&self, away: &Away, changes: Value) {
        let now = SystemClock::default().now().unix_seconds();
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "00u1", "aud": "broker-app", "iat": now, "exp": now + 300,
            "nonce": away.asked["nonce"], "groups": ["finance"],
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let id_token = self.key.sign(Some("JWT"), &claims);
        let answer = json!({"access_token": "x", "token_type": "Bearer", "id_token": id_token});
        self.idp.site.set("/token", Reply::Json(answer));
    }

    async fn come_back(&self, away: &Away, more: &str) -> Shown {
        let state = &away.asked["state"];
        let path = format!("/oauth/sign-in?state={state}{more}");
        self.browser().come_back(&path, &away.cookie).await
    }
}

#[tokio::test]
async fn a_person_signs_in_with_the_provider_and_allows_what_is_shown() {
    let setup = Setup::new().await;
    let away = setup.leave().await;
    let asked = |name: &str| away.asked[name].as_str();
    assert_eq!(
        (asked("response_type"), asked("client_id"), asked("scope")),
        ("code", "broker-app", "openid groups")
    );
    assert_eq!(asked("redirect_uri"), format!("{ISSUER}/oauth/sign-in"));
    assert_eq!(asked("code_challenge_method"), "S256");
    let set = away.shown.headers["set-cookie"].to_str().unwrap();
    for attribute in [
        "__Host-",
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Lax",
        "; Secure",
    ] {
        assert!(set.contains(attribute), "{set}");
    }
    setup.gives(&away, json!({}));
    let second = setup.come_back(&away, "&code=c0de").await;
    assert_eq!(second.status, 200, "{}", second.html);
    for shown in ["bob", "127.0.0.1", "read_ledger"] {
        assert!(second.html.contains(shown), "{shown}: {}", second.html);
    }
    let bodies = setup.idp.site.bodies();
    let body = bodies.iter().find(|body| !body.is_empty()).unwrap();
    let form: HashMap<String, String> = form_urlencoded(body);
    assert_eq!(form["code"], "c0de");
    assert_eq!(
        challenge(&form["code_verifier"]),
        away.asked["code_challenge"]
    );
    let head = setup
        .idp
        .site
        .heads()
        .into_iter()
        .find(|head| head.starts_with("POST /token"));
    // Each half as a form has it: RFC 6749 section 2.3.1.
    assert!(
        head.unwrap()
            .contains("Basic YnJva2VyLWFwcDpzM2NyZXQrJTI2K21vcmU=")
    );

    let told = setup
        .browser()
        .post(&[("step", "allow"), ("form", &second.hidden("form"))])
        .await
        .told();
    let answer = token(redeem(&setup.fixture, &told["code"], &[])).await;
    assert_eq!(answer["scope"], "tool:read_ledger tool:search_ledger");
    let task = task_of(&setup.fixture, APP).await;
    assert_eq!(task["steward_verified_by"], setup.idp.issuer());
}

#[tokio::test]
async fn a_way_back_is_good_once_and_in_the_browser_that_left() {
    let setup = Setup::new().await;
    let away = setup.leave().await;
    setup.gives(&away, json!({}));
    let state = &away.asked["state"];
    let path = format!("/oauth/sign-in?code=c0de&state={state}");
    let elsewhere = setup.browser().come_back(&path, "other=1").await;
    assert_eq!(elsewhere.status, 400);
    assert!(
        elsewhere.html.contains("another browser"),
        "{}",
        elsewhere.html
    );
    // Whoever has the address has used it up by that.
    let late = setup.browser().come_back(&path, &away.cookie).await;
    assert_eq!(late.status, 400);
    for path in [
        "/oauth/sign-in",
        "/oauth/sign-in?state=x&code=y",
        "/oauth/sign-in?state=a&state=b",
    ] {
        assert_eq!(
            setup.browser().come_back(path, &away.cookie).await.status,
            400
        );
    }
    assert!(
        !setup.idp.site.log().contains(&"/token".to_owned()),
        "no code was sent"
    );
    // Two sign-ins in one browser do not disturb each other.
    let (first, second) = (setup.leave().await, setup.leave().await);
    let both = format!("{}; {}", first.cookie, second.cookie);
    for away in [first, second] {
        setup.gives(&away, json!({}));
        let away = Away {
            cookie: both.clone(),
            ..away
        };
        assert_eq!(setup.come_back(&away, "&code=c0de").await.status, 200);
    }
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_sign_in_signs_nobody_in() {
    let setup = Setup::new().await;
    for changes in [
        json!({"nonce": "other"}),
        json!({"nonce": null}),
        json!({"aud": "web-app"}),
        json!({"aud": ["broker-app", "web-app"]}),
        json!({"azp": "web-app"}),
        json!({"exp": 1}),
        json!({"iss": "https://other.example"}),
        json!({"sub": ""}),
    ] {
        let away = setup.leave().await;
        setup.gives(&away, changes.clone());
        let shown = setup.come_back(&away, "&code=c0de").await;
        assert_eq!(shown.status, 403, "{changes}");
        assert!(!shown.html.contains("name=\"form\""), "{changes}");
    }
    let away = setup.leave().await;
    setup.gives(&away, json!({"sub": "00u2"}));
    let stranger = setup.come_back(&away, "&code=c0de").await;
    assert!(stranger.status == 403 && stranger.html.contains("this broker does not"));
}

#[tokio::test]
async fn what_a_provider_refuses_or_cannot_do_is_said_and_may_be_tried_again() {
    let setup = Setup::new().await;
    let away = setup.leave().await;
    let denied = setup.come_back(&away, "&error=access_denied").await;
    assert!(
        denied.status == 403 && denied.html.contains("access_denied"),
        "{}",
        denied.html
    );
    assert!(
        denied.html.contains("Sign in with"),
        "it can be tried again"
    );
    for reply in [
        Reply::Raw(raw(
            "400 Bad Request",
            "content-type: application/json\r\n",
            r#"{"error":"invalid_grant"}"#,
        )),
        Reply::Json(json!({"access_token": "x"})),
        Reply::Json(json!({"id_token": "a.b.c"})),
        Reply::Raw(raw("302 Found", "location: http://127.0.0.1:1/\r\n", "")),
    ] {
        let away = setup.leave().await;
        setup.idp.site.set("/token", reply);
        assert_eq!(setup.come_back(&away, "&code=c0de").await.status, 403);
    }
    let first = setup.browser().open(&query(&[])).await;
    let request = first.hidden("request");
    let nowhere = [
        ("step", "identity"),
        ("request", &request),
        ("issuer", "https://other.example"),
    ];
    assert_eq!(setup.browser().post(&nowhere).await.status, 400);
}

#[tokio::test]
async fn an_answer_of_another_issuer_is_not_redeemed() {
    let setup = Setup::with(
        json!({"authorization_response_iss_parameter_supported": true}),
        json!({}),
    )
    .await;
    for (iss, status) in [
        ("", 403),
        ("&iss=https%3A%2F%2Fother.example", 403),
        (&*format!("&iss={}", setup.idp.issuer()), 200),
    ] {
        let away = setup.leave().await;
        setup.gives(&away, json!({}));
        let shown = setup.come_back(&away, &format!("&code=c0de{iss}")).await;
        assert_eq!(shown.status, status, "{iss}");
    }
}

#[tokio::test]
async fn an_operators_code_signs_nobody_in_where_there_is_a_provider() {
    let setup = Setup::new().await;
    let first = setup.browser().open(&query(&[])).await;
    assert!(!first.html.contains("sign-in code"), "{}", first.html);
    let typed = [
        ("step", "sign_in"),
        ("request", &first.hidden("request")),
        ("code", "x"),
    ];
    let refused = setup.browser().post(&typed).await;
    assert!(refused.status == 403 && refused.html.contains("identity provider"));
    let stewards = setup
        .fixture
        .operator(Method::GET, "/v1/stewards")
        .send()
        .await
        .unwrap();
    let stewards = body_of(stewards).await;
    let bob = stewards["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "bob");
    let path = format!(
        "/v1/stewards/{}/code",
        bob.unwrap()["steward"].as_str().unwrap()
    );
    let made = setup
        .fixture
        .operator(Method::POST, &path)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(made.status(), StatusCode::CONFLICT);
}

#[test]
fn the_settings_of_a_sign_in_belong_together() {
    let good =
        json!({"issuer": "https://idp.example", "kinds": ["sign_in"], "sign_in_client_id": "a"});
    let with = |changes: Value| {
        let mut settings = good.clone();
        settings
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        TrustedIssuer::new(serde_json::from_value(settings).unwrap())
    };
    assert!(with(json!({})).is_ok());
    for bad in [
        json!({"sign_in_client_id": null}),
        json!({"sign_in_client_id": ""}),
        json!({"kinds": ["id_token", "sign_in"], "client_ids": ["a"]}),
        json!({"kinds": ["id_jag"]}),
        json!({"sign_in_scopes": ["groups"]}),
        json!({"sign_in_scopes": ["openid", "a b"]}),
        json!({"kinds": ["id_jag"], "sign_in_client_id": null, "sign_in_secret_file": "x"}),
    ] {
        assert!(with(bad.clone()).is_err(), "{bad}");
    }
}

fn form_urlencoded(body: &str) -> HashMap<String, String> {
    let url = Url::parse(&format!("http://x/?{body}")).unwrap();
    url.query_pairs().into_owned().collect()
}
