//! Tokens with what comes of them, for verifiers in any language. Only `hallpass-verify` is built for these tests, so
//! that what they show holds of a verifier without a broker.

#![allow(
    unreachable_pub,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod files;
mod page;
