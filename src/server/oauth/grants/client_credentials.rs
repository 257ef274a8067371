//! `client_credentials` (RFC 6749 section 4.4): the client is its own grant.

use crate::server::{
    edge::{answer::Answer, problem::Problem},
    oauth::{
        client::Proven,
        exchange::Exchange,
        grants::{Opening, catalogue_and_defaults, open, task_client},
    },
};

/// Opens a task for the client and returns its pass. There is no refresh token: a client that can authenticate
/// asks again.
pub(crate) async fn answer(exchange: &Exchange<'_>) -> Result<Answer, Problem> {
    let client = match exchange.proven().await? {
        Proven::Agent(client) => client,
        Proven::Task(client, caller) => {
            return task_client::answer(exchange, &client, &caller).await;
        }
    };
    let (catalogue, defaults) = catalogue_and_defaults(exchange, &client);
    let holder = exchange.holder(&client.agent)?;
    let details = exchange.asked.resolve(&catalogue, &defaults)?;
    open(
        exchange,
        &client,
        Opening {
            purpose: PURPOSE,
            details,
            fixed_rights: false,
            verified: None,
            holder,
        },
    )
    .await
}

const PURPOSE: &str = "OAuth client credentials";
