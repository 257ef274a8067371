//! Floods: strangers and single agents use up what they can, one way after the other and all at once, beside honest
//! work that must go on.
//!
//! Every test run floods for a moment each way, and everybody must be served. `HALLPASS_FLOOD_SECONDS=20 cargo test --release
//! --test process flood -- --nocapture` floods for so long each way, prints the table of `docs/security.md`, and nobody may wait
//! long. Times are held to nothing without that: beside other tests, and in a build that is not optimised, they say little.

mod attacks;
mod honest;

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use hallpass_broker::identity::AgentKey;
use serde_json::{Map, Value, json};
use support::process::{BrokerHome, BrokerProcess, setup::Setup};
use tokio::runtime::{Builder, Runtime};

use crate::flood::{
    attacks::{ATTACKS, Attack},
    honest::{Measured, Work},
};

#[tokio::test(flavor = "multi_thread")]
async fn honest_work_goes_on_while_strangers_and_single_agents_flood() {
    raise_open_files();
    let mut home = BrokerHome::new();
    // What a broker has that nobody configured.
    home.set("HALLPASS_LIMITS_REQUESTS_PER_SECOND", "100");
    home.set("HALLPASS_LIMITS_BURST", "200");
    // A line for each refused request is no work of the flood's that is to be measured.
    home.set(
        "HALLPASS_LOG_FILTER",
        "warn,hallpass=info,hallpass::server::middleware=warn",
    );
    let broker = Arc::new(home.serve().await);
    let setup = Arc::new(Setup::of(&broker).await);
    let flooder = register_flooder(&broker).await;
    let target = Arc::new(Target {
        url: broker.url().to_owned(),
        address: broker.url().trim_start_matches("http://").parse().unwrap(),
        admin: broker.admin().to_owned(),
        flooder,
    });
    let work = Work::begin(&broker, &setup).await;
    let given = std::env::var("HALLPASS_FLOOD_SECONDS").ok();
    let given = given.map(|text| Duration::from_secs(text.parse().unwrap()));
    let length = given.unwrap_or(SHORT);
    let idle = phase("idle", &work, &broker, length.max(IDLE)).await;
    let mut phases = Vec::new();
    for attack in ATTACKS {
        let flood = Flood::begin(&target, std::slice::from_ref(attack));
        phases.push(phase(attack.name, &work, &broker, length).await);
        flood.end();
    }
    let flood = Flood::begin(&target, ATTACKS);
    phases.push(phase("all at once", &work, &broker, length).await);
    flood.end();
    let calm = phase("afterwards", &work, &broker, length).await;
    work.end().await;
    eprintln!("{}", Measured::HEADER);
    eprintln!("{idle}");
    phases.iter().for_each(|phase| eprintln!("{phase}"));
    eprintln!("{calm}");
    for measured in &phases {
        measured.assert_served();
        if given.is_some() {
            measured.assert_fast(&idle);
        }
    }
    Arc::into_inner(broker).unwrap().stop().await;
}

/// What is flooded.
pub struct Target {
    url: String,
    address: SocketAddr,
    admin: String,
    /// A registered agent; some grants speak of it.
    flooder: AgentKey,
}

/// Attacks under way.
///
/// They have a thread of their own. The broker shares the machine's cores with them, which it would not share with
/// strangers, and honest clients share none of theirs.
struct Flood(Runtime);

impl Flood {
    fn begin(target: &Arc<Target>, attacks: &[Attack]) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        for attack in attacks {
            (attack.begin)(target);
        }
        drop(entered);
        Self(runtime)
    }

    /// Ends the connections of all.
    fn end(self) {
        self.0.shutdown_background();
    }
}

/// Measures the honest work of the next `length`.
async fn phase(
    name: &'static str,
    work: &Work,
    broker: &BrokerProcess,
    length: Duration,
) -> Measured {
    work.reset();
    // The time that is measured, and the memory at each tenth of it.
    let mut ticks = tokio::time::interval(length / 10);
    let mut memory = 0;
    for _ in 0..=10 {
        ticks.tick().await;
        memory = memory.max(resident_mebibytes(broker));
    }
    work.measured(name, memory)
}

/// An agent with a grant for each of 24 servers, the first of which has 200 tools.
async fn register_flooder(broker: &BrokerProcess) -> AgentKey {
    let key = AgentKey::generate("flooder".parse().unwrap());
    let agent = json!({"agent": "flooder", "steward": "mallory", "keys": [key.public_jwk()]});
    broker
        .as_admin("POST", "/v1/agents", Some(agent))
        .await
        .unwrap();
    for at in 0..24 {
        let tools: Map<String, Value> = (0..if at == 0 { 200 } else { 2 })
            .map(|tool| (format!("t_{tool}"), json!({})))
            .collect();
        let manifest = json!({"server": format!("https://wide-{at}.example/mcp"), "name": format!("wide-{at}"), "tools": tools});
        broker
            .as_admin("POST", "/v1/servers", Some(manifest))
            .await
            .unwrap();
        let grant = json!({"id": format!("wide-{at}"), "agents": ["flooder"], "server": format!("wide-{at}"),
            "tools": ["t_*"], "max_ttl": "10m"});
        broker
            .as_admin("POST", "/v1/policy/grants", Some(grant))
            .await
            .unwrap();
    }
    key
}

fn resident_mebibytes(broker: &BrokerProcess) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() / 1024
}

/// The flood's own connections.
fn raise_open_files() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limits.maximum,
        ..limits
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
}

/// How long each way of flooding lasts in every test run.
const SHORT: Duration = Duration::from_secs(1);
/// So that its 99th percentile means something.
const IDLE: Duration = Duration::from_secs(5);
