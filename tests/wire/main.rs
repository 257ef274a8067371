//! Documents that another build wrote (`docs/wire.md`): the vectors, random members, and brokers and
//! verifiers of two builds with each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::needless_pass_by_value,
    unreachable_pub,
    dead_code,
    reason = "a test that cannot continue fails, and a test binary shares helpers with others"
)]

#[path = "../http/house.rs"]
mod house;
#[path = "../support/mod.rs"]
mod support;

mod anywhere;
mod builds;
mod documents;
mod scene;
mod vectors;
