//! Floor 5: the broker over HTTP. JSON in and out, strict; no cookie, and no browser but at the OAuth
//! endpoints.
//!
//! [`Server::bind`] takes two listeners: the main one serves `/v1`, the OAuth endpoints (`/oauth`, `/.well-known`) and
//! `/openapi.json`, the other, for operators, health and metrics. Nothing here decides anything: routes read a
//! request strictly, ask the [`Broker`](hallpass_broker::Broker) and write down what it said. One list of routes makes the
//! router and the OpenAPI document, so that neither knows one that the other does not.

mod agent_keys;
mod api;
mod app;
pub mod config;
mod edge;
mod listen;
mod middleware;
pub mod oauth;
mod observer;
pub mod outbound;
mod routes;
pub mod telemetry;

pub(crate) use crate::server::app::App;
pub use crate::server::{
    edge::{
        limit::Rates,
        times::Times,
        tls::{TlsError, TlsFiles},
    },
    listen::{Listeners, Options, ServeError, Server},
    oauth::OAuthOptions,
    observer::{Observer, Seen},
    routes::openapi,
};
