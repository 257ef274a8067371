//! Fuzzing: everything that reads what strangers wrote, fed with mutations of a small corpus.
//!
//! `cargo test --test core fuzz::` runs the whole corpus and then each target for a second; how to run one
//! for as long as wanted stands in `load-tests/README.md`. Every target asserts more than that
//! nothing panics: what nobody signed is never believed, what was refused changed nothing, and no
//! block that a holder adds allows anything.

mod assertions;
mod blocks;
mod clients;
mod corpus;
mod cost;
mod forge;
mod frames;
mod input;
mod issuers;
mod journal;
mod messages;
mod oauth;
mod policies;
mod proofs;
mod tokens;

/// Runs a target: every seed of its corpus as it is, then what bolero makes up.
///
/// The closure takes the state and an [`input::Input`]; a seed that is drawn from an input of one
/// number is the seed itself.
macro_rules! fuzz {
    ($name:literal, $seeds:expr, $state:expr, $each:expr) => {{
        let (mut state, each) = ($state, $each);
        for seed in 0..$seeds {
            each(
                &mut state,
                &mut crate::fuzz::input::Input::new(&crate::fuzz::input::picking(seed)),
            );
        }
        let mut target = std::panic::AssertUnwindSafe((state, each));
        bolero::check!(name = $name)
            .with_test_time(crate::fuzz::input::BRIEFLY)
            .with_max_len(768)
            .for_each(move |bytes: &[u8]| {
                let target = &mut target;
                let (state, each) = &mut target.0;
                each(state, &mut crate::fuzz::input::Input::new(bytes));
            });
    }};
}
pub(crate) use fuzz;
