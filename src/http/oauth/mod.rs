//! The OAuth door (RFC 6749, OAuth 2.1): forms in, JSON out, for clients that know nothing of ours.
//!
//! A token request is answered in three steps: read ([`crate::oauth`]), prove the client ([`client`]), ask
//! the broker, one file in [`grants`] for each grant type. Whatever the broker decides here is a task and
//! a pass like any other.

mod answer;
pub(super) mod authorize;
mod client;
mod door;
mod foreign;
mod grants;
pub(super) mod introspect;
pub(super) mod metadata;
pub(super) mod register;
pub(super) mod revoke;
mod schema;
pub(super) mod token;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};

pub(super) use self::door::Door;
use super::App;
use crate::{
    base::ids::{IssuerUri, split_canonical_http_uri},
    oauth::metadata::{AUTHORIZE, INTROSPECT, JWKS, REGISTER, REVOKE, TOKEN, WELL_KNOWN},
};

/// How the OAuth door is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever starts a server must say every one of these")]
pub struct OAuthOptions {
    /// The task that a token request opens lasts this long, and its pass no longer.
    pub token_ttl: Duration,
    /// Whether clients may register themselves.
    pub dynamic_registration: bool,
}

impl Default for OAuthOptions {
    fn default() -> Self {
        Self { token_ttl: Duration::from_secs(300), dynamic_registration: false }
    }
}

/// The routes that an issuer with a path has besides: everything below that path, and metadata where
/// RFC 8414 puts the path behind the well-known one.
pub(super) fn below(issuer: &IssuerUri) -> Router<Arc<App>> {
    let path = path_of(issuer);
    if path.is_empty() {
        return Router::new();
    }
    let [oauth, openid] = WELL_KNOWN;
    let mut router = Router::new()
        .route(&format!("{path}{TOKEN}"), post(token::token))
        .route(&format!("{path}{REVOKE}"), post(revoke::revoke))
        .route(&format!("{path}{INTROSPECT}"), post(introspect::introspect))
        .route(&format!("{path}{JWKS}"), get(metadata::keys))
        .route(&format!("{path}{AUTHORIZE}"), get(authorize::show).post(authorize::take))
        .route(&format!("{path}{REGISTER}"), post(register::register));
    for at in [format!("{oauth}{path}"), format!("{path}{oauth}")] {
        router = router.route(&at, get(metadata::authorization_server));
    }
    for at in [format!("{openid}{path}"), format!("{path}{openid}")] {
        router = router.route(&at, get(metadata::openid_configuration));
    }
    router
}

/// The path of the issuer's URI; empty for a bare host.
fn path_of(issuer: &IssuerUri) -> &str {
    split_canonical_http_uri(issuer.as_str()).map_or("", |(.., path)| path)
}
