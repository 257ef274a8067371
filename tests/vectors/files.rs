//! `tests/vectors/*.json`: tokens, calls and what comes of them, for verifiers in any language.
//!
//! The ordinary test replays the files. Tokens hold random keys, so the files are written once, by
//! `UPDATE_VECTORS=1 cargo test -p hallpass-verify --test vectors`, and kept; `tests/vectors/README.md` is their schema.

mod approvals;
mod arguments;
mod book;
mod delegations;
mod encodings;
mod library;
mod profile;
mod proofs;
mod rights;
mod structure;
mod widening;

use std::{collections::BTreeSet, path::PathBuf};

use hallpass_core::{
    base::{
        digest::SubjectDigest,
        ids::{IssuerUri, ServerUri},
        time::Timestamp,
    },
    possession::Presented,
    token::{Call, PassToken, manifest::Tool, rights::Kind},
    wire::document::{RevocationEntry, RootKeyEntry},
};
use hallpass_verify::{Denial, Permit};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use support::{Issuer, manifest};

/// One file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vectors {
    about: String,
    issuer: IssuerUri,
    keys: Vec<RootKeyEntry>,
    vectors: Vec<Vector>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vector {
    name: String,
    about: String,
    token: String,
    /// Where they are others than the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<RootKeyEntry>>,
    request: Request,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revocations: Vec<Revocation>,
    expected: Expected,
    /// What Biscuit's own authorizer says to token and call, with the profile off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    without_profile: Option<Decision>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    time: Timestamp,
    server: ServerUri,
    kind: Kind,
    name: String,
    /// Absent for a call without; `null` is an argument like any other.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "given"
    )]
    arguments: Option<Value>,
    /// What the manifest says of a tool; absent for a tool that it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool: Option<Tool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    jws: String,
    method: String,
    /// Whether it was presented once before, at the same time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    used_before: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    kind: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cut_off: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    decision: Decision,
    /// Every reason.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    codes: BTreeSet<String>,
    /// The block that the first reason is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Decision {
    Allow,
    Refuse,
}

fn given<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Vector {
    fn answer(&self, keys: &[RootKeyEntry]) -> Result<Permit, Denial> {
        let issuer = Issuer::new();
        issuer.clock.set(self.request.time);
        let mut manifest = manifest();
        manifest.server = self.request.server.clone();
        manifest.tools.clear();
        if let Some(tool) = &self.request.tool {
            manifest
                .tools
                .insert(self.request.name.parse().unwrap(), tool.clone());
        }
        let verifier = hallpass_verify::Verifier::builder(
            support::ISSUER.parse().unwrap(),
            issuer.feed.public().thumbprint(),
            manifest,
        )
        .clock(issuer.clock.clone())
        .build();
        verifier
            .accept_key_document(&issuer.key_document().into())
            .unwrap();
        let mut frame = issuer.frame();
        frame.aud = self.request.server.clone();
        frame.keys = Some(self.keys.as_deref().unwrap_or(keys).to_vec());
        let expires_at = self
            .request
            .time
            .plus(std::time::Duration::from_secs(3_600));
        frame.revocations = self
            .revocations
            .iter()
            .map(|revoked| {
                let subject = SubjectDigest::new(&revoked.kind, &revoked.subject);
                RevocationEntry {
                    subject,
                    cut_off: revoked.cut_off,
                    expires_at,
                }
            })
            .collect();
        issuer.tell(&verifier, frame);
        let pass = match &self.request.proof {
            None => verifier.verify(&self.token)?,
            Some(proof) => {
                let presented = Presented::new(&proof.jws, &proof.method);
                if proof.used_before {
                    verifier.verify_with_proof(&self.token, &presented)?;
                }
                verifier.verify_with_proof(&self.token, &presented)?
            }
        };
        verifier.clear(&pass, &self.call())
    }

    fn call(&self) -> Call<'_> {
        let Request {
            kind,
            name,
            arguments,
            ..
        } = &self.request;
        match kind {
            Kind::Tool => Call::tool(name, arguments.as_ref()),
            Kind::Prompt => Call::prompt(name, arguments.as_ref()),
            Kind::Resource => Call::resource(name),
        }
    }

    fn token(&self) -> PassToken {
        PassToken::from_text(self.token.clone())
    }
}

