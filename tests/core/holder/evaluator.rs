//! The verifier against a reference evaluator that shares nothing with it, on cases at random.
//!
//! `HALLPASS_EVALUATOR_CASES=N` asks for more than the ordinary 100,000. A case on which the two
//! disagree is shrunk, and its seed kept in `tests/proptest-regressions`.

mod generate;
mod model;
mod world;

use std::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRunner};

use world::Tally;

const ORDINARY: usize = 100_000;

/// How many chains each runner makes before it looks whether there were enough cases.
const ROUND: u32 = 25;

fn wanted() -> usize {
    std::env::var("HALLPASS_EVALUATOR_CASES")
        .map_or(ORDINARY, |text| text.parse().expect("a number of cases"))
}

/// Generates chains till `asked` has reached `wanted`.
fn run(wanted: usize, asked: &AtomicUsize) -> Tally {
    let tally = RefCell::new(Tally::default());
    while asked.load(Ordering::Relaxed) < wanted {
        let before = tally.borrow().asked;
        let kept = FileFailurePersistence::Direct("tests/proptest-regressions/evaluator.txt");
        let config = Config {
            cases: ROUND,
            failure_persistence: Some(Box::new(kept)),
            max_shrink_iters: 5_000,
            rng_algorithm: RngAlgorithm::XorShift,
            ..Config::default()
        };
        let result =
            TestRunner::new(config).run(&generate::case(), |case| world::compare(&case, &tally));
        if let Err(failure) = result {
            panic!("verifier and evaluator disagree: {failure}");
        }
        asked.fetch_add(tally.borrow().asked - before, Ordering::Relaxed);
    }
    tally.into_inner()
}

#[test]
fn the_verifier_decides_as_the_evaluator_does() {
    let (wanted, asked) = (wanted(), AtomicUsize::new(0));
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8);
        let runners: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| run(wanted, &asked)))
            .collect();
        runners
            .into_iter()
            .for_each(|runner| tally.add(runner.join().unwrap()));
    });
    println!("{tally:#?}");
    assert!(tally.asked >= wanted);
    if wanted < ORDINARY {
        return;
    }
    let refused = tally.asked - tally.allowed;
    assert!(
        tally.allowed > ORDINARY / 20 && refused > ORDINARY / 20,
        "{tally:?}"
    );
    assert!(
        tally.allowed_below > ORDINARY / 100,
        "few were allowed to delegates: {tally:?}"
    );
    for reason in REASONS {
        let count = tally.reasons.get(reason).copied().unwrap_or(0);
        assert!(
            count >= 10,
            "`{reason}` was reached {count} times: {tally:?}"
        );
    }
    let unheard: Vec<_> = tally
        .reasons
        .keys()
        .filter(|reason| !REASONS.contains(reason))
        .collect();
    assert!(unheard.is_empty(), "{unheard:?}");
    for made in [
        "Yes",
        "Empty",
        "Sealed",
        "BrokenChain",
        "Unbound",
        "NotHolder",
        "CannotDelegate",
        "TooDeep",
    ] {
        assert!(
            tally.made.get(made).is_some_and(|count| *count >= 5),
            "`{made}` was not reached: {tally:?}"
        );
    }
}

/// Every reason that a verifier has, but those of a token or proof that is none: `tests/vectors` has them.
const REASONS: [&str; 29] = [
    "feed_stale",
    "token_key_unknown",
    "holder_chain",
    "revoked_token",
    "revoked_task",
    "revoked_agent",
    "revoked_steward",
    "revoked_server",
    "revoked_key",
    "proof_required",
    "proof_invalid",
    "proof_key",
    "proof_token",
    "proof_target",
    "proof_time",
    "proof_replayed",
    "proof_call",
    "call_proof_required",
    "not_yet_valid",
    "expired",
    "audience",
    "not_granted",
    "not_in_manifest",
    "argument_constraint",
    "argument_type",
    "argument_not_allowed",
    "argument_count",
    "read_only",
    "delegation_depth",
];
