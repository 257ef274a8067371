//! The tower layer, from outside: what it refuses, what it hands on, what it lets back.

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
