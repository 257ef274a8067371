//! The HTTP server in the test's own process: the API, OAuth, outbound requests, settings, telemetry.

#![allow(
    unreachable_pub,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod config;
mod fuzz;
mod http;
mod log;
mod oauth;
mod openapi;
mod outbound;
mod telemetry;
mod wire;
