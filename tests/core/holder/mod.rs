//! Passes that are bound to a key: proofs of possession, signed delegation, and what a thief gets.

mod delegation;
mod evaluator;
mod proofs;
mod revocation;
