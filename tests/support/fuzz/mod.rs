//! Fuzzing: the corpus of seeds, what a fuzzer's bytes mean, and [`fuzz!`](crate::fuzz!), which runs one target.

pub mod corpus;
pub mod input;

/// Runs a target: every seed of its corpus as it is, then what bolero makes up.
///
/// The closure takes the state and an [`input::Input`](crate::fuzz::input::Input); a seed that is drawn from an input of one
/// number is the seed itself.
#[macro_export]
macro_rules! fuzz {
    ($name:literal, $seeds:expr, $state:expr, $each:expr) => {{
        let (mut state, each) = ($state, $each);
        for seed in 0..$seeds {
            each(
                &mut state,
                &mut $crate::fuzz::input::Input::new(&$crate::fuzz::input::picking(seed)),
            );
        }
        let mut target = std::panic::AssertUnwindSafe((state, each));
        bolero::check!(name = $name)
            .with_test_time($crate::fuzz::input::BRIEFLY)
            .with_max_len(768)
            .for_each(move |bytes: &[u8]| {
                let target = &mut target;
                let (state, each) = &mut target.0;
                each(state, &mut $crate::fuzz::input::Input::new(bytes));
            });
    }};
}
