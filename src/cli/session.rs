//! What the command line asks the broker: one method for each route, typed by what the API answers.

use std::marker::PhantomData;

use reqwest::Response;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    api::{
        agents::{AgentChange, AgentRequest, AgentWithSecret},
        operators::{OperatorRequest, OperatorToken, OperatorView},
        policy::{ExplainRequest, Explanation, GrantRequest, PolicyCheck},
        revocations::{RevokeManyRequest, RevokeRequest},
        servers::{ServerNames, ServerWithSecret},
        shape,
        stewards::{SignInCode, StewardRequest},
        tasks::{AgainRequest, DelegationRequest, Issued, OpenRequest, Opened},
    },
    cli::{
        client::{Bearer, Client, segment, unreadable},
        error::CliError,
    },
};
use hallpass_broker::{
    AgentView, CallView, DelegationView, EntitlementRow, GrantWritten, KeyView, PolicyView,
    Revoked, RevokedMany, ServerView, StewardView, TaskItem, TaskView,
    domain::{client::SecretId, event::KeyPurpose},
    ledger::audit::{
        ActivityRow, AuditEvent, ConsistencyEvidence, HeadEvidence, InclusionEvidence, LiveRow,
        ReachRow, RefusalRow,
    },
};
use hallpass_core::{
    base::ids::{AgentId, KeyId, OperatorId, ServerUri, StewardId, TaskId},
    token::manifest::Manifest,
};

/// A broker, and what a request to it proves.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    bearer: Bearer,
}

/// An answer: a `T`, beside the JSON that the broker wrote, which may say more than this program knows.
///
/// SECURITY: without `Debug`, since tokens and secrets are in it.
pub(super) struct Answer<T> {
    raw: Value,
    is: PhantomData<fn() -> T>,
}

/// The items of a list, each an answer.
pub(super) type List<T> = Vec<Answer<T>>;

