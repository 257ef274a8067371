//! The `hallpass` command in processes of its own: the command line, and a broker that is killed, starved and cut off.

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

mod cli;
mod crash;
mod decisions;
mod disk;
mod files;
mod flood;
mod outage;
