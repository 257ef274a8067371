//! `authorization_code` and `refresh_token` (RFC 6749 sections 4.1.3 and 6, OAuth 2.1): what a person
//! allowed, handed to the client that they allowed it.

use crate::server::{
    edge::{answer::Answer, problem::Problem},
    oauth::{
        answer::{refusal, with_refresh},
        exchange::Exchange,
        grammar::OAuthError,
    },
};
use hallpass_broker::{CodeError, CodeReason, Redemption, Refresh};
use hallpass_core::base::digest::Digest;

/// Redeems an authorization code: a pass, and what renews it.
pub(crate) async fn redeem(
    exchange: &Exchange<'_>,
    (code, redirect_uri, verifier): (&str, Option<&str>, Digest),
) -> Result<Answer, Problem> {
    let client = exchange.persons_client().await?;
    refuse_details(exchange)?;
    // SECURITY: first, so that knowing a public client's id is not enough to fill the memory of proofs.
    if !exchange.app.broker.codes.knows_code(code) {
        return Err(refused(exchange, CodeReason::Unknown.into()));
    }
    let redemption = Redemption {
        code,
        redirect_uri,
        verifier,
        servers: exchange
            .asked
            .named(&exchange.app.broker.state().catalogue())?,
        holder: exchange.holder(&client.agent)?,
    };
    let handed = exchange
        .app
        .broker
        .codes
        .redeem_code(&client.caller, &client.agent, redemption)
        .await
        .map_err(|error| refused(exchange, error))?;
    exchange.app.observer.minted();
    with_refresh(&handed, exchange.app.broker.now())
}

/// Renews by a refresh token, which a new one replaces.
pub(crate) async fn refresh(exchange: &Exchange<'_>, token: &str) -> Result<Answer, Problem> {
    let client = exchange.persons_client().await?;
    refuse_details(exchange)?;
    if !exchange.app.broker.codes.knows_refresh_token(token) {
        return Err(refused(exchange, CodeReason::Unknown.into()));
    }
    let refresh = Refresh {
        token,
        scope: exchange.asked.scope.as_ref(),
        servers: exchange
            .asked
            .named(&exchange.app.broker.state().catalogue())?,
        holder: exchange.holder(&client.agent)?,
    };
    let refreshed = exchange
        .app
        .broker
        .codes
        .refresh(&client.caller, &client.agent, refresh)
        .await
        .map_err(|error| refused(exchange, error))?;
    if !refreshed.is_repeated {
        exchange.app.observer.minted();
    }
    with_refresh(&refreshed.handed, exchange.app.broker.now())
}

/// SECURITY: what was allowed is recorded with the code; details that come now could only be overlooked.
fn refuse_details(exchange: &Exchange<'_>) -> Result<(), OAuthError> {
    if exchange.asked.details.is_some() {
        Err(OAuthError::InvalidAuthorizationDetails)
    } else {
        Ok(())
    }
}

fn refused(exchange: &Exchange<'_>, error: CodeError) -> Problem {
    match error {
        CodeError::Refused(reason) => exchange.app.unproven(
            exchange.context,
            OAuthError::InvalidGrant,
            reason.to_string(),
        ),
        CodeError::Target => OAuthError::InvalidTarget.into(),
        CodeError::Scope => OAuthError::InvalidScope.into(),
        CodeError::Broker(error) => refusal(error, &exchange.asked),
    }
}
