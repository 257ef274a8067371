//! The `hallpass` command: the broker's HTTP server and the command line.
//!
//! **This library makes no promise about its API**: it is there for the binary and its tests. MCP servers use
//! `hallpass-verify`.

#![allow(
    clippy::exhaustive_enums,
    reason = "an inside crate: a new variant should break every match"
)]

pub mod api;
pub mod cli;
pub mod server;

/// The README's code, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The page for server authors, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/servers.md")]
struct Servers;
