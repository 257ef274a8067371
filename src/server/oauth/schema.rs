//! Shapes of the OAuth door for the OpenAPI document.

#![expect(
    dead_code,
    reason = "these types describe forms and JSON and are never made"
)]

use utoipa::ToSchema;

use crate::server::api::schema::AuthorizationDetail;

/// A token request (RFC 6749 section 4.4). Parameters that are not listed are ignored.
#[derive(ToSchema)]
pub(crate) struct TokenRequest {
    /// `client_credentials`, `authorization_code`, `refresh_token`, `urn:ietf:params:oauth:grant-type:jwt-bearer` or
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// The JWT that is the grant, for `jwt-bearer`.
    assertion: Option<String>,
    /// The client, when it does not stand in the header or the assertion.
    client_id: Option<String>,
    /// Its secret, when it does not stand in the header.
    client_secret: Option<String>,
    /// A JWT that the client signed, in place of a secret.
    client_assertion: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// The authorization code that the client was sent.
    code: Option<String>,
    /// Where it was sent.
    redirect_uri: Option<String>,
    /// What the code's challenge was made of (RFC 7636).
    code_verifier: Option<String>,
    /// The refresh token; it is good once.
    refresh_token: Option<String>,
    /// The server, by its canonical URI; may be given more than once (RFC 8707).
    resource: Option<Vec<String>>,
    /// `tool:NAME`, `prompt:NAME`, `resource:URI`, one blank between two; a name may hold `*`.
    scope: Option<String>,
    /// The rights in full: a JSON array of authorization details (RFC 9396).
    authorization_details: Option<String>,
    /// For a token exchange: the pass that is exchanged (RFC 8693).
    subject_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:access_token`, or `urn:ietf:params:oauth:token-type:id_token`.
    subject_token_type: Option<String>,
    /// For a token exchange: a pass of the client's own; the client is the actor with or without it.
    actor_token: Option<String>,
    /// `urn:ietf:params:oauth:token-type:access_token`.
    actor_token_type: Option<String>,
    /// For a token exchange: servers by name or URI, besides `resource`.
    audience: Option<Vec<String>>,
    /// For a token exchange: `urn:ietf:params:oauth:token-type:access_token`.
    requested_token_type: Option<String>,
}

/// A request to revoke a token (RFC 7009), with the client's credential as in a token request.
#[derive(ToSchema)]
pub(crate) struct RevocationRequest {
    /// The pass or refresh token.
    token: String,
    /// Ignored.
    token_type_hint: Option<String>,
}

/// A question about a token (RFC 7662), with the server's name and secret in the header or the body, or with the
/// token of a verifier's operator.
#[derive(ToSchema)]
pub(crate) struct IntrospectionRequest {
    /// The pass.
    token: String,
    /// Ignored.
    token_type_hint: Option<String>,
    /// The asking server, where an operator's token speaks for several.
    resource: Option<String>,
}

/// What a pass is worth at the asking server: `active` alone when that is nothing.
#[derive(ToSchema)]
pub(crate) struct Introspection {
    active: bool,
    /// The agent whose pass it is.
    client_id: Option<String>,
    /// The agent on whose behalf it acts: the first of a chain of exchanges, else the same.
    sub: Option<String>,
    /// Who acts, the latest outermost (RFC 8693 section 4.1); absent for a pass that came of no exchange.
    act: Option<Actor>,
    /// On whose behalf the agent acts, the steward who answers for it or the person whom the task was proven to be for:
    /// an opaque id.
    steward: Option<String>,
    iss: Option<String>,
    /// The asking server.
    aud: Option<String>,
    exp: Option<u64>,
    iat: Option<u64>,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    token_type: Option<String>,
    /// What the server may allow by name alone.
    scope: Option<String>,
    /// The key whose possession each use must prove.
    cnf: Option<Confirmation>,
    /// All that is left of the pass at the asking server, with its constraints.
    authorization_details: Option<Vec<AuthorizationDetail>>,
}

/// An actor (RFC 8693 section 4.1).
#[derive(ToSchema)]
#[schema(no_recursion)]
#[expect(
    clippy::use_self,
    reason = "the document names the type, which the derive reads here"
)]
pub(crate) struct Actor {
    /// The agent.
    sub: String,
    /// For whom it acts.
    act: Option<Box<Actor>>,
}

/// A key (RFC 9449 section 6).
#[derive(ToSchema)]
pub(crate) struct Confirmation {
    /// Its thumbprint (RFC 7638).
    jkt: String,
}

/// A client that registers itself (RFC 7591). Members that are not listed are ignored.
#[derive(ToSchema)]
pub(crate) struct ClientRegistration {
    /// Where codes may be sent, at most sixteen.
    redirect_uris: Vec<String>,
    /// What it calls itself.
    client_name: Option<String>,
    /// `none`, `client_secret_basic` or `client_secret_post`; `none` when absent.
    token_endpoint_auth_method: Option<String>,
    /// `native` or `web`.
    application_type: Option<String>,
    /// Must hold `authorization_code` when given.
    grant_types: Option<Vec<String>>,
    /// Must hold `code` when given.
    response_types: Option<Vec<String>>,
}

/// A client that registered itself.
#[derive(ToSchema)]
pub(crate) struct RegisteredClient {
    client_id: String,
    client_id_issued_at: u64,
    /// Told once.
    client_secret: Option<String>,
    /// Zero: never.
    client_secret_expires_at: Option<u64>,
    client_name: Option<String>,
    redirect_uris: Vec<String>,
    grant_types: Vec<String>,
    response_types: Vec<String>,
    token_endpoint_auth_method: String,
    application_type: Option<String>,
}

/// A token.
#[derive(ToSchema)]
pub(crate) struct TokenAnswer {
    /// The pass; it is told once and kept nowhere.
    access_token: String,
    /// `urn:ietf:params:oauth:token-type:access_token`, when it was given for another token (RFC 8693).
    issued_token_type: Option<String>,
    /// `Bearer`, or `DPoP` for a pass that is bound to a key.
    token_type: String,
    /// How long it lives, in seconds.
    expires_in: u64,
    /// Renews it once, for what a person allowed.
    refresh_token: Option<String>,
    /// What was granted, in words.
    scope: Option<String>,
    /// What was granted, with exact names, when details were asked for.
    authorization_details: Option<Vec<AuthorizationDetail>>,
}

/// What the authorization server tells of itself (RFC 8414).
#[derive(ToSchema)]
pub(crate) struct OAuthMetadata {
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
pub(crate) struct JwkSet {
    #[schema(value_type = Vec<Object>)]
    keys: Vec<serde_json::Value>,
}
