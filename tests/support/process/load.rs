//! Clients that mint and revoke, and remember what they were told.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass_broker::{Broker, Options, domain::event::Subject, identity::AgentKey};
use hallpass_core::base::time::SystemClock;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};

use super::{BrokerProcess, ISSUER};

/// What the clients were told.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Task and first block's id.
    pub minted: Vec<(String, String)>,
    pub revoked: Vec<Revoked>,
}

/// A pass that was revoked, and where the broker said that this is recorded.
#[derive(Debug, Clone)]
pub struct Revoked {
    pub id: String,
    pub token: String,
    pub sequence: u64,
}

/// Clients at work; they go on over a halt of the broker, and stop when they are told to.
pub struct Load {
    told: Arc<Mutex<Answers>>,
    count: watch::Receiver<u64>,
    stopped: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Eight clients mint, and revoke every second of what they minted.
    pub fn on(running: &Arc<BrokerProcess>, key: &Arc<AgentKey>) -> Self {
        let (told, stopped) = (Arc::default(), Arc::default());
        let (sender, count) = watch::channel(0);
        let sender = Arc::new(sender);
        let client = |_| {
            let (running, key) = (Arc::clone(running), Arc::clone(key));
            let (told, stopped, sender) =
                (Arc::clone(&told), Arc::clone(&stopped), Arc::clone(&sender));
            tokio::spawn(async move {
                mint_and_revoke((&running, &key), &told, (&stopped, &sender)).await
            })
        };
        let clients = (0..8).map(client).collect();
        Self {
            told,
            count,
            stopped,
            clients,
        }
    }

    /// Returns at the moment in which `mints` more were answered than when it was called.
    pub async fn answered(&mut self, mints: u64) {
        let enough = *self.count.borrow() + mints;
        let reached = self.count.wait_for(|count| *count >= enough);
        tokio::time::timeout(PATIENCE, reached)
            .await
            .expect("the broker hardly answers")
            .unwrap();
    }

    /// What was told up to now.
    pub fn told(&self) -> Answers {
        self.told.lock().unwrap().clone()
    }

    /// What was told in all, once every client has its last answer or error.
    pub async fn end(self) -> Answers {
        self.stopped.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.unwrap();
        }
        Arc::into_inner(self.told).unwrap().into_inner().unwrap()
    }
}

async fn mint_and_revoke(
    (running, key): (&BrokerProcess, &AgentKey),
    told: &Mutex<Answers>,
    (stopped, count): (&AtomicBool, &watch::Sender<u64>),
) {
    let mut revokes = false;
    while !stopped.load(Ordering::SeqCst) {
        let Ok(issued) = running.as_agent(key, "/v1/tasks", wants()).await else {
            // Whoever is refused, or finds nobody there, must not spin.
            tokio::task::yield_now().await;
            continue;
        };
        let text = |name: &str| issued[name].as_str().unwrap().to_owned();
        told.lock()
            .unwrap()
            .minted
            .push((text("task_id"), text("revocation_id")));
        count.send_modify(|count| *count += 1);
        if revokes && let Ok(sequence) = revoke(running, &text("revocation_id")).await {
            let revoked = Revoked {
                id: text("revocation_id"),
                token: text("token"),
                sequence,
            };
            told.lock().unwrap().revoked.push(revoked);
        }
        revokes = !revokes;
    }
}

/// Revokes a pass; returns where that is recorded.
pub async fn revoke(running: &BrokerProcess, id: &str) -> Result<u64, String> {
    let answer = running
        .as_admin(
            "POST",
            "/v1/revocations",
            Some(json!({"revocation_id": id})),
        )
        .await?;
    Ok(answer["sequence"].as_u64().unwrap())
}

/// A server, an agent with a new key and a grant: what minting needs.
pub async fn register_all(running: &BrokerProcess) -> Arc<AgentKey> {
    let key = AgentKey::generate("crash-bot".parse().unwrap());
    running
        .as_admin("POST", "/v1/servers", Some(manifest()))
        .await
        .unwrap();
    let agent = json!({"agent": "crash-bot", "steward": "alice", "keys": [key.public_jwk()]});
    running
        .as_admin("POST", "/v1/agents", Some(agent))
        .await
        .unwrap();
    let grant = json!({"id": "reads", "agents": ["crash-bot"], "server": "ledger", "tools": ["read_*"], "max_ttl": "1h"});
    running
        .as_admin("POST", "/v1/policy/grants", Some(grant))
        .await
        .unwrap();
    Arc::new(key)
}

pub fn manifest() -> Value {
    json!({"server": SERVER, "name": "ledger", "tools": {"read_ledger": {"read_only": true}}})
}

pub fn wants() -> Value {
    let detail = json!({"type": "mcp", "server": SERVER, "tools": ["read_ledger"]});
    json!({"purpose": "crash", "ttl_seconds": 3600, "authorization_details": [detail]})
}

/// Opens a broker's home without a process; what the clients were told and is not there, in words.
///
/// # Errors
///
/// When it does not open, with the reason.
pub async fn missing(home: &Path, told: &Answers) -> Result<Vec<String>, String> {
    let options = Options::new(
        ISSUER.parse().unwrap(),
        home.join("data"),
        home.join("policy"),
    );
    let opened = Broker::open(options, Arc::new(SystemClock::default()))
        .await
        .map_err(|error| error.to_string())?;
    let broker = opened.broker;
    let mut missing = Vec::new();
    {
        let state = broker.state();
        for (task, id) in &told.minted {
            let live = state.task(&task.parse().unwrap());
            if live.is_none_or(|live| {
                live.tokens
                    .iter()
                    .all(|token| token.revocation_id.to_string() != *id)
            }) {
                missing.push(format!("pass {id} of task {task}"));
            }
        }
    }
    let listed = broker.revocations.revocations(None, usize::MAX);
    for Revoked { id, sequence, .. } in &told.revoked {
        let subject = Subject::RevocationId(id.parse().unwrap());
        if !listed
            .iter()
            .any(|revoked| revoked.sequence == *sequence && revoked.view.subject == subject)
        {
            missing.push(format!("revocation {sequence} of {id}"));
        }
    }
    // The grant was written to the policy directory before anything could be minted by it.
    if !told.minted.is_empty() && broker.policy.policy().grants.is_empty() {
        missing.push("the grant".to_owned());
    }
    broker.close().await.map_err(|error| error.to_string())?;
    Ok(missing)
}

pub const SERVER: &str = "https://ledger.example/mcp";

const PATIENCE: Duration = Duration::from_secs(60);
