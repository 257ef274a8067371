//! The token endpoint (RFC 6749 section 3.2).

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};

use crate::server::{
    App,
    api::openapi::OAuthProblems,
    edge::{answer::Answer, context::Here, extract::FormInput, problem::Problem},
    oauth::{
        answer::TokenAnswer,
        exchange::Exchange,
        grammar::{Grant, TokenRequest},
        grants,
        requests::TokenForm,
    },
};

/// Issues a token: opens a task of the client's and mints its pass.
///
/// With a `DPoP` header (RFC 9449) the pass is bound to the key that signed the proof.
#[utoipa::path(post, path = "/oauth/token", operation_id = "oauth_token", tag = "oauth", security(("client" = []), ()),
    params(("DPoP" = Option<String>, Header, description = "A proof of possession (RFC 9449)")),
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token", body = TokenAnswer<'_>), OAuthProblems))]
pub(crate) async fn token(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    FormInput(form): FormInput,
) -> Result<Answer, Problem> {
    let presented = app.presented(&headers, &form, &context)?;
    let request = if presented.names_task() {
        TokenRequest::of_task(&form)
    } else {
        TokenRequest::read(&form)
    };
    // SECURITY: what cannot be read has its price too, and no client is known that it could be charged to.
    let TokenRequest { grant, asked } =
        request.inspect_err(|_| app.limits.note_failure(context.peer))?;
    let proofs = headers.get_all("DPoP").iter().collect();
    let exchange = Exchange {
        app: &app,
        context: &context,
        presented,
        proofs,
        asked,
    };
    match grant {
        Grant::ClientCredentials => grants::client_credentials::answer(&exchange).await,
        Grant::TokenExchange(presented) => {
            grants::token_exchange::answer(&exchange, &presented).await
        }
        Grant::AuthorizationCode {
            code,
            redirect_uri,
            verifier,
        } => grants::people::redeem(&exchange, (code, redirect_uri, verifier)).await,
        Grant::RefreshToken(token) => grants::people::refresh(&exchange, token).await,
        Grant::JwtBearer(assertion) => grants::jwt_bearer::answer(&exchange, assertion).await,
    }
}
