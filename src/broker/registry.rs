//! The registry: agents and servers.

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use super::{Broker, BrokerError, Caller, clients::SecretView, request::refuse_bad_details, state::State};
use crate::{
    base::{
        ids::{AgentId, GroupName, ServerUri, StewardId, TaskId},
        redirect::RedirectUri,
        time::Timestamp,
    },
    journal::{
        Event,
        client::{ClientOrigin, ClientProfile, ClientSecret},
        event::{AgentRecord, Subject},
    },
    policy::Catalogue,
    token::{manifest::Manifest, rights::RequestedDetail},
};

/// An agent to be registered or changed.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "whoever registers must say every one of these")]
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
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct AgentView {
    /// Its id.
    pub agent: AgentId,
    /// Who answers for it.
    pub steward: StewardId,
    /// The steward's name, unless it was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steward_name: Option<String>,
    /// Its groups.
    pub groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs.
    pub keys: Vec<Value>,
    /// Its secrets, without what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretView>,
    /// What a token request of it asks for that names no scope.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect_uris: Vec<String>,
    /// The URL of its metadata document, when that is how it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_document: Option<String>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Whether it was revoked and not reinstated.
    pub suspended: bool,
}

/// A server, as shown to operators.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ServerView {
    /// What was registered.
    pub manifest: Manifest,
    /// Its secrets to ask about passes with, without what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretView>,
    /// Whether it was revoked and not reinstated.
    pub suspended: bool,
}

impl Broker {
    /// Registers an agent.
    ///
    /// # Errors
    ///
    /// When the id is or was taken, there is no key, or it cannot be recorded.
    pub async fn add_agent(&self, caller: &Caller, new: NewAgent) -> Result<AgentView, BrokerError> {
        let _changing = self.changes.lock().await;
        self.refuse_taken(&new.agent)?;
        self.set_agent(caller, new, (None, None)).await
    }

    /// Changes an agent's steward, groups, keys or what it asks for by default; its secrets stay.
    ///
    /// # Errors
    ///
    /// When there is no such agent, no key, or it cannot be recorded.
    pub async fn change_agent(&self, caller: &Caller, new: NewAgent) -> Result<AgentView, BrokerError> {
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
        if self.state().agent(agent).is_none() {
            return Err(BrokerError::NotFound(format!("agent `{agent}`")));
        }
        let event = Event::AgentRemoved { agent: agent.clone() };
        self.record(caller, self.now(), vec![event]).await.map(drop)
    }

    /// One agent.
    ///
    /// # Errors
    ///
    /// When there is no such agent.
    pub fn agent(&self, agent: &AgentId) -> Result<AgentView, BrokerError> {
        let record = self.state().agent(agent).cloned();
        record.map(|record| self.view_agent(&record)).ok_or_else(|| BrokerError::NotFound(format!("agent `{agent}`")))
    }

    /// Agents in the order of their ids, those after `after`, at most `limit`.
    #[must_use]
    pub fn agents(&self, after: Option<&AgentId>, limit: usize) -> Vec<AgentView> {
        let records: Vec<AgentRecord> = {
            let state = self.state();
            let later = state.agents.values().filter(|record| after.is_none_or(|after| record.agent > *after));
            later.take(limit).cloned().collect()
        };
        records.iter().map(|record| self.view_agent(record)).collect()
    }

    /// Registers a server that is not registered yet.
    ///
    /// # Errors
    ///
    /// When it is registered, and as [`set_server`](Self::set_server).
    pub async fn add_server(&self, caller: &Caller, manifest: Manifest) -> Result<ServerView, BrokerError> {
        let _changing = self.changes.lock().await;
        if self.server(manifest.server.as_str()).is_ok() {
            return Err(BrokerError::Conflict("the server is registered: replace it with PUT".to_owned()));
        }
        self.record_server(caller, manifest).await
    }

    /// Registers a server or replaces its manifest.
    ///
    /// # Errors
    ///
    /// When another server has its URI, an alias or its name, a grant or guardrail in force does not
    /// check with it any more, or it cannot be recorded.
    pub async fn set_server(&self, caller: &Caller, manifest: Manifest) -> Result<ServerView, BrokerError> {
        let _changing = self.changes.lock().await;
        self.record_server(caller, manifest).await
    }