impl Expected {
    fn of(answer: &Result<Permit, Denial>) -> Self {
        let Err(denial) = answer else {
            return Self {
                decision: Decision::Allow,
                codes: BTreeSet::new(),
                block: None,
            };
        };
        let codes = denial.codes().iter().map(ToString::to_string).collect();
        let block = match denial {
            Denial::Refused(refusals) => refusals[0].block,
            Denial::Fault(_) => None,
        };
        Self {
            decision: Decision::Refuse,
            codes,
            block,
        }
    }
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn all() -> Vec<(String, Vectors)> {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        write();
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            files.push((
                name,
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(),
            ));
        }
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    files
}

/// Makes every file anew. Both tests may: one after the other, and only once.
fn write() {
    static WRITTEN: std::sync::Once = std::sync::Once::new();
    WRITTEN.call_once(|| {
        let files: [(&str, &str, fn(&mut book::Book)); 9] = [
            (
                "rights",
                "What a pass names, for whom and for how long.",
                rights::write,
            ),
            (
                "arguments",
                "Constraints on arguments, paths, URLs and resources.",
                arguments::write,
            ),
            (
                "approvals",
                "Approvals, as far as this format has them.",
                approvals::write,
            ),
            (
                "widening",
                "Blocks by which a holder tries to get more than it was given.",
                widening::write,
            ),
            (
                "structure",
                "Tokens cut up, sewn together and signed by others.",
                structure::write,
            ),
            (
                "encodings",
                "Other spellings of a token, and tokens that are none.",
                encodings::write,
            ),
            (
                "profile",
                "Blocks that no verifier should evaluate.",
                profile::write,
            ),
            (
                "delegations",
                "Chains of holders, and revocation along them.",
                delegations::write,
            ),
            ("proofs", "Proofs of possession.", proofs::write),
        ];
        for (name, about, fill) in files {
            let mut book = book::Book::new();
            fill(&mut book);
            let text = serde_json::to_string_pretty(&book.into_vectors(about)).unwrap();
            std::fs::write(directory().join(format!("{name}.json")), text + "\n").unwrap();
        }
    });
}

#[test]
fn every_vector_comes_out_as_its_file_says() {
    let (mut names, mut wrong, mut codes) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    let (mut allowed, mut refused) = (0, 0);
    for (file, vectors) in all() {
        for vector in &vectors.vectors {
            assert!(
                names.insert(vector.name.clone()),
                "{file}: `{}` is there twice",
                vector.name
            );
            let answer = vector.answer(&vectors.keys);
            let found = Expected::of(&answer);
            if found != vector.expected {
                wrong.push(format!(
                    "{file}: {}: {:?}, not {:?}: {answer:?}",
                    vector.name, found, vector.expected
                ));
            }
            *if found.decision == Decision::Allow {
                &mut allowed
            } else {
                &mut refused
            } += 1;
            codes.extend(found.codes);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} vectors:\n{}",
        wrong.len(),
        names.len(),
        wrong.join("\n")
    );
    println!(
        "{} vectors: {allowed} allow, {refused} refuse, with {} codes",
        names.len(),
        codes.len()
    );
    assert!(
        allowed >= 40 && refused >= 200,
        "{allowed} allow, {refused} refuse"
    );
    assert!(codes.len() >= 35, "{codes:?}");
}

#[test]
fn nothing_widens_a_pass_even_with_the_profile_off() {
    let (mut allowed, mut refused) = (Vec::new(), 0);
    for (file, vectors) in all() {
        for vector in &vectors.vectors {
            let Some(expected) = vector.without_profile else {
                continue;
            };
            let found = library::decide(&vector.token(), &vectors.keys[0].key, &vector.request);
            assert_eq!(found, expected, "{file}: {}", vector.name);
            match found {
                Decision::Refuse => refused += 1,
                // A call that the pass allowed before the block came.
                Decision::Allow if vector.name.ends_with(", and a granted call") => {}
                Decision::Allow if vector.expected.decision == Decision::Refuse => {
                    allowed.push(vector.name.clone())
                }
                Decision::Allow => {}
            }
        }
    }
    // Whom a check trusts can say every predicate of that check: the one thing that only the
    // profile keeps from widening.
    assert_eq!(
        allowed,
        ["W13d an approver says other predicates of the check that trusts it"]
    );
    assert!(refused >= 40, "{refused}");
}
