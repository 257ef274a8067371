//! The stage of the quickstart: a broker, an MCP server and clients on loopback, and a narrator
//! who prints each step with its result and time.

use std::{
    error::Error,
    fmt::Display,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use hallpass::server::{self, Listeners, Observer, Seen, Server};
use hallpass_broker::{Broker, OPERATOR_TOKEN_FILE, Options, identity::AgentKey};
use hallpass_core::{
    base::{
        ids::{RevocationId, ServerUri},
        secret_file::read_secret,
        time::{Clock, SystemClock},
    },
    token::PassToken,
    wire::document::KeyDocument,
};
use hallpass_verify::{
    Verifier,
    feed::{FeedClient, FeedHandle, Reports},
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
use tokio::{
    net::TcpListener,
    sync::{Mutex, oneshot},
    task::JoinHandle,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tells the report and counts what did not go as it should.
pub(crate) struct Report {
    begun: Instant,
    steps: usize,
    failed: usize,
}

/// What a call is expected to end in.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// An answer that contains this.
    Says(&'static str),
    /// A refusal that names this reason.
    Refused(&'static str),
}

impl Report {
    #[expect(
        clippy::disallowed_methods,
        reason = "measures the report, decides nothing"
    )]
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            steps: 0,
            failed: 0,
        }
    }

    /// A step that has to succeed.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures the report, decides nothing"
    )]
    pub(crate) async fn step<T, E: Display>(
        &mut self,
        what: &str,
        doing: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let done = doing.await;
        self.print(done.is_ok(), what, begun.elapsed());
        done.map_err(|error| error.to_string().into())
    }

    /// A call with an expected outcome; a refusal can be what was expected.
    #[expect(
        clippy::disallowed_methods,
        reason = "measures the report, decides nothing"
    )]
    pub(crate) async fn expect(
        &mut self,
        what: &str,
        call: impl Future<Output = Result<String>>,
        expected: Outcome,
    ) {
        let begun = Instant::now();
        let answer = call.await;
        let elapsed = begun.elapsed();
        let (text, is_expected) = match (&answer, &expected) {
            (Ok(text), Outcome::Says(words)) => (text.clone(), text.contains(words)),
            (Err(error), Outcome::Refused(reason)) => {
                (error.to_string(), error.to_string().contains(reason))
            }
            (Ok(text), Outcome::Refused(_)) => (text.clone(), false),
            (Err(error), Outcome::Says(_)) => (error.to_string(), false),
        };
        self.print(is_expected, what, elapsed);
        match expected {
            _ if !is_expected => println!("     unexpected: {text}"),
            Outcome::Says(_) => println!("     {text}"),
            Outcome::Refused(_) => println!("     {text}"),
        }
    }

    pub(crate) fn end(&self) -> ExitCode {
        let Self {
            begun,
            steps,
            failed,
        } = self;
        println!(
            "\n{} of {steps} steps as expected, in {:.1} s",
            steps - failed,
            begun.elapsed().as_secs_f64()
        );
        if *failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn print(&mut self, is_expected: bool, what: &str, elapsed: Duration) {
        self.steps += 1;
        self.failed += usize::from(!is_expected);
        let mark = if is_expected { "ok  " } else { "FAIL" };
        println!(
            "{mark} {:2}. {what} ({:.1} ms)",
            self.steps,
            elapsed.as_secs_f64() * 1000.0
        );
    }
}

/// A pass as the broker handed it out.
pub(crate) struct Pass {
    pub(crate) token: PassToken,
    pub(crate) task_id: String,
    pub(crate) revocation_id: String,
    pub(crate) expires_at: String,
    pub(crate) decided_by: Vec<(String, String)>,
}

/// Everything that runs.
pub(crate) struct Demo {
    directory: tempfile::TempDir,
    clock: Arc<dyn Clock>,
    http: reqwest::Client,
    broker_url: String,
    admin: PassToken,
    agent: AgentKey,
    listener: Mutex<Option<TcpListener>>,
    server: ServerUri,
    guarded: Mutex<Option<(Arc<Verifier>, FeedHandle, Arc<Reports>)>>,
    stop: Mutex<Option<(oneshot::Sender<()>, Serving)>>,
}

