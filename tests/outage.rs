//! A broker that goes away and comes back: a process that is killed, an MCP server behind the layer
//! that follows its feed, a stock MCP client.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that fails says where")]

#[path = "../examples/support/ledger.rs"]
mod ledger;
mod process;

use std::{path::Path, sync::Arc, time::Duration};

use hallpass::{
    base::time::{Clock as _, ManualClock, SystemClock},
    identity::AgentKey,
    token::manifest::Manifest,
    verify::{
        Verifier,
        document::KeyDocument,
        feed::{self, FeedClient, FeedHandle},
        tower::HallpassLayer,
    },
};
use process::{Home, ISSUER, Running};
use rmcp::{
    ServiceExt as _,
    model::CallToolRequestParams,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn a_server_goes_on_without_its_broker_till_the_bound_and_goes_on_alone_when_it_is_back() {
    let home = Home::new();
    let state = tempfile::tempdir().unwrap();
    let state_file = state.path().join("feed.json");
    // The verifier's clock stands still, so that the outage lasts exactly as long as the test says.
    let clock = Arc::new(ManualClock::new(SystemClock::default().now()));
    let broker = home.serve().await;
    let setup = Setup::of(&broker).await;

    let (verifier, feed) = setup.follow(broker.url(), &state_file, Arc::clone(&clock));
    timeout(PATIENCE, feed.ready()).await.unwrap().unwrap();
    let url = serve(Arc::clone(&verifier)).await;
    assert_eq!(call(&url, &setup.pass).await, "cleared");

    let address = broker.url().trim_start_matches("http://").to_owned();
    broker.kill_9();
    broker.wait().await;
    timeout(PATIENCE, feed.wait_for(|status| !status.connected)).await.unwrap().unwrap();
    clock.advance(BOUND);
    assert_eq!(call(&url, &setup.pass).await, "cleared");
    clock.advance(Duration::from_millis(1));
    assert_eq!(call(&url, &setup.pass).await, "503 feed_stale");

    let broker = home.serve_at(&address).await;
    timeout(PATIENCE, feed.ready()).await.unwrap().unwrap();
    assert_eq!(call(&url, &setup.pass).await, "cleared");

    broker.kill_9();
    broker.wait().await;
    feed.shutdown().await;
    let (restarted, feed) = setup.follow(&format!("http://{address}"), &state_file, clock);
    assert_eq!(restarted.memory(), verifier.memory());
    let url = serve(restarted).await;
    timeout(PATIENCE, feed.wait_for(|status| status.failures > 0)).await.unwrap().unwrap();
    assert_eq!(call(&url, &setup.pass).await, "503 feed_stale");
}

/// What the operator carries over to the MCP server, and a pass for it.
struct Setup {
    manifest: Manifest,
    feed_key: String,
    verifier_token: String,
    pass: String,
}

impl Setup {
    async fn of(broker: &Running) -> Self {
        let manifest = json!({"server": SERVER, "name": "ledger", "tools": {"read_ledger": {"read_only": true}}});
        let agent = AgentKey::generate("research-bot".parse().unwrap());
        let grant = json!({"id": "reads", "agents": ["*"], "server": "ledger", "tools": ["read_*"], "max_ttl": "10m"});
        let operator =
            json!({"operator": "ledger-verifier", "roles": ["verifier"], "servers": [SERVER], "ttl_seconds": 3600});
        let steward = json!({"agent": "research-bot", "steward": "alice", "keys": [agent.public_jwk()]});
        broker.as_admin("POST", "/v1/servers", Some(manifest.clone())).await.unwrap();
        broker.as_admin("POST", "/v1/agents", Some(steward)).await.unwrap();
        broker.as_admin("POST", "/v1/policy/grants", Some(grant)).await.unwrap();
        let made = broker.as_admin("POST", "/v1/operators", Some(operator)).await.unwrap();
        let keys = broker.as_admin("GET", "/v1/keys.json", None).await.unwrap();
        let keys: KeyDocument = serde_json::from_value(keys).unwrap();
        let task = json!({"purpose": "close the Q3 books", "ttl_seconds": 600,
            "authorization_details": [{"type": "mcp", "server": SERVER, "tools": ["read_ledger"]}]});
        let issued = broker.as_agent(&agent, "/v1/tasks", task).await.unwrap();
        Self {
            manifest: serde_json::from_value(manifest).unwrap(),
            feed_key: keys.feed_key.thumbprint(),
            verifier_token: made["token"].as_str().unwrap().to_owned(),
            pass: issued["token"].as_str().unwrap().to_owned(),
        }
    }

    /// A verifier that goes on from its state file and follows the broker at `url`.
    fn follow(&self, url: &str, state_file: &Path, clock: Arc<ManualClock>) -> (Arc<Verifier>, FeedHandle) {
        let issuer = ISSUER.parse().unwrap();
        let memory = feed::load_memory(state_file, &issuer, &self.manifest.server).unwrap();
        let builder = Verifier::builder(issuer, &self.feed_key, self.manifest.clone()).memory(memory);
        let verifier = Arc::new(builder.clock(clock).staleness_bound(BOUND).build());
        let client = FeedClient::builder(Arc::clone(&verifier), url, &self.verifier_token);
        (verifier, client.state_file(state_file).build().unwrap().spawn())
    }
}

async fn serve(verifier: Arc<Verifier>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, ledger::router(HallpassLayer::new(verifier), &[])).await });
    url
}

/// `cleared` when the tool ran; else status and reason.
async fn call(url: &str, pass: &str) -> String {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(pass);
    if let Ok(client) = ().serve(StreamableHttpClientTransport::from_config(config)).await {
        let arguments = json!({"year": 2026}).as_object().unwrap().clone();
        let answer =
            client.call_tool(CallToolRequestParams::new("read_ledger").with_arguments(arguments)).await.unwrap();
        client.cancel().await.unwrap();
        assert!(format!("{answer:?}").contains("rent"), "{answer:?}");
        return "cleared".to_owned();
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_ledger"}});
    let request = reqwest::Client::builder().no_proxy().build().unwrap().post(url).bearer_auth(pass).json(&message);
    let response = request.header("Accept", "application/json, text/event-stream").send().await.unwrap();
    let (status, body) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
    format!("{status} {}", body["error"]["data"]["reason"].as_str().unwrap())
}

const SERVER: &str = "https://ledger.example/mcp";
const BOUND: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);
