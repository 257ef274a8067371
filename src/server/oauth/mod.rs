//! The OAuth endpoints (RFC 6749, OAuth 2.1): forms in, JSON out, for stock clients.
//!
//! A token request is answered in three steps: read ([`crate::server::oauth::grammar`]), prove the client (`client`), ask
//! the broker, one file in `grants` for each grant type. Whatever the broker decides here is a task and
//! a pass like any other.

mod answer;
pub(super) mod authorize;
mod client;
mod endpoint_kind;
mod exchange;
mod foreign;
pub mod grammar;
mod grants;
mod introspect;
mod metadata;
mod options;
mod register;
mod requests;
mod revoke;
mod token;

use std::sync::Arc;

use axum::{Router, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) use crate::server::oauth::endpoint_kind::EndpointKind;
pub use crate::server::oauth::options::OAuthOptions;
use crate::server::{App, oauth::grammar::metadata::WELL_KNOWN};
use hallpass_core::base::ids::IssuerUri;

/// The OAuth routes.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(token::token))
        .routes(routes!(revoke::revoke))
        .routes(routes!(introspect::introspect))
        .routes(routes!(authorize::show, authorize::take))
        .routes(routes!(authorize::come_back))
        .routes(routes!(register::register))
        .routes(routes!(metadata::authorization_server))
        .routes(routes!(metadata::openid_configuration))
        .routes(routes!(metadata::keys))
}

/// The same for an issuer with a path: below that path, and metadata where RFC 8414 puts the path behind the
/// well-known one.
pub(super) fn below(issuer: &IssuerUri) -> Router<Arc<App>> {
    let path = issuer.parts().path;
    if path.is_empty() {
        return Router::new();
    }
    let [oauth, openid] = WELL_KNOWN;
    let (router, _) = routes().split_for_parts();
    Router::new()
        .nest(path, router)
        .route(
            &format!("{oauth}{path}"),
            get(metadata::authorization_server),
        )
        .route(
            &format!("{openid}{path}"),
            get(metadata::openid_configuration),
        )
}
