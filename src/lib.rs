//! hallpass: a just-in-time credential broker for AI agents that call MCP servers.
//!
//! The crate is a house of floors; a floor uses only the floors below it (`docs/ARCHITECTURE.md`):
//!
//! | floor | rooms |
//! | --- | --- |
//! | 0 | [`base`]: ids, time, strict JSON, digests, reason codes |
//! | 1 | [`token`]: what a pass may say; mint, parse, attenuate |
//! | 2 | [`verify`], `policy`: pure decisions |
//! | 3 | `journal`, `index`, `audit`: what happened, durably |
//! | 4 | `broker`, `identity`, `oauth`, `outbound`: use cases without HTTP |
//! | 5 | `http`, `telemetry`, `config` |
//! | 6 | `cli` |
//!
//! An MCP server needs floors 0 to 2 only: feature `verify`, with `verify-tower` for a ready-made
//! layer and `verify-feed` to follow the broker's revocations.

#[cfg(feature = "server")]
pub mod audit;
pub mod base;
#[cfg(feature = "server")]
pub mod broker;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod identity;
#[cfg(feature = "server")]
pub mod index;
#[cfg(feature = "server")]
pub mod journal;
#[cfg(feature = "server")]
pub mod oauth;
#[cfg(feature = "server")]
pub mod outbound;
#[cfg(feature = "server")]
pub mod policy;
#[cfg(feature = "server")]
pub mod telemetry;
pub mod token;
pub mod verify;

/// The README's code, compiled.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
