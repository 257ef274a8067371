//! Entries for tests of the journal, the index and the audit trail.

use std::collections::{BTreeMap, BTreeSet};

use hallpass_broker::{
    domain::event::{
        Actor, AgentRecord, Entry, LedgerEvent, RecordedReason, RevocationRecord, Subject,
        TaskRecord, TokenRecord,
    },
    ledger::{
        Receipt,
        file::{Journal, JournalError},
    },
};
use hallpass_core::{
    base::{ReasonCode, digest::Digest, ids::RevocationId, time::Timestamp},
    token::GrantedDetail,
};
use proptest::prelude::*;
use serde_json::Value;

/// [`Journal::append`] for tests that wait for it on their own thread.
pub trait AppendBlocking {
    fn append_blocking(&self, entries: Vec<Entry>) -> Result<Receipt, JournalError>;
}

impl AppendBlocking for Journal {
    fn append_blocking(&self, entries: Vec<Entry>) -> Result<Receipt, JournalError> {
        // A runtime cannot wait inside another one, and some of these tests have one.
        std::thread::scope(|scope| {
            let append = || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.build().unwrap().block_on(self.append(entries))
            };
            scope.spawn(append).join().unwrap()
        })
    }
}

pub fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_795_000_000 + second)
}

pub fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(prefix: &str, n: u64) -> T {
    format!("{prefix}_{n:032x}").parse().unwrap()
}

pub fn block(n: u64) -> RevocationId {
    let mut bytes = [0; 64];
    bytes[56..].copy_from_slice(&n.to_be_bytes());
    RevocationId::from_bytes(bytes)
}

pub fn entry(event: LedgerEvent) -> Entry {
    Entry {
        at: at(0),
        actor: Actor::Broker,
        request: None,
        trace: None,
        idempotency: None,
        event,
    }
}

/// A small entry that is told apart by `n`.
pub fn note(n: u64) -> Entry {
    opened(n, "bot", 1, "count the beans")
}

pub fn opened(task: u64, agent: &str, steward: u64, purpose: &str) -> Entry {
    entry(LedgerEvent::TaskOpened {
        task: TaskRecord {
            task: id("tsk", task),
            agent: agent.parse().unwrap(),
            steward: id("stw", steward),
            answered_for_by: None,
            purpose: purpose.to_owned(),
            opened_at: at(0),
            ends_at: at(3600),
            context: BTreeMap::new(),
            asked: Vec::new(),
            fixed_rights: false,
            allow_partial: false,
            holder: None,
            client_secret: None,
            parent: None,
            consented: false,
            verified: None,
        },
    })
}

pub fn issued(task: u64, token: u64, server: &str) -> Entry {
    let mut right = GrantedDetail::new(server.parse().unwrap());
    right.tools.push("read_ledger".parse().unwrap());
    entry(LedgerEvent::TokenIssued {
        task: id("tsk", task),
        token: TokenRecord {
            revocation_id: block(token),
            key: hallpass_core::base::ids::KeyId(1),
            issued_at: at(0),
            expires_at: at(600),
            rights: vec![right],
            holder: None,
            decided_by: Vec::new(),
            policy: Digest::of(b"policy"),
        },
    })
}

pub fn revoked(subject: Subject) -> Entry {
    let servers = BTreeSet::new();
    let (cut_off, expires_at) = (at(10), at(700));
    let reason = Some("lost laptop".to_owned());
    entry(LedgerEvent::Revoked {
        revocation: RevocationRecord {
            subject,
            cut_off,
            expires_at,
            only_token: false,
            reason,
            task: None,
            appended_to: None,
            servers,
        },
    })
}

pub fn delegated(task: u64, blocks: &[u64], delegate: &str) -> Entry {
    let blocks = blocks.iter().map(|n| block(*n)).collect();
    entry(LedgerEvent::DelegationReported {
        task: id("tsk", task),
        blocks,
        delegate: Some(delegate.to_owned()),
        registered: None,
    })
}

pub fn refused(agent: &str, task: Option<u64>, detail: &str) -> Entry {
    entry(LedgerEvent::RequestRefused {
        agent: agent.parse().unwrap(),
        steward: id("stw", 1),
        task: task.map(|n| id("tsk", n)),
        asked: Vec::new(),
        asked_digest: None,
        reasons: vec![RecordedReason {
            code: ReasonCode::NoGrant,
            detail: detail.to_owned(),
        }],
    })
}

/// An agent whose key is any JSON at all.
pub fn agent_entry(key: Value) -> Entry {
    entry(LedgerEvent::AgentSet {
        agent: AgentRecord {
            agent: "bot".parse().unwrap(),
            steward: id("stw", 1),
            groups: BTreeSet::new(),
            keys: vec![key],
            registered_at: at(0),
            secrets: Vec::new(),
            client: None,
        },
    })
}

/// Entries over a few agents, tasks, tokens and servers, with any text and times that go back.
pub fn any_entry() -> impl Strategy<Value = Entry> {
    let agent = || prop::sample::select(vec!["bot", "scout", "bot2"]);
    let server = || prop::sample::select(vec!["https://a.example/mcp", "https://b.example/mcp"]);
    let event = prop_oneof![
        (0..5_u64, agent(), 0..3_u64, any::<String>())
            .prop_map(|(t, a, s, text)| opened(t, a, s, &text)),
        (0..5_u64, 0..9_u64, server()).prop_map(|(t, token, server)| issued(t, token, server)),
        (0..9_u64).prop_map(|n| revoked(Subject::RevocationId(block(n)))),
        (0..5_u64).prop_map(|n| revoked(Subject::Task(id("tsk", n)))),
        (
            0..5_u64,
            prop::collection::vec(0..9_u64, 1..4),
            any::<String>()
        )
            .prop_map(|(t, blocks, to)| delegated(t, &blocks, &to)),
        (agent(), prop::option::of(0..5_u64), any::<String>())
            .prop_map(|(a, t, text)| refused(a, t, &text)),
        any::<String>().prop_map(|text| agent_entry(Value::String(text))),
    ];
    let actor = prop_oneof![
        Just(Actor::Broker),
        agent().prop_map(|agent| Actor::Agent(agent.parse().unwrap())),
        Just(Actor::Operator("root".parse().unwrap())),
    ];
    (event, actor, 0..60_u64, prop::option::of(0..4_u8)).prop_map(|(entry, actor, second, key)| {
        Entry {
            at: at(second),
            actor,
            idempotency: key.map(|key| Digest::of(&[key])),
            ..entry
        }
    })
}
