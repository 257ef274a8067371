//! What verifiers decide, from the call to the auditor: reported, spooled, recorded, read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]
#![allow(
    unreachable_pub,
    dead_code,
    reason = "a test binary is nobody's library, and shares helpers with others"
)]

#[path = "../http/house.rs"]
mod house;
#[path = "../process/mod.rs"]
mod process;
#[path = "../support/mod.rs"]
mod support;

mod batches;
mod chain;
mod delivery;
mod ledger;
