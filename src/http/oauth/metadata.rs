//! The metadata documents, at every place where clients look for them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use serde_json::{Value, json};

use super::schema;
use crate::{
    http::{App, answer::Answer, document::Problems, extract::Params, problem::Problem},
    identity::{issuer::TrustedKind, jwk::KeyAlgorithm},
    oauth::{
        grant::{AUTHORIZATION_CODE, CLIENT_CREDENTIALS, JWT_BEARER, REFRESH_TOKEN, TOKEN_EXCHANGE},
        metadata::{self, Offered},
    },
};

/// What is on whatever the settings say.
const OFFERED: Offered = Offered {
    grant_types: &[AUTHORIZATION_CODE, CLIENT_CREDENTIALS, REFRESH_TOKEN, TOKEN_EXCHANGE],
    client_authentication: &["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
    assertion_algorithms: &KeyAlgorithm::NAMES,
    revocation: true,
    introspection: true,
    registration: false,
    client_documents: false,
    identity_assertions: false,
};

/// The authorization server's metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", operation_id = "oauth_metadata", tag = "oauth",
    security(()), responses((status = 200, description = "The metadata", body = schema::OAuthMetadata), Problems))]
pub(in crate::http) async fn authorization_server(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    answer(&metadata::document(app.broker.issuer(), &offered(&app)), params)
}

/// The same for clients that look where OpenID Connect Discovery puts it.
#[utoipa::path(get, path = "/.well-known/openid-configuration", operation_id = "oauth_openid_configuration",
    tag = "oauth", security(()),
    responses((status = 200, description = "The metadata", body = schema::OAuthMetadata), Problems))]
pub(in crate::http) async fn openid_configuration(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    answer(&metadata::openid_document(app.broker.issuer(), &offered(&app)), params)
}

/// The keys of JWTs that clients verify: none, since passes are Biscuits and there are no ID tokens. OpenID Connect
/// Discovery wants the document all the same.
#[utoipa::path(get, path = "/oauth/jwks.json", operation_id = "oauth_keys", tag = "oauth", security(()),
    responses((status = 200, description = "A JWK Set", body = schema::JwkSet), Problems))]
pub(in crate::http) async fn keys(params: Params) -> Result<Response, Problem> {
    answer(&json!({"keys": []}), params)
}

fn answer(document: &Value, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let mut response = Answer::ok(document)?.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

/// What is on at this server: others' word is a grant where some issuer is trusted for it.
fn offered(app: &App) -> Offered {
    let identity_assertions = app.trust.has(TrustedKind::IdJag);
    let is_trusting = identity_assertions || app.trust.has(TrustedKind::Workload);
    Offered {
        grant_types: if is_trusting { WITH_WORDS_OF_OTHERS } else { OFFERED.grant_types },
        registration: app.oauth.dynamic_registration,
        client_documents: app.desk.reads_documents(),
        identity_assertions,
        ..OFFERED
    }
}

const WITH_WORDS_OF_OTHERS: &[&str] = &[AUTHORIZATION_CODE, CLIENT_CREDENTIALS, REFRESH_TOKEN, JWT_BEARER];
