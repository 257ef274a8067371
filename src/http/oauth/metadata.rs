//! The metadata documents, at every place where clients look for them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use super::schema;
use crate::{
    http::{App, answer::Answer, document::Problems, extract::Params, problem::Problem},
    identity::jwk::KeyAlgorithm,
    oauth::{
        grant::CLIENT_CREDENTIALS,
        metadata::{self, Offered},
    },
};

/// What is on at this server.
const OFFERED: Offered = Offered {
    grant_types: &[CLIENT_CREDENTIALS],
    client_authentication: &["client_secret_basic", "client_secret_post", "private_key_jwt"],
    assertion_algorithms: &KeyAlgorithm::NAMES,
    revocation: false,
    introspection: false,
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
    answer(&app, params)
}

/// The same for clients that look where OpenID Connect Discovery puts it.
#[utoipa::path(get, path = "/.well-known/openid-configuration", operation_id = "oauth_openid_configuration",
    tag = "oauth", security(()),
    responses((status = 200, description = "The metadata", body = schema::OAuthMetadata), Problems))]
pub(in crate::http) async fn openid_configuration(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    answer(&app, params)
}

fn answer(app: &App, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let mut response = Answer::ok(&metadata::document(app.broker.issuer(), &OFFERED))?.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}
