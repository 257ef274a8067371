//! A broker in a process of its own, as operators run it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod load;
pub(crate) mod setup;
#[path = "../support/skip.rs"]
pub(crate) mod skip;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use hallpass_broker::identity::AgentKey;
use hallpass_core::base::{
    secret_file::read_secret,
    time::{Clock as _, SystemClock},
};
use serde_json::Value;

/// The directories that outlive the process.
pub(crate) struct Home {
    directory: PathBuf,
    /// Removed with the home, unless the home stands on a disk of the test's own.
    owned: Option<tempfile::TempDir>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A broker process that was started and has not said yet where it listens.
pub(crate) struct Starting {
    child: Process,
    stderr: ChildStderr,
    data: PathBuf,
}

/// A broker process that listens.
pub(crate) struct Running {
    child: Process,
    /// Gathers what it says until it ends.
    log: JoinHandle<String>,
    url: String,
    health: String,
    admin: String,
    http: reqwest::Client,
}

/// A process that does not outlive the test, however that ends.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about a process that ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let mut home = Self::at(owned.path());
        home.owned = Some(owned);
        home
    }

    /// On a directory that somebody else keeps.
    pub(crate) fn at(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self {
            directory,
            owned: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Brokers that are started here from now on get `name` in their environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Brokers that are started here from now on get these arguments too.
    pub(crate) fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// What brokers get in their environment.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
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
        self.start(address).listening().await
    }

    /// Starts `hallpass serve` and expects that it refuses; returns what it says.
    pub(crate) fn refusal(&self) -> String {
        self.start("127.0.0.1:0").refusal()
    }

    /// Starts `hallpass serve` at `address` and waits for nothing.
    pub(crate) fn start(&self, address: &str) -> Starting {
        self.start_as(Command::new(binary()).arg("serve"), address)
    }

    /// As [`Home::start`], by a command that ends in `hallpass serve`.
    pub(crate) fn start_as(&self, command: &mut Command, address: &str) -> Starting {
        let mut child = command
            .args([
                "--listen",
                address,
                "--admin-listen",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            // The issuer outlives the port, which differs from start to start.
            .args(["--issuer", ISSUER])
            .args(&self.arguments)
            .env("HALLPASS_LIMITS_REQUESTS_PER_SECOND", "1000000")
            .env("HALLPASS_LIMITS_BURST", "1000000")
            .envs(self.environment())
            .arg("--data-dir")
            .arg(self.data())
            .arg("--policy-dir")
            .arg(self.directory.join("policy"))
            // A disk that is to be unmounted must be nobody's place.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        Starting {
            child: Process(child),
            stderr,
            data: self.data(),
        }
    }
}

impl Starting {
    pub(crate) fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child.0)
    }

    /// Waits until it says where it listens.
    pub(crate) async fn listening(self) -> Running {
        let Self {
            child,
            stderr,
            data,
        } = self;
        let ((url, health), log) = tokio::task::spawn_blocking(move || listening(stderr))
            .await
            .unwrap();
        let admin = read_secret(&data.join("operator.token"))
            .unwrap()
            .trim()
            .to_owned();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        Running {
            child,
            log,
            url,
            health,
            admin,
            http,
        }
    }

    fn refusal(mut self) -> String {
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let status = self.child.0.wait().unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }
}

impl Running {
    pub(crate) async fn as_admin(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, String> {
        let request = self
            .http
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
            .bearer_auth(&self.admin);
        send(if let Some(body) = body {
            request.json(&body)
        } else {
            request
        })
        .await
    }

    pub(crate) async fn as_agent(
        &self,
        key: &AgentKey,
        path: &str,
        body: Value,
    ) -> Result<Value, String> {
        let assertion = key
            .assertion(&ISSUER.parse().unwrap(), SystemClock::default().now())
            .unwrap();
        send(
            self.http
                .post(format!("{}{path}", self.url))
                .bearer_auth(assertion)
                .json(&body),
        )
        .await
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The first operator's token.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// What a verifier of `server` is told.
    pub(crate) async fn feed_frame(&self, server: &str) -> String {
        let request = self
            .http
            .get(format!("{}/v1/feed?server={server}", self.url))
            .bearer_auth(&self.admin);
        request
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// What a probe is told: the status and the text.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        let response = self
            .http
            .get(format!("{}{path}", self.health))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child.0)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.id(), signal).unwrap();
    }

    /// No warning, no chance to finish anything.
    pub(crate) fn kill_9(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Waits until it has ended, of itself or because it was killed.
    pub(crate) async fn wait(self) -> ExitStatus {
        self.ended().await.0
    }

    /// As [`Running::wait`], with everything that it said.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let end = move || (self.child.0.wait().unwrap(), self.log.join().unwrap());
        tokio::task::spawn_blocking(end).await.unwrap()
    }

    /// Asks it to stop, as an init system would, and expects a clean end.
    pub(crate) async fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait().await;
        assert!(status.success(), "{status}");
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let response = request.send().await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body: Value = response.json().await.map_err(|error| error.to_string())?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(format!("{status}: {body}"))
    }
}

/// Reads the log until the broker says where it listens, and goes on reading so that it never blocks.
fn listening(stderr: ChildStderr) -> ((String, String), JoinHandle<String>) {
    let mut lines = BufReader::new(stderr).lines();
    let mut seen = String::new();
    for line in lines.by_ref() {
        let line = line.unwrap();
        seen.push_str(&line);
        seen.push('\n');
        let Ok(entry) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if entry["message"] == "listening" {
            let text = |name: &str| entry[name].as_str().unwrap().to_owned();
            let urls = (text("url"), format!("http://{}", text("admin.address")));
            let rest = move || {
                lines
                    .map_while(Result::ok)
                    .fold(seen, |said, line| said + &line + "\n")
            };
            return (urls, std::thread::spawn(rest));
        }
    }
    panic!("the broker did not start:\n{seen}");
}

pub(crate) const ISSUER: &str = "https://broker.example";

/// The `hallpass` command: Cargo builds it for tests; for benchmarks it must lie in their target directory already.
pub(crate) fn binary() -> PathBuf {
    if let Some(binary) = option_env!("CARGO_BIN_EXE_hallpass") {
        return binary.into();
    }
    let own = std::env::current_exe().unwrap();
    let beside = own.ancestors().nth(2).unwrap().join("hallpass");
    assert!(
        beside.exists(),
        "build the command first: cargo build --release"
    );
    beside
}
