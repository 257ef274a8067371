//! An issuer that a broker trusts: for people, for workloads and for identity assertions.

use std::{collections::BTreeMap, sync::Arc};

use hallpass::server::{
    self,
    outbound::{FetchOptions, Fetcher, Reach, Trust},
};
use hallpass_broker::identity::issuer::TrustedIssuer;
use hallpass_core::base::time::{Clock, SystemClock};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::oauth::client::TOKEN;
use support::idp::{Idp, SigningKey};
use test_broker::{TestBroker, body_of, options};

pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub struct Provider {
    pub idp: Idp,
    pub key: SigningKey,
    single_use: bool,
}

impl Provider {
    pub async fn start() -> Self {
        let key = SigningKey::p256("one");
        Self {
            idp: Idp::start(&[&key]).await,
            key,
            single_use: false,
        }
    }

    /// Its workloads' tokens are accepted once.
    pub fn once(self) -> Self {
        Self {
            single_use: true,
            ..self
        }
    }

    /// How a server is run that trusts it.
    pub fn trusted(&self) -> server::Options {
        let settings = json!({
            "issuer": self.idp.issuer(), "kinds": ["id_token", "workload", "id_jag"], "client_ids": ["web-app"],
            "subjects": {"ns:prod:research": "research-bot", "ns:prod:ghost": "ghost"}, "single_use": self.single_use,
        });
        let issuer = TrustedIssuer::new(serde_json::from_value(settings).unwrap()).unwrap();
        let fetcher = Fetcher::new(FetchOptions::new(Reach::with_loopback())).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        server::Options {
            trust: Arc::new(Trust::new([(issuer, fetcher)], BTreeMap::new(), &clock)),
            ..options()
        }
    }

    pub async fn fixture(&self) -> TestBroker {
        TestBroker::with(self.trusted()).await
    }

    pub fn claims(&self, changes: Value) -> Value {
        let now = SystemClock::default().now().unix_seconds();
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "00u1", "aud": support::ISSUER, "iat": now, "exp": now + 300,
            "jti": hex::encode(rand_bytes()), "client_id": "build-bot", "resource": support::SERVER,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        claims
    }

    pub fn workload(&self, changes: Value) -> String {
        let mut claims = self.claims(json!({"sub": "ns:prod:research"}));
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        self.key.sign(None, &claims)
    }

    pub fn jag(&self, changes: Value) -> String {
        self.key
            .sign(Some("oauth-id-jag+jwt"), &self.claims(changes))
    }

    pub fn id_token(&self, changes: Value) -> String {
        let mut claims = self.claims(json!({"aud": "web-app"}));
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        self.key.sign(Some("JWT"), &claims)
    }

    /// Registers a steward whom this issuer knows as `subject`; the steward's id.
    pub async fn link(&self, fixture: &TestBroker, name: &str, subject: &str) -> String {
        let body =
            json!({"name": name, "identity": {"issuer": self.idp.issuer(), "subject": subject}});
        let added = fixture
            .operator(Method::POST, "/v1/stewards")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(added.status(), StatusCode::CREATED);
        let added = body_of(added).await;
        assert_eq!(added["identified_by"], json!([self.idp.issuer()]));
        added["steward"].as_str().unwrap().to_owned()
    }
}

/// A request for a token by somebody else's word.
pub fn bearer(
    fixture: &TestBroker,
    assertion: &str,
    parameters: &[(&str, &str)],
) -> RequestBuilder {
    let grant = [("grant_type", JWT_BEARER), ("assertion", assertion)];
    fixture
        .request(Method::POST, TOKEN)
        .form(&grant.iter().chain(parameters).collect::<Vec<_>>())
}

fn rand_bytes() -> [u8; 16] {
    *uuid::Uuid::now_v7().as_bytes()
}
