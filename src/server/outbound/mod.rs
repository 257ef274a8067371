//! Floor 4: outbound. Every fetch that the broker makes because of what a client sent goes through here.
//!
//! [`Fetcher`] is the one client, and [`Reach`] says what it may dial. [`KeySource`] keeps the keys of one
//! issuer and decides when they are asked for again; [`Trust`] verifies JWTs of the trusted issuers with them.

mod address;
mod client;
mod discovery;
mod keys;
mod sign_in;
mod trust;

pub(crate) use crate::server::outbound::client::{Posted, PostedForm};
pub use crate::server::outbound::{
    address::Reach,
    client::{Addresses, FetchError, FetchOptions, Fetched, Fetcher, Names},
    discovery::DiscoveryError,
    keys::{COOL_DOWN, FRESH_FOR, KEPT_FOR, KeyError, KeySource, RETRY_AFTER},
    sign_in::{SignInAnswer, SignInError, SignInProvider, SignInRequest},
    trust::{Trust, TrustError},
};
