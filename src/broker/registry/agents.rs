//! The registry: agents and servers.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BrokerError, Caller, ObjectKind, OneTimeSecret, Registry, SecretView, State,
    change::{Decided, View},
    domain::{
        client::{ClientOrigin, ClientProfile, ClientSecret},
        event::{AgentRecord, LedgerEvent, Subject},
    },
    issuing::request::refuse_bad_details,
    policy::Catalogue,
    registry::service::NewStewards,
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
    /// Where that document says that its keys are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
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

/// What an agent was before a change, and what it gets with it.
#[derive(Default)]
struct Known {
    before: Option<AgentRecord>,
    secret: Option<ClientSecret>,
}

impl Registry {
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
        self.set_agent(caller, &new, |view| {
            refuse_taken(&view.state(), &new.agent)?;
            Ok(Known::default())
        })
        .await
    }

    /// Registers an agent with a secret; it needs no key then.
    ///
    /// # Errors
    ///
    /// As [`add_agent`](Self::add_agent).
    pub async fn add_agent_with_secret(
        &self,
        caller: &Caller,
        new: NewAgent,
    ) -> Result<(AgentView, OneTimeSecret), BrokerError> {
        let secret = OneTimeSecret::token("");
        let known = |view: &View<'_>| {
            refuse_taken(&view.state(), &new.agent)?;
            let secret = Some(secret.recorded(view.now()));
            Ok(Known {
                secret,
                ..Known::default()
            })
        };
        let view = self.set_agent(caller, &new, known).await?;
        Ok((view, secret))
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
        self.set_agent(caller, &new, |view| {
            let before = Some(view.state().registered(&new.agent)?.clone());
            Ok(Known {
                before,
                ..Known::default()
            })
        })
        .await
    }

    /// Removes an agent: nothing is minted for it any more, and its id stays taken. Its passes
    /// live on; revoke the agent first to end them.
    ///
    /// # Errors
    ///
    /// When there is no such agent, or it cannot be recorded.
    pub async fn remove_agent(&self, caller: &Caller, agent: &AgentId) -> Result<(), BrokerError> {
        let decide = |view: &View<'_>| {
            let agent = view.state().registered(agent)?.agent.clone();
            let events = vec![LedgerEvent::AgentRemoved { agent }];
            Ok::<_, BrokerError>(Decided::record(view.now(), events, ()))
        };
        self.changes.in_turn(caller, decide).await?;
        Ok(())
    }

    /// One agent.
    ///
    /// # Errors
    ///
    /// When there is no such agent.
    pub fn agent(&self, agent: &AgentId) -> Result<AgentView, BrokerError> {
        let record = self.changes.state().registered(agent)?.clone();
        Ok(self.view_agent(&record))
    }

    /// Agents in the order of their ids, those after `after`, at most `limit`.
    #[must_use]
    pub fn agents(&self, after: Option<&AgentId>, limit: usize) -> Vec<AgentView> {
        let records: Vec<AgentRecord> = {
            let state = self.changes.state();
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
        self.record_server(caller, manifest, |state, server| {
            if state.server(server.as_str()).is_none() {
                return Ok(());
            }
            Err(BrokerError::Conflict(
                "the server is registered: replace it with PUT".to_owned(),
            ))
        })
        .await
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
        self.record_server(caller, manifest, |_, _| Ok(())).await
    }

    async fn record_server(
        &self,
        caller: &Caller,
        manifest: Manifest,
        check: impl Fn(&State, &ServerUri) -> Result<(), BrokerError>,
    ) -> Result<ServerView, BrokerError> {
        let decide = |view: &View<'_>| {
            let (mut servers, before) = {
                let state = view.state();
                check(&state, &manifest.server)?;
                (state.servers.clone(), state.catalogue())
            };
            servers.insert(manifest.server.clone(), Arc::new(manifest.clone()));
            let catalogue = Catalogue::new(servers.into_values())
                .map_err(|error| BrokerError::Conflict(error.to_string()))?;
            self.policy.refuse_trouble(&before, &catalogue)?;
            let manifest = manifest.clone();
            let events = vec![LedgerEvent::ServerSet { manifest }];
            Ok::<_, BrokerError>(Decided::record(view.now(), events, ()))
        };
        self.changes.in_turn(caller, decide).await?;
        self.server(manifest.server.as_str())
    }

    /// Removes a server: nothing is minted for it any more.
    ///
    /// # Errors
    ///
    /// When there is no such server, or it cannot be recorded.
    pub async fn remove_server(&self, caller: &Caller, server: &str) -> Result<(), BrokerError> {
        let decide = |view: &View<'_>| {
            let server = known_server(&view.state(), server)?.server.clone();
            let events = vec![LedgerEvent::ServerRemoved { server }];
            Ok::<_, BrokerError>(Decided::record(view.now(), events, ()))
        };
        self.changes.in_turn(caller, decide).await?;
        Ok(())
    }

    /// One server, by URI, alias or short name.
    ///
    /// # Errors
    ///
    /// When there is no such server.
    pub fn server(&self, server: &str) -> Result<ServerView, BrokerError> {
        let state = self.changes.state();
        let manifest = known_server(&state, server)?;
        Ok(view_server(&state, manifest))
    }

    /// Servers in the order of their URIs, those after `after`, at most `limit`.
    #[must_use]
    pub fn servers(&self, after: Option<&ServerUri>, limit: usize) -> Vec<ServerView> {
        let state = self.changes.state();
        let later = state
            .servers
            .values()
            .filter(|manifest| after.is_none_or(|after| manifest.server > *after));
        later
            .take(limit)
            .map(|manifest| view_server(&state, manifest))
            .collect()
    }

    /// Records what an agent is from now on, with what is `known` of it.
    async fn set_agent(
        &self,
        caller: &Caller,
        new: &NewAgent,
        known: impl Fn(&View<'_>) -> Result<Known, BrokerError>,
    ) -> Result<AgentView, BrokerError> {
        let mut stewards = NewStewards::default();
        let decide = |view: &View<'_>| {
            let Known { before, secret } = known(view)?;
            let may_be_public = before.as_ref().is_none_or(is_public);
            let (registered_at, mut secrets, client) = before.map_or_else(
                || (view.now(), Vec::new(), None),
                |before| (before.registered_at, before.secrets, before.client),
            );
            secrets.extend(secret);
            let client = self.client_of(new, client.unwrap_or_default());
            let is_bare =
                new.keys.is_empty() && secrets.is_empty() && client.published_keys.is_none();
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
            let (steward, added) = self.ensured_steward(view, &new.steward, &mut stewards)?;
            let agent = AgentRecord {
                agent: new.agent.clone(),
                steward,
                groups: new.groups.clone(),
                keys: new.keys.clone(),
                registered_at,
                secrets,
                client: Some(client).filter(|client| *client != ClientProfile::default()),
            };
            let set = LedgerEvent::AgentSet {
                agent: agent.clone(),
            };
            let events = added.into_iter().chain([set]).collect();
            Ok::<_, BrokerError>(Decided::record(view.now(), events, agent))
        };
        let agent = self.changes.in_turn(caller, decide).await?.value;
        Ok(self.view_agent(&agent))
    }

    fn client_of(&self, new: &NewAgent, before: ClientProfile) -> ClientProfile {
        let mut client = ClientProfile {
            default_details: new.default_details.clone(),
            ..before
        };
        // Keys that an operator gives a client are used instead of those that it publishes.
        if !new.keys.is_empty() {
            client.published_keys = None;
        }
        // Where others are sent codes is theirs to say.
        if client.origin == ClientOrigin::Registered {
            let uris = new.redirect_uris.iter().cloned();
            client.redirect_uris = uris.map(String::from).collect();
        }
        client
    }

    /// Whether an agent may be without key and secret.
    ///
    /// SECURITY: one to whom codes are sent is a public client then: knowing its id is enough to act as it. It is so
    /// from its registration or never, and no workload: the settings may cease to name that one.
    pub(crate) fn may_be_bare(
        &self,
        agent: &AgentId,
        sends_codes: bool,
        may_be_public: bool,
    ) -> bool {
        let is_workload = self.workloads.contains(agent);
        if sends_codes {
            may_be_public && !is_workload
        } else {
            is_workload
        }
    }

    /// Changes an agent's record; `change` says how, and returns what its caller wants back.
    pub(crate) async fn change_record<X>(
        &self,
        caller: &Caller,
        agent: &AgentId,
        change: impl Fn(&mut AgentRecord, Timestamp) -> Result<X, BrokerError>,
    ) -> Result<(AgentView, X), BrokerError> {
        let decide = |view: &View<'_>| {
            let (now, mut agent) = (view.now(), view.state().registered(agent)?.clone());
            let with = change(&mut agent, now)?;
            let set = LedgerEvent::AgentSet {
                agent: agent.clone(),
            };
            Ok::<_, BrokerError>(Decided::record(now, vec![set], (agent, with)))
        };
        let (agent, with) = self.changes.in_turn(caller, decide).await?.value;
        Ok((self.view_agent(&agent), with))
    }

    pub(crate) fn view_agent(&self, record: &AgentRecord) -> AgentView {
        let client = record.client.clone().unwrap_or_default();
        AgentView {
            agent: record.agent.clone(),
            steward: record.steward.clone(),
            steward_name: self
                .directory
                .lock()
                .name(&record.steward)
                .map(str::to_owned),
            groups: record.groups.clone(),
            keys: record.keys.clone(),
            secrets: record.secrets.iter().map(SecretView::of).collect(),
            default_details: client.default_details,
            redirect_uris: client.redirect_uris,
            client_document: match client.origin {
                ClientOrigin::MetadataDocument { url } => Some(url),
                _ => None,
            },
            jwks_uri: client.published_keys.map(|keys| keys.jwks_uri),
            registered_at: record.registered_at,
            suspended: self
                .changes
                .state()
                .is_suspended(&Subject::Agent(record.agent.clone())),
        }
    }
}

fn refuse_taken(state: &State, agent: &AgentId) -> Result<(), BrokerError> {
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

/// A registered server, by URI, alias or short name.
pub(crate) fn known_server<'s>(
    state: &'s State,
    server: &str,
) -> Result<&'s Arc<Manifest>, BrokerError> {
    let missing = || BrokerError::not_found(ObjectKind::Server, quote(server));
    state.server(server).ok_or_else(missing)
}

fn is_public(agent: &AgentRecord) -> bool {
    let sends_codes = agent
        .client
        .as_ref()
        .is_some_and(|client| !client.redirect_uris.is_empty());
    sends_codes && !agent.has_credential()
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
