//! A broker in a process of its own, as operators run it.

pub mod disk;
pub mod faults;
pub mod load;
pub mod setup;

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
pub struct BrokerHome {
    directory: PathBuf,
    /// Removed with the home, unless the home stands on a disk of the test's own.
    owned: Option<tempfile::TempDir>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A broker process that was started and has not said yet where it listens.
pub struct StartingBroker {
    child: Process,
    stderr: ChildStderr,
    data: PathBuf,
}

/// A broker process that listens.
pub struct BrokerProcess {
    child: Process,
    /// Gathers what it says until it ends.
    log: JoinHandle<String>,
    url: String,
    health: String,
    admin: String,
    http: reqwest::Client,
}

/// A process that does not outlive the test, however that ends.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do about a process that ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl BrokerHome {
    pub fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let mut home = Self::at(owned.path());
        home.owned = Some(owned);
        home
    }

    /// On a directory that somebody else keeps.
    pub fn at(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self {
            directory,
            owned: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Brokers that are started here from now on get `name` in their environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Brokers that are started here from now on get these arguments too.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// What brokers get in their environment.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn journal(&self) -> PathBuf {
        self.data().join("journal/000001.jsonl")
    }

    /// Starts `hallpass serve` on a free port and waits until it says where it listens.
    pub async fn serve(&self) -> BrokerProcess {
        self.serve_at("127.0.0.1:0").await
    }

    /// As [`BrokerHome::serve`], at `address`.
    pub async fn serve_at(&self, address: &str) -> BrokerProcess {
        self.start(address).listening().await
    }

    /// Starts `hallpass serve` and expects that it refuses; returns what it says.
    pub fn refusal(&self) -> String {
        self.start("127.0.0.1:0").refusal()
    }

    /// Starts `hallpass serve` at `address` and waits for nothing.
    pub fn start(&self, address: &str) -> StartingBroker {
        self.start_as(Command::new(binary()).arg("serve"), address)
    }

    /// As [`BrokerHome::start`], by a command that ends in `hallpass serve`.
    pub fn start_as(&self, command: &mut Command, address: &str) -> StartingBroker {
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
        StartingBroker {
            child: Process(child),
            stderr,
            data: self.data(),
        }
    }
}

impl StartingBroker {
    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child.0)
    }

    /// Waits until it says where it listens.
    pub async fn listening(self) -> BrokerProcess {
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
        BrokerProcess {
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

impl BrokerProcess {
    pub async fn as_admin(
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

    pub async fn as_agent(&self, key: &AgentKey, path: &str, body: Value) -> Result<Value, String> {
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
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first operator's token.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// What a verifier of `server` is told.
    pub async fn feed_frame(&self, server: &str) -> String {
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
    pub async fn probe(&self, path: &str) -> (u16, String) {
        let response = self
            .http
            .get(format!("{}{path}", self.health))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub fn id(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child.0)
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.id(), signal).unwrap();
    }

    /// No warning, no chance to finish anything.
    pub fn kill_9(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    /// Waits until it has ended, of itself or because it was killed.
    pub async fn wait(self) -> ExitStatus {
        self.ended().await.0
    }

    /// As [`BrokerProcess::wait`], with everything that it said.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let end = move || (self.child.0.wait().unwrap(), self.log.join().unwrap());
        tokio::task::spawn_blocking(end).await.unwrap()
    }

    /// Asks it to stop, as an init system would, and expects a clean end.
    pub async fn stop(self) {
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

pub const ISSUER: &str = "https://broker.example";

/// The `hallpass` command: Cargo builds it for tests; for benchmarks it must lie in their target directory already.
pub fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os("CARGO_BIN_EXE_hallpass") {
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
