//! A broker in a process of its own, and an MCP server behind the tower layer that hears from it.

use std::{sync::Arc, time::Duration};

use hallpass_broker::identity::AgentKey;
use hallpass_core::{
    base::time::{Clock as _, SystemClock},
    wire::document::KeyDocument,
};
use hallpass_verify::{
    Verifier,
    feed::{FeedClient, FeedHandle},
    tower::HallpassLayer,
};
use rcgen::KeyPair;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

use crate::idp::public_jwk;
use support::ledger;
use support::workspace::Workspace;

/// An agent, with everything that it may prove itself with.
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// Of ES256.
    pub(crate) key: KeyPair,
    /// For the broker's own API.
    own: AgentKey,
}

/// Both, on free ports of this machine; the broker's issuer is where it listens.
pub(crate) struct BrokerAndServer {
    home: Workspace,
    issuer: String,
    http: reqwest::Client,
    admin: String,
    server: String,
    guarded: Option<Guarded>,
}

/// The MCP server's side.
struct Guarded {
    verifier: Arc<Verifier>,
    feed: FeedHandle,
}

impl BrokerAndServer {
    /// The ledger is served, and [`CLIENTS`] may read and search it.
    pub(crate) async fn open() -> Self {
        Self::open_with("").await
    }

    /// As [`BrokerAndServer::open`], with `settings` of the broker's (TOML).
    pub(crate) async fn open_with(settings: &str) -> Self {
        let mut home = Workspace::new();
        home.write("hallpass.toml", settings);
        home.start_with(&["--config", "hallpass.toml"]);
        let issuer = home.url().to_owned();
        Self::with_registrations(home, issuer).await
    }

    /// As [`BrokerAndServer::open`], for an issuer with a path: the broker is reached through a port that passes on.
    pub(crate) async fn open_with_path() -> Self {
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/hallpass", front.local_addr().unwrap());
        let mut home = Workspace::new();
        home.start_with(&["--issuer", &issuer]);
        let broker = home.url().strip_prefix("http://").unwrap().to_owned();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = front.accept().await {
                let mut server = TcpStream::connect(&broker).await.unwrap();
                tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        Self::with_registrations(home, issuer).await
    }

    async fn with_registrations(home: Workspace, issuer: String) -> Self {
        let admin = std::fs::read_to_string(home.path("hallpass-data/operator.token"))
            .unwrap()
            .trim()
            .to_owned();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/mcp", listener.local_addr().unwrap());
        let mut fixture = Self {
            home,
            issuer,
            http,
            admin,
            server,
            guarded: None,
        };
        fixture
            .register_server(&fixture.server, "ledger", &TOOLS)
            .await;
        fixture.grant("reads", &["read_*"]).await;
        fixture.guarded = Some(fixture.guard(listener).await);
        fixture
    }

    /// The broker's issuer.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The MCP server's URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(crate) async fn register_server(&self, uri: &str, name: &str, tools: &[&str]) {
        let tools: serde_json::Map<_, _> = tools
            .iter()
            .map(|tool| ((*tool).to_owned(), json!({})))
            .collect();
        self.as_admin(
            Method::POST,
            "/v1/servers",
            &json!({"server": uri, "name": name, "tools": tools}),
        )
        .await;
    }

    /// Lets [`CLIENTS`] use `tools` of the ledger.
    pub(crate) async fn grant(&self, id: &str, tools: &[&str]) {
        self.grant_at("ledger", id, tools).await;
    }

    /// Lets [`CLIENTS`] use `tools` of `server`.
    pub(crate) async fn grant_at(&self, server: &str, id: &str, tools: &[&str]) {
        let group = format!("group:{CLIENTS}");
        let grant = json!({"id": id, "agents": [group], "server": server, "tools": tools, "max_ttl": "10m"});
        self.as_admin(Method::POST, "/v1/policy/grants", &grant)
            .await;
    }

    /// Registers one of [`CLIENTS`], with a secret and two keys. Without a scope it asks for all of the ledger.
    pub(crate) async fn register_agent(&self, id: &str) -> Agent {
        let (key, own) = (
            KeyPair::generate().unwrap(),
            AgentKey::generate(id.parse().unwrap()),
        );
        let all = json!({"type": "mcp", "server": self.server, "tools": TOOLS});
        let agent = json!({"agent": id, "steward": "alice", "groups": [CLIENTS], "secret": true,
            "keys": [public_jwk(&key), own.public_jwk()], "default_details": [all]});
        let made = self.as_admin(Method::POST, "/v1/agents", &agent).await;
        Agent {
            id: id.to_owned(),
            secret: made["client_secret"].as_str().unwrap().to_owned(),
            key,
            own,
        }
    }

    /// Registers one of [`CLIENTS`] that people use: it has nothing to prove itself with, and a redirect URI.
    pub(crate) async fn register_app(&self, id: &str, redirect_uri: &str) {
        self.register_app_at(id, &[redirect_uri.to_owned()]).await;
    }

    /// As [`BrokerAndServer::register_app`], with several redirect URIs.
    pub(crate) async fn register_app_at(&self, id: &str, redirect_uris: &[String]) {
        let all = json!({"type": "mcp", "server": self.server, "tools": TOOLS});
        let agent = json!({"agent": id, "steward": "alice", "groups": [CLIENTS], "redirect_uris": redirect_uris,
            "default_details": [all]});
        self.as_admin(Method::POST, "/v1/agents", &agent).await;
    }

