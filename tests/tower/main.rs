//! The tower layer, from outside: what it refuses, what it hands on, what it lets back.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub)]

#[path = "../../examples/support/ledger.rs"]
mod ledger;
#[path = "../support/mod.rs"]
mod support;

mod forwarding;
mod guarded;
mod lists;
mod mcp;
mod refusals;
mod sessions;
