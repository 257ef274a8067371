//! The broker over HTTP: real sockets, real records.

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

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod bad_input;
mod erasure;
mod holder;
mod house;
mod idempotency;
mod lists;
mod running;
mod secrets;
mod shapes;
mod story;
mod streams;
