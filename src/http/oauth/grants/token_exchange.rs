//! Token exchange (RFC 8693): the client presents somebody's token and gets a narrower one of its own.

use crate::{
    base::ids::{ServerName, ServerUri},
    broker::{self, ExchangeError},
    http::{
        oauth::{
            answer::{TokenAnswer, refusal},
            token::Exchange,
        },
        problem::Problem,
    },
    oauth::{Asked, OAuthError, TokenExchange, TokenType},
};

/// Exchanges the token. The actor is the client, which proved itself; an actor token may only say so again.
pub(in crate::http::oauth) async fn answer(
    exchange: &Exchange<'_>,
    presented: TokenExchange,
) -> Result<TokenAnswer, Problem> {
    match presented.subject_type {
        TokenType::AccessToken => of_pass(exchange, &presented).await,
    }
}

async fn of_pass(exchange: &Exchange<'_>, presented: &TokenExchange) -> Result<TokenAnswer, Problem> {
    let Exchange { app, .. } = exchange;
    let client = exchange.client()?;
    let asked = with_audience(exchange, &presented.audience)?;
    let told = |error: ExchangeError| refused(error, &asked);
    if let Some(actor) = &presented.actor {
        let actor = app.broker.subject_pass(actor).map_err(told)?;
        app.broker.refuse_foreign_actor(&actor, &client.agent).map_err(told)?;
    }
    let subject = app.broker.subject_pass(&presented.subject).map_err(told)?;
    let catalogue = app.broker.state().catalogue();
    let left: Vec<_> = subject.left().into_iter().filter(|detail| catalogue.get(&detail.server).is_some()).collect();
    let wanted = asked.resolve(&catalogue, &left)?;
    let proven = exchange.holder(&client.agent)?.map(|holding| holding.key);
    let wanted = broker::Exchange { subject: &subject, proven, asked: wanted, ttl: app.oauth.token_ttl };
    let issued = app.broker.exchange(&client.caller, &client.agent, wanted).await.map_err(told)?;
    app.observer.minted();
    TokenAnswer::exchanged(&issued, &asked, app.broker.now())
}

/// What is asked for, at the servers that `resource` and `audience` name, which may be by their short names.
fn with_audience(exchange: &Exchange<'_>, audience: &[String]) -> Result<Asked, Problem> {
    let catalogue = exchange.app.broker.state().catalogue();
    let server = |text: &String| match text.parse::<ServerUri>() {
        Ok(server) => Some(server),
        Err(_) => catalogue.named(&text.parse::<ServerName>().ok()?).map(|manifest| manifest.server.clone()),
    };
    let mut asked = exchange.asked.clone();
    for text in audience {
        asked.resources.insert(server(text).ok_or(OAuthError::InvalidTarget)?);
    }
    Ok(asked)
}

/// RFC 8693 section 2.2.2: whatever is wrong with a token that is presented is an invalid request.
fn refused(error: ExchangeError, asked: &Asked) -> Problem {
    let told = match error {
        ExchangeError::Subject(_) => OAuthError::InvalidRequest,
        ExchangeError::Proof => OAuthError::InvalidDpopProof,
        ExchangeError::Target => OAuthError::InvalidTarget,
        ExchangeError::NothingLeft => OAuthError::InvalidScope,
        ExchangeError::Broker(error) => return refusal(error, asked),
    };
    Problem::oauth(told, error.to_string())
}
