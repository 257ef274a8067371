//! Metadata: what the authorization server tells of itself (RFC 8414, OpenID Connect Discovery 1.0).

use serde_json::{Value, json};

use crate::server::oauth::grammar::{
    grant::{AUTHORIZATION_CODE, CLIENT_CREDENTIALS, JWT_BEARER, REFRESH_TOKEN, TOKEN_EXCHANGE},
    pkce::S256,
};
use hallpass_core::{base::ids::IssuerUri, possession::ALGORITHMS};

/// What is on at this server as its settings have it; what is off is not spoken of.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// The algorithms of client assertions: those of agents' keys.
    pub assertion_algorithms: &'static [&'static str],
    /// Workloads' tokens as grants (RFC 7523).
    pub workloads: bool,
    /// Identity assertion grants (ID-JAG).
    pub identity_assertions: bool,
    /// RFC 7591.
    pub registration: bool,
    /// Client ids that are URLs of metadata documents.
    pub client_documents: bool,
}

/// The metadata of `issuer`.
///
/// `authorization_endpoint`, `response_types_supported` and `code_challenge_methods_supported` are always there:
/// stock clients take no document without them, whatever grant they are after. `scopes_supported` never is:
/// scopes are those of each server, in its own metadata, and a client that finds some here asks for all of them.
#[must_use]
pub fn document(issuer: &IssuerUri, offered: &Offered) -> Value {
    let at = |path: &str| json!(format!("{issuer}{path}"));
    let mut grant_types = vec![
        AUTHORIZATION_CODE,
        CLIENT_CREDENTIALS,
        REFRESH_TOKEN,
        TOKEN_EXCHANGE,
    ];
    if offered.workloads || offered.identity_assertions {
        grant_types.push(JWT_BEARER);
    }
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": at(AUTHORIZE),
        "token_endpoint": at(TOKEN),
        "revocation_endpoint": at(REVOKE),
        "introspection_endpoint": at(INTROSPECT),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": [S256],
        "authorization_response_iss_parameter_supported": true,
        "grant_types_supported": grant_types,
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": offered.assertion_algorithms,
        "dpop_signing_alg_values_supported": ALGORITHMS,
        "authorization_details_types_supported": ["mcp"],
        "client_id_metadata_document_supported": offered.client_documents,
    });
    let optional = [
        (offered.registration, "registration_endpoint", at(REGISTER)),
        (
            offered.identity_assertions,
            "authorization_grant_profiles_supported",
            json!([ID_JAG]),
        ),
    ];
    if let Some(members) = document.as_object_mut() {
        let on = optional.into_iter().filter(|(is_on, ..)| *is_on);
        members.extend(on.map(|(_, name, value)| (name.to_owned(), value)));
    }
    document
}

/// The same in the form of OpenID Connect Discovery, with the members that it insists on: there are no ID tokens.
#[must_use]
pub fn openid_document(issuer: &IssuerUri, offered: &Offered) -> Value {
    let mut document = document(issuer, offered);
    if let Some(members) = document.as_object_mut() {
        members.insert("jwks_uri".to_owned(), json!(format!("{issuer}{JWKS}")));
        members.insert("subject_types_supported".to_owned(), json!(["public"]));
        members.insert(
            "id_token_signing_alg_values_supported".to_owned(),
            json!([]),
        );
    }
    document
}

/// The token endpoint, below the issuer.
pub const TOKEN: &str = "/oauth/token";
/// The authorization endpoint, below the issuer.
pub const AUTHORIZE: &str = "/oauth/authorize";
/// The revocation endpoint, below the issuer.
pub const REVOKE: &str = "/oauth/revoke";
/// The introspection endpoint, below the issuer.
pub const INTROSPECT: &str = "/oauth/introspect";
/// The registration endpoint, below the issuer.
pub const REGISTER: &str = "/oauth/register";
/// The keys of JWTs for clients, below the issuer.
pub const JWKS: &str = "/oauth/jwks.json";

/// Where the metadata are (RFC 8414 section 3, OpenID Connect Discovery section 4).
pub const WELL_KNOWN: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

const ID_JAG: &str = "urn:ietf:params:oauth:grant-profile:id-jag";
