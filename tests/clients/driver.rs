//! A client in a process of its own: it is told what to do in lines of JSON and answers in lines of JSON.
//!
//! | told | answers |
//! |---|---|
//! | `{"do": "connect", "flow": …}` and the flow's parameters | `{"ok": {"protocol": …}}` |
//! | `{"do": "list"}` | `{"ok": ["read_ledger", …]}` |
//! | `{"do": "call", "tool": …, "arguments": …}` | `{"ok": "the text of the result"}` |
//! | `{"do": "close"}` | `{"ok": null}` |
//! | `{"do": "versions"}` | `{"ok": {"package": "1.2.3"}}` |
//!
//! What fails is answered with `{"error": "…"}`: the client's own error, as a program that uses it sees it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A process that does not outlive the test, however that ends.
pub(crate) struct Process(pub(crate) Child);

/// A client's process.
pub(crate) struct Driver {
    child: Process,
    orders: Option<ChildStdin>,
    answers: mpsc::UnboundedReceiver<String>,
    said: Option<JoinHandle<String>>,
}

impl Driver {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .env("NO_PROXY", "127.0.0.1,localhost")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (tell, answers) = mpsc::unbounded_channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut objects = lines
            .map_while(Result::ok)
            .filter(|line| line.starts_with('{'));
        thread::spawn(move || objects.try_for_each(|line| tell.send(line)));
        let mut stderr = child.stderr.take().unwrap();
        let said = thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Self {
            orders: child.stdin.take(),
            child: Process(child),
            answers,
            said: Some(said),
        }
    }

    /// Gives an order and waits for what comes of it.
    pub(crate) async fn tell(&mut self, order: &Value) -> Result<Value, String> {
        // An order that cannot be given shows in the answer that does not come.
        let _ = self
            .orders
            .as_mut()
            .unwrap()
            .write_all(format!("{order}\n").as_bytes());
        let answer = self.hear().await;
        match (
            answer.get("ok"),
            answer.get("error").and_then(Value::as_str),
        ) {
            (Some(ok), None) => Ok(ok.clone()),
            (None, Some(error)) => Err(error.to_owned()),
            _ => panic!("neither `ok` nor `error`: {answer}"),
        }
    }

    /// What the process says next; lines that are no JSON objects are its runtime's.
    pub(crate) async fn hear(&mut self) -> Value {
        match tokio::time::timeout(PATIENCE, self.answers.recv()).await {
            Ok(Some(line)) => {
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line}"))
            }
            Ok(None) => panic!("the client ended:\n{}", self.end()),
            Err(_) => panic!(
                "the client said nothing for {} s:\n{}",
                PATIENCE.as_secs(),
                self.end()
            ),
        }
    }

    pub(crate) async fn list(&mut self) -> Result<Vec<String>, String> {
        let listed = self.tell(&json!({"do": "list"})).await?;
        let mut names: Vec<String> = serde_json::from_value(listed).unwrap();
        names.sort_unstable();
        Ok(names)
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Result<String, String> {
        let text = self
            .tell(&json!({"do": "call", "tool": tool, "arguments": arguments}))
            .await?;
        Ok(text.as_str().unwrap().to_owned())
    }

    pub(crate) async fn close(&mut self) {
        self.tell(&json!({"do": "close"})).await.unwrap();
    }

    /// The version of a package that the client is made of.
    pub(crate) async fn version(&mut self, package: &str) -> String {
        let versions = self.tell(&json!({"do": "versions"})).await.unwrap();
        versions[package]
            .as_str()
            .unwrap_or_else(|| panic!("no {package} in {versions}"))
            .to_owned()
    }

    /// Ends the process: what it said on stderr.
    fn end(&mut self) -> String {
        self.child.end();
        self.said
            .take()
            .map(|said| said.join().unwrap())
            .unwrap_or_default()
    }
}

impl Process {
    fn end(&mut self) {
        // Nothing to do about a process that ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// For one order. The first has to wait for the interpreter to load its packages, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
