//! Token exchange (RFC 8693): the client presents another party's token and gets a narrower one of its own.

use crate::server::{
    api::subject::SubjectToken,
    edge::{answer::Answer, problem::Problem},
    oauth::{
        answer::{self, refusal},
        client::Client,
        exchange::Exchange,
        grammar::{Asked, OAuthError, TokenExchange, TokenType, asked},
        grants::{Opening, catalogue_and_defaults, on_behalf, opened},
    },
};
use hallpass_broker::{self as broker, ExchangeError};

/// Exchanges the token. The actor is the client, which proved itself; an actor token may only say so again.
pub(crate) async fn answer(
    exchange: &Exchange<'_>,
    presented: &TokenExchange<'_>,
) -> Result<Answer, Problem> {
    match presented.subject_type {
        TokenType::AccessToken => of_pass(exchange, presented).await,
        TokenType::IdToken => of_person(exchange, presented).await,
    }
}

async fn of_pass(
    exchange: &Exchange<'_>,
    presented: &TokenExchange<'_>,
) -> Result<Answer, Problem> {
    let Exchange { app, .. } = exchange;
    let client = exchange.client().await?;
    let asked = with_audience(exchange, &presented.audience)?;
    let answered = |error: ExchangeError| refused(error, &asked);
    refuse_foreign_actor(exchange, &client, presented).map_err(answered)?;
    let subject = app
        .broker
        .exchanges
        .subject_pass(presented.subject)
        .map_err(answered)?;
    let catalogue = app.broker.state().catalogue();
    let left: Vec<_> = subject
        .left()
        .into_iter()
        .filter(|detail| catalogue.get(&detail.server).is_some())
        .collect();
    let wanted = asked.resolve(&catalogue, &left)?;
    app.charge(&client.agent, &wanted)?;
    let proven = exchange.holder(&client.agent)?.map(|holding| holding.key);
    let wanted = broker::Exchange {
        subject: &subject,
        proven,
        asked: wanted,
        ttl: app.oauth.token_ttl,
    };
    let issued = app
        .broker
        .exchanges
        .exchange(&client.caller, &client.agent, wanted)
        .await
        .map_err(answered)?;
    app.observer.minted();
    answer::exchanged(&issued, &asked, app.broker.now())
}

/// The client acts on behalf of the person whose ID token it presents.
async fn of_person(
    exchange: &Exchange<'_>,
    presented: &TokenExchange<'_>,
) -> Result<Answer, Problem> {
    let Exchange { app, .. } = exchange;
    let client = exchange.client().await?;
    let asked = with_audience(exchange, &presented.audience)?;
    refuse_foreign_actor(exchange, &client, presented).map_err(|error| refused(error, &asked))?;
    let subject = SubjectToken::read(presented.subject);
    let subject = subject
        .map_err(|_| Problem::oauth(OAuthError::InvalidRequest, "the subject token is no JWT"))?;
    let (catalogue, defaults) = catalogue_and_defaults(exchange, &client);
    let details = asked.resolve(&catalogue, &defaults)?;
    let holder = exchange.holder(&client.agent)?;
    let opening = Opening {
        purpose: PERSON,
        details,
        fixed_rights: false,
        verified: None,
        holder,
    };
    let steward = app.steward_of(&subject).await?;
    let opening = on_behalf(
        exchange,
        &client,
        (opening, steward, OAuthError::InvalidRequest),
    )
    .await?;
    let issued = opened(exchange, &client, opening).await?;
    answer::exchanged(&issued, &asked, app.broker.now())
}

/// An actor token may only say again that the client is who it is.
fn refuse_foreign_actor(
    exchange: &Exchange<'_>,
    client: &Client,
    presented: &TokenExchange<'_>,
) -> Result<(), ExchangeError> {
    let Some(actor) = presented.actor else {
        return Ok(());
    };
    let actor = exchange.app.broker.exchanges.subject_pass(actor)?;
    exchange
        .app
        .broker
        .exchanges
        .refuse_foreign_actor(&actor, &client.agent)
}

/// What is asked for, at the servers that `resource` and `audience` name, which may be by their short names.
fn with_audience(exchange: &Exchange<'_>, audience: &[&str]) -> Result<Asked, Problem> {
    let catalogue = exchange.app.broker.state().catalogue();
    let mut asked = exchange.asked.clone();
    for text in audience {
        let manifest = asked::known(&catalogue, text).ok_or(OAuthError::InvalidTarget)?;
        asked.resources.insert(manifest.server.clone());
    }
    Ok(asked)
}

/// RFC 8693 section 2.2.2: whatever is wrong with a token that is presented is an invalid request.
fn refused(error: ExchangeError, asked: &Asked) -> Problem {
    let answered = match error {
        ExchangeError::Subject(_) => OAuthError::InvalidRequest,
        ExchangeError::Proof => OAuthError::InvalidDpopProof,
        ExchangeError::Target => OAuthError::InvalidTarget,
        ExchangeError::NothingLeft => OAuthError::InvalidScope,
        ExchangeError::Broker(error) => return refusal(error, asked),
    };
    Problem::oauth(answered, error.to_string())
}

const PERSON: &str = "OAuth token exchange";
