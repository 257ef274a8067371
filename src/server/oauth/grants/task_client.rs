//! `client_credentials` of a task's own client: it gets the task's pass, whatever it asks for.

use std::collections::BTreeSet;

use crate::server::{
    edge::{answer::Answer, problem::Problem},
    oauth::{
        answer::{self, refusal},
        exchange::Exchange,
        grammar::OAuthError,
    },
};
use hallpass_broker::{Caller, TaskClient};

pub(super) async fn answer(
    exchange: &Exchange<'_>,
    client: &TaskClient,
    caller: &Caller,
) -> Result<Answer, Problem> {
    let Exchange { app, asked, .. } = exchange;
    let of_task = app.broker.state().asked_by(&client.agent, &client.task);
    app.charge(&client.agent, &of_task)?;
    {
        let catalogue = app.broker.state().catalogue();
        let servers = of_task
            .iter()
            .filter_map(|detail| catalogue.canonical(&detail.server).cloned());
        if !asked
            .named(&catalogue)?
            .is_subset(&servers.collect::<BTreeSet<_>>())
        {
            return Err(OAuthError::InvalidTarget.into());
        }
    }
    let proven = exchange.holder(&client.agent)?.map(|holding| holding.key);
    let is_proven = proven.is_some();
    let issued = app
        .broker
        .issuance
        .issue_to_task_client(caller, client, proven)
        .await;
    let issued = issued.map_err(|error| match error {
        error @ hallpass_broker::BrokerError::Invalid { .. } if is_proven => {
            Problem::oauth(OAuthError::InvalidDpopProof, error.to_string())
        }
        error => refusal(error, asked),
    })?;
    app.observer.minted();
    answer::token(&issued, asked, app.broker.now())
}
