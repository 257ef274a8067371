//! Writing vectors: what is asked, and what should come of it, said by hand.

use std::collections::BTreeSet;

use hallpass_core::{
    base::{holder::HolderKey, key::PrivateKey, time::Timestamp},
    possession::{ProofContent, call_digest, sign_proof},
    token::{Call, Narrowing, PassToken, UnverifiedPass, manifest::Tool, rights::Kind},
    wire::document::RootKeyEntry,
};
use serde_json::{Value, json};

use super::{Decision, Expected, Proof, Request, Revocation, Vector, Vectors};
use support::{Holders, ISSUER, SERVER, manifest, raw, rights};

pub(super) const ELSEWHERE: &str = "https://b.example/mcp";

/// The pages that vectors are written on.
pub(super) struct Book {
    pub(super) setup: Holders,
    vectors: Vec<Vector>,
}

/// What is asked with a token.
#[derive(Clone)]
pub(super) struct Ask {
    request: Request,
    keys: Option<Vec<RootKeyEntry>>,
    revocations: Vec<Revocation>,
    without_profile: Option<Decision>,
}

pub(super) fn call(kind: Kind, name: &str, arguments: Option<Value>) -> Ask {
    let known = || manifest().tools.get(&name.parse().ok()?).cloned();
    let request = Request {
        time: "2026-11-22T10:00:00Z".parse().unwrap(),
        server: SERVER.parse().unwrap(),
        kind,
        name: name.to_owned(),
        arguments,
        tool: if kind == Kind::Tool {
            known().map(shown)
        } else {
            None
        },
        proof: None,
    };
    Ask {
        request,
        keys: None,
        revocations: Vec::new(),
        without_profile: None,
    }
}

/// Only what decides.
fn shown(tool: Tool) -> Tool {
    let mut shown = Tool::default();
    (shown.read_only, shown.path_arguments, shown.url_arguments) =
        (tool.read_only, tool.path_arguments, tool.url_arguments);
    shown
}

pub(super) fn tool(name: &str, arguments: Value) -> Ask {
    call(Kind::Tool, name, Some(arguments))
}

pub(super) fn read() -> Ask {
    tool("read_ledger", json!({}))
}

pub(super) fn resource(uri: &str) -> Ask {
    call(Kind::Resource, uri, None)
}

impl Ask {
    pub(super) fn at(mut self, time: &str) -> Self {
        self.request.time = format!("2026-11-22T{time}Z").parse().unwrap();
        self
    }

    pub(super) fn server(mut self, server: &str) -> Self {
        self.request.server = server.parse().unwrap();
        self
    }

    pub(super) fn keys(mut self, keys: Vec<RootKeyEntry>) -> Self {
        self.keys = Some(keys);
        self
    }

    pub(super) fn revoked(mut self, kind: &str, subject: &str) -> Self {
        self.revocations.push(Revocation {
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            cut_off: None,
        });
        self
    }

    pub(super) fn revoked_until(self, kind: &str, subject: &str, cut_off: &str) -> Self {
        let mut ask = self.revoked(kind, subject);
        ask.revocations.last_mut().unwrap().cut_off =
            Some(format!("2026-11-22T{cut_off}Z").parse().unwrap());
        ask
    }

    /// With the profile off, too, the answer is no.
    pub(super) fn refused_anyway(mut self) -> Self {
        self.without_profile = Some(Decision::Refuse);
        self
    }

    pub(super) fn allowed_anyway(mut self) -> Self {
        self.without_profile = Some(Decision::Allow);
        self
    }

    /// With a proof of possession by `key`.
    pub(super) fn by(self, key: &PrivateKey, token: &PassToken) -> Self {
        let proof = sign_proof(key, &self.content(token)).unwrap();
        self.proof(proof)
    }

    /// With a proof of possession by `key` for this very call.
    pub(super) fn for_this_call(self, key: &PrivateKey, token: &PassToken) -> Self {
        let (kind, name, arguments) = (
            self.request.kind,
            self.request.name.as_str(),
            self.request.arguments.as_ref(),
        );
        let asked = match kind {
            Kind::Tool => Call::tool(name, arguments),
            Kind::Prompt => Call::prompt(name, arguments),
            Kind::Resource => Call::resource(name),
        };
        let content = ProofContent {
            call: call_digest(&asked),
            ..self.content(token)
        };
        let proof = sign_proof(key, &content).unwrap();
        self.proof(proof)
    }

