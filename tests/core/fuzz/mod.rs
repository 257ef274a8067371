//! Fuzzing: everything that reads what strangers wrote, fed with mutations of a small corpus.
//!
//! `cargo test --test core fuzz::` runs the whole corpus and then each target for a second; how to run one
//! for as long as wanted stands in `load-tests/README.md`. Every target asserts more than that
//! nothing panics: what nobody signed is never believed, what was refused changed nothing, and no
//! block that a holder adds allows anything.

mod assertions;
mod blocks;
mod cost;
mod forge;
mod frames;
mod issuers;
mod journal;
mod messages;
mod policies;
mod proofs;
mod tokens;

pub(crate) use support::{
    fuzz,
    fuzz::{corpus, input},
};