    async fn record_server(&self, caller: &Caller, manifest: Manifest) -> Result<ServerView, BrokerError> {
        let mut servers = self.state().servers.clone();
        servers.insert(manifest.server.clone(), Arc::new(manifest.clone()));
        let catalogue =
            Catalogue::new(servers.into_values()).map_err(|error| BrokerError::Conflict(error.to_string()))?;
        self.refuse_policy_trouble(&catalogue)?;
        let server = manifest.server.clone();
        self.record(caller, self.now(), vec![Event::ServerSet { manifest }]).await?;
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
        self.record(caller, self.now(), vec![Event::ServerRemoved { server }]).await.map(drop)
    }

    /// One server, by URI, alias or short name.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn server(&self, server: &str) -> Result<ServerView, BrokerError> {
        let state = self.state();
        let manifest =
            state.server(server).ok_or_else(|| BrokerError::NotFound(format!("server `{}`", server.escape_debug())))?;
        Ok(view_server(&state, manifest))
    }

    /// Servers in the order of their URIs, those after `after`, at most `limit`.
    #[must_use]
    pub fn servers(&self, after: Option<&ServerUri>, limit: usize) -> Vec<ServerView> {
        let state = self.state();
        let later = state.servers.values().filter(|manifest| after.is_none_or(|after| manifest.server > *after));
        later.take(limit).map(|manifest| view_server(&state, manifest)).collect()
    }

    pub(super) fn refuse_taken(&self, agent: &AgentId) -> Result<(), BrokerError> {
        let state = self.state();
        if state.agents.contains_key(agent) || state.removed_agents.contains(agent) {
            return Err(BrokerError::Conflict(format!("the agent id `{agent}` is taken")));
        }
        if agent.as_str().parse::<TaskId>().is_ok() {
            return Err(BrokerError::invalid("agent", "this is how tasks are called, and their OAuth clients"));
        }
        Ok(())
    }

    /// Records what an agent is from now on, with what it was `before` and a `secret` that it gets.
    pub(super) async fn set_agent(
        &self,
        caller: &Caller,
        new: NewAgent,
        (before, secret): (Option<AgentRecord>, Option<ClientSecret>),
    ) -> Result<AgentView, BrokerError> {
        let had_keys = before.as_ref().is_some_and(|before| !before.keys.is_empty());
        let (registered_at, mut secrets, client) = before.map_or_else(
            || (self.now(), Vec::new(), None),
            |before| (before.registered_at, before.secrets, before.client),
        );
        secrets.extend(secret);
        let mut client = ClientProfile { default_details: new.default_details, ..client.unwrap_or_default() };
        // Where others are sent codes is theirs to say.
        if client.origin == ClientOrigin::Registered {
            client.redirect_uris = new.redirect_uris.into_iter().map(String::from).collect();
        }
        // SECURITY: who had a key does not become a public client by losing it.
        let is_public = !client.redirect_uris.is_empty() && !had_keys;
        let proves_itself = !new.keys.is_empty() || !secrets.is_empty() || is_public;
        let proves_itself = proves_itself || self.options.workloads.contains(&new.agent);
        if new.keys.len() > MAX_KEYS || !proves_itself {
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

    pub(super) async fn record_agent(&self, caller: &Caller, agent: AgentRecord) -> Result<AgentView, BrokerError> {
        self.record(caller, self.now(), vec![Event::AgentSet { agent: agent.clone() }]).await?;
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
            suspended: self.state().is_suspended(&Subject::Agent(record.agent.clone())),
        }
    }
}

fn view_server(state: &State, manifest: &Manifest) -> ServerView {
    let suspended = state.is_suspended(&Subject::Server(manifest.server.clone()));
    let secrets = state.server_secrets.get(&manifest.server).into_iter().flatten().map(SecretView::of).collect();
    ServerView { manifest: manifest.clone(), secrets, suspended }
}

const MAX_KEYS: usize = 4;
