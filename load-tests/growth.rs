//! What many mints with short lives leave on the disk and in memory, and how long the next start takes.
//!
//! `cargo bench -p hallpass-load-tests --bench growth -- 1000000 [directory]` opens that many tasks through the broker, on a clock that
//! moves on by two hours after every two thousand of them, so that what ended is forgotten and old segments go.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use hallpass_broker::{
    Broker, Caller, NewAgent, OpenTask, Options, Retention, domain::event::Actor,
};
use hallpass_core::base::{ids::AgentId, time::ManualClock};
use serde_json::json;
use tokio::task::JoinSet;

const SERVER: &str = "https://ledger.example/mcp";
const MEBIBYTE: u64 = 1024 * 1024;
const LIVE: usize = 2000;
const AT_ONCE: usize = 64;

struct Setup {
    directory: PathBuf,
    clock: Arc<ManualClock>,
}

impl Setup {
    async fn open(&self) -> Arc<Broker> {
        let options = Options {
            retention: Retention {
                segment_bytes: 4 * MEBIBYTE,
                keep_bytes: Some(16 * MEBIBYTE),
                ..Retention::default()
            },
            ..Options::new(
                "https://broker.example".parse().unwrap(),
                self.directory.join("data"),
                self.directory.join("policy"),
            )
        };
        Broker::open(options, self.clock.clone())
            .await
            .unwrap()
            .broker
    }

    fn bytes(&self, name: &str) -> u64 {
        bytes_in(&self.directory.join("data").join(name))
    }
}

fn bytes_in(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap());
    let size = |file: fs::DirEntry| {
        if file.path().is_dir() {
            bytes_in(&file.path())
        } else {
            file.metadata().map_or(0, |file| file.len())
        }
    };
    files.map(size).sum()
}

async fn register_all(broker: &Broker) -> AgentId {
    let manifest =
        json!({"server": SERVER, "name": "ledger", "tools": {"read_ledger": {"read_only": true}}});
    broker
        .registry
        .set_server(&Caller::broker(), serde_json::from_value(manifest).unwrap())
        .await
        .unwrap();
    let agent: AgentId = "bot".parse().unwrap();
    let key =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let (groups, default_details) = ([].into(), Vec::new());
    let new = NewAgent {
        agent: agent.clone(),
        steward: "alice".into(),
        groups,
        keys: vec![key],
        default_details,
        redirect_uris: Vec::new(),
    };
    broker
        .registry
        .add_agent(&Caller::broker(), new)
        .await
        .unwrap();
    agent
}

fn task() -> OpenTask {
    let detail = json!({"type": "mcp", "server": SERVER, "tools": ["read_ledger"]});
    OpenTask {
        purpose: "close the Q3 books".to_owned(),
        ttl: Duration::from_secs(60),
        details: vec![serde_json::from_value(detail).unwrap()],
        fixed_rights: false,
        allow_partial: false,
        steward: None,
        verified: None,
        context: BTreeMap::new(),
        holder: None,
    }
}

async fn mint(broker: &Arc<Broker>, agent: &AgentId, tasks: usize) {
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE {
        let (broker, agent) = (Arc::clone(broker), agent.clone());
        let caller = Caller {
            actor: Actor::Agent(agent.clone()),
            ..Caller::broker()
        };
        let share = tasks / AT_ONCE + usize::from(worker < tasks % AT_ONCE);
        workers.spawn(async move {
            for _ in 0..share {
                broker
                    .issuance
                    .open_task(&caller, &agent, task())
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
}

/// A line of `/proc/self/status`, in MiB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim_start_matches(':')
        .split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

async fn run(tasks: usize, directory: PathBuf) {
    let clock = Arc::new(ManualClock::new("2026-11-22T10:00:00Z".parse().unwrap()));
    let setup = Setup { directory, clock };
    fs::create_dir_all(setup.directory.join("policy")).unwrap();
    fs::write(setup.directory.join("policy/reads.toml"), GRANT).unwrap();
    let broker = setup.open().await;
    let agent = register_all(&broker).await;
    broker
        .policy
        .reload_policy(&Caller::broker())
        .await
        .unwrap()
        .unwrap();
    let begun = Instant::now();
    let mut most = 0;
    let steps = tasks.div_ceil(LIVE);
    for step in 1..=steps {
        mint(&broker, &agent, LIVE).await;
        setup.clock.advance(Duration::from_secs(2 * 3600));
        broker.maintain().await.unwrap();
        mint(&broker, &agent, 1).await;
        let worker = Arc::clone(&broker);
        tokio::task::spawn_blocking(move || worker.retire().unwrap())
            .await
            .unwrap();
        most = most.max(setup.bytes("journal") + setup.bytes("index"));
        if step % 50 == 0 || step == steps {
            report(&setup, &broker, step * LIVE, begun);
        }
    }
    println!("most on the disk after a removal: {} MiB", most / MEBIBYTE);
    let live = serde_json::to_vec(&*broker.state()).unwrap().len();
    println!(
        "living state as JSON: {} KiB; largest resident size {} MiB",
        live / 1024,
        memory("VmHWM")
    );
    broker.close().await.unwrap();
    drop(broker);
    let begun = Instant::now();
    let broker = setup.open().await;
    println!(
        "next start, until ready: {:?}, {} MiB resident",
        begun.elapsed(),
        memory("VmRSS")
    );
    broker.close().await.unwrap();
    drop(broker);
    fs::remove_dir_all(setup.directory.join("data/index")).unwrap();
    let begun = Instant::now();
    drop(setup.open().await);
    println!("start without an index: {:?}", begun.elapsed());
}

fn report(setup: &Setup, broker: &Broker, tasks: usize, begun: Instant) {
    println!(
        "{tasks} tasks, {} records, first kept {}: journal {} MiB, index {} MiB, resident {} MiB, {:?}",
        broker.views().head().sequence,
        broker.views().first(),
        setup.bytes("journal") / MEBIBYTE,
        setup.bytes("index") / MEBIBYTE,
        memory("VmRSS"),
        begun.elapsed()
    );
}

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let tasks = arguments
        .next()
        .map_or(20_000, |tasks| tasks.parse().unwrap());
    let parent = arguments
        .next()
        .map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let directory = tempfile::TempDir::new_in(parent).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run(tasks, directory.path().to_owned()));
}

const GRANT: &str = r#"
[[grant]]
id = "reads"
agents = ["bot"]
server = "ledger"
tools = ["read_*"]
max_ttl = "1m"
"#;
