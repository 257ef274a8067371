//! The broker over HTTP: real sockets, real records.

#![cfg(feature = "server")]
#![allow(unreachable_pub, reason = "a test binary is nobody's library")]

#[path = "../support/mod.rs"]
mod support;

mod auth;
mod bad_input;
mod house;
mod idempotency;
mod lists;
mod running;
mod secrets;
mod shapes;
mod story;
mod streams;
