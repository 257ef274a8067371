//! `tests/vectors/documents/*.json`: documents of this and of other builds, and what comes of them.
//!
//! `UPDATE_VECTORS=1 cargo test -p hallpass --test server wire::vectors` writes them; nothing in them is random but the pass, which is
//! one of `docs/token-format.md`. What is expected is said by hand in `documents`.

use std::{collections::BTreeSet, path::PathBuf};

use hallpass_broker::ledger::audit::{
    ExportStatement, Signed, Statement, StatementError, TreeHead,
};
use hallpass_core::{
    base::{
        json,
        key::{PrivateKey, PublicKey},
    },
    wire::{DocumentError, document::KeyDocument, report::ReportBatch},
};
use hallpass_verify::feed::{StateFileError, load_memory};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use support::{ISSUER, SERVER};

use super::{
    documents,
    setup::{seen, spelled, told, verifier},
};

/// One file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub about: String,
    pub reader: Reader,
    pub vectors: Vec<Vector>,
}

/// What is known to whoever reads the documents of a file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reader {
    /// The keys that the document may be signed with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PublicKey>,
    /// A frame that a verifier has accepted before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// A pass that the verifier is asked about afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub name: String,
    pub about: String,
    /// A compact JWS, or JSON as text.
    pub document: String,
    /// `answer`, and `member` or `found` where it is `critical` or `format`.
    pub expected: Value,
    /// What the reader knows afterwards.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub then: Value,
}

fn accepted() -> Value {
    json!({"answer": "accepted"})
}

fn of_document(error: &DocumentError) -> Value {
    match error {
        DocumentError::Critical { at } => json!({"answer": "critical", "member": at}),
        DocumentError::Format { found, .. } => json!({"answer": "format", "found": found}),
        _ => json!({"answer": "unreadable"}),
    }
}

impl Vector {
    fn found(&self, kind: &str, reader: &Reader) -> (Value, Value) {
        match kind {
            "frames" => self.frame(reader),
            "keys" => self.keys(),
            "state" => self.state(),
            "reports" => self.reports(),
            "heads" => self.statement::<TreeHead>(reader, |head| json!({"size": head.size})),
            "exports" => self.statement::<ExportStatement>(
                reader,
                |export| json!({"from": export.from, "to": export.to, "size": export.head.size}),
            ),
            other => panic!("no such kind of document: {other}"),
        }
    }

    fn frame(&self, reader: &Reader) -> (Value, Value) {
        let verifier = told(reader.before.as_ref().unwrap());
        let answer = verifier.accept_frame(&self.document);
        let answer = answer.map_or_else(|error| spelled(&error), |()| accepted());
        (answer, seen(&verifier, reader.pass.as_ref().unwrap()))
    }

    fn keys(&self) -> (Value, Value) {
        let document = match KeyDocument::from_json(self.document.as_bytes()) {
            Ok(document) => document,
            Err(error) => return (of_document(&error), Value::Null),
        };
        let verifier = verifier();
        match verifier.accept_key_document(&document.into()) {
            Ok(()) => {
                let keys = verifier.memory().feed_keys;
                let keys: Vec<_> = keys.iter().map(PublicKey::thumbprint).collect();
                (accepted(), json!({ "feed_keys": keys }))
            }
            Err(error) => (spelled(&error), Value::Null),
        }
    }

    fn state(&self) -> (Value, Value) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        std::fs::write(&path, &self.document).unwrap();
        let (issuer, server) = (ISSUER.parse().unwrap(), SERVER.parse().unwrap());
        match load_memory(&path, &issuer, &server) {
            Ok(memory) => {
                let keys: Vec<_> = memory.feed_keys.iter().map(PublicKey::thumbprint).collect();
                let (epoch, sequence) = (memory.epoch, memory.sequence);
                let then = json!({"epoch": epoch, "sequence": sequence, "signed_at": memory.signed_at, "feed_keys": keys});
                (accepted(), then)
            }
            Err(StateFileError::Newer { member, .. }) => {
                (json!({"answer": "critical", "member": member}), Value::Null)
            }
            Err(StateFileError::Damaged { .. }) => (json!({"answer": "unreadable"}), Value::Null),
            Err(other) => panic!("{other}"),
        }
    }

    fn reports(&self) -> (Value, Value) {
        let read = json::parse(self.document.as_bytes(), 100_000)
            .map_err(DocumentError::Json)
            .and_then(ReportBatch::read);
        match read {
            Ok(batch) => {
                let ids: Vec<_> = batch.reports.iter().map(|report| report.id()).collect();
                (accepted(), json!({ "reports": ids }))
            }
            Err(error) => (of_document(&error), Value::Null),
        }
    }

    fn statement<S: Statement>(&self, reader: &Reader, then: fn(&S) -> Value) -> (Value, Value) {
        let signed = Signed {
            jws: self.document.clone(),
            checkpoint_key: reader.keys[0],
            checkpoint_key_chain: Vec::new(),
        };
        match signed.without_trust::<S>() {
            Ok(statement) => (accepted(), then(&statement)),
            Err(StatementError::Document { problem }) => (of_document(&problem), Value::Null),
            Err(other) => panic!("{}: {other}", self.name),
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/documents")
}

#[test]
fn every_vector_comes_out_as_its_file_says() {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        for (name, file) in documents::all() {
            let text = serde_json::to_string_pretty(&file).unwrap() + "\n";
            std::fs::write(directory().join(format!("{name}.json")), text).unwrap();
        }
    }
    let (mut names, mut answers) = (BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file: File = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for vector in &file.vectors {
            let is_new = names.insert(format!("{kind}/{}", vector.name));
            assert!(is_new, "{kind}: `{}` is there twice", vector.name);
            answers.insert((kind.clone(), vector.expected["answer"].to_string()));
            let found = vector.found(&kind, &file.reader);
            if found != (vector.expected.clone(), vector.then.clone()) {
                let (name, expected, then) = (&vector.name, &vector.expected, &vector.then);
                wrong.push(format!("{kind}/{name}: {found:?}, not {expected} {then}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(names.len() >= 90, "{}", names.len());
    for kind in ["frames", "keys", "state", "reports", "heads", "exports"] {
        let has = |answer: &str| answers.contains(&(kind.to_owned(), format!("\"{answer}\"")));
        assert!(
            has("accepted") && has("critical") && has("unreadable"),
            "{kind}"
        );
        assert_eq!(has("format"), kind != "state", "{kind}");
    }
}

/// The files are what `documents` writes: no vector was changed by hand, and none was forgotten.
#[test]
fn the_files_are_the_ones_that_are_written() {
    for (name, file) in documents::all() {
        let path = directory().join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&file).unwrap() + "\n";
        let is_same = std::fs::read_to_string(path).unwrap() == text;
        assert!(
            is_same,
            "{name}: run `UPDATE_VECTORS=1 cargo test -p hallpass --test server wire::vectors`"
        );
    }
}

/// A signature over JSON that no serde would write.
pub fn sign_text(key: &PrivateKey, typ: &str, payload: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = json!({"alg": "EdDSA", "typ": typ}).to_string();
    let [header, payload] = [&header, payload].map(|part| URL_SAFE_NO_PAD.encode(part));
    let signed = format!("{header}.{payload}");
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}
