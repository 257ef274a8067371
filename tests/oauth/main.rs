//! The OAuth door: what clients that know nothing of ours send, and what they are told.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]
#![allow(unreachable_pub, reason = "a test binary is nobody's library")]

#[path = "../foreign/mod.rs"]
mod foreign;
#[allow(dead_code, reason = "the tests of the API use the rest of it")]
#[path = "../http/house.rs"]
mod house;
#[path = "../support/idp.rs"]
mod idp;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tls.rs"]
mod tls;

mod behalf;
mod browser;
mod client;
mod documents;
mod exchange;
mod grants;
mod introspection;
mod keys;
mod metadata;
mod operator;
mod page;
mod people;
mod proofs;
mod provider;
mod revocation;
mod secrets;
mod strangers;
mod task_clients;
mod token;
mod workloads;
