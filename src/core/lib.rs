//! The types that hallpass's own crates share: ids, keys, strict JSON, tokens, proofs of possession, signed documents.
//!
//! **This crate makes no promise about its API.** MCP servers use `hallpass-verify`, which re-exports what they need.
//!
//! | module | contents |
//! | --- | --- |
//! | [`base`] | ids, time and clock, strict JSON, digests, keys, JWS, reason codes |
//! | [`token`] | the only module that uses `biscuit_auth`: rights, constraints, manifests; mint, attenuate, parse, evaluate |
//! | [`possession`] | proofs of possession for bound passes (DPoP, RFC 9449) |
//! | `net` | feature `net`: the configuration of every HTTP client, and bounded reading of response bodies |
//! | [`wire`] | messages between broker and verifier: feed frames, key documents, decision reports |

pub mod base;
#[cfg(feature = "net")]
pub mod net;
pub mod possession;
#[cfg(feature = "schema")]
mod schema;
pub mod token;
pub mod wire;