/// Members of a query.
pub(super) type Query<'q> = &'q [(&'static str, String)];

impl<T: DeserializeOwned> Answer<T> {
    pub(super) const fn new(raw: Value) -> Self {
        Self {
            raw,
            is: PhantomData,
        }
    }

    /// What this program knows of the answer; a newer broker may have said more.
    pub(super) fn read(&self) -> Result<T, CliError> {
        shape::read_known(self.raw.clone()).map_err(unreadable)
    }

    /// The whole answer, for what is changed and written back: nothing of it may be left out unseen.
    pub(super) fn read_whole(&self) -> Result<T, CliError> {
        shape::read_whole(self.raw.clone()).map_err(|error| {
            unreadable(error)
                .hint("the broker may be newer than this program: use its own `hallpass`")
        })
    }
}

impl<T> Answer<T> {
    /// The answer as the broker wrote it.
    pub(super) const fn raw(&self) -> &Value {
        &self.raw
    }

    pub(super) const fn raw_mut(&mut self) -> &mut Value {
        &mut self.raw
    }
}

/// A list as `--json` shows it.
pub(super) fn document<T>(list: &List<T>) -> Value {
    json!({"items": values(list)})
}

/// The items of a list as the broker wrote them.
pub(super) fn values<T>(list: &[Answer<T>]) -> Vec<Value> {
    list.iter().map(|answer| answer.raw.clone()).collect()
}

impl Session {
    pub(super) const fn new(client: Client, bearer: Bearer) -> Self {
        Self { client, bearer }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
    ) -> Result<Answer<T>, CliError> {
        let raw = self.client.get(path, query, &self.bearer).await?;
        Ok(Answer::new(raw))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, CliError> {
        let raw = self.client.post(path, body, &self.bearer).await?;
        Ok(Answer::new(raw))
    }

    /// A request that says nothing but its path.
    async fn ask<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CliError> {
        self.post(path, &json!({})).await
    }

    async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, CliError> {
        let raw = self.client.put(path, body, &self.bearer).await?;
        Ok(Answer::new(raw))
    }

    async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CliError> {
        let raw = self.client.delete(path, &self.bearer).await?;
        Ok(Answer::new(raw))
    }

    async fn remove(&self, path: &str) -> Result<(), CliError> {
        self.client.delete(path, &self.bearer).await.map(drop)
    }

    async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<T>, CliError> {
        let items = self.client.list(path, (query, limit), &self.bearer).await?;
        Ok(items.into_iter().map(Answer::new).collect())
    }
}

/// Agents.
impl Session {
    pub(super) async fn add_agent(
        &self,
        agent: &AgentRequest,
    ) -> Result<Answer<AgentWithSecret>, CliError> {
        self.post("/v1/agents", agent).await
    }

    pub(super) async fn agents(&self) -> Result<List<AgentView>, CliError> {
        self.list("/v1/agents", &[], usize::MAX).await
    }

    pub(super) async fn agent(&self, agent: &AgentId) -> Result<Answer<AgentView>, CliError> {
        self.get(&format!("/v1/agents/{agent}"), &[]).await
    }

    pub(super) async fn change_agent(
        &self,
        agent: &AgentId,
        change: &AgentChange,
    ) -> Result<Answer<AgentView>, CliError> {
        self.put(&format!("/v1/agents/{agent}"), change).await
    }

    pub(super) async fn add_agent_secret(
        &self,
        agent: &AgentId,
    ) -> Result<Answer<AgentWithSecret>, CliError> {
        self.ask(&format!("/v1/agents/{agent}/secrets")).await
    }

    pub(super) async fn remove_agent_secret(
        &self,
        agent: &AgentId,
        secret: &SecretId,
    ) -> Result<Answer<AgentView>, CliError> {
        self.delete(&format!("/v1/agents/{agent}/secrets/{secret}"))
            .await
    }

    pub(super) async fn remove_agent(&self, agent: &AgentId) -> Result<(), CliError> {
        self.remove(&format!("/v1/agents/{agent}")).await
    }

    pub(super) async fn reinstate_agent(
        &self,
        agent: &AgentId,
    ) -> Result<Answer<AgentView>, CliError> {
        self.ask(&format!("/v1/agents/{agent}/reinstate")).await
    }
}

/// Servers, by name or URI.
impl Session {
    pub(super) async fn add_server(
        &self,
        manifest: &Manifest,
    ) -> Result<Answer<ServerView>, CliError> {
        self.post("/v1/servers", manifest).await
    }

    pub(super) async fn set_server(
        &self,
        manifest: &Manifest,
    ) -> Result<Answer<ServerView>, CliError> {
        self.put("/v1/servers", manifest).await
    }

    pub(super) async fn servers(&self) -> Result<List<ServerView>, CliError> {
        self.list("/v1/servers", &[], usize::MAX).await
    }

    pub(super) async fn server(&self, server: &str) -> Result<Answer<ServerView>, CliError> {
        self.get(&server_path(server), &[]).await
    }

    pub(super) async fn server_names(&self, server: &str) -> Result<Answer<ServerNames>, CliError> {
        self.get(&format!("{}/uri", server_path(server)), &[]).await
    }

    pub(super) async fn remove_server(&self, server: &str) -> Result<(), CliError> {
        self.remove(&server_path(server)).await
    }

    pub(super) async fn add_server_secret(
        &self,
        server: &str,
    ) -> Result<Answer<ServerWithSecret>, CliError> {
        self.ask(&format!("{}/secrets", server_path(server))).await
    }

    pub(super) async fn remove_server_secret(
        &self,
        server: &str,
        secret: &SecretId,
    ) -> Result<Answer<ServerView>, CliError> {
        self.delete(&format!("{}/secrets/{secret}", server_path(server)))
            .await
    }

    pub(super) async fn reinstate_server(
        &self,
        server: &str,
    ) -> Result<Answer<ServerView>, CliError> {
        self.ask(&format!("{}/reinstate", server_path(server)))
            .await
    }
}

/// Stewards.
impl Session {
    pub(super) async fn add_steward(
        &self,
        steward: &StewardRequest,
    ) -> Result<Answer<StewardView>, CliError> {
        self.post("/v1/stewards", steward).await
    }

    pub(super) async fn stewards(&self) -> Result<List<StewardView>, CliError> {
        self.list("/v1/stewards", &[], usize::MAX).await
    }

    pub(super) async fn sign_in_code(
        &self,
        steward: &StewardId,
    ) -> Result<Answer<SignInCode>, CliError> {
        self.ask(&format!("/v1/stewards/{steward}/code")).await
    }

    pub(super) async fn unlink_steward(&self, steward: &StewardId) -> Result<(), CliError> {
        self.remove(&format!("/v1/stewards/{steward}/identities"))
            .await
    }

    pub(super) async fn erase_steward(&self, steward: &StewardId) -> Result<(), CliError> {
        self.remove(&format!("/v1/stewards/{steward}/name")).await
    }

    pub(super) async fn reinstate_steward(&self, steward: &StewardId) -> Result<(), CliError> {
        self.ask::<Value>(&format!("/v1/stewards/{steward}/reinstate"))
            .await
            .map(drop)
    }
}

/// Operators.
impl Session {
    pub(super) async fn add_operator(
        &self,
        operator: &OperatorRequest,
    ) -> Result<Answer<OperatorToken>, CliError> {
        self.post("/v1/operators", operator).await
    }

    pub(super) async fn operators(&self) -> Result<List<OperatorView>, CliError> {
        self.list("/v1/operators", &[], usize::MAX).await
    }

    pub(super) async fn remove_operator(&self, operator: &OperatorId) -> Result<(), CliError> {
        self.remove(&format!("/v1/operators/{operator}")).await
    }
}

/// Tasks.
impl Session {
    pub(super) async fn open_task(&self, task: &OpenRequest) -> Result<Answer<Opened>, CliError> {
        self.post("/v1/tasks", task).await
    }

    pub(super) async fn issue_again(
        &self,
        task: &TaskId,
        request: &AgainRequest,
    ) -> Result<Answer<Issued>, CliError> {
        self.post(&format!("/v1/tasks/{task}/tokens"), request)
            .await
    }

    pub(super) async fn complete_task(&self, task: &TaskId) -> Result<Answer<TaskView>, CliError> {
        self.ask(&format!("/v1/tasks/{task}/complete")).await
    }

    pub(super) async fn report_delegation(
        &self,
        task: &TaskId,
        report: &DelegationRequest,
    ) -> Result<Answer<DelegationView>, CliError> {
        self.post(&format!("/v1/tasks/{task}/delegations"), report)
            .await
    }

    pub(super) async fn tasks(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<TaskItem>, CliError> {
        self.list("/v1/tasks", query, limit).await
    }

    pub(super) async fn task(&self, task: &TaskId) -> Result<Answer<TaskView>, CliError> {
        self.get(&format!("/v1/tasks/{task}"), &[]).await
    }
}

/// Revocations and keys.
impl Session {
    pub(super) async fn revoke(
        &self,
        subject: &RevokeRequest,
    ) -> Result<Answer<Revoked>, CliError> {
        self.post("/v1/revocations", subject).await
    }

    pub(super) async fn revoke_many(
        &self,
        many: &RevokeManyRequest,
    ) -> Result<Answer<RevokedMany>, CliError> {
        self.post("/v1/revocations/bulk", many).await
    }

    pub(super) async fn revocations(&self, limit: usize) -> Result<List<Revoked>, CliError> {
        self.list("/v1/revocations", &[], limit).await
    }

    /// Every key, on one page.
    pub(super) async fn keys(&self) -> Result<Answer<crate::api::Page<KeyView>>, CliError> {
        self.get("/v1/keys", &[]).await
    }

    pub(super) async fn rotate_key(
        &self,
        purpose: KeyPurpose,
    ) -> Result<Answer<KeyView>, CliError> {
        self.ask(&format!("/v1/keys/{}/rotate", purpose.as_str()))
            .await
    }

    pub(super) async fn revoke_operator_key(
        &self,
        key: KeyId,
    ) -> Result<Answer<KeyView>, CliError> {
        self.ask(&format!("/v1/keys/operator/{key}/revoke")).await
    }
}

/// The policy.
impl Session {
    pub(super) async fn policy(&self) -> Result<Answer<PolicyView>, CliError> {
        self.get("/v1/policy", &[]).await
    }

    pub(super) async fn check_policy(&self) -> Result<Answer<PolicyCheck>, CliError> {
        self.ask("/v1/policy/check").await
    }

    pub(super) async fn reload_policy(&self) -> Result<Answer<PolicyView>, CliError> {
        self.ask("/v1/policy/reload").await
    }

    pub(super) async fn write_grant(
        &self,
        grant: &GrantRequest,
    ) -> Result<Answer<GrantWritten>, CliError> {
        self.post("/v1/policy/grants", grant).await
    }

    pub(super) async fn explain(
        &self,
        question: &ExplainRequest,
    ) -> Result<Answer<Explanation>, CliError> {
        self.post("/v1/policy/explain", question).await
    }
}

/// The feed.
impl Session {
    /// The signed frame of one server.
    pub(super) async fn frame(&self, server: &ServerUri) -> Result<String, CliError> {
        let query = [("server", server.to_string())];
        let asked = (query.as_slice(), "application/jose");
        self.client.text("/v1/feed", asked, &self.bearer).await
    }
}

/// The audit trail.
impl Session {
    pub(super) async fn events(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<AuditEvent>, CliError> {
        self.list("/v1/audit", query, limit).await
    }

    pub(super) async fn calls(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<CallView>, CliError> {
        self.list("/v1/decisions", query, limit).await
    }

    /// Events from now on, or from the one with the id `last`.
    pub(super) async fn follow_events(
        &self,
        query: Query<'_>,
        last: Option<String>,
    ) -> Result<Response, CliError> {
        self.client
            .events("/v1/audit", (query, last), &self.bearer)
            .await
    }

    /// The exact lines of the journal, as they come.
    pub(super) async fn export(&self, query: Query<'_>) -> Result<Response, CliError> {
        let asked = (query, "application/jsonl");
        self.client
            .stream("/v1/audit/export", asked, &self.bearer)
            .await
    }

    pub(super) async fn audit_head(&self) -> Result<Answer<HeadEvidence>, CliError> {
        self.get("/v1/audit/head", &[]).await
    }

    pub(super) async fn prove_inclusion(
        &self,
        sequence: u64,
    ) -> Result<Answer<InclusionEvidence>, CliError> {
        let query = [("sequence", sequence.to_string())];
        self.get("/v1/audit/proofs/inclusion", &query).await
    }

    pub(super) async fn prove_consistency(
        &self,
        from: u64,
    ) -> Result<Answer<ConsistencyEvidence>, CliError> {
        let query = [("from", from.to_string())];
        self.get("/v1/audit/proofs/consistency", &query).await
    }

    pub(super) async fn activity(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<ActivityRow>, CliError> {
        self.list("/v1/audit/reports/activity", query, limit).await
    }

    pub(super) async fn reach(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<ReachRow>, CliError> {
        self.list("/v1/audit/reports/reach", query, limit).await
    }

    pub(super) async fn refusals(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<RefusalRow>, CliError> {
        self.list("/v1/audit/reports/refusals", query, limit).await
    }

    pub(super) async fn entitlements(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<EntitlementRow>, CliError> {
        self.list("/v1/audit/reports/entitlements", query, limit)
            .await
    }

    pub(super) async fn live(
        &self,
        query: Query<'_>,
        limit: usize,
    ) -> Result<List<LiveRow>, CliError> {
        self.list("/v1/audit/reports/live", query, limit).await
    }
}

fn server_path(server: &str) -> String {
    format!("/v1/servers/{}", segment(server))
}
