//! The registry: agents and servers.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BrokerError, ObjectKind, SecretView, State,
    broker::{Broker, Caller},
    domain::{
        client::{ClientOrigin, ClientProfile, ClientSecret},
        event::{AgentRecord, Event, Subject},
    },
    issuing::request::refuse_bad_details,
    policy::Catalogue,
};
use hallpass_core::{
    base::{
        ids::{AgentId, GroupName, ServerUri, StewardId, TaskId},
        redirect::RedirectUri,
        text::quote,
        time::Timestamp,
    },
    token::{RequestedDetail, manifest::Manifest},
};

/// An agent to be registered or changed.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// Its id.
    pub agent: AgentId,
    /// Who answers for it: a steward's id, or a name, which is registered when it is new.
    pub steward: String,
    /// Its groups.
    pub groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs, already looked at by the caller.
    pub keys: Vec<Value>,
    /// What a token request of it asks for that names no scope.
    pub default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent.
    pub redirect_uris: Vec<RedirectUri>,
}

/// An agent, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AgentView {
    /// Its id.
    pub agent: AgentId,
    /// Who answers for it; of a client that people brought: who consented first.
    pub steward: StewardId,
    /// The steward's name, unless it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward_name: Option<String>,
    /// Its groups.
    pub groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<Object>))]
    pub keys: Vec<Value>,
    /// Its secrets, without what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretView>,
    /// What a token request of it asks for that names no scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// The URL of its metadata document, when that is how it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_document: Option<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Whether it was revoked and not reinstated.
    pub suspended: bool,
}

/// A server, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ServerView {
    /// What was registered.
    pub manifest: Manifest,
    /// Its secrets to ask about passes with, without what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretView>,
    /// Whether it was revoked and not reinstated.
    pub suspended: bool,
}

impl Broker {
    /// Registers an agent.
    ///
    /// # Errors
    ///
    /// When the id is or was taken, the agent could not prove itself, or it cannot be recorded.
    pub async fn add_agent(
        &self,
        caller: &Caller,
        new: NewAgent,
    ) -> Result<AgentView, BrokerError> {
        let _changing = self.changes.lock().await;
        self.refuse_taken(&new.agent)?;
        self.set_agent(caller, new, (None, None)).await
    }

    /// Changes an agent's steward, groups, keys, redirect URIs or what it asks for by default; its secrets stay.
    ///
    /// # Errors
    ///
    /// When there is no such agent, it could not prove itself any more, or it cannot be recorded.
    pub async fn change_agent(
        &self,
        caller: &Caller,
        new: NewAgent,
    ) -> Result<AgentView, BrokerError> {
        let _changing = self.changes.lock().await;
        let before = self.registered(&new.agent)?;
        self.set_agent(caller, new, (Some(before), None)).await
    }

    /// Removes an agent: nothing is minted for it any more, and its id stays taken. Its passes
    /// live on; revoke the agent first to end them.
    ///
    /// # Errors
    ///
    /// When there is no such agent, or it cannot be recorded.
    pub async fn remove_agent(&self, caller: &Caller, agent: &AgentId) -> Result<(), BrokerError> {
        let _changing = self.changes.lock().await;
        self.registered(agent)?;
        let event = Event::AgentRemoved {
            agent: agent.clone(),
        };
        self.record(caller, self.now(), vec![event]).await.map(drop)
    }

    /// One agent.
    ///
    /// # Errors
    ///
    /// When there is no such agent.
    pub fn agent(&self, agent: &AgentId) -> Result<AgentView, BrokerError> {
        self.registered(agent)
            .map(|record| self.view_agent(&record))
    }

    /// Agents in the order of their ids, those after `after`, at most `limit`.
    #[must_use]
    pub fn agents(&self, after: Option<&AgentId>, limit: usize) -> Vec<AgentView> {
        let records: Vec<AgentRecord> = {
            let state = self.state();
            let later = state
                .agents
                .values()
                .filter(|record| after.is_none_or(|after| record.agent > *after));
            later.take(limit).cloned().collect()
        };
        records
            .iter()
            .map(|record| self.view_agent(record))
            .collect()
    }

