//! What a browser is answered: sent on to the client, with a code or an error, or shown why not.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use crate::server::{
    App,
    edge::problem::Problem,
    oauth::{
        authorize::{
            page::{going_on, respond, stopped},
            pending::PendingAuthorization,
            reading::Unknown,
        },
        grammar::OAuthError,
    },
};
use hallpass_broker::BrokerError;

/// The person sees why, and returns the error to the client with a click.
pub(super) fn nothing_to_offer(
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
pub(super) fn unknown_client(unknown: Unknown) -> Response {
    respond(
        StatusCode::BAD_REQUEST,
        stopped(&unknown.to_string(), &[], None),
    )
}

/// The second page is gone: used, ten minutes old, or made before a restart.
pub(super) fn over() -> Response {
    let reason = "This page was used already, or is too old. Start again where you came from.";
    respond(StatusCode::CONFLICT, stopped(reason, &[], None))
}

pub(super) fn denied(app: &App, pending: &PendingAuthorization) -> Response {
    answer(app, pending, &error_of(OAuthError::AccessDenied), Way::Page)
}

/// Returns the error of its request to the client, by the browser.
pub(super) fn refuse(
    app: &App,
    pending: &PendingAuthorization,
    error: OAuthError,
    way: Way,
) -> Response {
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
pub(super) enum Way {
    /// A redirect: it followed a link here.
    Redirect,
    /// A page that goes on by itself: it sent a form. Browsers hold every redirect after a form, those of the client
    /// too, to the `form-action` of the page with the form (CSP level 3), and clients redirect on to anywhere: to
    /// another origin, or to the private scheme of an app.
    Page,
}

/// Sends the browser to the client.
pub(super) fn answer(
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

const MAX_REASONS: usize = 20;
