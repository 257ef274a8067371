//! The pages that a person sees: plain HTML without scripts, in which everything foreign is text.
//!
//! SECURITY: `maud` escapes whatever is spliced in; nothing here is marked as markup but the style sheet
//! below, which the policy of every page admits by its digest and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::server::{
    edge::problem::Page, oauth::authorize::pending::PendingAuthorization, outbound::SignInProvider,
};
use hallpass_broker::{Ask, Offer, domain::client::ClientOrigin, policy::Catalogue};
use hallpass_core::{
    base::{digest::Digest, ids::ToolName, text::escape},
    token::{
        GrantedDetail, RequestedDetail,
        manifest::{Manifest, Tool},
    },
};

/// Who asks for what, and how to sign in: with one of the `providers`, or without any by a code.
pub(super) fn sign_in(
    pending: &PendingAuthorization,
    ask: &Ask,
    (request, mistake): (&str, Option<&str>),
    providers: &[SignInProvider],
) -> Markup {
    page(
        "Sign in",
        &html! {
                   (who(pending))
                   h2 { "What it asks for" }
                   @for detail in &ask.details { (asked(detail)) }
                   p { "Next you are shown what of this it can be given. Nothing is given before you allow it." }
                   @if let Some(mistake) = mistake { p.warning role="alert" { (mistake) } }
        @for provider in providers {
                       form method="post" action=(ACTION) {
                           input type="hidden" name="request" value=(request);
                           input type="hidden" name="issuer" value=(provider.issuer());
                           p { button type="submit" name="step" value="identity" { "Sign in with " (host(provider.issuer())) } }
                       }
                   }
                   @if !providers.is_empty() {
                       form method="post" action=(ACTION) {
                           input type="hidden" name="request" value=(request);
                           p { button.other type="submit" name="step" value="refuse" { "Refuse" } }
                       }
                   } @else {
                   form method="post" action=(ACTION) {
                       input type="hidden" name="request" value=(request);
                       label for="code" { "Your sign-in code" }
                       input #code type="password" name="code" autocomplete="off" autofocus spellcheck="false";
                       p.note { "The operator of this broker gives you one: " code { "hallpass steward code" } ". It is good once, for ten minutes." }
                       (buttons(("sign_in", "Go on")))
                   }
                   }
               },
    )
}

/// What would be given, to be allowed or refused.
pub(super) fn decide(
    pending: &PendingAuthorization,
    (offer, name): (&Offer, Option<&str>),
    (servers, form): (&Catalogue, &str),
) -> Markup {
    let named: BTreeSet<_> = offer.granted.iter().map(|detail| &detail.server).collect();
    page(
        "Allow or refuse",
        &html! {
            (who(pending))
            p {
                "You are signed in as " strong { (name.unwrap_or(offer.by.steward().as_str())) }
                @if let Some(issuer) = offer.by.issuer() { " by " code { (host(issuer)) } } "."
            }
            h2 { "What it may do for you, if you allow it" }
            @for server in named.into_iter().filter_map(|server| servers.get(server)) {
                (granted(server, offer.granted.iter().filter(|detail| detail.server == server.server)))
            }
            p {
                "It may do this for " strong { (humantime::format_duration(offer.lasts)) } ", by passes that live at most "
                (humantime::format_duration(offer.pass_ttl)) " each. The operator of this broker can end it sooner."
            }
            form method="post" action=(ACTION) {
                input type="hidden" name="form" value=(form);
                (buttons(("allow", "Allow")))
            }
        },
    )
}

/// Why it stops here; the link `back` returns the error to the client.
pub(super) fn stopped(reason: &str, details: &[String], back: Option<&str>) -> Markup {
    page(
        "This does not go on",
        &html! {
            h1 { "This does not go on" }
            p { (reason) }
            @if !details.is_empty() { ul { @for detail in details { li { (escape(detail)) } } } }
            @if let Some(back) = back {
                p { a href=(back) rel="noreferrer" { "Return to the program that sent you here" } }
            } @else {
                p { "You can close this page." }
            }
        },
    )
}

/// Sends the browser on to `location`, an address at the client with the answer: at once and, where a browser asks
/// before it opens an app or does not go on by itself, by a link.
pub(super) fn going_on(location: &str) -> Markup {
    document(
        "Going on",
        // SECURITY: browsers read everything after `url=` as the address, since no redirect URI has a quote; `maud`
        // escapes it for the attribute.
        &html! { meta http-equiv="refresh" content={ "0; url=" (location) }; },
        &html! {
            h1 { "Back to the program that sent you here" }
            p { a href=(location) rel="noreferrer" { "Go on, if your browser does not by itself" } }
            p { "Once the program has answered, you can close this page." }
        },
    )
}

/// The page as a response, whose forms may be sent to this broker and nowhere else.
pub(super) fn respond(status: StatusCode, page: Markup) -> Response {
    let mut response = Response::new(Body::from(page.into_string()));
    *response.status_mut() = status;
    response.extensions_mut().insert(Page);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not `no-referrer`: browsers then hide the origin of the form from us too.
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

/// What browsers hold every page to.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).as_bytes());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    // Base64 and words: always a header's value.
    HeaderValue::from_str(&policy)
        .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'; form-action 'self'"))
});

