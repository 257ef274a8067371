//! The token endpoint (RFC 6749 section 3.2).

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
};

use super::{answer::TokenAnswer, client::Client, grants, schema};
use crate::{
    http::{
        App,
        context::{Context, Here},
        document::OAuthProblems,
        extract::FormInput,
        problem::Problem,
    },
    oauth::{Asked, Grant, OAuthError, Presented, TokenRequest},
};

/// One request to the token endpoint, read, with everything that a grant needs to answer it.
pub(super) struct Exchange<'r> {
    pub(super) app: &'r App,
    pub(super) context: &'r Context,
    /// The client's credential, not looked at yet.
    pub(super) presented: Presented<'r>,
    /// What is asked for.
    pub(super) asked: Asked,
}

impl Exchange<'_> {
    /// The client, which must prove itself.
    pub(super) fn client(&self) -> Result<Client, Problem> {
        self.app.client(&self.presented, self.context)
    }
}

/// Gives a token: opens a task of the client's and mints its pass.
#[utoipa::path(post, path = "/oauth/token", operation_id = "oauth_token", tag = "oauth", security(("client" = []), ()),
    request_body(content = schema::TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token", body = schema::TokenAnswer), OAuthProblems))]
pub(in crate::http) async fn token(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    FormInput(form): FormInput,
) -> Result<TokenAnswer, Problem> {
    let authorization: Option<Vec<_>> =
        headers.get_all(header::AUTHORIZATION).iter().map(|value: &HeaderValue| value.to_str().ok()).collect();
    let authorization = authorization.ok_or(OAuthError::InvalidClient)?;
    let presented = Presented::read(&authorization, &form)?;
    let TokenRequest { grant, asked } = TokenRequest::read(&form)?;
    let exchange = Exchange { app: &app, context: &context, presented, asked };
    match grant {
        Grant::ClientCredentials => grants::client_credentials::answer(&exchange).await,
    }
}
