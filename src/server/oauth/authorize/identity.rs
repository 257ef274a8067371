//! Signing in with the identity provider: the person goes there, comes back with a code, and is known by the ID token
//! that the provider gives for it (OpenID Connect Core section 3.1).
//!
//! SECURITY: the browser that comes back must be the one that this broker sent, or a person could be signed in as another (RFC
//! 9700 section 4.7). So the browser keeps a secret in a cookie until then. No other page reads a cookie.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::server::{
    App,
    api::openapi::Problems,
    edge::{
        context::{Context, Here},
        problem::Problem,
    },
    oauth::{
        authorize::{
            answering::unknown_client,
            away::{AWAY_FOR, Away},
            decision::offered,
            page::{going_on, respond, sign_in, stopped},
            pending::PendingAuthorization,
        },
        grammar::{Form, metadata::SIGN_IN},
    },
    outbound::{SignInAnswer, SignInProvider, SignInRequest},
};
use hallpass_broker::{OneTimeSecret, SignedIn};
use hallpass_core::base::{digest::Digest, text::excerpt};

/// Sends the person to the issuer of the form to sign in.
pub(super) async fn leave(
    app: &App,
    context: &Context,
    request: &str,
    issuer: &str,
) -> Result<Response, Problem> {
    let pending = match PendingAuthorization::read((app, context.peer), request).await {
        Ok(pending) => pending,
        Err(unknown) => return Ok(unknown_client(unknown)),
    };
    let Some(provider) = provider(app, issuer) else {
        return Ok(failed(&format!(
            "`{}` is not an issuer that people sign in with here.",
            excerpt(issuer)
        )));
    };
    let away = Away {
        request: request.to_owned(),
        issuer: provider.issuer().to_owned(),
        nonce: OneTimeSecret::token(""),
        verifier: OneTimeSecret::token(""),
        browser: Digest::ZERO,
    };
    let (state, browser) = (OneTimeSecret::token(""), OneTimeSecret::token(""));
    let _place = app.consents.sign_ins.place()?;
    let sent = provider
        .authorization_url(SignInRequest {
            state: state.expose(),
            nonce: away.nonce.expose(),
            challenge: &URL_SAFE_NO_PAD.encode(away.verifier.digest().as_bytes()),
            redirect_uri: &redirect_uri(app),
        })
        .await;
    let location = match sent {
        Ok(location) => location,
        Err(error) => {
            tracing::info!(issuer = provider.issuer(), %error, "the sign-in cannot begin");
            let mistake = "The identity provider cannot be reached now. Try again in a moment.";
            return Ok(again(app, &pending, request, mistake));
        }
    };
    let cookie = cookie(app, &state, browser.expose(), AWAY_FOR);
    let browser = browser.digest();
    let away = Away { browser, ..away };
    app.consents.sign_ins.remember(&state, away);
    let mut response = respond(StatusCode::OK, going_on(&location));
    response.headers_mut().extend(cookie);
    // The provider need not know who asks.
    response.headers_mut().insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

/// Takes a person who comes back from the identity provider.
#[utoipa::path(get, path = "/oauth/sign-in", operation_id = "oauth_sign_in", tag = "oauth", security(()),
    responses((status = 200, description = "A page to allow or refuse on", body = String, content_type = "text/html"),
        Problems))]
pub(crate) async fn come_back(
    State(app): State<Arc<App>>,
    Here(context): Here,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let Ok(form) = Form::parse(uri.query().unwrap_or_default().as_bytes()) else {
        return Ok(failed(
            "The address of this page is malformed, or names something twice.",
        ));
    };
    let Some((state, away)) = form
        .text("state")
        .and_then(|state| Some((state, app.consents.sign_ins.take(state)?)))
    else {
        return Ok(failed(OVER));
    };
    let name = cookie_name(&app, state);
    let secret = cookies(&headers).find_map(|(given, secret)| (given == name).then_some(secret));
    let given = Digest::of(secret.unwrap_or_default().as_bytes());
    if given != away.browser {
        app.limits.note_failure(context.peer);
        tracing::info!("a person came back from an identity provider with another browser");
        return Ok(failed(OTHER_BROWSER));
    }
    let mut response = signed_in(&app, &context, &form, &away).await?;
    let gone = cookie_of(&app, &name, "", Duration::ZERO);
    response.headers_mut().extend(gone);
    Ok(response)
}

