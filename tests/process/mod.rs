//! A broker in a process of its own, as operators run it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use hallpass::{
    base::{
        secret_file::read_secret,
        time::{Clock as _, SystemClock},
    },
    identity::AgentKey,
};
use serde_json::Value;

/// The directories that outlive the process.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

/// A broker process that listens.
pub(crate) struct Running {
    child: Mutex<Child>,
    url: String,
    admin: String,
    http: reqwest::Client,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.data().join("journal/000001.jsonl")
    }

    /// Starts `hallpass serve` on a free port and waits until it says where it listens.
    pub(crate) async fn serve(&self) -> Running {
        self.serve_at("127.0.0.1:0").await
    }

    /// As [`Home::serve`], at `address`.
    pub(crate) async fn serve_at(&self, address: &str) -> Running {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .arg("serve")
            .args(["--listen", address, "--admin-listen", "127.0.0.1:0", "--log-format", "json"])
            // The issuer outlives the port, which differs from start to start.
            .args(["--issuer", ISSUER])
            .env("HALLPASS_LIMITS_REQUESTS_PER_SECOND", "1000000")
            .env("HALLPASS_LIMITS_BURST", "1000000")
            .arg("--data-dir")
            .arg(self.data())
            .arg("--policy-dir")
            .arg(self.directory.path().join("policy"))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let url = tokio::task::spawn_blocking(move || listening_url(stderr)).await.unwrap();
        let admin = read_secret(&self.data().join("operator.token")).unwrap().trim().to_owned();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Running { child: Mutex::new(child), url, admin, http }
    }
}

impl Running {
    pub(crate) async fn as_admin(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, String> {
        let request =
            self.http.request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(&self.admin);
        send(if let Some(body) = body { request.json(&body) } else { request }).await
    }

    pub(crate) async fn as_agent(&self, key: &AgentKey, path: &str, body: Value) -> Result<Value, String> {
        let assertion = key.assertion(&ISSUER.parse().unwrap(), SystemClock::default().now()).unwrap();
        send(self.http.post(format!("{}{path}", self.url)).bearer_auth(assertion).json(&body)).await
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a verifier of `server` is told.
    pub(crate) async fn feed_frame(&self, server: &str) -> String {
        let request = self.http.get(format!("{}/v1/feed?server={server}", self.url)).bearer_auth(&self.admin);
        request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }

    /// No warning, no chance to finish anything.
    pub(crate) fn kill_9(&self) {
        self.child.lock().unwrap().kill().unwrap();
    }

    pub(crate) async fn wait(self) {
        tokio::task::spawn_blocking(move || self.child.into_inner().unwrap().wait().unwrap()).await.unwrap();
    }

    /// Asks it to stop, as an init system would, and expects a clean end.
    pub(crate) async fn stop(self) {
        let child = self.child.into_inner().unwrap();
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let status = tokio::task::spawn_blocking(move || {
            let mut child = child;
            child.wait().unwrap()
        })
        .await
        .unwrap();
        assert!(status.success(), "{status}");
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body: Value = response.json().await.map_err(|error| error.to_string())?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
}

/// Reads the log until the broker says where it listens, and goes on reading so that it never blocks.
fn listening_url(stderr: impl std::io::Read + Send + 'static) -> String {
    let mut lines = BufReader::new(stderr).lines();
    let mut seen = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some(at) = line.find("http://127.0.0.1:") {
            let url: String = line[at..].chars().take_while(|c| !matches!(c, '"' | ' ' | ',')).collect();
            std::thread::spawn(move || lines.for_each(drop));
            return url;
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    panic!("the broker did not start:\n{seen}");
}

pub(crate) const ISSUER: &str = "https://broker.example";
