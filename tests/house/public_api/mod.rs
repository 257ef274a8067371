//! The public interface of `hallpass-verify`, as a committed listing: every change of it shows in a diff.
//!
//! `UPDATE_PUBLIC_API=1 cargo test --test house public_api` writes the listing anew.

mod listing;
mod source;

use std::{fs, path::Path};

use listing::Listing;
use source::World;

/// Types, traits, functions, constants and modules. More is a decision, and this line is where it is taken.
const MOST_ITEMS: usize = 120;

/// What a server or holder author must not find, under any path.
const NOT_PUBLIC: [&str; 14] = [
    "mint",
    "Minted",
    "PassContent",
    "RootKey",
    "attenuate_operator",
    "mint_operator",
    "evaluate",
    "Evaluation",
    "RequestFacts",
    "VerifiedPass",
    "UnverifiedPass",
    "UnprovenPass",
    "Frame",
    "KeyLink",
];

fn listing() -> Listing {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let world = World::read(&[
        ("hallpass_verify", &root.join("verify")),
        ("hallpass_core", &root.join("core")),
    ]);
    Listing::of(&world, "hallpass_verify")
}

#[test]
fn every_change_of_the_public_interface_shows_in_its_listing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api/hallpass-verify.txt");
    let now = listing().to_string();
    if std::env::var_os("UPDATE_PUBLIC_API").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<_> = difference(&committed, &now);
    assert!(
        changed.is_empty(),
        "the public interface of hallpass-verify changed:\n{}\nIf that is meant: \
         UPDATE_PUBLIC_API=1 cargo test --test house public_api",
        changed.join("\n")
    );
}

/// The lines that only one of the two has, each with its sign.
fn difference(before: &str, after: &str) -> Vec<String> {
    let only_in = |one: &str, other: &str, sign: char| -> Vec<String> {
        let mut others: Vec<&str> = other.lines().collect();
        let mut only = Vec::new();
        for line in one.lines() {
            match others.iter().position(|other| *other == line) {
                Some(at) => drop(others.remove(at)),
                None => only.push(format!("{sign} {line}")),
            }
        }
        only
    };
    let mut lines = only_in(before, after, '-');
    lines.extend(only_in(after, before, '+'));
    if lines.is_empty() && before != after {
        lines.push("the order of the lines".to_owned());
    }
    lines
}

#[test]
fn the_public_interface_stays_small() {
    let listing = listing();
    assert!(
        listing.items() <= MOST_ITEMS,
        "{} public items; {MOST_ITEMS} are the most",
        listing.items()
    );
    assert!(listing.items() > 50, "the items were not found");
}

#[test]
fn nothing_that_mints_signs_for_the_broker_or_decides_alone_is_public() {
    let listing = listing();
    for name in NOT_PUBLIC {
        let found = listing
            .names()
            .find(|path| path.ends_with(&format!("::{name}")));
        assert_eq!(found, None);
    }
}

#[test]
fn every_type_in_a_public_signature_is_public() {
    assert_eq!(listing().unreachable(), Vec::<String>::new());
}
