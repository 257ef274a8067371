//! A broker behind real sockets in the test's own process, with an operator and an agent.
//!
//! A crate of its own, because it links the server: an edit there rebuilds no test that does without.

#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::exhaustive_enums,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::new_without_default,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::too_long_first_doc_paragraph,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "fixtures fail as tests do, and this crate is published nowhere"
)]

pub mod operator;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hallpass::server::{self, Observer, Seen, Server};
use hallpass_broker::{
    Broker, Options,
    identity::AgentKey,
    ledger::views::{Filter, Order, Window},
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::IssuerUri,
        time::{Clock, SystemClock},
    },
    token::Call,
};
use hallpass_verify::Verifier;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

pub struct TestBroker {
    pub directory: Arc<tempfile::TempDir>,
    pub broker: Arc<Broker>,
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
    pub client: Client,
    pub admin: String,
    pub bot: Arc<AgentKey>,
    pub recorder: Arc<Recorder>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), server::ServeError>>,
}

/// What the server told.
#[derive(Debug, Default)]
pub struct Recorder {
    pub panics: AtomicUsize,
    pub seen: Mutex<Vec<(String, String, u16)>>,
}

impl Observer for Recorder {
    fn answered(&self, seen: &Seen<'_>) {
        self.seen.lock().unwrap().push((
            seen.method.to_owned(),
            seen.route.to_owned(),
            seen.status,
        ));
    }

    fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::SeqCst);
    }

    fn render(&self) -> String {
        "# EOF\n".to_owned()
    }
}

impl TestBroker {
    /// A new broker with the ledger, a grant and an agent.
    pub async fn new() -> Self {
        Self::with(options()).await
    }