    /// A secret with which a server asks about passes.
    pub(crate) fn server_secret(&self, server: &str) -> String {
        self.home.json(&["server", "secret", "add", server])["client_secret"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Registers a steward who is `subject` at the identity provider `issuer`.
    pub(crate) fn register_person(&self, steward: &str, issuer: &str, subject: &str) {
        self.home
            .ok(&["steward", "add", steward, "--identity", issuer, subject]);
    }

    /// What a person signs in with, as the operator gets it on the command line.
    pub(crate) fn sign_in_code(&self, steward: &str) -> String {
        self.home.json(&["steward", "code", steward])["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A pass for `server`, from the token endpoint.
    pub(crate) async fn token(&self, agent: &Agent, server: &str, scope: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", server),
            ("scope", scope),
        ];
        let request = self
            .http
            .post(format!("{}/oauth/token", self.issuer()))
            .form(&form);
        let answer = self
            .send(
                "a token",
                request.basic_auth(&agent.id, Some(&agent.secret)),
            )
            .await;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Opens a task for `tools` of the ledger, and has it answered with credentials instead of a pass.
    pub(crate) async fn open_task_client(&self, agent: &Agent, tools: &[&str]) -> Value {
        self.open_limited_task_client(agent, tools, json!({})).await
    }

    /// The same, with limits on arguments.
    pub(crate) async fn open_limited_task_client(
        &self,
        agent: &Agent,
        tools: &[&str],
        constraints: Value,
    ) -> Value {
        let details = json!([{"type": "mcp", "server": self.server, "tools": tools, "constraints": constraints}]);
        let task = json!({"purpose": "read the books", "ttl_seconds": 300, "authorization_details": details,
            "credentials": "client_secret"});
        self.as_agent(agent, "/v1/tasks", &task).await
    }

    /// How many passes a task has had.
    pub(crate) async fn passes_of(&self, task: &Value) -> usize {
        let path = format!("/v1/tasks/{}", task["task_id"].as_str().unwrap());
        let task = self.as_admin(Method::GET, &path, &Value::Null).await;
        task["passes"].as_array().unwrap().len()
    }

    pub(crate) async fn complete_task(&self, agent: &Agent, task: &str) {
        self.as_agent(agent, &format!("/v1/tasks/{task}/complete"), &json!({}))
            .await;
    }

    /// Revokes the task that the agent opened last, and waits until the MCP server has heard of it.
    pub(crate) async fn end_newest_task(&self, agent: &Agent) {
        let path = format!("/v1/tasks?agent={}&limit=200", agent.id);
        let tasks = self.as_admin(Method::GET, &path, &Value::Null).await;
        let ids = tasks["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|task| task["task_id"].as_str());
        // The ids of tasks begin with their time.
        self.revoke(&json!({"task": ids.max().unwrap()})).await;
    }

    /// A token with which a verifier of `server` speaks to the broker.
    pub(crate) async fn verifier_token(&self, server: &str, operator: &str) -> String {
        let order = json!({"operator": operator, "roles": ["verifier"], "servers": [server], "ttl_seconds": 3600});
        let made = self.as_admin(Method::POST, "/v1/operators", &order).await;
        made["token"].as_str().unwrap().to_owned()
    }

    /// Revokes, and waits until the MCP server has heard of it.
    pub(crate) async fn revoke(&self, subject: &Value) {
        let revoked = self
            .as_admin(Method::POST, "/v1/revocations", subject)
            .await;
        let sequence = revoked["sequence"].as_u64().unwrap();
        let Guarded { verifier, feed } = self.guarded.as_ref().unwrap();
        let has_heard = |_: &_| verifier.memory().sequence >= sequence;
        tokio::time::timeout(PATIENCE, feed.wait_for(has_heard))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn as_admin(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self
            .http
            .request(method, format!("{}{path}", self.home.url()))
            .bearer_auth(&self.admin);
        self.send(
            path,
            if body.is_null() {
                request
            } else {
                request.json(body)
            },
        )
        .await
    }

    async fn as_agent(&self, agent: &Agent, path: &str, body: &Value) -> Value {
        let assertion = agent
            .own
            .assertion(
                &self.issuer().parse().unwrap(),
                SystemClock::default().now(),
            )
            .unwrap();
        let request = self
            .http
            .post(format!("{}{path}", self.home.url()))
            .bearer_auth(assertion);
        self.send(path, request.json(body)).await
    }

    async fn send(&self, what: &str, request: reqwest::RequestBuilder) -> Value {
        let response = request.send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{what}: {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Serves the ledger behind the layer, once its verifier has heard from the broker.
    async fn guard(&self, listener: TcpListener) -> Guarded {
        let token = self.verifier_token(&self.server, "ledger-verifier").await;
        let manifest = self
            .as_admin(Method::GET, "/v1/servers/ledger", &Value::Null)
            .await["manifest"]
            .take();
        let keys = self
            .as_admin(Method::GET, "/v1/keys.json", &Value::Null)
            .await;
        let keys: KeyDocument = hallpass_core::wire::read(keys).unwrap();
        let manifest = serde_json::from_value(manifest).unwrap();
        let verifier = Verifier::builder(
            self.issuer().parse().unwrap(),
            keys.feed_key.thumbprint(),
            manifest,
        )
        .build();
        let verifier = Arc::new(verifier);
        let feed = FeedClient::builder(Arc::clone(&verifier), self.home.url(), &token)
            .build()
            .unwrap()
            .spawn();
        tokio::time::timeout(PATIENCE, feed.ready())
            .await
            .unwrap()
            .unwrap();
        let router = ledger::router(HallpassLayer::new(Arc::clone(&verifier)));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Guarded { verifier, feed }
    }
}

/// The group of every agent here.
pub(crate) const CLIENTS: &str = "clients";

const TOOLS: [&str; 4] = ["read_ledger", "search_ledger", "transfer", "delete_ledger"];

/// For what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
