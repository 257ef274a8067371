//! The tower layer, from outside: what it refuses, what it hands on, what it lets back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests may fail as tests do"
)]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../../examples/support/ledger.rs"]
mod ledger;
#[path = "../support/mod.rs"]
mod support;

mod challenges;
mod forwarding;
mod guarded;
mod lists;
mod mcp;
mod proofs;
mod refusals;
mod sessions;
mod traces;
mod transforms;
