//! The authorization endpoint (RFC 6749 section 3.1): a person is shown who asks for what, signs in, and
//! allows or refuses it.
//!
//! Two pages, both forms without a script or a cookie. The first is made of the request alone and needs no
//! memory; the second is made once a person has signed in, and may be sent once. Until the client and its
//! redirect URI are known, errors are shown on a page; from then on they are returned to the client.

mod answering;
mod away;
mod decision;
mod documents;
mod identity;
mod page;
mod pending;
mod reading;
mod sessions;

use std::sync::Arc;

pub(crate) use crate::server::oauth::authorize::{
    documents::Documents,
    identity::{__path_come_back, come_back},
    sessions::ConsentSessions,
};
use crate::server::{
    App,
    api::openapi::Problems,
    edge::{
        context::{Context, Here},
        extract::FormInput,
        problem::Problem,
    },
    oauth::{
        authorize::{
            answering::{Way, denied, over, refuse, unknown_client},
            decision::{allowed, offered},
            identity::leave,
            page::{respond, sign_in},
            pending::PendingAuthorization,
        },
        grammar::Form,
    },
};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::Response,
};
use hallpass_broker::{BrokerError, SignedIn, domain::event::Actor};

/// Shows the sign-in page of an authorization request.
#[utoipa::path(get, path = "/oauth/authorize", operation_id = "oauth_authorize", tag = "oauth", security(()),
    responses((status = 200, description = "A page to sign in on", body = String, content_type = "text/html"),
        (status = 303, description = "To the client, with the error; an error that may not be sent there is shown on a page"),
        Problems))]
pub(crate) async fn show(State(app): State<Arc<App>>, Here(context): Here, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    match PendingAuthorization::read((&app, context.peer), query).await {
        Ok(pending) => match pending.ask(&app) {
            Ok(ask) => {
                let shown = sign_in(&pending, &ask, (query, None), app.trust.sign_ins());
                respond(StatusCode::OK, shown)
            }
            Err(error) => refuse(&app, &pending, error, Way::Redirect),
        },
        Err(unknown) => unknown_client(unknown),
    }
}

/// Takes what a person filled in: the code to sign in with, or the decision.
#[utoipa::path(post, path = "/oauth/authorize", operation_id = "oauth_decide", tag = "oauth", security(()),
    responses((status = 200, description = "A page to allow or refuse on, or one that sends the browser on to the client, with a code or an error",
            body = String, content_type = "text/html"),
        Problems))]
pub(crate) async fn take(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    FormInput(form): FormInput,
) -> Result<Response, Problem> {
    // SECURITY: the middleware has refused every other origin; browsers send their own with every form.
    if !headers.contains_key(header::ORIGIN) {
        return Err(
            Problem::forbidden("this form is for browsers, which send an Origin").field("Origin"),
        );
    }
    match (form.text("step"), form.text("form"), form.text("request")) {
        (Some("sign_in"), None, Some(request)) => signed_in(&app, &context, (&form, request)).await,
        (Some("identity"), None, Some(request)) => {
            let issuer = form.text("issuer").unwrap_or_default();
            leave(&app, &context, request, issuer).await
        }
        (Some("allow"), Some(open), None) => allowed(&app, &context, open).await,
        (Some("refuse"), Some(open), None) => Ok(match app.consents.take(open) {
            Some(open) => denied(&app, &open.pending),
            None => over(),
        }),
        (Some("refuse"), None, Some(request)) => Ok(
            match PendingAuthorization::read((&app, context.peer), request).await {
                Ok(pending) => denied(&app, &pending),
                Err(unknown) => unknown_client(unknown),
            },
        ),
        _ => Ok(over()),
    }
}

async fn signed_in(
    app: &App,
    context: &Context,
    (form, request): (&Form, &str),
) -> Result<Response, Problem> {
    let pending = match PendingAuthorization::read((app, context.peer), request).await {
        Ok(pending) => pending,
        Err(unknown) => return Ok(unknown_client(unknown)),
    };
    let ask = match pending.ask(app) {
        Ok(ask) => ask,
        Err(error) => return Ok(refuse(app, &pending, error, Way::Page)),
    };
    app.limits.admit_try(context.peer)?;
    // People sign in with their identity provider where there is one.
    if !app.trust.sign_ins().is_empty() {
        let again = sign_in(
            &pending,
            &ask,
            (request, Some(NO_CODES)),
            app.trust.sign_ins(),
        );
        return Ok(respond(StatusCode::FORBIDDEN, again));
    }
    let caller = context.caller(Actor::Broker);
    let steward = match app
        .broker
        .registry
        .sign_in(&caller, form.text("code").unwrap_or_default())
        .await
    {
        Ok(steward) => steward,
        Err(BrokerError::NotFound(_)) => {
            app.limits.note_failure(context.peer);
            let again = sign_in(&pending, &ask, (request, Some(WRONG_CODE)), &[]);
            return Ok(respond(StatusCode::FORBIDDEN, again));
        }
        Err(error) => return Err(error.into()),
    };
    offered(app, pending, SignedIn::with_code(steward)).await
}

const NO_CODES: &str = "People sign in with their identity provider here.";

const WRONG_CODE: &str = "That code is wrong, was used, or is too old. Ask the operator of this broker for another, and check where you type it.";
