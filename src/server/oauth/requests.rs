//! What clients send to the OAuth endpoints, for the OpenAPI document.
//!
//! No type is read here: a form's parameters are read one by one, with an OAuth error for each, and what is not known is
//! ignored. So their list stands here, and [`grammar`](crate::server::oauth::grammar) reads them.

#![expect(dead_code, reason = "these types describe requests and are never made")]

use utoipa::ToSchema;

/// A token request (RFC 6749 section 4.4). Parameters that are not listed are ignored.
#[derive(ToSchema)]
#[schema(as = TokenRequest)]
pub(crate) struct TokenForm {
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
#[schema(as = RevocationRequest)]
pub(crate) struct RevocationForm {
    /// The pass or refresh token.
    token: String,
    /// Ignored.
    token_type_hint: Option<String>,
}

/// A question about a token (RFC 7662), with the server's name and secret in the header or the body, or with the
/// token of a verifier's operator.
#[derive(ToSchema)]
#[schema(as = IntrospectionRequest)]
pub(crate) struct IntrospectionForm {
    /// The pass.
    token: String,
    /// Ignored.
    token_type_hint: Option<String>,
    /// The asking server, where an operator's token speaks for several.
    resource: Option<String>,
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
