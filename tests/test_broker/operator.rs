//! What an operator sees and changes between two requests of a client.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{GRANT, TestBroker, body_of};

/// A server beside the ledger: see [`TestBroker::add_archive`].
pub const ARCHIVE: &str = "https://archive.example/mcp";

impl TestBroker {
    /// The tasks of `agent` as operators see them, the newest first.
    pub async fn tasks_of(&self, agent: &str) -> Vec<Value> {
        let listed = self
            .operator(Method::GET, &format!("/v1/tasks?agent={agent}"))
            .send()
            .await
            .unwrap();
        let listed = body_of(listed).await;
        let mut tasks = Vec::new();
        for item in listed["items"].as_array().unwrap() {
            let path = format!("/v1/tasks/{}", item["task_id"].as_str().unwrap());
            let shown = self.operator(Method::GET, &path).send().await.unwrap();
            tasks.push(body_of(shown).await);
        }
        tasks
    }

    /// Puts `grants` in the place of [`GRANT`], and has them read.
    pub async fn set_grants(&self, grants: &str) {
        std::fs::write(self.directory.path().join("policy/reads.toml"), grants).unwrap();
        let reloaded = self
            .operator(Method::POST, "/v1/policy/reload")
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        assert!(
            reloaded.status().is_success(),
            "{:?}",
            reloaded.text().await
        );
    }

    /// Registers a server beside the ledger, at [`ARCHIVE`], and grants reading there.
    pub async fn add_archive(&self) {
        let manifest =
            json!({"server": ARCHIVE, "name": "archive", "tools": {"read": {"read_only": true}}});
        let set = self
            .operator(Method::PUT, "/v1/servers")
            .json(&manifest)
            .send()
            .await
            .unwrap();
        assert_eq!(set.status(), StatusCode::OK);
        let grants = format!(
            "{GRANT}{}",
            GRANT
                .replace("research-reads", "archive")
                .replace("\"ledger\"", "\"archive\"")
        );
        self.set_grants(&grants.replace("\"read_*\"", "\"read*\""))
            .await;
    }
}