    pub async fn with(options: server::Options) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let policy = directory.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        std::fs::write(policy.join("reads.toml"), GRANT).unwrap();
        let bot = Arc::new(AgentKey::generate("research-bot".parse().unwrap()));
        let fixture = Self::open(directory, bot, (options, Arc::new(SystemClock::default()))).await;
        let set = fixture
            .operator(Method::PUT, "/v1/servers")
            .json(&support::manifest())
            .send()
            .await
            .unwrap();
        assert_eq!(set.status(), StatusCode::OK);
        fixture.add_agent(&fixture.bot).await;
        fixture
    }

    async fn open(
        directory: Arc<tempfile::TempDir>,
        bot: Arc<AgentKey>,
        (options, clock): (server::Options, Arc<dyn Clock>),
    ) -> Self {
        let opened = Broker::open(
            Options::new(
                support::ISSUER.parse().unwrap(),
                directory.path().join("data"),
                directory.path().join("policy"),
            ),
            clock,
        );
        let broker = opened.await.unwrap().broker;
        let admin = std::fs::read_to_string(directory.path().join("data/operator.token"))
            .unwrap()
            .trim()
            .to_owned();
        let recorder = Arc::new(Recorder::default());
        let observer: Arc<dyn Observer> = recorder.clone();
        let server = Server::bind(options, Arc::clone(&broker), observer)
            .await
            .unwrap();
        let (address, admin_address) = (server.local_addr(), server.admin_addr());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(server.serve(async { drop(stopped.await) }));
        let client = Client::builder().no_proxy().build().unwrap();
        let stop = Some(stop);
        Self {
            directory,
            broker,
            address,
            admin_address,
            client,
            admin,
            bot,
            recorder,
            stop,
            served,
        }
    }

    /// Asks the server to stop, without waiting for it.
    pub fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub async fn stopped(self) -> (Arc<tempfile::TempDir>, Arc<AgentKey>) {
        let Self {
            served,
            directory,
            bot,
            broker,
            ..
        } = self;
        drop(broker);
        tokio::time::timeout(Duration::from_secs(30), served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        (directory, bot)
    }

    /// Stops it and opens another on the same data.
    pub async fn restarted(self) -> Self {
        self.restarted_with(options()).await
    }

    /// As [`Self::restarted`], run otherwise.
    pub async fn restarted_with(mut self, options: server::Options) -> Self {
        self.begin_stop();
        let (directory, bot) = self.stopped().await;
        let clock = Arc::new(SystemClock::default());
        Self::open(directory, bot, (options, clock)).await
    }

    /// As [`Self::restarted`], with another clock.
    pub async fn restarted_at(mut self, clock: Arc<dyn Clock>) -> Self {
        self.begin_stop();
        let (directory, bot) = self.stopped().await;
        Self::open(directory, bot, (options(), clock)).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub fn operator(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(&self.admin)
    }

    pub fn agent(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(assertion(&self.bot))
    }

    pub async fn add_agent(&self, key: &AgentKey) -> Response {
        let body = json!({"agent": key.agent(), "steward": "alice", "groups": ["research"], "keys": [key.public_jwk()]});
        let added = self
            .operator(Method::POST, "/v1/agents")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(added.status(), StatusCode::CREATED);
        added
    }

    /// A token for another operator.
    pub async fn token(&self, operator: &str, roles: &[&str], servers: &[&str]) -> String {
        let body =
            json!({"operator": operator, "roles": roles, "servers": servers, "ttl_seconds": 3600});
        let made = self
            .operator(Method::POST, "/v1/operators")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(made.status(), StatusCode::CREATED);
        body_of(made).await["token"].as_str().unwrap().to_owned()
    }

    pub async fn open_task(&self) -> Value {
        let opened = self
            .agent(Method::POST, "/v1/tasks")
            .json(&task())
            .send()
            .await
            .unwrap();
        assert_eq!(opened.status(), StatusCode::CREATED);
        body_of(opened).await
    }

    /// Revokes `subject`, `{"agent": "…"}` or another.
    pub async fn revoke(&self, subject: Value) {
        let revoked = self
            .operator(Method::POST, "/v1/revocations")
            .json(&subject)
            .send()
            .await
            .unwrap();
        assert_eq!(revoked.status(), StatusCode::CREATED, "{subject}");
    }

    /// A verifier at the ledger with the published keys, which has heard nothing yet.
    pub async fn verifier(&self) -> Verifier {
        let document = body_of(
            self.request(Method::GET, "/v1/keys.json")
                .send()
                .await
                .unwrap(),
        )
        .await;
        let pinned = self
            .broker
            .feed
            .key_document()
            .unwrap()
            .feed_key
            .thumbprint();
        let verifier = Verifier::builder(
            support::ISSUER.parse().unwrap(),
            pinned,
            support::manifest(),
        )
        .build();
        let document = document.to_string();
        let document = hallpass_verify::KeyDocument::from_json(document.as_bytes()).unwrap();
        verifier.accept_key_document(&document).unwrap();
        verifier
    }

    /// Tells `verifier` what there is to know now.
    pub async fn tell(&self, verifier: &Verifier) {
        let path = format!("/v1/feed?server={}", support::SERVER);
        let frame = self.operator(Method::GET, &path).send().await.unwrap();
        verifier.accept_frame(&frame.text().await.unwrap()).unwrap();
    }

    /// Every byte that the journal has of what was recorded.
    pub fn journal(&self) -> String {
        let files = std::fs::read_dir(self.directory.path().join("data/journal")).unwrap();
        files
            .map(|file| {
                String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned()
            })
            .collect()
    }

    /// What was recorded, but for assertions that were used: type to count.
    pub fn records(&self) -> BTreeMap<String, usize> {
        let window = Window {
            order: Order::OldestFirst,
            after: None,
            limit: 100_000,
        };
        let page = self
            .broker
            .history
            .trail()
            .events(&Filter::default(), window)
            .unwrap();
        let mut counted = BTreeMap::new();
        for event in page
            .events
            .into_iter()
            .filter(|event| event.event_type != "assertion_used")
        {
            *counted.entry(event.event_type).or_insert(0) += 1;
        }
        counted
    }
}

/// Why `verifier` refuses to read the ledger by `token`; empty when it does not.
pub fn codes(verifier: &Verifier, token: &str) -> Vec<ReasonCode> {
    let call = Call::tool("read_ledger", None);
    let answer = verifier
        .verify(token)
        .and_then(|pass| verifier.clear(&pass, &call).map(drop));
    answer
        .err()
        .map(|denial| denial.codes())
        .unwrap_or_default()
}

pub fn options() -> server::Options {
    let any = "127.0.0.1:0".parse().unwrap();
    server::Options::new(any, any)
}

pub fn assertion(key: &AgentKey) -> String {
    let issuer: IssuerUri = support::ISSUER.parse().unwrap();
    key.assertion(&issuer, SystemClock::default().now())
        .unwrap()
}

pub fn task() -> Value {
    json!({
        "purpose": "close the Q3 books",
        "ttl_seconds": 300,
        "authorization_details": [{"type": "mcp", "server": support::SERVER, "tools": ["read_ledger"]}],
    })
}

/// A JSON answer that is not a problem.
pub async fn body_of(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.unwrap()
}

/// A problem: its status and its members.
pub async fn problem(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json",
        "{status}"
    );
    let request = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["request_id"], request);
    assert_eq!(
        body["type"],
        format!("urn:hallpass:problem:{}", body["code"].as_str().unwrap())
    );
    (status, body)
}

pub async fn refused(request: RequestBuilder) -> (u16, Value) {
    problem(request.send().await.unwrap()).await
}

pub const GRANT: &str = r#"
[[grant]]
id = "research-reads"
agents = ["group:research"]
server = "ledger"
tools = ["read_*", "search_*"]
max_ttl = "10m"
"#;
