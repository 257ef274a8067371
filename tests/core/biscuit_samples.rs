//! The official samples of Biscuit, from the archive of the engine that this stands on: 50 answers
//! and the revocation ids that go with them.

use std::{collections::HashMap, path::PathBuf, process::Command, time::Duration};

use biscuit_auth::{
    Algorithm, AuthorizerBuilder, AuthorizerLimits, Biscuit, PublicKey,
    builder::{Term, string},
    datalog::ExternFunc,
    error,
};
use serde::Deserialize;
use serde_json::Value;
use support::skip;

#[derive(Deserialize)]
struct Samples {
    root_public_key: String,
    testcases: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    filename: String,
    validations: HashMap<String, Validation>,
}

#[derive(Deserialize)]
struct Validation {
    authorizer_code: String,
    result: Value,
    revocation_ids: Vec<String>,
}

/// Where cargo keeps the sources of biscuit-auth. Without a network cargo answers only if it has every package of the
/// lock file, those for other platforms too; so it may fetch what it lacks.
fn archive() -> Option<PathBuf> {
    let metadata = metadata(&["--offline"]).or_else(|| metadata(&[]))?;
    let package = metadata["packages"]
        .as_array()?
        .iter()
        .find(|package| package["name"] == "biscuit-auth")?;
    let directory = PathBuf::from(package["manifest_path"].as_str()?)
        .parent()?
        .join("samples");
    directory.join("samples.json").exists().then_some(directory)
}

fn metadata(more: &[&str]) -> Option<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(more)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn decide(bytes: &[u8], root: PublicKey, validation: &Validation) -> Result<usize, error::Token> {
    let biscuit = Biscuit::from(bytes, root)?;
    let ids: Vec<String> = biscuit
        .revocation_identifiers()
        .iter()
        .map(hex::encode)
        .collect();
    assert_eq!(ids, validation.revocation_ids);
    // The one that `test035_ffi` calls.
    let test = ExternFunc::new(std::sync::Arc::new(
        |left: Term, right: Option<Term>| match (left, right) {
            (Term::Str(left), Some(Term::Str(right))) if left == right => {
                Ok(string("equal strings"))
            }
            (Term::Str(_), Some(Term::Str(_))) => Ok(string("different strings")),
            (left, None) => Ok(left),
            _ => Err("unsupported operands".to_owned()),
        },
    ));
    // The library's own millisecond would refuse at random on a busy machine.
    let limits = AuthorizerLimits {
        max_time: Duration::from_secs(10),
        ..AuthorizerLimits::default()
    };
    let verifier = AuthorizerBuilder::new()
        .set_limits(limits)
        .set_extern_funcs(HashMap::from([("test".to_owned(), test)]))
        .code(&validation.authorizer_code)?;
    verifier.build(&biscuit)?.authorize()
}

/// The kind of an error, as the samples name it.
fn kind(error: &error::Token) -> &'static str {
    match error {
        error::Token::Format(_) => "Format",
        error::Token::FailedLogic(_) => "FailedLogic",
        error::Token::Execution(_) => "Execution",
        _ => "another",
    }
}

#[test]
fn the_engine_answers_the_official_samples_as_they_say() {
    let Some(directory) = archive() else {
        return skip::skipped(
            "the official samples",
            "the sources of biscuit-auth were not found",
        );
    };
    let samples: Samples =
        serde_json::from_str(&std::fs::read_to_string(directory.join("samples.json")).unwrap())
            .unwrap();
    let root = PublicKey::from_bytes_hex(&samples.root_public_key, Algorithm::Ed25519).unwrap();
    let (mut allowed, mut refused) = (0, 0);
    for sample in &samples.testcases {
        let bytes = std::fs::read(directory.join(&sample.filename)).unwrap();
        for (name, validation) in &sample.validations {
            let at = format!("{} {name}", sample.filename);
            match (
                decide(&bytes, root, validation),
                &validation.result["Ok"],
                &validation.result["Err"],
            ) {
                (Ok(policy), expected, _) if expected.is_number() => {
                    assert_eq!(expected.as_u64(), u64::try_from(policy).ok(), "{at}");
                    allowed += 1;
                }
                (Err(error), _, Value::Object(expected)) => {
                    let expected: Vec<_> = expected.keys().map(String::as_str).collect();
                    assert_eq!(expected, [kind(&error)], "{at}: {error}");
                    refused += 1;
                }
                (answer, ..) => panic!("{at}: {answer:?}, not {}", validation.result),
            }
        }
    }
    println!(
        "{} answers: {allowed} allow, {refused} refuse",
        allowed + refused
    );
    assert_eq!(allowed + refused, 50);
    assert!(
        allowed >= 15 && refused >= 20,
        "{allowed} allow, {refused} refuse"
    );
}
