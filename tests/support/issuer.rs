//! What several tests need: a broker's keys, a manifest, a verifier that has heard from its broker.

use std::sync::Arc;

use hallpass_core::{
    base::{
        ids::{KeyId, ServerUri},
        key::PrivateKey,
        time::{Clock, ManualClock, Timestamp},
    },
    token::{self, GrantedDetail, PassContent, PassToken, RootKey, manifest::Manifest},
    wire::document::{Frame, KeyDocument, RevocationEntry, RootKeyEntry},
};
use hallpass_verify::{Verifier, VerifierBuilder};
use serde_json::{Value, json};

pub const SERVER: &str = "https://ledger.example/mcp";
pub const ISSUER: &str = "https://broker.example";

/// A broker's keys and sequence, without a broker.
pub struct Issuer {
    pub root: RootKey,
    pub feed: PrivateKey,
    pub clock: Arc<ManualClock>,
    pub sequence: std::cell::Cell<u64>,
}

impl Issuer {
    pub fn new() -> Self {
        let root = RootKey::new(KeyId(1), &PrivateKey::from_seed(&[1; 32])).unwrap();
        let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
        Self {
            root,
            feed: PrivateKey::from_seed(&[2; 32]),
            clock,
            sequence: std::cell::Cell::new(1),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn content(&self, rights: Vec<GrantedDetail>) -> PassContent {
        PassContent {
            issuer: ISSUER.parse().unwrap(),
            task: "tsk_00000000000000000000000000000001".parse().unwrap(),
            agent: "research-bot".parse().unwrap(),
            steward: "stw_00000000000000000000000000000001".parse().unwrap(),
            issued_at: self.now().floor_second(),
            expires_at: self
                .now()
                .floor_second()
                .plus(std::time::Duration::from_secs(300)),
            holder: None,
            rights,
        }
    }

    pub fn mint(&self, rights: Vec<GrantedDetail>) -> PassToken {
        self.mint_content(&self.content(rights))
    }

    pub fn mint_content(&self, content: &PassContent) -> PassToken {
        token::mint(&self.root, content).unwrap().token
    }

    pub fn frame(&self) -> Frame {
        self.sequence.set(self.sequence.get() + 1);
        Frame {
            v: hallpass_core::base::format::Format::One,
            iss: ISSUER.parse().unwrap(),
            aud: SERVER.parse().unwrap(),
            epoch: 1,
            since: None,
            sequence: self.sequence.get(),
            at: self.now(),
            keys: Some(vec![RootKeyEntry {
                id: self.root.id(),
                key: self.root.public(),
            }]),
            feed_keys: Some(vec![self.feed.public()]),
            manifest: None,
            revocations: Vec::new(),
            suspended_holders: None,
        }
    }

    pub fn key_document(&self) -> KeyDocument {
        KeyDocument {
            v: hallpass_core::base::format::Format::One,
            iss: ISSUER.parse().unwrap(),
            at: self.now(),
            keys: Vec::new(),
            feed_key: self.feed.public(),
            feed_key_chain: Vec::new(),
            checkpoint_key: None,
            checkpoint_key_chain: Vec::new(),
        }
    }

    /// A verifier that knows the feed key and has heard nothing.
    pub fn silent_verifier(&self) -> Verifier {
        self.silent_verifier_with(|builder| builder)
    }

    fn silent_verifier_with(
        &self,
        set: impl FnOnce(VerifierBuilder) -> VerifierBuilder,
    ) -> Verifier {
        let builder = Verifier::builder(
            ISSUER.parse().unwrap(),
            self.feed.public().thumbprint(),
            manifest(),
        );
        let verifier = set(builder.clock(self.clock.clone())).build();
        verifier
            .accept_key_document(&self.key_document().into())
            .unwrap();
        verifier
    }

    /// A verifier with other settings that has its first snapshot.
    pub fn verifier_with(&self, set: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Verifier {
        let verifier = self.silent_verifier_with(set);
        self.tell(&verifier, self.frame());
        verifier
    }

    /// A verifier that has its first snapshot.
    pub fn verifier(&self) -> Verifier {
        self.verifier_with(|builder| builder)
    }

    pub fn tell(&self, verifier: &Verifier, frame: Frame) {
        verifier
            .accept_frame(&frame.sign(&self.feed).unwrap())
            .unwrap();
    }

    pub fn revoke(&self, verifier: &Verifier, entry: RevocationEntry) {
        let mut frame = self.frame();
        frame.revocations.push(entry);
        self.tell(verifier, frame);
    }
}

pub fn manifest() -> Manifest {
    let tool = |value: Value| value;
    serde_json::from_value(json!({
        "server": SERVER,
        "name": "ledger",
        "tools": {
            "read_ledger": tool(json!({"read_only": true, "arguments": ["/year"]})),
            "search_ledger": {"read_only": true},
            "transfer": {"irreversible": true, "path_arguments": ["/path", "/paths"], "url_arguments": ["/url"]},
            "delete_ledger": {"irreversible": true, "labels": {"risk": "high"}},
        },
        "prompts": {"summary": {}},
        "resources": [{"uri": "file:///srv/data"}],
    }))
    .unwrap()
}

pub fn server() -> ServerUri {
    SERVER.parse().unwrap()
}

/// Rights on the ledger from JSON, without `type` and `server`.
pub fn rights(members: Value) -> GrantedDetail {
    let mut detail = json!({"type": "mcp", "server": SERVER});
    detail
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    serde_json::from_value(detail).unwrap()
}
