//! `client_credentials` (RFC 6749 section 4.4): the client is its own grant.

use super::{Opening, menu, open};
use crate::http::{
    oauth::{answer::TokenAnswer, token::Exchange},
    problem::Problem,
};

/// Opens a task for the client and answers its pass. There is no refresh token: whoever can prove itself
/// asks again.
pub(in crate::http::oauth) async fn answer(exchange: &Exchange<'_>) -> Result<TokenAnswer, Problem> {
    let client = exchange.client()?;
    let (catalogue, defaults) = menu(exchange, &client);
    let holder = exchange.holder(&client.agent)?;
    let details = exchange.asked.resolve(&catalogue, &defaults)?;
    open(exchange, &client, Opening { purpose: PURPOSE, details, verified: None, holder }).await
}

const PURPOSE: &str = "OAuth client credentials";
