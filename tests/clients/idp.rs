//! An enterprise's identity provider: it knows one person, and gives identity assertions for her.

use std::sync::Arc;

use axum::{Form, Json, Router, extract::State, http::StatusCode, routing};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hallpass_core::base::time::{Clock as _, SystemClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An identity provider that listens on this machine.
#[derive(Clone)]
pub(crate) struct Idp(Arc<Content>);

struct Content {
    url: String,
    key: KeyPair,
}

impl Idp {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let idp = Self(Arc::new(Content {
            url,
            key: KeyPair::generate().unwrap(),
        }));
        let router = Router::new()
            .route("/.well-known/openid-configuration", routing::get(metadata))
            .route(
                "/.well-known/oauth-authorization-server",
                routing::get(metadata),
            )
            .route("/jwks", routing::get(keys))
            .route("/token", routing::post(exchange))
            .with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        idp
    }

    /// Its issuer.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn token_endpoint(&self) -> String {
        format!("{}/token", self.url())
    }

    /// The person's ID token, for the application `audience`.
    pub(crate) fn id_token(&self, audience: &str) -> String {
        self.sign("JWT", json!({"sub": PERSON, "aud": audience}))
    }

    /// `claims` with those of every token, signed.
    fn sign(&self, typ: &str, mut claims: Value) -> String {
        let now = SystemClock::default().now().floor_second().unix_seconds();
        for (name, value) in [
            ("iss", json!(self.url())),
            ("iat", json!(now)),
            ("exp", json!(now + 300)),
            ("jti", json!(hex::encode(rand::random::<[u8; 16]>()))),
        ] {
            claims[name] = value;
        }
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(typ.to_owned());
        header.kid = Some(KEY_ID.to_owned());
        jsonwebtoken::encode(
            &header,
            &claims,
            &EncodingKey::from_ec_der(self.0.key.serialized_der()),
        )
        .unwrap()
    }
}

async fn metadata(State(idp): State<Idp>) -> Json<Value> {
    Json(json!({
        "issuer": idp.url(),
        "authorization_endpoint": format!("{}/authorize", idp.url()),
        "token_endpoint": idp.token_endpoint(),
        "jwks_uri": format!("{}/jwks", idp.url()),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "grant_types_supported": [TOKEN_EXCHANGE],
    }))
}

async fn keys(State(idp): State<Idp>) -> Json<Value> {
    let mut jwk = public_jwk(&idp.0.key);
    jwk["kid"] = json!(KEY_ID);
    jwk["use"] = json!("sig");
    jwk["alg"] = json!("ES256");
    Json(json!({"keys": [jwk]}))
}

/// RFC 8693: the person's ID token for an assertion to one application about one resource.
async fn exchange(
    State(idp): State<Idp>,
    Form(form): Form<Vec<(String, String)>>,
) -> (StatusCode, Json<Value>) {
    let get = |name: &str| {
        form.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    };
    let expected = [
        ("grant_type", TOKEN_EXCHANGE),
        ("requested_token_type", ID_JAG),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("client_secret", APPLICATION_SECRET),
    ];
    let is_ours = get("subject_token").is_some_and(|token| token.split('.').count() == 3);
    let (Some(client), Some(audience), Some(resource)) =
        (get("client_id"), get("audience"), get("resource"))
    else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_request"})),
        );
    };
    if !is_ours
        || expected
            .iter()
            .any(|(name, value)| get(name) != Some(value))
    {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        );
    }
    let mut claims =
        json!({"sub": PERSON, "aud": audience, "resource": resource, "client_id": client});
    let mut answer = json!({"issued_token_type": ID_JAG, "token_type": "N_A", "expires_in": 300});
    if let Some(scope) = get("scope") {
        claims["scope"] = json!(scope);
        answer["scope"] = json!(scope);
    }
    answer["access_token"] = json!(idp.sign("oauth-id-jag+jwt", claims));
    (StatusCode::OK, Json(answer))
}

/// The public half of an ES256 key as a JWK.
pub(crate) fn public_jwk(key: &KeyPair) -> Value {
    // An uncompressed point: 4, then both coordinates.
    let (x, y) = key.public_key_raw()[1..].split_at(32);
    let text = |coordinate| URL_SAFE_NO_PAD.encode(coordinate);
    json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)})
}

/// Who is signed in there.
pub(crate) const PERSON: &str = "00u1alice";

/// What every application's secret is.
pub(crate) const APPLICATION_SECRET: &str = "the-applications-own-secret";

const ID_JAG: &str = "urn:ietf:params:oauth:token-type:id-jag";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const KEY_ID: &str = "2026-11";