fn page(title: &str, content: &Markup) -> Markup {
    document(title, &html! {}, content)
}

fn document(title: &str, head: &Markup, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                (head)
                title { (title) " - hallpass" }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    }
}

/// What a person knows an issuer by.
fn host(issuer: &str) -> &str {
    let rest = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
    rest.trim_end_matches('/')
}

fn who(pending: &PendingAuthorization) -> Markup {
    let client = &pending.client;
    let name = client.name.as_deref().unwrap_or(&client.id);
    html! {
        h1 { q { (name) } " asks to act for you" }
        dl {
            dt { "Client" } dd { code { (client.id) } }
            dt { "Known by" }
            dd {
                @match &client.origin {
                    ClientOrigin::Registered => { "An operator of this broker registered it." }
                    ClientOrigin::MetadataDocument { .. } => {
                        "Its own description at that address. The name that it gives itself there is not verified."
                    }
                    _ => { "No one: it registered itself, and what it says is not verified." }
                }
            }
            dt { "Your answer goes to" } dd { code { (pending.redirect.authority()) } }
        }
        @if pending.redirect.is_local() {
            p.warning {
                "The answer goes to a program on the computer that you use, and any program there can say that it is "
                "this one. Go on only if you started this yourself, a moment ago."
            }
        }
    }
}

fn asked(detail: &RequestedDetail) -> Markup {
    html! {
        p { "At " code { (detail.server) } ":" }
        ul {
            @for name in &detail.tools { li { (any("every tool", "tool", name.as_str())) } }
            @for name in &detail.prompts { li { (any("every prompt", "prompt", name.as_str())) } }
            @for tree in &detail.resources { li { "read everything below " code { (escape(&tree.to_string())) } } }
        }
    }
}

fn any(all: &str, kind: &str, name: &str) -> Markup {
    if name == "*" {
        html! { (all) }
    } else {
        html! { (kind) " " code { (name) } }
    }
}

fn granted<'o>(
    server: &Manifest,
    details: impl Iterator<Item = &'o GrantedDetail> + Clone,
) -> Markup {
    let mut tools: BTreeMap<&ToolName, Vec<String>> = BTreeMap::new();
    for detail in details.clone() {
        for name in &detail.tools {
            tools.entry(name).or_default().extend(limits(detail, name));
        }
    }
    let prompts: BTreeSet<_> = details.clone().flat_map(|detail| &detail.prompts).collect();
    let resources: BTreeSet<_> = details.flat_map(|detail| &detail.resources).collect();
    html! {
        h3 { (server.name) " " code { (server.server) } }
        ul {
            @for (name, limits) in &tools {
                li {
                    "call " code { (name) } @if let Some(tool) = server.tools.get(*name) { " - " (effect(tool)) }
                    @for limit in limits { br; span.note { "only with " code { (escape(limit)) } } }
                }
            }
            @for name in prompts { li { "fetch the prompt " code { (name) } } }
            @for tree in resources { li { "read everything below " code { (escape(&tree.to_string())) } } }
        }
    }
}

/// What the manifest says of a tool.
fn effect(tool: &Tool) -> Markup {
    html! {
        @if tool.read_only { "reads only" } @else if tool.irreversible { strong { "cannot be undone" } } @else { "changes things" }
        @for (name, value) in &tool.labels { "; " (escape(name)) ": " (escape(value)) }
    }
}

fn limits(detail: &GrantedDetail, tool: &ToolName) -> Vec<String> {
    let constraints = detail.constraints.get(tool).into_iter().flatten();
    let mut limits: Vec<_> = constraints
        .map(|(pointer, constraint)| {
            format!(
                "{pointer}: {}",
                serde_json::to_string(constraint).unwrap_or_default()
            )
        })
        .collect();
    limits.extend(
        detail
            .closed_arguments
            .contains(tool)
            .then(|| "no other arguments".to_owned()),
    );
    limits
}

fn buttons((step, go): (&str, &str)) -> Markup {
    html! {
        p.buttons {
            button type="submit" name="step" value=(step) { (go) }
            button.other type="submit" name="step" value="refuse" formnovalidate { "Refuse" }
        }
    }
}

/// Relative, so that it stays below an issuer with a path.
const ACTION: &str = "authorize";

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{margin:0}main{max-width:40rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:1.5rem}h3{font-size:1rem;margin-bottom:0}\
dt{font-weight:600}dd{margin:0 0 .5rem}code{font-size:.9em}.note{font-size:.9rem;opacity:.8}\
.warning{border-left:.3rem solid #c60;padding:.5rem .8rem}label{display:block;font-weight:600}\
input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}\
button{font:inherit;padding:.5rem 1.2rem;margin-right:.6rem}.other{opacity:.8}";
