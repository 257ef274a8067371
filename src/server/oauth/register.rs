//! Dynamic registration (RFC 7591), where it is on: an id for any client that asks. It gives access to nothing
//! until a person consents.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::server::{
    App,
    api::openapi::OAuthProblems,
    edge::{answer::Answer, context::Here, describe::Described, extract::Input, problem::Problem},
    oauth::{
        grammar::{
            OAuthError,
            client_document::{ClientKeys, ClientMetadata, MetadataError},
            grant::{AUTHORIZATION_CODE, REFRESH_TOKEN},
        },
        requests::ClientRegistration,
    },
};
use hallpass_broker::{NewClient, OneTimeSecret, domain::event::Actor};
use hallpass_core::base::redirect::RedirectUri;

/// A client that registered itself, as it will be held against the client.
#[derive(Serialize, ToSchema)]
struct RegisteredClient<'a> {
    /// Its id.
    client_id: &'a str,
    /// When, in seconds since 1970.
    client_id_issued_at: u64,
    /// Its secret; it is returned once, and the broker does not store it.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// Zero: never. RFC 7591 wants it where there is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    /// Where codes may be sent.
    redirect_uris: &'a [RedirectUri],
    /// What it may use.
    #[schema(value_type = Vec<String>)]
    grant_types: [&'static str; 2],
    /// `code`.
    #[schema(value_type = Vec<String>)]
    response_types: [&'static str; 1],
    /// How it authenticates at the token endpoint.
    token_endpoint_auth_method: &'a str,
    /// `native` or `web`, as it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    application_type: Option<&'a str>,
}

/// That registration is on, and that the sender may try once more: known before anything of the body is read.
#[derive(Debug)]
pub(crate) struct MayRegister;

impl Described for MayRegister {}

impl FromRequestParts<Arc<App>> for MayRegister {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        if !app.oauth.dynamic_registration {
            return Err(Problem::not_found(hallpass_broker::ObjectKind::Route));
        }
        let Here(context) = Here::from_request_parts(parts, app).await?;
        app.limits.admit_try(context.peer)?;
        Ok(Self)
    }
}

/// Registers an unverified client.
#[utoipa::path(post, path = "/oauth/register", operation_id = "oauth_register", tag = "oauth", security(()),
    request_body = ClientRegistration,
    responses((status = 201, description = "The client", body = RegisteredClient<'_>), OAuthProblems))]
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    Here(context): Here,
    _: MayRegister,
    input: Input<Value, MAX_REGISTRATION_BYTES>,
) -> Result<Answer, Problem> {
    let metadata =
        ClientMetadata::of_registration(&input.value).map_err(|error| refused(&error))?;
    let new = NewClient {
        name: metadata.name.clone(),
        redirect_uris: metadata.redirect_uris.clone(),
        with_secret: metadata.keys == ClientKeys::Secret,
    };
    let made = app
        .broker
        .registry
        .register_client(&context.caller(Actor::Broker), new)
        .await?;
    let secret = made.secret.as_ref().map(OneTimeSecret::expose);
    Answer::created(&RegisteredClient {
        client_id: made.agent.as_str(),
        client_id_issued_at: made.registered_at.unix_seconds(),
        client_secret: secret,
        client_secret_expires_at: secret.map(|_| 0),
        client_name: metadata.name.as_deref(),
        redirect_uris: &metadata.redirect_uris,
        grant_types: [AUTHORIZATION_CODE, REFRESH_TOKEN],
        response_types: ["code"],
        token_endpoint_auth_method: &metadata.auth_method,
        application_type: metadata.application_type.as_deref(),
    })
}

fn refused(error: &MetadataError) -> Problem {
    let answered = match error {
        MetadataError::RedirectUri => OAuthError::InvalidRedirectUri,
        _ => OAuthError::InvalidClientMetadata,
    };
    Problem::oauth(answered, error.to_string())
}

/// Ten times what registrations of stock clients have.
const MAX_REGISTRATION_BYTES: usize = 16 * 1024;
