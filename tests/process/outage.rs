//! A broker that goes away and comes back: a process that is killed, an MCP server behind the layer
//! that follows its feed, a stock MCP client.

use std::{path::Path, sync::Arc, time::Duration};

use hallpass_core::base::time::{Clock as _, ManualClock, SystemClock};
use hallpass_verify::{
    Verifier,
    feed::{self, FeedClient, FeedHandle},
    tower::HallpassLayer,
};
use rmcp::{
    ServiceExt as _,
    model::CallToolRequestParams,
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use support::{
    ledger,
    process::{BrokerHome, ISSUER, setup::Setup},
};
use tokio::{net::TcpListener, time::timeout};

#[tokio::test]
async fn a_server_goes_on_without_its_broker_till_the_bound_and_goes_on_alone_when_it_is_back() {
    let home = BrokerHome::new();
    let state = tempfile::tempdir().unwrap();
    let state_file = state.path().join("feed.json");
    // The verifier's clock stands still, so that the outage lasts exactly as long as the test says.
    let clock = Arc::new(ManualClock::new(SystemClock::default().now()));
    let broker = home.serve().await;
    let setup = Setup::of(&broker).await;

    let (verifier, feed) = follow(&setup, broker.url(), &state_file, Arc::clone(&clock));
    timeout(PATIENCE, feed.ready()).await.unwrap().unwrap();
    let url = serve(Arc::clone(&verifier)).await;
    assert_eq!(call(&url, setup.pass()).await, "cleared");

    let address = broker.url().trim_start_matches("http://").to_owned();
    broker.kill_9();
    broker.wait().await;
    timeout(PATIENCE, feed.wait_for(|status| !status.connected))
        .await
        .unwrap()
        .unwrap();
    clock.advance(BOUND);
    assert_eq!(call(&url, setup.pass()).await, "cleared");
    clock.advance(Duration::from_millis(1));
    assert_eq!(call(&url, setup.pass()).await, "503 feed_stale");

    let broker = home.serve_at(&address).await;
    timeout(PATIENCE, feed.ready()).await.unwrap().unwrap();
    assert_eq!(call(&url, setup.pass()).await, "cleared");

    broker.kill_9();
    broker.wait().await;
    feed.shutdown().await;
    let (restarted, feed) = follow(&setup, &format!("http://{address}"), &state_file, clock);
    assert_eq!(restarted.memory(), verifier.memory());
    let url = serve(restarted).await;
    timeout(PATIENCE, feed.wait_for(|status| status.failures > 0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(call(&url, setup.pass()).await, "503 feed_stale");
}

/// A verifier that goes on from its state file and follows the broker at `url`.
fn follow(
    setup: &Setup,
    url: &str,
    state_file: &Path,
    clock: Arc<ManualClock>,
) -> (Arc<Verifier>, FeedHandle) {
    let issuer = ISSUER.parse().unwrap();
    let memory = feed::load_memory(state_file, &issuer, &setup.manifest.server).unwrap();
    let builder = Verifier::builder(issuer, &setup.feed_key, setup.manifest.clone()).memory(memory);
    let verifier = Arc::new(builder.clock(clock).staleness_bound(BOUND).build());
    let client = FeedClient::builder(Arc::clone(&verifier), url, &setup.verifier_token);
    (
        verifier,
        client.state_file(state_file).build().unwrap().spawn(),
    )
}

async fn serve(verifier: Arc<Verifier>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, ledger::router(HallpassLayer::new(verifier))).await
    });
    url
}

/// `cleared` when the tool ran; else status and reason.
async fn call(url: &str, pass: &str) -> String {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(pass);
    if let Ok(client) = ().serve(StreamableHttpClientTransport::from_config(config)).await {
        let arguments = json!({"year": 2026}).as_object().unwrap().clone();
        let answer = client
            .call_tool(CallToolRequestParams::new("read_ledger").with_arguments(arguments))
            .await
            .unwrap();
        client.cancel().await.unwrap();
        assert!(format!("{answer:?}").contains("rent"), "{answer:?}");
        return "cleared".to_owned();
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_ledger"}});
    let request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .bearer_auth(pass)
        .json(&message);
    let response = request
        .header("Accept", "application/json, text/event-stream")
        .send()
        .await
        .unwrap();
    let (status, body) = (
        response.status().as_u16(),
        response.json::<Value>().await.unwrap(),
    );
    format!(
        "{status} {}",
        body["error"]["data"]["reason"].as_str().unwrap()
    )
}

const BOUND: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(30);