    pub(super) fn proof(mut self, jws: String) -> Self {
        self.request.proof = Some(Proof {
            jws,
            method: "POST".to_owned(),
            used_before: false,
        });
        self
    }

    pub(super) fn used_before(mut self) -> Self {
        self.request.proof.as_mut().unwrap().used_before = true;
        self
    }

    pub(super) fn content<'t>(&self, token: &'t PassToken) -> ProofContent<'t> {
        ProofContent {
            token: token.expose(),
            method: "POST",
            url: SERVER,
            now: self.request.time,
            nonce: None,
            call: None,
        }
    }

    /// The proof of another question.
    pub(super) fn with_proof_of(mut self, other: &Self) -> Self {
        self.request.proof.clone_from(&other.request.proof);
        self
    }
}

impl Book {
    pub(super) fn new() -> Self {
        Self {
            setup: Holders::new(),
            vectors: Vec::new(),
        }
    }

    pub(super) fn into_vectors(self, about: &str) -> Vectors {
        let key = RootKeyEntry {
            id: self.setup.issuer.root.id(),
            key: self.setup.root(),
        };
        Vectors {
            about: about.to_owned(),
            issuer: ISSUER.parse().unwrap(),
            keys: vec![key],
            vectors: self.vectors,
        }
    }

    /// A pass for what `members` of a detail on the ledger say.
    pub(super) fn pass(&self, members: Value) -> PassToken {
        self.setup.issuer.mint(vec![rights(members)])
    }

    pub(super) fn plain(&self) -> PassToken {
        self.pass(json!({"tools": ["read_ledger", "transfer"]}))
    }

    /// `token` with a first-party block of this text.
    pub(super) fn appended(&self, token: &PassToken, code: &str) -> PassToken {
        raw::append(token, &self.setup.root(), code)
    }

    /// `token` with a block of this text, signed by the key of this seed.
    pub(super) fn signed(&self, token: &PassToken, seed: u8, code: &str) -> PassToken {
        raw::append_third_party(token, &self.setup.root(), &raw::key_pair(seed), code)
    }

    pub(super) fn allow(&mut self, name: &str, about: &str, token: &PassToken, ask: Ask) {
        let expected = Expected {
            decision: Decision::Allow,
            codes: BTreeSet::new(),
            block: None,
        };
        self.add((name, about), token, ask, expected);
    }

    /// Refused without a block to blame.
    pub(super) fn refuse(
        &mut self,
        name: &str,
        about: &str,
        token: &PassToken,
        ask: Ask,
        code: &str,
    ) {
        self.refuse_in((name, about), token, ask, None, &[code]);
    }

    /// Refused by `block` first.
    pub(super) fn refuse_in(
        &mut self,
        names: (&str, &str),
        token: &PassToken,
        ask: Ask,
        block: impl Into<Option<usize>>,
        codes: &[&str],
    ) {
        let codes = codes.iter().map(ToString::to_string).collect();
        self.add(
            names,
            token,
            ask,
            Expected {
                decision: Decision::Refuse,
                codes,
                block: block.into(),
            },
        );
    }

    fn add(
        &mut self,
        (name, about): (&str, &str),
        token: &PassToken,
        ask: Ask,
        expected: Expected,
    ) {
        let Ask {
            request,
            keys,
            revocations,
            without_profile,
        } = ask;
        let (name, about, token) = (name.to_owned(), about.to_owned(), token.expose().to_owned());
        self.vectors.push(Vector {
            name,
            about,
            token,
            keys,
            request,
            revocations,
            expected,
            without_profile,
        });
    }
}

pub(super) fn narrowing(members: Value) -> Narrowing {
    serde_json::from_value(members).unwrap()
}

/// The id of a block of `token`, as text.
pub(super) fn block_id(token: &PassToken, block: usize) -> String {
    let summary = UnverifiedPass::parse(token.expose())
        .unwrap()
        .dangerous_unverified_summary();
    summary.blocks[block].revocation_id.to_string()
}

pub(super) fn key_text(key: &PrivateKey) -> String {
    HolderKey::Ed25519(key.public()).to_string()
}

pub(super) fn time(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().unwrap()
}
