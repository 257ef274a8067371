//! A broker that knows a server, its verifier, an agent and a grant.

use hallpass_broker::identity::AgentKey;
use hallpass_core::{token::manifest::Manifest, wire::document::KeyDocument};
use serde_json::{Value, json};

use super::{BrokerProcess, load::SERVER};

/// What the operator carries over to the MCP server, an agent, and its pass.
pub struct Setup {
    pub manifest: Manifest,
    pub feed_key: String,
    pub verifier_token: String,
    pub agent: AgentKey,
    /// As `POST /v1/tasks` answered.
    pub issued: Value,
}

impl Setup {
    pub async fn of(broker: &BrokerProcess) -> Self {
        let manifest = json!({"server": SERVER, "name": "ledger",
            "tools": {"read_ledger": {"read_only": true}, "delete_ledger": {}}});
        let agent = AgentKey::generate("research-bot".parse().unwrap());
        let grant = json!({"id": "reads", "agents": ["*"], "server": "ledger", "tools": ["read_*"], "max_ttl": "10m"});
        let operator = json!({"operator": "ledger-verifier", "roles": ["verifier"], "servers": [SERVER], "ttl_seconds": 3600});
        let registered =
            json!({"agent": "research-bot", "steward": "alice", "keys": [agent.public_jwk()]});
        broker
            .as_admin("POST", "/v1/servers", Some(manifest.clone()))
            .await
            .unwrap();
        broker
            .as_admin("POST", "/v1/agents", Some(registered))
            .await
            .unwrap();
        broker
            .as_admin("POST", "/v1/policy/grants", Some(grant))
            .await
            .unwrap();
        let made = broker
            .as_admin("POST", "/v1/operators", Some(operator))
            .await
            .unwrap();
        let keys = broker.as_admin("GET", "/v1/keys.json", None).await.unwrap();
        let keys: KeyDocument = hallpass_core::wire::read(keys).unwrap();
        let task = json!({"purpose": "close the Q3 books", "ttl_seconds": 600,
            "authorization_details": [{"type": "mcp", "server": SERVER, "tools": ["read_ledger"]}]});
        let issued = broker.as_agent(&agent, "/v1/tasks", task).await.unwrap();
        Self {
            manifest: serde_json::from_value(manifest).unwrap(),
            feed_key: keys.feed_key.thumbprint(),
            verifier_token: made["token"].as_str().unwrap().to_owned(),
            agent,
            issued,
        }
    }

    pub fn pass(&self) -> &str {
        self.issued["token"].as_str().unwrap()
    }

    pub fn task(&self) -> &str {
        self.issued["task_id"].as_str().unwrap()
    }
}