    /// Registers a server that is not registered yet.
    ///
    /// # Errors
    ///
    /// When it is registered, and as [`set_server`](Self::set_server).
    pub async fn add_server(
        &self,
        caller: &Caller,
        manifest: Manifest,
    ) -> Result<ServerView, BrokerError> {
        let _changing = self.changes.lock().await;
        if self.server(manifest.server.as_str()).is_ok() {
            return Err(BrokerError::Conflict(
                "the server is registered: replace it with PUT".to_owned(),
            ));
        }
        self.record_server(caller, manifest).await
    }

    /// Registers a server or replaces its manifest.
    ///
    /// # Errors
    ///
    /// When another server has its URI, an alias or its name, a grant or guardrail in force does not
    /// check with it any more, or it cannot be recorded.
    pub async fn set_server(
        &self,
        caller: &Caller,
        manifest: Manifest,
    ) -> Result<ServerView, BrokerError> {
        let _changing = self.changes.lock().await;
        self.record_server(caller, manifest).await
    }

    async fn record_server(
        &self,
        caller: &Caller,
        manifest: Manifest,
    ) -> Result<ServerView, BrokerError> {
        let mut servers = self.state().servers.clone();
        servers.insert(manifest.server.clone(), Arc::new(manifest.clone()));
        let catalogue = Catalogue::new(servers.into_values())
            .map_err(|error| BrokerError::Conflict(error.to_string()))?;
        self.refuse_policy_trouble(&catalogue)?;
        let server = manifest.server.clone();
        self.record(caller, self.now(), vec![Event::ServerSet { manifest }])
            .await?;
        self.server(server.as_str())
    }

    /// Removes a server: nothing is minted for it any more.
    ///
    /// # Errors
    ///
    /// When there is no such server, or it cannot be recorded.
    pub async fn remove_server(&self, caller: &Caller, server: &str) -> Result<(), BrokerError> {
        let _changing = self.changes.lock().await;
        let server = self.server(server)?.manifest.server;
        self.record(caller, self.now(), vec![Event::ServerRemoved { server }])
            .await
            .map(drop)
    }

