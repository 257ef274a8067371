//! The second page: what the client could be given, and the person's decision.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};

use crate::server::{
    App,
    edge::{context::Context, problem::Problem},
    oauth::authorize::{
        answering::{Way, answer, nothing_to_offer, over, refuse},
        page::{decide, respond},
        pending::PendingAuthorization,
        sessions::Open,
    },
};
use hallpass_broker::{OneTimeSecret, SignedIn, domain::event::Actor};

/// Shows a person who has signed in what the client could be given.
pub(super) async fn offered(
    app: &App,
    pending: PendingAuthorization,
    who: SignedIn,
) -> Result<Response, Problem> {
    let ask = match pending.ask(app) {
        Ok(ask) => ask,
        Err(error) => return Ok(refuse(app, &pending, error, Way::Page)),
    };
    let name = app.broker.registry.steward_name(who.steward());
    // Of everything at a server, maybe: too much for a thread that serves requests.
    let offer = app
        .blocking(move |broker| broker.consents.offer(who, ask))
        .await?;
    let offer = match offer {
        Ok(offer) => offer,
        Err(error) => return nothing_to_offer(app, &pending, error),
    };
    let secret = OneTimeSecret::token("");
    let servers = app.broker.state().catalogue();
    let shown = decide(
        &pending,
        (&offer, name.as_deref()),
        (&servers, secret.expose()),
    );
    let response = respond(StatusCode::OK, shown);
    app.consents
        .open
        .insert(secret.digest(), Arc::new(Open { pending, offer }));
    Ok(response)
}

pub(super) async fn allowed(app: &App, context: &Context, open: &str) -> Result<Response, Problem> {
    let Some(open) = app.consents.take(open) else {
        return Ok(over());
    };
    let caller = context.caller(Actor::Broker);
    match app
        .broker
        .consents
        .consent(&caller, open.offer.clone())
        .await
    {
        Ok(code) => Ok(answer(
            app,
            &open.pending,
            &[("code", code.expose())],
            Way::Page,
        )),
        Err(error) => nothing_to_offer(app, &open.pending, error),
    }
}
