//! `client_credentials` (RFC 6749 section 4.4): the client is its own grant.

use std::collections::BTreeMap;

use crate::{
    broker::OpenTask,
    http::{
        oauth::{
            answer::{TokenAnswer, refusal},
            token::Exchange,
        },
        problem::Problem,
    },
};

/// Opens a task for the client and answers its pass. There is no refresh token: whoever can prove itself
/// asks again.
pub(in crate::http::oauth) async fn answer(exchange: &Exchange<'_>) -> Result<TokenAnswer, Problem> {
    let Exchange { app, asked, .. } = exchange;
    let client = exchange.client()?;
    let (catalogue, defaults) = {
        let state = app.broker.state();
        let profile = state.agent(&client.agent).and_then(|record| record.client.clone());
        (state.catalogue(), profile.unwrap_or_default().default_details)
    };
    let request = OpenTask {
        purpose: PURPOSE.to_owned(),
        ttl: app.oauth.token_ttl,
        details: asked.resolve(&catalogue, &defaults)?,
        allow_partial: true,
        steward: None,
        context: BTreeMap::new(),
        holder: None,
    };
    let issued = app.broker.open_task(&client.caller, &client.agent, request).await;
    let issued = issued.map_err(|error| refusal(error, asked))?;
    app.observer.minted();
    TokenAnswer::new(&issued, app.broker.now())
}

/// What the task is for, in the words of nobody: the client cannot say.
const PURPOSE: &str = "OAuth client credentials";
