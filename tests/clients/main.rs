//! Stock MCP clients from the package registries against a real broker and a real MCP server.
//!
//! Nothing of ours is installed in them: they find the broker through the server's challenge and metadata,
//! get a pass at its token endpoint and use it. The packages are fetched once, into `target/clients`; where a
//! registry cannot be reached the tests say so and skip, and where `CI` is `true` they fail.
//!
//! Each client is a process of its own that is told what to do, a line at a time (`driver.rs`). What it got
//! through is a row of the table in `docs/oauth.md` (`table.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may fail as tests do"
)]
#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod broker_and_server;
mod chromium;
mod conformance;
mod consent;
mod driver;
mod flows;
mod idp;
mod introspection;
mod packages;
mod rmcp_client;
mod table;
