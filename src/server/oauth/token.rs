//! The token endpoint (RFC 6749 section 3.2).

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
};

use crate::server::{
    App,
    api::openapi::OAuthProblems,
    edge::{
        answer::Answer,
        context::{Context, Here},
        extract::FormInput,
        problem::Problem,
    },
    oauth::{
        answer::TokenAnswer,
        client::{Client, Proven},
        grammar::{Asked, Grant, OAuthError, Presented, TokenRequest},
        grants,
        requests::TokenForm,
    },
};
use hallpass_core::{base::ids::AgentId, possession::IssuingError, token::Holding};

/// One request to the token endpoint, read, with everything that a grant needs to answer it.
pub(super) struct Exchange<'r> {
    pub(super) app: &'r App,
    pub(super) context: &'r Context,
    /// The client's credential, not looked at yet.
    pub(super) presented: Presented<'r>,
    /// The `DPoP` headers.
    proofs: Vec<&'r HeaderValue>,
    /// What is asked for.
    pub(super) asked: Asked,
}

impl Exchange<'_> {
    /// The client, which must prove itself.
    pub(super) async fn client(&self) -> Result<Client, Problem> {
        self.app.client(&self.presented, self.context).await
    }

    /// The client, which must prove itself; it may be a task's own.
    pub(super) async fn proven(&self) -> Result<Proven, Problem> {
        self.app.proven(&self.presented, self.context).await
    }

    /// The client, which proves itself when it can.
    pub(super) async fn persons_client(&self) -> Result<Client, Problem> {
        self.app.persons_client(&self.presented, self.context).await
    }

    /// The key that a pass of `agent` is to be bound to; `None` when no proof was sent. Such a pass is not
    /// handed on.
    pub(super) fn holder(&self, agent: &AgentId) -> Result<Option<Holding>, Problem> {
        let bad = |inside: String| Problem::oauth(OAuthError::InvalidDpopProof, inside);
        let proof = match self.proofs.as_slice() {
            [] => return Ok(None),
            [one] => one.to_str().map_err(|_| bad("not ASCII".to_owned()))?,
            _ => return Err(bad("more than one proof".to_owned())),
        };
        let key = self
            .app
            .issuing_proofs
            .key(proof, agent, self.app.broker.now());
        let key = key.map_err(|error| match error {
            IssuingError::Full => {
                Problem::oauth(OAuthError::TemporarilyUnavailable, error.to_string())
            }
            error => bad(error.to_string()),
        })?;
        Ok(Some(Holding {
            key,
            max_delegations: 0,
        }))
    }
}

/// Gives a token: opens a task of the client's and mints its pass.
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
    let TokenRequest { grant, asked } = request?;
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
