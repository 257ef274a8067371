//! Shapes of the OAuth door for the OpenAPI document.

#![expect(dead_code, reason = "these types describe forms and JSON and are never made")]

use utoipa::ToSchema;

use crate::http::schema::AuthorizationDetail;

/// A token request (RFC 6749 section 4.4). Parameters that are not listed are ignored.
#[derive(ToSchema)]
pub(in crate::http) struct TokenRequest {
    /// `client_credentials`.
    grant_type: String,
    /// The client, when it does not stand in the header or the assertion.
    client_id: Option<String>,
    /// Its secret, when it does not stand in the header.
    client_secret: Option<String>,
    /// A JWT that the client signed, in place of a secret.
    client_assertion: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// The server, by its canonical URI; may be given more than once (RFC 8707).
    resource: Option<Vec<String>>,
    /// `tool:NAME`, `prompt:NAME`, `resource:URI`, one blank between two; a name may hold `*`.
    scope: Option<String>,
    /// The rights in full: a JSON array of authorization details (RFC 9396).
    authorization_details: Option<String>,
}

/// A token.
#[derive(ToSchema)]
pub(in crate::http) struct TokenAnswer {
    /// The pass; it is told once and kept nowhere.
    access_token: String,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    token_type: String,
    /// How long it lives, in seconds.
    expires_in: u64,
    /// What was granted, in words.
    scope: Option<String>,
    /// What was granted, with exact names, when details were asked for.
    authorization_details: Option<Vec<AuthorizationDetail>>,
}

/// What the authorization server tells of itself (RFC 8414).
#[derive(ToSchema)]
pub(in crate::http) struct OAuthMetadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    response_types_supported: Vec<String>,
    response_modes_supported: Vec<String>,
    code_challenge_methods_supported: Vec<String>,
    authorization_response_iss_parameter_supported: bool,
    grant_types_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Vec<String>,
    token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    dpop_signing_alg_values_supported: Vec<String>,
    authorization_details_types_supported: Vec<String>,
    client_id_metadata_document_supported: bool,
    revocation_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    jwks_uri: Option<String>,
    subject_types_supported: Option<Vec<String>>,
    id_token_signing_alg_values_supported: Option<Vec<String>>,
    authorization_grant_profiles_supported: Option<Vec<String>>,
}

/// A JWK Set (RFC 7517).
#[derive(ToSchema)]
pub(in crate::http) struct JwkSet {
    #[schema(value_type = Vec<Object>)]
    keys: Vec<serde_json::Value>,
}
