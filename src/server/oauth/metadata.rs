//! The metadata documents, at every place where clients look for them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::server::{
    App,
    api::openapi::Problems,
    edge::{answer::Answer, extract::Params, problem::Problem},
    oauth::grammar::{Offered, metadata::Metadata},
};
use hallpass_broker::identity::{issuer::TrustedKind, jwk::KeyAlgorithm};

/// A JWK Set (RFC 7517).
#[derive(Serialize, ToSchema)]
struct JwkSet {
    /// The keys.
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
}

/// The authorization server's metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", operation_id = "oauth_metadata", tag = "oauth",
    security(()), responses((status = 200, description = "The metadata", body = Metadata<'_>), Problems))]
pub(crate) async fn authorization_server(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    answer(&Metadata::new(app.broker.issuer(), &offered(&app)), params)
}

/// The same for clients that look where OpenID Connect Discovery puts it.
#[utoipa::path(get, path = "/.well-known/openid-configuration", operation_id = "oauth_openid_configuration",
    tag = "oauth", security(()),
    responses((status = 200, description = "The metadata", body = Metadata<'_>), Problems))]
pub(crate) async fn openid_configuration(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    answer(
        &Metadata::for_openid(app.broker.issuer(), &offered(&app)),
        params,
    )
}

/// The keys of JWTs that clients verify: none, since passes are Biscuits and there are no ID tokens. OpenID Connect
/// Discovery wants the document all the same.
#[utoipa::path(get, path = "/oauth/jwks.json", operation_id = "oauth_keys", tag = "oauth", security(()),
    responses((status = 200, description = "A JWK Set", body = JwkSet), Problems))]
pub(crate) async fn keys(params: Params) -> Result<Response, Problem> {
    answer(&JwkSet { keys: Vec::new() }, params)
}

fn answer(document: &impl Serialize, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let mut response = Answer::ok(document)?.into_response();
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    );
    Ok(response)
}

/// What is on at this server.
fn offered(app: &App) -> Offered {
    Offered {
        assertion_algorithms: &KeyAlgorithm::NAMES,
        workloads: app.trust.has(TrustedKind::Workload),
        identity_assertions: app.trust.has(TrustedKind::IdJag),
        registration: app.oauth.dynamic_registration,
        client_documents: app.consents.reads_documents(),
    }
}
