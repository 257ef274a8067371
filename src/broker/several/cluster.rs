//! Brokers that share a ledger in memory, each with as much as a test needs: no data directory, no server.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    BrokerError, Caller, Issuance, Issued, KeyFileError, KeyStore, Limits, OpenTask, Policies,
    Revocations, Revoke, Tasks,
    change::{Changes, Decided, View},
    disk::reserve::DiskReserve,
    domain::{
        event::{Actor, AgentRecord, KeyPurpose, LedgerEvent, Subject},
        one_time::UsedAssertion,
        state::{State, cell::StateCell},
    },
    issuing::decision_queue::DecisionQueue,
    keys::lifecycle::{Keys, Rotation},
    ledger::{
        Ledger,
        memory::{MemoryLedger, SharedLog},
        record::Record,
    },
    policy::{Catalogue, PolicyFile, PolicySet},
    registry::directory::{Directory, SharedDirectory},
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, ServerUri, StewardId, TaskId},
        key::PrivateKey,
        secret_file::SecretFileError,
        time::{ManualClock, Timestamp},
    },
    token::{RequestedDetail, manifest::Manifest},
};

pub(super) const SERVER: &str = "https://s.example/mcp";
const GRANT: &str = "[[grant]]\nid = \"g\"\nagents = [\"bot\"]\nserver = \"s\"\ntools = [\"read\"]\nmax_ttl = \"10m\"\n";

/// Keys in memory, for all brokers.
#[derive(Debug, Clone, Default)]
struct MemoryKeys(Arc<Mutex<HashMap<String, Value>>>);

impl KeyStore for MemoryKeys {
    fn load(&self, name: &str) -> Result<PrivateKey, KeyFileError> {
        let keys = self.0.lock().unwrap();
        let missing = || {
            KeyFileError::File(SecretFileError::Io {
                action: "read",
                path: PathBuf::from(name),
                source: std::io::ErrorKind::NotFound.into(),
            })
        };
        let jwk = keys.get(name).ok_or_else(missing)?.to_string();
        Ok(PrivateKey::from_jwk(&jwk).unwrap().0)
    }

    fn store(&self, name: &str, key: &PrivateKey) -> Result<(), KeyFileError> {
        let jwk = serde_json::from_str(&key.dangerous_jwk(None)).unwrap();
        self.0.lock().unwrap().insert(name.to_owned(), jwk);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), KeyFileError> {
        self.0.lock().unwrap().remove(name);
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        name.to_owned()
    }
}

/// Brokers of one ledger.
pub(super) struct Cluster {
    pub(super) log: Arc<SharedLog>,
    pub(super) clock: Arc<ManualClock>,
    keys: MemoryKeys,
    pub(super) brokers: Vec<Member>,
}

/// As much of a broker as opens tasks, mints, revokes and completes.
pub(super) struct Member {
    pub(super) ledger: Arc<MemoryLedger>,
    pub(super) state: Arc<StateCell>,
    pub(super) changes: Arc<Changes>,
    pub(super) issuance: Issuance,
    pub(super) revocations: Revocations,
    pub(super) tasks: Tasks,
}

pub(super) fn agent() -> AgentId {
    "bot".parse().unwrap()
}

pub(super) fn steward() -> StewardId {
    format!("stw_{:032x}", 1).parse().unwrap()
}

pub(super) fn server() -> ServerUri {
    SERVER.parse().unwrap()
}

pub(super) fn as_agent() -> Caller {
    Caller::broker().by(Actor::Agent(agent()))
}

impl Cluster {
    /// `count` brokers that know one agent, its steward and one server.
    pub(super) async fn of(count: usize) -> Self {
        let mut cluster = Self {
            log: Arc::default(),
            clock: Arc::new(ManualClock::new(Timestamp::from_unix_seconds(
                1_795_000_000,
            ))),
            keys: MemoryKeys::default(),
            brokers: Vec::new(),
        };
        for by in 0..count {
            let member = cluster.broker(by);
            cluster.brokers.push(member);
        }
        cluster.brokers[0].register_all().await;
        for member in &cluster.brokers {
            member.ledger.follow();
            member.issuance.keys.follow_keys().unwrap();
        }
        cluster
    }

    fn broker(&self, by: usize) -> Member {
        let state = Arc::new(StateCell::new(State::default()));
        let applied = Arc::clone(&state);
        let apply = Box::new(move |records: &[Record]| {
            let _ = applied.apply(records);
        });
        let ledger = Arc::new(MemoryLedger::new(Arc::clone(&self.log), by, apply));
        let shared: Arc<dyn Ledger> = Arc::<MemoryLedger>::clone(&ledger);
        let changes = Arc::new(Changes::new(
            shared,
            Arc::clone(&state),
            Arc::<ManualClock>::clone(&self.clock),
            Arc::new(DiskReserve::before_opening(Path::new("/nowhere"))),
        ));
        let limits = Limits {
            issuer: "https://broker.example".parse().unwrap(),
            max_task_ttl: Duration::from_secs(8 * 3600),
            max_pass_ttl: Duration::from_secs(3600),
        };
        let rotation = Rotation {
            issuer: limits.issuer.clone(),
            overlap: Duration::from_secs(120),
            after: None,
        };
        let store = Box::new(self.keys.clone());
        let keys = Arc::new(Keys::new(Arc::clone(&changes), store, rotation));
        let policy = Policies::new(Arc::clone(&changes), PathBuf::new()).unwrap();
        policy.put(policy_set());
        let directory = Directory::open(PathBuf::from("/nowhere/stewards.json")).unwrap();
        Member {
            issuance: Issuance {
                changes: Arc::clone(&changes),
                policy: Arc::new(policy),
                keys: Arc::clone(&keys),
                directory: Arc::new(SharedDirectory::new(directory)),
                limits: limits.clone(),
                queue: DecisionQueue::for_this_machine(),
            },
            revocations: Revocations {
                changes: Arc::clone(&changes),
                keys,
                limits,
            },
            tasks: Tasks {
                changes: Arc::clone(&changes),
                views: None,
            },
            ledger,
            state,
            changes,
        }
    }

