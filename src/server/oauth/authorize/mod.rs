//! The authorization endpoint (RFC 6749 section 3.1): a person is shown who asks for what, signs in, and
//! allows or refuses it.
//!
//! Two pages, both forms without a script or a cookie. The first is made of the request alone and needs no
//! memory; the second is made once a person has signed in, and may be sent once. Until the client and its
//! redirect URI are known, errors are shown on a page; from then on they are returned to the client.

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
            identity::leave,
            page::{decide, going_on, respond, sign_in, stopped},
            pending::PendingAuthorization,
            reading::Unknown,
            sessions::Open,
        },
        grammar::{Form, OAuthError},
    },
};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use hallpass_broker::{BrokerError, OneTimeSecret, SignedIn, domain::event::Actor};

/// Shows a person who asks for what.
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
    // SECURITY: the front has refused every other origin; browsers send their own with every form.
    if !headers.contains_key(header::ORIGIN) {
        return Err(
            Problem::forbidden("this form is for browsers, which send an Origin").field("Origin"),
        );
    }
    match (form.text("step"), form.text("form"), form.text("request")) {
        (Some("sign_in"), None, Some(request)) => signed_in(&app, &context, (&form, request)).await,
        (Some("identity"), None, Some(request)) => {
            let issuer = form.text("issuer").unwrap_or_default();
            leave(&app, &context, (request, issuer)).await
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

/// Shows a person who has signed in what the client could be given.
async fn offered(
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

async fn allowed(app: &App, context: &Context, open: &str) -> Result<Response, Problem> {
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

/// The person sees why, and returns the error to the client with a click.
fn nothing_to_offer(
    app: &App,
    pending: &PendingAuthorization,
    error: BrokerError,
) -> Result<Response, Problem> {
    let (reason, details) = match &error {
        BrokerError::Refused(reasons) => {
            let members = reasons
                .iter()
                .take(MAX_REASONS)
                .map(|reason| reason.detail.clone());
            (
                "This program can be given nothing of what it asks for.",
                members.collect(),
            )
        }
        BrokerError::NotFound(_) => ("This program is not known any more.", Vec::new()),
        BrokerError::Suspended(_) => (
            "This program, or you, may be given nothing now.",
            Vec::new(),
        ),
        _ => return Err(error.into()),
    };
    let back = pending.redirect.with(&parameters(
        app,
        pending,
        &error_of(OAuthError::AccessDenied),
    ));
    Ok(respond(
        StatusCode::FORBIDDEN,
        stopped(reason, &details, Some(&back)),
    ))
}

/// No client is known that an answer could be sent to.
fn unknown_client(unknown: Unknown) -> Response {
    respond(
        StatusCode::BAD_REQUEST,
        stopped(&unknown.to_string(), &[], None),
    )
}

/// The second page is gone: used, ten minutes old, or made before a restart.
fn over() -> Response {
    let reason = "This page was used already, or is too old. Start again where you came from.";
    respond(StatusCode::CONFLICT, stopped(reason, &[], None))
}

fn denied(app: &App, pending: &PendingAuthorization) -> Response {
    answer(app, pending, &error_of(OAuthError::AccessDenied), Way::Page)
}

/// Returns the error of its request to the client, by the browser.
fn refuse(app: &App, pending: &PendingAuthorization, error: OAuthError, way: Way) -> Response {
    if pending.may_send_unseen() {
        return answer(app, pending, &error_of(error), way);
    }
    let back = pending
        .redirect
        .with(&parameters(app, pending, &error_of(error)));
    let reason = "The program that sent you here asks for something that it cannot have, or not in the right way.";
    let details = [error.description().to_owned()];
    respond(
        StatusCode::BAD_REQUEST,
        stopped(reason, &details, Some(&back)),
    )
}

const fn error_of(error: OAuthError) -> [(&'static str, &'static str); 2] {
    [
        ("error", error.as_str()),
        ("error_description", error.description()),
    ]
}

/// How the browser is sent to the client.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// A redirect: it followed a link here.
    Redirect,
    /// A page that goes on by itself: it sent a form. Browsers hold every redirect after a form, those of the client
    /// too, to the `form-action` of the page with the form (CSP level 3), and clients redirect on to anywhere: to
    /// another origin, or to the private scheme of an app.
    Page,
}

/// Sends the browser to the client.
fn answer(
    app: &App,
    pending: &PendingAuthorization,
    members: &[(&str, &str)],
    way: Way,
) -> Response {
    let location = pending.redirect.with(&parameters(app, pending, members));
    let mut response = match (way, HeaderValue::from_str(&location)) {
        (Way::Page, _) => respond(StatusCode::OK, going_on(&location)),
        (Way::Redirect, Ok(location)) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        (Way::Redirect, Err(_)) => return over(),
    };
    // The code is in the address that comes next, and the request in this one.
    response.headers_mut().insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

/// The parameters of the answer, with the client's `state`, and the issuer (RFC 9207).
fn parameters<'p>(
    app: &'p App,
    pending: &'p PendingAuthorization,
    members: &[(&'p str, &'p str)],
) -> Vec<(&'p str, &'p str)> {
    let state = pending.state.as_deref().map(|state| ("state", state));
    members
        .iter()
        .copied()
        .chain(state)
        .chain([("iss", app.broker.issuer().as_str())])
        .collect()
}

const NO_CODES: &str = "People sign in with their identity provider here.";

const WRONG_CODE: &str = "That code is wrong, was used, or is too old. Ask the operator of this broker for another, and check where you type it.";

const MAX_REASONS: usize = 20;
