//! The repository itself: who may use what, what verification may depend on, and what it shows its users.

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

mod architecture;
mod dependency_budget;
mod public_api;
