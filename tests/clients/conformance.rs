//! The MCP conformance suite's scenarios for authorization servers, with a person's consent by script.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    broker_and_server::BrokerAndServer,
    consent,
    driver::Process,
    packages::{Fetched, Packages},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_suites_authorization_server_scenarios_all_pass() {
    let Some(fetched) = Packages::Node.fetched() else {
        return;
    };
    let fixture = BrokerAndServer::open().await;
    fixture
        .register_app("conformance", "http://127.0.0.1/callback")
        .await;
    let mut said = String::new();
    for _ in 0..ATTEMPTS {
        match run(&fetched, &fixture).await {
            Ok(()) => return,
            Err(ended) => said = ended,
        }
    }
    panic!("the suite never said where a person is to go: {said}");
}

/// Runs the suite once. What it said, when it ended before it named a page: somebody else took its port.
async fn run(fetched: &Fetched, fixture: &BrokerAndServer) -> Result<(), String> {
    let results = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut suite = fetched.node_binary("conformance");
    suite.args([
        "authorization",
        "--url",
        fixture.issuer(),
        "--client-id",
        "conformance",
        "--resource",
        fixture.server(),
    ]);
    suite
        .args(["--port", &port.to_string(), "--output-dir"])
        .arg(results.path())
        .current_dir(results.path());
    let mut child = suite
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut process = Process(child);
    let endpoint = format!("{}/oauth/authorize?", fixture.issuer());
    let (tell, told) = oneshot::channel();
    // Reads on to the end, so that the suite never blocks.
    let said = tokio::task::spawn_blocking(move || {
        let (mut said, mut tell) = (String::new(), Some(tell));
        for line in lines.by_ref().map_while(Result::ok) {
            if line.starts_with(&endpoint)
                && let Some(tell) = tell.take()
            {
                let _ = tell.send(line.clone());
            }
            said += &(line + "\n");
        }
        said
    });
    // The suite says where a person is to go, or ends without.
    let url = tokio::time::timeout(PATIENCE, told).await.unwrap();
    if let Ok(url) = &url {
        consent::allow(fixture, url).await;
    }
    let said = tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
    let status = process.0.wait().unwrap();
    if url.is_err() {
        return Err(said);
    }
    assert!(status.success(), "{said}");
    let checks = checks(results.path());
    let outcomes: Vec<_> = checks
        .iter()
        .map(|check| (text(check, "id"), text(check, "status")))
        .collect();
    let expected = [
        ("authorization-code-grant", "SUCCESS"),
        ("authorization-server-metadata", "SUCCESS"),
        ("authorization-server-metadata-cimd", "SUCCESS"),
    ];
    assert_eq!(outcomes, expected, "{said}");
    Ok(())
}

/// Every check of every scenario, by name.
fn checks(directory: &std::path::Path) -> Vec<Value> {
    let scenarios = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("checks.json"));
    let mut checks: Vec<Value> = scenarios
        .filter_map(|path| std::fs::read(path).ok())
        .flat_map(|bytes| serde_json::from_slice::<Vec<Value>>(&bytes).unwrap())
        .collect();
    checks.sort_by_key(|check| text(check, "id").to_owned());
    checks
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

/// The suite wants to be told a port; nobody else is given this one meanwhile, as a rule (see [`ATTEMPTS`]).
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// With as many ports, since one may be given to somebody else before the suite listens.
const ATTEMPTS: usize = 3;

/// For what the suite does in a second or two.
const PATIENCE: Duration = Duration::from_secs(60);
