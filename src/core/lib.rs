//! The words that hallpass's own crates share: ids, keys, strict JSON, tokens, proofs of possession, signed documents.
//!
//! **This crate makes no promise about its API.** MCP servers use `hallpass-verify`, which re-exports what they need.
//!
//! | room | what lives there |
//! | --- | --- |
//! | [`base`] | ids, time and clock, strict JSON, digests, keys, JWS, reason codes |
//! | [`token`] | the only room that names `biscuit_auth`: rights, constraints, manifests; mint, attenuate, parse, evaluate |
//! | [`possession`] | proofs that the holder of a bound pass sends (DPoP, RFC 9449) |
//! | `net` | feature `net`: how every HTTP client is set up, and how answers are read within bounds |
//! | [`wire`] | what broker and verifier send each other: feed frames, key documents, decision reports |

pub mod base;
#[cfg(feature = "net")]
pub mod net;
pub mod possession;
#[cfg(feature = "schema")]
mod schema;
pub mod token;
pub mod wire;
