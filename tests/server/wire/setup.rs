//! A verifier, the frames that it gets as JSON, and all that can be seen of it.

use std::sync::Arc;

use hallpass_core::{
    base::{
        format::Format,
        jws,
        key::PrivateKey,
        time::{ManualClock, Timestamp},
    },
    token::Call,
    wire::document::{Frame, KeyDocument, RevocationEntry, RootKeyEntry, Subjects},
};
use hallpass_verify::{FrameError, Verifier};
use serde_json::{Value, json};

use support::{ISSUER, Issuer, SERVER, manifest};

/// When everything happens.
pub fn time() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

/// The key with the seed that is `byte` 32 times: 1 signs passes, 2 frames, 3 frames later, 4 heads.
pub fn key(byte: u8) -> PrivateKey {
    PrivateKey::from_seed(&[byte; 32])
}

/// A pass of the page of the token format, which is good for `transfer` at [`time`].
pub fn pass() -> String {
    let page = include_str!("../../../docs/token-format.md");
    let (_, after) = page.rsplit_once("```json\n").unwrap();
    let vectors: Value = serde_json::from_str(after.split_once("```").unwrap().0).unwrap();
    vectors["tokens"]["plain"]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub const TASK: &str = "tsk_00000000000000000000000000000001";

/// A snapshot with every member and every kind of object, as JSON.
pub fn frame(sequence: u64) -> Value {
    let root = Issuer::new().root;
    let mut frame = Frame {
        v: Format::One,
        iss: ISSUER.parse().unwrap(),
        aud: SERVER.parse().unwrap(),
        epoch: 1,
        since: None,
        sequence,
        at: time(),
        keys: Some(vec![RootKeyEntry {
            id: root.id(),
            key: root.public(),
        }]),
        feed_keys: Some(vec![key(2).public(), key(3).public()]),
        manifest: Some(manifest()),
        revocations: vec![revocation("tsk_00000000000000000000000000000009")],
        suspended_holders: Some(Vec::new()),
    };
    frame.revocations[0].cut_off = Some(time());
    serde_json::to_value(frame).unwrap()
}

pub fn revocation(task: &str) -> RevocationEntry {
    RevocationEntry {
        subject: Subjects::task(&task.parse().unwrap()),
        cut_off: None,
        expires_at: time().plus(std::time::Duration::from_secs(3_600)),
    }
}

/// The objects of [`frame`], as JSON pointers.
pub const OBJECTS: [&str; 10] = [
    "",
    "/keys/0",
    "/keys/0/key",
    "/feed_keys/1",
    "/manifest",
    "/manifest/tools/transfer",
    "/manifest/tools/read_ledger",
    "/manifest/prompts/summary",
    "/manifest/resources/0",
    "/revocations/0",
];

/// The path by which an error names the member `name` of the object at `pointer`.
pub fn path(pointer: &str, name: &str) -> String {
    let mut path = String::new();
    for segment in pointer.split('/').skip(1).chain([name]) {
        if segment.bytes().all(|byte| byte.is_ascii_digit()) {
            path += &format!("[{segment}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += segment;
        }
    }
    path
}

/// `value`, with `members` in its object at `pointer`.
pub fn with(mut value: Value, pointer: &str, members: Value) -> Value {
    let object = value.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    object.extend(members.as_object().unwrap().clone());
    value
}

/// `payload`, signed as a frame.
pub fn signed(payload: &Value) -> String {
    let feed = key(2);
    jws::sign(
        &feed,
        Frame::TYP,
        Some(&feed.public().thumbprint()),
        payload,
    )
    .unwrap()
}

pub fn key_document() -> KeyDocument {
    let root = Issuer::new().root;
    KeyDocument {
        v: Format::One,
        iss: ISSUER.parse().unwrap(),
        at: time(),
        keys: vec![RootKeyEntry {
            id: root.id(),
            key: root.public(),
        }],
        feed_key: key(2).public(),
        feed_key_chain: Vec::new(),
        checkpoint_key: Some(key(4).public()),
        checkpoint_key_chain: Vec::new(),
    }
}

/// A verifier that pins the feed key 2 and knows nothing yet.
pub fn verifier() -> Verifier {
    let pin = key(2).public().thumbprint();
    Verifier::builder(ISSUER.parse().unwrap(), pin, manifest())
        .clock(Arc::new(ManualClock::new(time())))
        .build()
}

/// A verifier that knows the feed keys and the frame `first`.
pub fn told(first: &str) -> Verifier {
    let verifier = verifier();
    verifier
        .accept_key_document(&key_document().into())
        .unwrap();
    verifier.accept_frame(first).unwrap();
    verifier
}

/// What `pass` is worth for one call of `transfer`.
pub fn decision(verifier: &Verifier, pass: &str) -> Value {
    let arguments = json!({"amount": 100, "path": "/srv/data/a"});
    let permit = verifier
        .verify(pass)
        .and_then(|pass| verifier.clear(&pass, &Call::tool("transfer", Some(&arguments))));
    match permit {
        Ok(_) => json!("allow"),
        Err(denial) => json!(denial.codes()),
    }
}

/// All that can be seen of a verifier.
pub fn seen(verifier: &Verifier, pass: &str) -> Value {
    let memory = verifier.memory();
    let keys = memory.feed_keys.iter().map(|key| key.thumbprint());
    json!({
        "epoch": memory.epoch,
        "sequence": memory.sequence,
        "feed_keys": keys.collect::<Vec<_>>(),
        "revocations": verifier.revocation_count(),
        "tools": verifier.manifest().tools.keys().collect::<Vec<_>>(),
        "decision": decision(verifier, pass),
    })
}

/// An error of a frame or a key document, as the vectors spell it.
pub fn spelled(error: &FrameError) -> Value {
    match error {
        FrameError::Critical { member } => json!({"answer": "critical", "member": member}),
        FrameError::Format { found } => json!({"answer": "format", "found": found}),
        FrameError::Unreadable { .. } => json!({"answer": "unreadable"}),
        other => json!({"answer": "refused", "why": other.to_string()}),
    }
}
