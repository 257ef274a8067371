//! Revocation (RFC 7009): a client gives back what it was given.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};

use crate::server::{
    App,
    api::openapi::OAuthProblems,
    edge::{context::Here, extract::FormInput, problem::Problem},
    oauth::{
        client::Proven,
        grammar::{OAuthError, Presented},
        requests::RevocationForm,
    },
};
use hallpass_broker::{GivenBack, PassOwner};

/// Revokes one of the client's tokens.
///
/// Of an attenuated pass, only the last appended block is revoked; the task stays open. A refresh token ends what a
/// person allowed: its family, and the task with every pass. Unknown and revoked tokens, and other clients' refresh
/// tokens, get the same answer. The answer does not say what was revoked.
#[utoipa::path(post, path = "/oauth/revoke", operation_id = "oauth_revoke", tag = "oauth", security(("client" = []), ()),
    request_body(content = RevocationForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is revoked or was not valid"), OAuthProblems))]
pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    FormInput(form): FormInput,
) -> Result<StatusCode, Problem> {
    let presented = app.presented(&headers, &form, &context)?;
    let token = form.text("token").ok_or(OAuthError::InvalidRequest)?;
    // A client that has nothing to prove itself by proves by the token that it was given it.
    let proven = match presented {
        Presented::Nothing { .. } => Proven::Agent(app.persons_client(&presented, &context).await?),
        _ => app.proven(&presented, &context).await?,
    };
    let (owner, caller) = match proven {
        Proven::Agent(client) => (PassOwner::Agent(client.agent), client.caller),
        Proven::Task(client, caller) => (PassOwner::TaskClient(client), caller),
    };
    let mut given_back = app
        .broker
        .token_revocations
        .revoke_token(&caller, &owner, token)
        .await?;
    if let (GivenBack::Nothing, PassOwner::Agent(agent)) = (&given_back, &owner) {
        given_back = app
            .broker
            .codes
            .revoke_refresh_token(&caller, agent, token)
            .await?;
    }
    match given_back {
        GivenBack::Revoked(subject) => app.observer.revoked(&subject),
        GivenBack::Nothing => {}
        GivenBack::NotYours => {
            return Err(Problem::oauth(
                OAuthError::InvalidGrant,
                "the token was issued to another client",
            ));
        }
    }
    Ok(StatusCode::OK)
}
