//! What the dearest tokens inside the profile cost a verifier: each kind of work that a holder's
//! checks can ask for, grown to the limit; and 16 KiB of anything, parsed. In milliseconds, for one
//! call with as many and as long arguments as a call can have.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout
)]

#[allow(unreachable_pub, reason = "a bench has no outside")]
#[path = "../tests/support/hostile.rs"]
mod kinds;
mod lean;
/// What the kinds are appended with.
mod raw {
    pub(crate) use super::lean::append;
}

use std::{hint::black_box, rc::Rc};

use hallpass_core::token::{Call, UnverifiedPass};
use lean::Operation;
use serde_json::{Map, Value};

fn main() {
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let root = lean::root().public();
    let (verifier, pass) = (Rc::new(lean::verifier(1_024)), lean::pass(None));
    // All of the arguments that facts are told of: 60 texts of 4,000 bytes.
    let mut arguments = Map::new();
    arguments.insert("a".to_owned(), kinds::hard_to_find(3_990).into());
    arguments.insert(
        "path".to_owned(),
        format!("/srv{}", "/a".repeat(100)).into(),
    );
    for index in 0..58 {
        arguments.insert(
            format!("argument{index}"),
            "ab".repeat(2_000).replacen('a', "c", index).into(),
        );
    }
    let arguments = Rc::new(Value::Object(arguments));
    let mut operations = Vec::new();
    let mut notes = Vec::new();
    let mut add = |name: String, note: String, operation: Operation| {
        operations.push(Operation { name, ..operation });
        notes.push(note);
    };
    let called = |token: &hallpass_core::token::PassToken| {
        let (verifier, arguments) = (Rc::clone(&verifier), Rc::clone(&arguments));
        let pass = verifier.verify(token.expose()).unwrap();
        Operation::plain("", move || {
            drop(black_box(
                verifier.clear(&pass, &Call::tool("transfer", Some(&arguments))),
            ))
        })
    };
    add(
        "the pass as it was minted".to_owned(),
        "0 units".to_owned(),
        called(&pass),
    );
    for kind in kinds::KINDS {
        let (dearest, _) = kind.grown(&pass, &root);
        let cost = UnverifiedPass::parse(dearest.expose())
            .unwrap()
            .verify(&root)
            .unwrap()
            .cost();
        add(
            kind.name.to_owned(),
            format!("{cost} units"),
            called(&dearest),
        );
    }
    let dearest_to_say = kinds::SUBTREE_THRICE.grown(&pass, &root).0;
    let checked = UnverifiedPass::parse(dearest_to_say.expose())
        .unwrap()
        .verify(&root)
        .unwrap();
    let note = format!("{} rights", checked.remaining().rights.len());
    let said = Operation::plain("", move || drop(black_box(checked.remaining())));
    add(
        "remaining: one subtree named again and again".to_owned(),
        note,
        said,
    );
    let parsed = |text: String| {
        Operation::plain("", move || {
            drop(black_box(UnverifiedPass::parse(black_box(&text))))
        })
    };
    let dearest_to_parse = kinds::KINDS
        .iter()
        .map(|kind| kind.grown(&pass, &root).0)
        .max_by_key(|token| token.expose().len());
    let longest = dearest_to_parse.unwrap();
    add(
        "parse: the longest of these".to_owned(),
        format!("{} chars", longest.expose().len()),
        parsed(longest.expose().to_owned()),
    );
    let kib = 16 * 1024 / 3 * 4;
    add(
        "parse: 16 KiB of zeros".to_owned(),
        format!("{kib} chars"),
        parsed("A".repeat(kib)),
    );
    add(
        "parse: 16 KiB of ones".to_owned(),
        format!("{kib} chars"),
        parsed("_".repeat(kib)),
    );
    add(
        "parse: 16 KiB of empty fields".to_owned(),
        format!("{kib} chars"),
        parsed("GgAa".repeat(kib / 4)),
    );

    let counts = vec![4; operations.len()];
    println!(
        "{:<46} {:>10} {:>10} {:>14}",
        "operation", "min ms", "median ms", ""
    );
    for (((times, _), operation), note) in lean::rounds(&mut operations, &counts)
        .iter()
        .zip(&operations)
        .zip(&notes)
    {
        println!(
            "{:<46} {:>10.3} {:>10.3} {:>14}",
            operation.name,
            times[0] / 1e3,
            lean::median(times) / 1e3,
            note
        );
    }
}
