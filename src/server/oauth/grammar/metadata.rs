//! Metadata: what the authorization server publishes about itself (RFC 8414, OpenID Connect Discovery 1.0).

use serde::Serialize;
use utoipa::ToSchema;

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

/// What the authorization server publishes of itself (RFC 8414).
///
/// `authorization_endpoint`, `response_types_supported` and `code_challenge_methods_supported` are always there:
/// stock clients take no document without them, whatever grant they are after. `scopes_supported` never is:
/// scopes are those of each server, in its own metadata, and a client that finds some here asks for all of them.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = OAuthMetadata)]
pub struct Metadata<'a> {
    /// The issuer.
    issuer: &'a IssuerUri,
    /// Where people are sent to consent.
    authorization_endpoint: String,
    /// Where tokens are asked for.
    token_endpoint: String,
    /// `code`.
    #[schema(value_type = Vec<String>)]
    response_types_supported: &'static [&'static str],
    /// `query`.
    #[schema(value_type = Vec<String>)]
    response_modes_supported: &'static [&'static str],
    /// `S256`.
    #[schema(value_type = Vec<String>)]
    code_challenge_methods_supported: &'static [&'static str],
    /// Whether an authorization response names the issuer (RFC 9207).
    authorization_response_iss_parameter_supported: bool,
    /// The grant types that are on.
    grant_types_supported: Vec<&'static str>,
    /// How clients may authenticate.
    #[schema(value_type = Vec<String>)]
    token_endpoint_auth_methods_supported: &'static [&'static str],
    /// The algorithms of client assertions.
    #[schema(value_type = Vec<String>)]
    token_endpoint_auth_signing_alg_values_supported: &'static [&'static str],
    /// The algorithms of proofs of possession (RFC 9449).
    #[schema(value_type = Vec<String>)]
    dpop_signing_alg_values_supported: &'static [&'static str],
    /// `mcp` (RFC 9396).
    #[schema(value_type = Vec<String>)]
    authorization_details_types_supported: &'static [&'static str],
    /// Whether a client id may be the URL of a metadata document.
    client_id_metadata_document_supported: bool,
    /// Where tokens are revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint: Option<String>,
    /// Where servers ask about tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint: Option<String>,
    /// Where clients register themselves, when that is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    /// The keys of JWTs, which OpenID Connect Discovery insists on.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    /// Of OpenID Connect Discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    subject_types_supported: Option<&'static [&'static str]>,
    /// Of OpenID Connect Discovery: none, since there are no ID tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    id_token_signing_alg_values_supported: Option<&'static [&'static str]>,
    /// Profiles of `jwt-bearer` that are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    authorization_grant_profiles_supported: Option<&'static [&'static str]>,
}

impl<'a> Metadata<'a> {
    /// The metadata of `issuer`.
    #[must_use]
    pub fn new(issuer: &'a IssuerUri, offered: &Offered) -> Self {
        let at = |path: &str| format!("{issuer}{path}");
        let mut grant_types = vec![
            AUTHORIZATION_CODE,
            CLIENT_CREDENTIALS,
            REFRESH_TOKEN,
            TOKEN_EXCHANGE,
        ];
        if offered.workloads || offered.identity_assertions {
            grant_types.push(JWT_BEARER);
        }
        Self {
            issuer,
            authorization_endpoint: at(AUTHORIZE),
            token_endpoint: at(TOKEN),
            response_types_supported: &["code"],
            response_modes_supported: &["query"],
            code_challenge_methods_supported: &[S256],
            authorization_response_iss_parameter_supported: true,
            grant_types_supported: grant_types,
            token_endpoint_auth_methods_supported: &[
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
                "none",
            ],
            token_endpoint_auth_signing_alg_values_supported: offered.assertion_algorithms,
            dpop_signing_alg_values_supported: &ALGORITHMS,
            authorization_details_types_supported: &["mcp"],
            client_id_metadata_document_supported: offered.client_documents,
            revocation_endpoint: Some(at(REVOKE)),
            introspection_endpoint: Some(at(INTROSPECT)),
            registration_endpoint: offered.registration.then(|| at(REGISTER)),
            jwks_uri: None,
            subject_types_supported: None,
            id_token_signing_alg_values_supported: None,
            authorization_grant_profiles_supported: offered
                .identity_assertions
                .then_some(&[ID_JAG]),
        }
    }

    /// The same in the form of OpenID Connect Discovery, with the members that it insists on: there are no ID tokens.
    #[must_use]
    pub fn for_openid(issuer: &'a IssuerUri, offered: &Offered) -> Self {
        Self {
            jwks_uri: Some(format!("{issuer}{JWKS}")),
            subject_types_supported: Some(&["public"]),
            id_token_signing_alg_values_supported: Some(&[]),
            ..Self::new(issuer, offered)
        }
    }
}

/// The token endpoint, below the issuer.
pub const TOKEN: &str = "/oauth/token";
/// The authorization endpoint, below the issuer.
pub const AUTHORIZE: &str = "/oauth/authorize";
/// Where people come back to from their identity provider.
pub const SIGN_IN: &str = "/oauth/sign-in";
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
