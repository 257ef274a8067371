//! One file for each grant type: from a request that was read to a token.

pub(super) mod client_credentials;
pub(super) mod jwt_bearer;
pub(super) mod people;
mod task_client;
pub(super) mod token_exchange;

use std::{collections::BTreeMap, sync::Arc};

use crate::server::{
    edge::{answer::Answer, problem::Problem},
    oauth::{
        answer::{self, refusal},
        client::Client,
        exchange::Exchange,
        grammar::OAuthError,
    },
};
use hallpass_broker::{BrokerError, Issued, OpenTask, VerifiedSteward, policy::Catalogue};
use hallpass_core::token::{Holding, RequestedDetail};

/// What a grant makes of a request.
struct Opening<'p> {
    /// Default task purpose; OAuth clients cannot supply one.
    purpose: &'p str,
    details: Vec<RequestedDetail>,
    /// Whether a renewal may ask for nothing else.
    fixed_rights: bool,
    /// On whose behalf, when that was proven.
    verified: Option<VerifiedSteward>,
    /// The key that the pass is bound to.
    holder: Option<Holding>,
}

/// What there is to ask for, and what the client asks for by default.
fn catalogue_and_defaults(
    exchange: &Exchange<'_>,
    client: &Client,
) -> (Arc<Catalogue>, Vec<RequestedDetail>) {
    let state = exchange.app.broker.state();
    let profile = state
        .agent(&client.agent)
        .and_then(|record| record.client.clone());
    (
        state.catalogue(),
        profile.unwrap_or_default().default_details,
    )
}

impl Opening<'_> {
    fn into_request(self, exchange: &Exchange<'_>) -> OpenTask {
        OpenTask {
            purpose: self.purpose.to_owned(),
            ttl: exchange.app.oauth.token_ttl,
            details: self.details,
            fixed_rights: self.fixed_rights,
            allow_partial: true,
            steward: None,
            verified: self.verified,
            context: BTreeMap::new(),
            holder: self.holder,
        }
    }
}

/// Opens a task for the client and answers its pass.
async fn open(
    exchange: &Exchange<'_>,
    client: &Client,
    opening: Opening<'_>,
) -> Result<Answer, Problem> {
    let issued = opened(exchange, client, opening).await?;
    answer::token(&issued, &exchange.asked, exchange.app.broker.now())
}

/// Opens a task for the client and mints its pass.
async fn opened(
    exchange: &Exchange<'_>,
    client: &Client,
    opening: Opening<'_>,
) -> Result<Issued, Problem> {
    let Exchange { app, asked, .. } = exchange;
    let request = opening.into_request(exchange);
    app.charge(&client.agent, &request.details)?;
    let issued = app
        .broker
        .issuance
        .open_task(&client.caller, &client.agent, request)
        .await;
    let issued = issued.map_err(|error| refusal(error, asked))?;
    app.observer.minted();
    Ok(issued)
}

/// On behalf of `steward`, who was proven; otherwise the reason why not is recorded, and the client gets `oauth_error`.
async fn on_behalf<'p>(
    exchange: &Exchange<'_>,
    client: &Client,
    (opening, steward, oauth_error): (
        Opening<'p>,
        Result<VerifiedSteward, BrokerError>,
        OAuthError,
    ),
) -> Result<Opening<'p>, Problem> {
    let Exchange {
        app,
        asked,
        context,
        ..
    } = exchange;
    let error = match steward {
        Ok(steward) => {
            return Ok(Opening {
                verified: Some(steward),
                ..opening
            });
        }
        Err(error) => error,
    };
    let inside = error.to_string();
    let request = opening.into_request(exchange);
    match app
        .broker
        .issuance
        .refuse_task(&client.caller, &client.agent, (request, error))
        .await
    {
        BrokerError::Refused(_) => Err(app.unproven(context, oauth_error, inside)),
        error => Err(refusal(error, asked)),
    }
}
