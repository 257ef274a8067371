//! Tokens from the bytes of their blocks, signed as they should be: what is wrong with a block is
//! then seen behind its signature too.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use biscuit_auth::format::schema::{self, SignedBlock, proof::Content};
use hallpass_core::{
    base::{
        ids::ServerUri,
        key::{PrivateKey, PublicKey},
    },
    token::{
        Arguments, Evaluation, PassToken, RequestFacts, VerifiedPass, manifest::Manifest,
        rights::Kind,
    },
};
use prost::Message as _;
use serde_json::{Value, json};

use support::{SERVER, manifest, raw};

/// Everybody's keys, by the byte that their seeds are made of.
pub(crate) const ROOT: u8 = 1;
pub(crate) const HOLDER: u8 = 11;
pub(crate) const DELEGATE: u8 = 12;
pub(crate) const STRANGER: u8 = 66;

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// A compact JWS over these bytes, by the key of that seed.
pub(crate) fn jws(by: u8, header: &[u8], claims: &[u8]) -> String {
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(key(by).sign(text.as_bytes()));
    format!("{text}.{signature}")
}

/// One block: its bytes, and for a third-party block whose key signs it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) data: Vec<u8>,
    pub(crate) signer: Option<u8>,
}

/// The blocks of a token.
pub(crate) fn parts(token: &PassToken) -> Vec<Part> {
    let wire = raw::wire(token);
    let known = [HOLDER, DELEGATE, STRANGER];
    let part = |signed: &SignedBlock| Part {
        data: signed.block.clone(),
        signer: signed.external_signature.as_ref().map(|external| {
            let is_by = |seed: &&u8| external.public_key.key == key(**seed).public().as_bytes();
            *known.iter().find(is_by).unwrap_or(&STRANGER)
        }),
    };
    std::iter::once(&wire.authority)
        .chain(&wire.blocks)
        .map(part)
        .collect()
}

/// The token of these blocks: block 0 signed by the root key, the others by those who held it.
pub(crate) fn token(parts: &[Part]) -> PassToken {
    let (mut signed, mut by, mut previous) = (Vec::new(), key(ROOT), None);
    for (seed, part) in (100..).zip(parts) {
        let next = key(seed);
        let block = sign(part, &by, &next.public(), previous.as_deref());
        previous = Some(block.signature.clone());
        signed.push(block);
        by = next;
    }
    let authority = signed.remove(0);
    let proof = schema::Proof {
        content: Some(Content::NextSecret(by.dangerous_seed().to_vec())),
    };
    raw::from_wire(&schema::Biscuit {
        root_key_id: Some(1),
        authority,
        blocks: signed,
        proof,
    })
}

fn sign(part: &Part, by: &PrivateKey, next: &PublicKey, previous: Option<&[u8]>) -> SignedBlock {
    let next = raw::ed25519(next);
    let external = part.signer.zip(previous).map(|(signer, previous)| {
        let mut payload = b"\0EXTERNAL\0\0VERSION\0".to_vec();
        payload.extend(1_u32.to_le_bytes());
        payload.extend(b"\0PAYLOAD\0");
        payload.extend(&part.data);
        payload.extend(b"\0PREVSIG\0");
        payload.extend(previous);
        raw::external(&key(signer).public(), &key(signer).sign(&payload))
    });
    let mut payload = b"\0BLOCK\0\0VERSION\0".to_vec();
    payload.extend(1_u32.to_le_bytes());
    payload.extend(b"\0PAYLOAD\0");
    payload.extend(&part.data);
    payload.extend(b"\0ALGORITHM\0");
    payload.extend(next.algorithm.to_le_bytes());
    payload.extend(b"\0NEXTKEY\0");
    payload.extend(&next.key);
    if let Some(previous) = previous {
        payload.extend(b"\0PREVSIG\0");
        payload.extend(previous);
    }
    if let Some(external) = &external {
        payload.extend(b"\0EXTERNALSIG\0");
        payload.extend(&external.signature);
    }
    let signature = by.sign(&payload).to_vec();
    SignedBlock {
        block: part.data.clone(),
        next_key: next,
        signature,
        external_signature: external,
        version: Some(1),
    }
}

/// The symbols that a block after `parts` need not declare: for a first-party block, those of the
/// first-party blocks.
pub(crate) fn known_to(parts: &[Part], signer: Option<u8>) -> Vec<String> {
    let first_party = parts
        .iter()
        .filter(|part| part.signer.is_none() && signer.is_none());
    let block = |part: &Part| schema::Block::decode(part.data.as_slice()).unwrap_or_default();
    first_party.flat_map(|part| block(part).symbols).collect()
}

pub(crate) fn encoded(block: &schema::Block) -> Vec<u8> {
    block.encode_to_vec()
}

/// One question about a pass, and the same questions to every pass.
pub(crate) struct Question {
    pub(crate) server: ServerUri,
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    arguments: Arguments,
    pub(crate) read_only: bool,
    pub(crate) call_proven: bool,
    /// Seconds after the pass was issued.
    pub(crate) after: u64,
}

pub(crate) fn questions() -> Vec<Question> {
    let manifest: Manifest = manifest();
    let question = |name: &'static str, arguments: Value| {
        let tool = manifest.tools.get(&name.parse().unwrap());
        Question {
            server: SERVER.parse().unwrap(),
            kind: Kind::Tool,
            name,
            arguments: Arguments::flatten(Some(&arguments), tool),
            read_only: tool.is_some_and(|tool| tool.read_only),
            call_proven: false,
            after: 10,
        }
    };
    let resource = |name| Question {
        kind: Kind::Resource,
        name,
        read_only: true,
        ..question("read_ledger", json!({}))
    };
    let transfer = || {
        question(
            "transfer",
            json!({"amount": 42, "path": "/srv/data/a", "url": "https://api.example.com/x"}),
        )
    };
    let mut many = serde_json::Map::new();
    for index in 0..60 {
        many.insert(format!("argument{index}"), json!("value".repeat(1 + index)));
    }
    vec![
        question("read_ledger", json!({})),
        question("read_ledger", Value::Object(many)),
        transfer(),
        Question {
            call_proven: true,
            ..transfer()
        },
        question(
            "transfer",
            json!({"amount": 1_000, "path": "/etc", "paths": ["/srv/../etc"]}),
        ),
        question("transfer", json!({"amount": "42"})),
        question("delete_ledger", json!({})),
        resource("file:///srv/data/a"),
        resource("file:///etc/passwd"),
        Question {
            server: "https://other.example/mcp".parse().unwrap(),
            ..question("read_ledger", json!({}))
        },
        Question {
            after: 3_600,
            ..question("read_ledger", json!({}))
        },
    ]
}

impl Question {
    /// What `pass` says to it at its time, issued at `issued`.
    pub(crate) fn ask(
        &self,
        pass: &VerifiedPass,
        issued: hallpass_core::base::time::Timestamp,
    ) -> Evaluation {
        hallpass_core::token::evaluate(
            pass,
            hallpass_core::token::MAX_EVALUATION_TIME,
            &RequestFacts {
                time: issued.plus(std::time::Duration::from_secs(self.after)),
                me: &self.server,
                kind: self.kind,
                name: self.name,
                arguments: &self.arguments,
                read_only: self.read_only,
                call_proven: self.call_proven,
            },
        )
    }
}