async fn signed_in(
    app: &App,
    context: &Context,
    form: &Form,
    away: &Away,
) -> Result<Response, Problem> {
    let pending = match PendingAuthorization::read((app, context.peer), &away.request).await {
        Ok(pending) => pending,
        Err(unknown) => return Ok(unknown_client(unknown)),
    };
    let issuer = away.issuer.as_str();
    let refused = |mistake: &str| Ok(again(app, &pending, &away.request, mistake));
    if let Some(error) = form.text("error") {
        let words = form.text("error_description").unwrap_or_default();
        let (error, words) = (excerpt(error), excerpt(words));
        tracing::info!(
            issuer,
            error,
            words,
            "an identity provider refused the sign-in"
        );
        return refused(&format!(
            "Your identity provider did not sign you in: {error}."
        ));
    }
    let (Some(code), Some(provider)) = (form.text("code"), provider(app, issuer)) else {
        return refused(NOT_ACCEPTED);
    };
    app.limits.admit_try(context.peer)?;
    let _place = app.consents.sign_ins.place()?;
    let answer = SignInAnswer {
        code,
        issuer: form.text("iss"),
        verifier: away.verifier.expose(),
        redirect_uri: &redirect_uri(app),
    };
    let token = match provider.redeem(answer).await {
        Ok(token) => token,
        Err(error) => {
            app.limits.note_failure(context.peer);
            tracing::info!(issuer, %error, "a sign-in was refused");
            return refused(NOT_ACCEPTED);
        }
    };
    let now = || app.broker.now();
    let person = match app
        .trust
        .signed_in(&token, issuer, away.nonce.expose(), now)
        .await
    {
        Ok(person) => person,
        Err(error) => {
            tracing::info!(issuer, reason = %error, "the ID token of a sign-in was refused");
            return refused(NOT_ACCEPTED);
        }
    };
    match app.broker.registry.steward_of(&person) {
        Ok(steward) => offered(app, pending, SignedIn::from(steward)).await,
        Err(error) => {
            tracing::info!(issuer, reason = %error, "who signed in is no steward");
            refused(UNKNOWN_PERSON)
        }
    }
}

/// The first page again, with what went wrong.
fn again(app: &App, pending: &PendingAuthorization, request: &str, mistake: &str) -> Response {
    match pending.ask(app) {
        Ok(ask) => {
            let shown = sign_in(
                pending,
                &ask,
                (request, Some(mistake)),
                app.trust.sign_ins(),
            );
            respond(StatusCode::FORBIDDEN, shown)
        }
        Err(_) => failed(mistake),
    }
}

fn failed(reason: &str) -> Response {
    respond(StatusCode::BAD_REQUEST, stopped(reason, &[], None))
}

fn provider<'a>(app: &'a App, issuer: &str) -> Option<&'a SignInProvider> {
    let mut providers = app.trust.sign_ins().iter();
    providers.find(|provider| provider.issuer() == issuer)
}

/// Where people come back to; the broker's client at the issuer is registered with it.
fn redirect_uri(app: &App) -> String {
    format!("{}{SIGN_IN}", app.broker.issuer())
}

fn is_https(app: &App) -> bool {
    app.broker.issuer().as_str().starts_with("https:")
}

/// One for each sign-in, so that two of them in one browser do not disturb each other. The prefix keeps other hosts of
/// the domain from setting it (RFC 6265bis section 4.1.3.2); plain http has no such cookies.
fn cookie_name(app: &App, state: &str) -> String {
    let prefix = if is_https(app) { "__Host-" } else { "" };
    let digest = Digest::of(state.as_bytes()).to_string();
    let short = digest.get(..16).unwrap_or_default();
    format!("{prefix}hallpass-sign-in-{short}")
}

fn cookie(
    app: &App,
    state: &OneTimeSecret,
    secret: &str,
    lives: Duration,
) -> Option<(header::HeaderName, HeaderValue)> {
    cookie_of(app, &cookie_name(app, state.expose()), secret, lives)
}

fn cookie_of(
    app: &App,
    name: &str,
    value: &str,
    lives: Duration,
) -> Option<(header::HeaderName, HeaderValue)> {
    let secure = if is_https(app) { "; Secure" } else { "" };
    let lives = lives.as_secs();
    // Lax: it comes along when the provider sends the browser back, and with no form of others.
    let text = format!("{name}={value}; Path=/; Max-Age={lives}; HttpOnly; SameSite=Lax{secure}");
    let value = HeaderValue::from_str(&text).ok()?;
    Some((header::SET_COOKIE, value))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('='))
}

const OVER: &str = "This sign-in was used already, or is too old. Start again where you came from.";
const OTHER_BROWSER: &str = "This sign-in was begun in another browser, or this browser keeps no cookies. Start again where you came from, in this browser.";
const NOT_ACCEPTED: &str = "What your identity provider answered was not accepted. Try again; if it stays so, the log of this broker says why.";
const UNKNOWN_PERSON: &str = "Your identity provider knows you, and this broker does not. Ask its operator to register you with your identity there.";
