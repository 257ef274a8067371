//! `authorization_code` and `refresh_token` (RFC 6749 sections 4.1.3 and 6, OAuth 2.1): what a person
//! allowed, handed to the client that they allowed it.

use crate::{
    broker::{CodeError, Handed, Redemption, Refresh},
    http::{
        oauth::{
            answer::{TokenAnswer, refusal},
            token::Exchange,
        },
        problem::Problem,
    },
    oauth::{OAuthError, code::CodeGrant},
};

/// Redeems an authorization code: a pass, and what renews it.
pub(in crate::http::oauth) async fn redeem(exchange: &Exchange<'_>, grant: &CodeGrant) -> Result<TokenAnswer, Problem> {
    let client = exchange.persons_client()?;
    refuse_details(exchange)?;
    let redemption = Redemption {
        code: grant.code(),
        redirect_uri: grant.redirect_uri.as_deref(),
        verifier: grant.verifier,
        servers: exchange.asked.named(&exchange.app.broker.state().catalogue())?,
        holder: exchange.holder(&client.agent)?,
    };
    let handed = exchange.app.broker.redeem_code(&client.caller, &client.agent, redemption).await;
    answer(exchange, handed)
}

/// Renews by a refresh token, which a new one replaces.
pub(in crate::http::oauth) async fn refresh(exchange: &Exchange<'_>, token: &str) -> Result<TokenAnswer, Problem> {
    let client = exchange.persons_client()?;
    refuse_details(exchange)?;
    let refresh = Refresh {
        token,
        scope: exchange.asked.scope.as_ref(),
        servers: exchange.asked.named(&exchange.app.broker.state().catalogue())?,
        holder: exchange.holder(&client.agent)?,
    };
    let handed = exchange.app.broker.refresh(&client.caller, &client.agent, refresh).await;
    answer(exchange, handed)
}

/// SECURITY: what was allowed is recorded with the code; details that come now could only be overlooked.
fn refuse_details(exchange: &Exchange<'_>) -> Result<(), OAuthError> {
    if exchange.asked.details.is_some() { Err(OAuthError::InvalidAuthorizationDetails) } else { Ok(()) }
}

fn answer(exchange: &Exchange<'_>, handed: Result<Handed, CodeError>) -> Result<TokenAnswer, Problem> {
    let app = exchange.app;
    let handed = handed.map_err(|error| match error {
        CodeError::Refused(reason) => {
            app.limits.note_failure(exchange.context.peer);
            Problem::oauth(OAuthError::InvalidGrant, reason.to_string())
        }
        CodeError::Target => OAuthError::InvalidTarget.into(),
        CodeError::Scope => OAuthError::InvalidScope.into(),
        CodeError::Broker(error) => refusal(error, &exchange.asked),
    })?;
    app.observer.minted();
    TokenAnswer::with_refresh(&handed, app.broker.now())
}