impl Demo {
    /// Starts the broker, and takes a port for the MCP server.
    pub(crate) async fn build() -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let directory = tempfile::tempdir()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server: ServerUri = format!("http://{}/mcp", listener.local_addr()?).parse()?;
        let (stop, stopped) = oneshot::channel();
        let (broker_url, serving) =
            start_broker(directory.path(), Arc::clone(&clock), stopped).await?;
        let admin = read_secret(&directory.path().join("data").join(OPERATOR_TOKEN_FILE))?;
        Ok(Self {
            clock,
            http: reqwest::Client::builder().no_proxy().build()?,
            broker_url,
            admin: PassToken::from_text(admin.trim().to_owned()),
            agent: AgentKey::generate("research-bot".parse()?),
            listener: Mutex::new(Some(listener)),
            server,
            guarded: Mutex::new(None),
            stop: Mutex::new(Some((stop, serving))),
            directory,
        })
    }

    pub(crate) fn broker_url(&self) -> &str {
        &self.broker_url
    }

    pub(crate) fn server(&self) -> &ServerUri {
        &self.server
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.path().join("data/journal/000001.jsonl")
    }

    pub(crate) async fn register_server(&self) -> Result<()> {
        let manifest = json!({
            "server": self.server,
            "name": "ledger",
            "tools": {
                "read_ledger": {"read_only": true},
                "search_ledger": {"read_only": true},
                "transfer": {"irreversible": true},
                "delete_ledger": {"irreversible": true, "labels": {"risk": "high"}},
            },
        });
        self.as_admin("POST", "/v1/servers", Some(manifest))
            .await
            .map(drop)
    }

    pub(crate) async fn register_agent(&self) -> Result<()> {
        let agent = json!({"agent": "research-bot", "steward": "alice", "groups": ["research"], "keys": [self.agent.public_jwk()]});
        self.as_admin("POST", "/v1/agents", Some(agent))
            .await
            .map(drop)
    }

    pub(crate) async fn write_grant(&self) -> Result<()> {
        let grant = json!({
            "id": "research-books",
            "agents": ["group:research"],
            "server": "ledger",
            "tools": ["read_*", "search_*", "transfer"],
            "max_ttl": "10m",
            "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}}},
        });
        self.as_admin("POST", "/v1/policy/grants", Some(grant))
            .await
            .map(drop)
    }

    /// A verifier of its own, the feed client that keeps it current, and the server behind the layer.
    pub(crate) async fn start_server(&self) -> Result<()> {
        let operator = json!({"operator": "ledger-verifier", "roles": ["verifier"], "servers": [self.server], "ttl_seconds": 3600});
        let made = self
            .as_admin("POST", "/v1/operators", Some(operator))
            .await?;
        let token = made["token"].as_str().ok_or("no verifier's token")?;
        let manifest = self.as_admin("GET", "/v1/servers/ledger", None).await?["manifest"].take();
        let keys = self
            .http
            .get(format!("{}/v1/keys.json", self.broker_url))
            .send()
            .await?
            .bytes()
            .await?;
        let keys = KeyDocument::from_json(&keys)?;
        // The one thing that an operator carries over by hand: which broker, and which feed key.
        let pin = keys.feed_key.thumbprint();
        let verifier = Arc::new(
            Verifier::builder(
                self.broker_url.parse()?,
                pin,
                serde_json::from_value(manifest)?,
            )
            .build(),
        );
        let client = FeedClient::builder(Arc::clone(&verifier), &self.broker_url, token).build()?;
        let reports = Arc::new(
            client
                .reports(self.directory.path().join("spool"))
                .spawn()?,
        );
        let feed = client.spawn();
        tokio::time::timeout(PATIENCE, feed.ready()).await??;
        let listener = self
            .listener
            .lock()
            .await
            .take()
            .ok_or("the MCP server was started before")?;
        let layer = HallpassLayer::builder(Arc::clone(&verifier))
            .report_to(reports.clone())
            .build();
        let router = crate::ledger::router(layer, &[]);
        tokio::spawn(async move { axum::serve(listener, router).await });
        *self.guarded.lock().await = Some((verifier, feed, reports));
        Ok(())
    }

    pub(crate) async fn open_task(&self) -> Result<Pass> {
        let request = json!({
            "purpose": "close the Q3 books",
            "ttl_seconds": 300,
            "authorization_details": [{"type": "mcp", "server": self.server, "tools": ["read_*", "search_*", "transfer"]}],
        });
        let answer = self.as_agent("/v1/tasks", request).await?;
        let text = |name: &str| {
            answer[name]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("no `{name}` in the answer"))
        };
        let decided = answer["decided_by"]
            .as_array()
            .ok_or("no `decided_by`")?
            .iter();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Pass {
            token: PassToken::from_text(text("token")?),
            task_id: text("task_id")?,
            revocation_id: text("revocation_id")?,
            expires_at: text("expires_at")?,
            decided_by: decided
                .map(|by| (word(&by["right"]), word(&by["grant"])))
                .collect(),
        })
    }

    pub(crate) async fn renew(&self, task: &str) -> Result<String> {
        self.as_agent(&format!("/v1/tasks/{task}/tokens"), json!({}))
            .await
            .map(|answer| answer.to_string())
    }

    pub(crate) async fn list_tools(&self, pass: &PassToken) -> Result<String> {
        let client = ().serve(self.transport(pass)).await?;
        let mut names: Vec<_> = client
            .list_all_tools()
            .await?
            .into_iter()
            .map(|tool| tool.name.to_string())
            .collect();
        client.cancel().await?;
        names.sort_unstable();
        Ok(names.join(", "))
    }

    /// One `tools/call` by a stock MCP client that presents `pass`.
    pub(crate) async fn call(
        &self,
        pass: &PassToken,
        tool: &'static str,
        arguments: Value,
    ) -> Result<String> {
        match self.try_call(pass, tool, arguments.clone()).await {
            Ok(answer) => Ok(answer),
            // A stock client keeps the reason to itself; what the server said is asked for once more.
            Err(_) => Err(self.why_not(pass, tool, arguments).await?.into()),
        }
    }

    async fn try_call(
        &self,
        pass: &PassToken,
        tool: &'static str,
        arguments: Value,
    ) -> Result<String> {
        let client = ().serve(self.transport(pass)).await?;
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        let answer = client
            .call_tool(CallToolRequestParams::new(tool).with_arguments(arguments))
            .await?;
        client.cancel().await?;
        let texts = answer
            .content
            .iter()
            .filter_map(|content| content.as_text().map(|text| text.text.clone()));
        Ok(texts.collect::<Vec<_>>().join(" "))
    }

    /// The reason codes in the body of the refusal.
    async fn why_not(&self, pass: &PassToken, tool: &str, arguments: Value) -> Result<String> {
        let params = json!({"name": tool, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let request = self
            .http
            .post(self.server.as_str())
            .bearer_auth(pass.expose())
            .json(&message);
        let response = request
            .header("Accept", "application/json, text/event-stream")
            .send()
            .await?;
        let (status, body) = (response.status(), response.json::<Value>().await?);
        Ok(format!("{status}: {}", body["error"]["data"]))
    }

    /// Revokes, and waits until the server's verifier has heard of it.
    pub(crate) async fn revoke(&self, revocation_id: &str) -> Result<()> {
        let body = json!({"revocation_id": revocation_id, "reason": "laptop lost"});
        let revoked = self.as_admin("POST", "/v1/revocations", Some(body)).await?;
        let sequence = revoked["sequence"].as_u64().ok_or("no sequence")?;
        let guarded = self.guarded.lock().await;
        let (verifier, feed, _) = guarded.as_ref().ok_or("no MCP server")?;
        let has_heard = |_: &_| verifier.memory().sequence >= sequence;
        tokio::time::timeout(PATIENCE, feed.wait_for(has_heard)).await??;
        Ok(())
    }

    /// Tells the broker of blocks that were appended, so that they can be revoked by their own ids.
    pub(crate) async fn report_delegation(
        &self,
        task: &str,
        blocks: &[RevocationId],
        to: &str,
    ) -> Result<()> {
        let body = json!({"blocks": blocks, "delegate": to});
        self.as_agent(&format!("/v1/tasks/{task}/delegations"), body)
            .await
            .map(drop)
    }

    /// The audit events that `query` finds, oldest first: type, and a line for people.
    pub(crate) async fn audit(&self, query: &str) -> Result<Vec<(String, String)>> {
        let page = self
            .as_admin(
                "GET",
                &format!("/v1/audit?order=oldest&limit=200{query}"),
                None,
            )
            .await?;
        let events = page["items"].as_array().ok_or("no audit events")?.iter();
        let word = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let line = |event: &Value| {
            format!(
                "{} {}: {}, {}",
                event["seq"],
                word(event, "type"),
                word(event, "actor"),
                word(event, "detail")
            )
        };
        Ok(events
            .map(|event| (word(event, "type"), line(event)))
            .collect())
    }

    /// Waits until the server has reported everything; then the calls of the task, oldest first: for whom
    /// each was made, and a line for people.
    pub(crate) async fn calls(&self, task: &str) -> Result<Vec<(String, String)>> {
        if let Some((_, _, reports)) = self.guarded.lock().await.as_ref() {
            reports.shutdown().await;
        }
        let page = self
            .as_admin(
                "GET",
                &format!("/v1/decisions?order=oldest&limit=200&task={task}"),
                None,
            )
            .await?;
        let calls = page["items"].as_array().ok_or("no calls")?.iter();
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let line = |call: &Value| {
            let (name, decision) = (word(&call["call"]["name"]), word(&call["decision"]));
            let blocks = call["chain"].as_array().map_or(0, Vec::len);
            let (agent, purpose) = (word(&call["agent"]), word(&call["purpose"]));
            format!(
                "{decision} {name}: {agent} for {}, to {purpose}; {blocks} blocks",
                word(&call["steward_name"])
            )
        };
        Ok(calls
            .map(|call| (word(&call["steward_name"]), line(call)))
            .collect())
    }

    pub(crate) async fn stop(&self) -> Result<()> {
        if let Some((_, feed, _)) = self.guarded.lock().await.take() {
            feed.shutdown().await;
        }
        let (stop, serving) = self.stop.lock().await.take().ok_or("stopped before")?;
        stop.send(()).map_err(|()| "the broker is gone already")?;
        serving.await??;
        Ok(())
    }

    fn transport(&self, pass: &PassToken) -> StreamableHttpClientTransport<reqwest::Client> {
        let config = StreamableHttpClientTransportConfig::with_uri(self.server.to_string())
            .auth_header(pass.expose());
        StreamableHttpClientTransport::from_config(config)
    }

    async fn as_agent(&self, path: &str, body: Value) -> Result<Value> {
        // A new assertion for every request: each is good for one.
        let assertion = self
            .agent
            .assertion(&self.broker_url.parse()?, self.clock.now())?;
        self.send(
            self.http
                .post(format!("{}{path}", self.broker_url))
                .bearer_auth(assertion)
                .json(&body),
        )
        .await
    }

    async fn as_admin(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let request = self
            .http
            .request(method.parse()?, format!("{}{path}", self.broker_url))
            .bearer_auth(self.admin.expose());
        self.send(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let response = request.send().await?;
        let (status, body) = (response.status(), response.json::<Value>().await?);
        if status.is_success() {
            Ok(body)
        } else {
            Err(format!("{status}: {body}").into())
        }
    }
}

/// A broker on two free ports; its issuer is where it listens.
async fn start_broker(
    directory: &Path,
    clock: Arc<dyn Clock>,
    stopped: oneshot::Receiver<()>,
) -> Result<(String, Serving)> {
    let any_port = "127.0.0.1:0".parse()?;
    let listeners = Listeners::bind(server::Options::new(any_port, any_port)).await?;
    let url = format!("http://{}", listeners.local_addr());
    let options = Options::new(
        url.parse()?,
        directory.join("data"),
        directory.join("policy"),
    );
    let opened = Broker::open(options, clock).await?;
    let server = Server::new(listeners, opened.broker, Arc::new(Silent));
    let serving = server.serve(async { drop(stopped.await) });
    Ok((
        url,
        tokio::spawn(async { serving.await.map_err(|error| error.to_string()) }),
    ))
}

/// Nobody counts the report's requests.
#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn answered(&self, _: &Seen<'_>) {}

    fn panicked(&self) {}

    fn render(&self) -> String {
        String::new()
    }
}

type Serving = JoinHandle<std::result::Result<(), String>>;

/// How long the report waits for something that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