    /// One server, by URI, alias or short name.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn server(&self, server: &str) -> Result<ServerView, BrokerError> {
        let state = self.state();
        let manifest = state
            .server(server)
            .ok_or_else(|| BrokerError::not_found(ObjectKind::Server, quote(server)))?;
        Ok(view_server(&state, manifest))
    }

    /// Servers in the order of their URIs, those after `after`, at most `limit`.
    #[must_use]
    pub fn servers(&self, after: Option<&ServerUri>, limit: usize) -> Vec<ServerView> {
        let state = self.state();
        let later = state
            .servers
            .values()
            .filter(|manifest| after.is_none_or(|after| manifest.server > *after));
        later
            .take(limit)
            .map(|manifest| view_server(&state, manifest))
            .collect()
    }

    pub(crate) fn refuse_taken(&self, agent: &AgentId) -> Result<(), BrokerError> {
        let state = self.state();
        if state.agents.contains_key(agent) || state.removed_agents.contains(agent) {
            return Err(BrokerError::Conflict(format!(
                "the agent id `{agent}` is taken"
            )));
        }
        if agent.as_str().parse::<TaskId>().is_ok() {
            return Err(BrokerError::invalid(
                "agent",
                "this is how tasks are called, and their OAuth clients",
            ));
        }
        Ok(())
    }

    /// Records what an agent is from now on, with what it was `before` and a `secret` that it gets.
    pub(crate) async fn set_agent(
        &self,
        caller: &Caller,
        new: NewAgent,
        (before, secret): (Option<AgentRecord>, Option<ClientSecret>),
    ) -> Result<AgentView, BrokerError> {
        let may_be_public = before.as_ref().is_none_or(is_public);
        let (registered_at, mut secrets, client) = before.map_or_else(
            || (self.now(), Vec::new(), None),
            |before| (before.registered_at, before.secrets, before.client),
        );
        secrets.extend(secret);
        let mut client = ClientProfile {
            default_details: new.default_details,
            ..client.unwrap_or_default()
        };
        // Where others are sent codes is theirs to say.
        if client.origin == ClientOrigin::Registered {
            client.redirect_uris = new.redirect_uris.into_iter().map(String::from).collect();
        }
        let is_bare = new.keys.is_empty() && secrets.is_empty();
        let sends_codes = !client.redirect_uris.is_empty();
        if new.keys.len() > MAX_KEYS
            || (is_bare && !self.may_be_bare(&new.agent, sends_codes, may_be_public))
        {
            let detail = format!(
                "an agent has 1 to {MAX_KEYS} public keys, or a secret, or `[[oauth.issuer]]` of the settings names it"
            );
            return Err(BrokerError::invalid("keys", detail));
        }
        if !client.default_details.is_empty() {
            refuse_bad_details(&client.default_details)?;
        }
        let steward = self.ensure_steward(caller, &new.steward).await?;
        let agent = AgentRecord {
            agent: new.agent,
            steward,
            groups: new.groups,
            keys: new.keys,
            registered_at,
            secrets,
            client: Some(client).filter(|client| *client != ClientProfile::default()),
        };
        self.record_agent(caller, agent).await
    }

    /// Whether an agent may be without key and secret.
    ///
    /// SECURITY: one to whom codes are sent is a public client then: whoever knows its id is that client. It is so
    /// from its registration or never, and no workload: the settings may cease to name that one.
    pub(crate) fn may_be_bare(
        &self,
        agent: &AgentId,
        sends_codes: bool,
        may_be_public: bool,
    ) -> bool {
        let is_workload = self.options.workloads.contains(agent);
        if sends_codes {
            may_be_public && !is_workload
        } else {
            is_workload
        }
    }

    pub(crate) async fn record_agent(
        &self,
        caller: &Caller,
        agent: AgentRecord,
    ) -> Result<AgentView, BrokerError> {
        self.record(
            caller,
            self.now(),
            vec![Event::AgentSet {
                agent: agent.clone(),
            }],
        )
        .await?;
        Ok(self.view_agent(&agent))
    }

    fn view_agent(&self, record: &AgentRecord) -> AgentView {
        let client = record.client.clone().unwrap_or_default();
        AgentView {
            agent: record.agent.clone(),
            steward: record.steward.clone(),
            steward_name: self.directory().name(&record.steward).map(str::to_owned),
            groups: record.groups.clone(),
            keys: record.keys.clone(),
            secrets: record.secrets.iter().map(SecretView::of).collect(),
            default_details: client.default_details,
            redirect_uris: client.redirect_uris,
            client_document: match client.origin {
                ClientOrigin::MetadataDocument { url } => Some(url),
                _ => None,
            },
            registered_at: record.registered_at,
            suspended: self
                .state()
                .is_suspended(&Subject::Agent(record.agent.clone())),
        }
    }
}

fn is_public(agent: &AgentRecord) -> bool {
    let sends_codes = agent
        .client
        .as_ref()
        .is_some_and(|client| !client.redirect_uris.is_empty());
    sends_codes && agent.keys.is_empty() && agent.secrets.is_empty()
}

fn view_server(state: &State, manifest: &Manifest) -> ServerView {
    let suspended = state.is_suspended(&Subject::Server(manifest.server.clone()));
    let secrets = state
        .server_secrets
        .get(&manifest.server)
        .into_iter()
        .flatten()
        .map(SecretView::of)
        .collect();
    ServerView {
        manifest: manifest.clone(),
        secrets,
        suspended,
    }
}

const MAX_KEYS: usize = 4;
