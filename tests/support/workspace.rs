//! A directory to work in, with a broker in a process of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
};

use serde_json::Value;

/// A directory as an operator has it, perhaps with a broker that serves from it.
pub struct Workspace {
    directory: tempfile::TempDir,
    url: Option<String>,
    broker: Option<Child>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Workspace {
    /// Without a broker.
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            url: None,
            broker: None,
        }
    }

    /// With a broker that listens.
    pub fn serving() -> Self {
        let mut home = Self::new();
        home.start();
        home
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    pub fn start_with(&mut self, more: &[&str]) {
        drop(self.started(more));
    }

    /// Starts the broker: the lines of its log from then on, until it stops.
    pub fn start_logging(&mut self) -> mpsc::Receiver<String> {
        self.started(&[])
    }

    fn started(&mut self, more: &[&str]) -> mpsc::Receiver<String> {
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ];
        let mut child = self
            .command(&[&serve[..], more].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut seen = String::new();
        for line in lines.by_ref() {
            let line = line.unwrap();
            let event: Value =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"));
            if let Some(url) = event.get("url").and_then(Value::as_str) {
                self.url = Some(url.to_owned());
                break;
            }
            seen.push_str(&line);
        }
        assert!(self.url.is_some(), "the broker did not start: {seen}");
        // Read on, so that it never blocks.
        let (write, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Who started it may not read its log.
                let _ = write.send(line);
            }
        });
        self.broker = Some(child);
        log
    }

    /// Asks the broker to stop, and expects a clean end.
    pub fn stop(&mut self) {
        let mut child = self.broker.take().unwrap();
        self.signal(&child, "-TERM");
        assert!(child.wait().unwrap().success());
    }

    pub fn hang_up(&self) {
        self.signal(self.broker.as_ref().unwrap(), "-HUP");
    }

    fn signal(&self, child: &Child, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &child.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn url(&self) -> &str {
        self.url.as_deref().unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::process::binary());
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        for name in [
            "HALLPASS_BROKER",
            "HALLPASS_CA_FILE",
            "HALLPASS_OPERATOR_TOKEN",
            "HALLPASS_OPERATOR_TOKEN_FILE",
            "HALLPASS_CONFIG",
            "COLUMNS",
        ] {
            command.env_remove(name);
        }
        if let Some(url) = &self.url {
            command.env("HALLPASS_BROKER", url);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// Runs a command with `input` on its stdin.
    pub fn run_with(&self, input: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// Runs a command that must succeed: what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran.out
    }

    /// Runs a command that must succeed with `--json`: what it answered.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// Registers a server by a manifest, an agent and a grant, without a server to ask.
    pub fn register_all(&self) {
        self.write("ledger.toml", MANIFEST);
        self.ok(&[
            "server",
            "add",
            "https://ledger.example/mcp",
            "--name",
            "ledger",
            "--manifest",
            "ledger.toml",
        ]);
        self.ok(&[
            "agent",
            "add",
            "research-bot",
            "--steward",
            "alice",
            "--group",
            "research",
            "--key-out",
            KEY,
        ]);
        self.ok(&GRANT);
    }

    /// A pass for reading, as JSON.
    pub fn pass(&self) -> Value {
        self.pass_with(&[])
    }

    /// The same, asked for with more flags.
    pub fn pass_with(&self, more: &[&str]) -> Value {
        let open = [
            "task",
            "open",
            "--as",
            KEY,
            "--purpose",
            "close the Q3 books",
            "--server",
            "ledger",
            "--tool",
            "read_ledger",
            "--ttl",
            "5m",
        ];
        self.json(&[&open[..], more].concat())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Some(mut child) = self.broker.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Ran {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code().unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}

/// The permission bits of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no {pointer} in {value:#}"))
}

pub const KEY: &str = "research-bot.key";

pub const GRANT: [&str; 12] = [
    "policy",
    "grant",
    "--id",
    "research-reads",
    "--agents",
    "group:research",
    "--server",
    "ledger",
    "--tools",
    "read_*",
    "--max-ttl",
    "10m",
];

pub const MANIFEST: &str = r#"
[tools.read_ledger]
read_only = true
arguments = ["/year"]

[tools.transfer]
irreversible = true
arguments = ["/amount", "/account"]

[[resources]]
uri = "file:///srv/books"
"#;