    /// The state of every broker once it has all records.
    pub(super) fn states(&self) -> Vec<Value> {
        self.brokers
            .iter()
            .map(|member| {
                member.ledger.follow();
                serde_json::to_value(&*member.state.read()).unwrap()
            })
            .collect()
    }

    /// The events that were recorded, in order.
    pub(super) fn events(&self) -> Vec<LedgerEvent> {
        let records = self.log.records();
        records
            .into_iter()
            .map(|record| record.entry.event)
            .collect()
    }
}

impl Member {
    async fn register_all(&self) {
        self.issuance.keys.make_first_keys().await.unwrap();
        let caller = Caller::broker();
        let decide = |view: &View<'_>| {
            let now = view.now();
            let agent = AgentRecord {
                agent: agent(),
                steward: steward(),
                groups: BTreeSet::new(),
                keys: vec![json!({})],
                registered_at: now,
                secrets: Vec::new(),
                client: None,
            };
            let events = vec![
                LedgerEvent::StewardAdded { steward: steward() },
                LedgerEvent::AgentSet { agent },
                LedgerEvent::ServerSet {
                    manifest: manifest(),
                },
            ];
            Ok::<_, BrokerError>(Decided::record(now, events, ()))
        };
        self.changes.in_turn(&caller, decide).await.unwrap();
    }

    pub(super) async fn open(&self) -> Result<Issued, BrokerError> {
        self.open_as(&as_agent()).await
    }

    /// As [`open`](Self::open), proved by assertion number `number`.
    pub(super) async fn open_with(&self, number: usize) -> Result<Issued, BrokerError> {
        let used = UsedAssertion {
            agent: agent(),
            jti: Digest::of(&number.to_be_bytes()),
            expires_at: self.changes.now().plus(Duration::from_secs(60)),
        };
        self.changes.use_assertion(&used)?;
        let assertion = Some(used);
        self.open_as(&Caller {
            assertion,
            ..as_agent()
        })
        .await
    }

    /// Makes a root key that signs later.
    pub(super) async fn rotate_root(&self) -> Result<(), BrokerError> {
        let keys = &self.issuance.keys;
        keys.rotate_key(&Caller::broker(), KeyPurpose::Root)
            .await
            .map(drop)
    }

    async fn open_as(&self, caller: &Caller) -> Result<Issued, BrokerError> {
        let mut detail = RequestedDetail::new(server());
        detail.tools.push("read".parse().unwrap());
        let request = OpenTask {
            purpose: "count".to_owned(),
            ttl: Duration::from_secs(3600),
            details: vec![detail],
            fixed_rights: false,
            allow_partial: false,
            steward: None,
            verified: None,
            context: BTreeMap::new(),
            holder: None,
        };
        let issuance = &self.issuance;
        issuance.open_task(caller, &agent(), request).await
    }

    pub(super) async fn renew(&self, task: &TaskId) -> Result<Issued, BrokerError> {
        let (issuance, again) = (&self.issuance, (task, crate::IssueAgain::default()));
        issuance.issue_again(&as_agent(), &agent(), again).await
    }

    pub(super) async fn complete(&self, task: &TaskId) -> Result<(), BrokerError> {
        let (caller, agent) = (as_agent(), agent());
        let completed = self.tasks.complete_task(&caller, &agent, task).await;
        completed.map(drop)
    }

    pub(super) async fn revoke(&self, subject: Subject) -> Result<(), BrokerError> {
        let revoke = Revoke {
            subject,
            only_token: false,
            reason: None,
        };
        let caller = Caller::broker();
        let revoked = self.revocations.revoke(&caller, revoke).await;
        revoked.map(drop)
    }

    pub(super) async fn reinstate(&self, subject: Subject) -> Result<(), BrokerError> {
        self.revocations.reinstate(&Caller::broker(), subject).await
    }
}

fn manifest() -> Manifest {
    let manifest = json!({"server": SERVER, "name": "s", "tools": {"read": {"read_only": true}}});
    serde_json::from_value(manifest).unwrap()
}

/// Compiled once for all clusters.
fn policy_set() -> Arc<PolicySet> {
    static SET: OnceLock<Arc<PolicySet>> = OnceLock::new();
    let set = SET.get_or_init(|| {
        let catalogue = Catalogue::new([Arc::new(manifest())]).unwrap();
        let file = PolicyFile {
            name: "policy/g.toml".to_owned(),
            text: GRANT.to_owned(),
        };
        Arc::new(PolicySet::from_files(vec![file], &catalogue).unwrap().0)
    });
    Arc::clone(set)
}
