//! Records as people and tools read them: flat, one event one line of JSON.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        client::ClientOrigin,
        event::{AgentRecord, LedgerEvent},
        subjects::Subjects,
    },
    ledger::{
        record::Record,
        views::{Filter, FoundPage, IndexError, Views, Window},
    },
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, RequestId, ServerUri, StewardId, TaskId},
        text::escape_json,
        time::Timestamp,
    },
    token::RequestedDetail,
};

/// One event of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AuditEvent {
    /// Its record's place in the chain.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened: `token_issued`, `revoked`, …
    #[serde(rename = "type")]
    pub event_type: String,
    /// Who caused it: `broker`, `agent <id>`, `operator <id>`, `client of <task>` or `steward <id>`.
    pub actor: String,
    /// The agent that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The steward that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<StewardId>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The task whose pass was exchanged for that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<TaskId>,
    /// The servers concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerUri>,
    /// The request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// That request's trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The rest in words.
    pub detail: String,
    /// The record's hash.
    pub hash: Digest,
}

impl AuditEvent {
    /// `record` as an event about `subjects`.
    #[must_use]
    pub fn new(record: &Record, subjects: &Subjects) -> Self {
        let entry = &record.entry;
        let (event_type, detail) = explain(&entry.event);
        Self {
            seq: record.sequence,
            at: entry.at,
            event_type: event_type.to_owned(),
            actor: entry.actor.to_string(),
            agent: subjects.agents.first().cloned(),
            steward: subjects.stewards.first().cloned(),
            task: subjects.tasks.first().cloned(),
            parent: subjects.parents.first().cloned(),
            servers: subjects.servers.iter().cloned().collect(),
            request: entry.request.clone(),
            trace: entry.trace.clone(),
            detail,
            hash: record.hash,
        }
    }

    /// The event as one line of JSON, without its newline.
    ///
    /// SECURITY: words of agents and operators stand in it. What could end a line, drive a terminal or
    /// reorder the text is escaped, so that an event cannot pass for another.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Ids, text and numbers: there is nothing here that JSON could not hold.
        let json = serde_json::to_string(self).unwrap_or_default();
        // Outside a string serde_json writes no such character, so each stands where JSON knows this escape.
        escape_json(&json).into_owned()
    }
}

/// A page of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events in the order that was asked for.
    pub events: Vec<AuditEvent>,
    /// The `after` of the next page; `None` when this is the last.
    pub next: Option<u64>,
}

/// Answers questions about the past. Blocks on the disk.
#[derive(Debug, Clone, Copy)]
pub struct Trail<'v>(&'v Views);

impl<'v> Trail<'v> {
    /// The trail of the records that `views` find.
    #[must_use]
    pub const fn new(views: &'v Views) -> Self {
        Self(views)
    }

    /// The events that `filter` wants, as far as `window` shows them.
    ///
    /// # Errors
    ///
    /// When index or journal fail; never a part of an answer.
    pub fn events(&self, filter: &Filter, window: Window) -> Result<Page, IndexError> {
        let FoundPage { found, next } = self.0.page(filter, window)?;
        let events = found
            .into_iter()
            .filter_map(|sequence| self.event(sequence).transpose());
        let events = events.collect::<Result<_, _>>()?;
        Ok(Page { events, next })
    }

    /// The event of record `sequence`; `None` when it is not kept any more.
    ///
    /// # Errors
    ///
    /// When index or journal fail.
    pub fn event(&self, sequence: u64) -> Result<Option<AuditEvent>, IndexError> {
        let Some(record) = self.0.record(sequence)? else {
            return Ok(None);
        };
        let subjects = self.0.subjects(&record.entry)?;
        Ok(Some(AuditEvent::new(&record, &subjects)))
    }
}

/// The event's type, and what else it says in words.
fn explain(event: &LedgerEvent) -> (&'static str, String) {
    match event {
        LedgerEvent::BrokerStarted {
            issuer,
            version,
            recovery,
        } => {
            let start = format!("{issuer} version {version}");
            (
                "broker_started",
                std::iter::once(start)
                    .chain(recovery.iter().cloned())
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        }
        LedgerEvent::SegmentBegun { snapshot } => {
            let snapshot =
                snapshot.map(|digest| format!("the state before it has the digest {digest}"));
            ("segment_begun", snapshot.unwrap_or_default())
        }
        LedgerEvent::KeyChanged {
            purpose,
            key,
            state,
            ..
        } => (
            "key_changed",
            format!("{} key {key} is {}", purpose.as_str(), state.as_str()),
        ),
        LedgerEvent::OperatorAdded {
            operator,
            roles,
            expires_at,
            ..
        } => {
            let roles = list(roles.iter().map(|role| role.as_str()));
            (
                "operator_added",
                format!("{operator} as {roles} until {expires_at}"),
            )
        }
        LedgerEvent::OperatorRemoved { operator } => ("operator_removed", operator.to_string()),
        LedgerEvent::StewardAdded { .. } => ("steward_added", String::new()),
        LedgerEvent::StewardErased { .. } => {
            ("steward_erased", "the name; the id stays".to_owned())
        }
        LedgerEvent::StewardIdentified { issuer, .. } => (
            "steward_identified",
            format!("as a person whom {issuer} knows"),
        ),
        LedgerEvent::StewardUnidentified { .. } => (
            "steward_unidentified",
            "no issuer's word counts any more".to_owned(),
        ),
        LedgerEvent::AgentSet { agent } => ("agent_set", agent_words(agent)),
        LedgerEvent::AgentRemoved { .. } => ("agent_removed", String::new()),
        LedgerEvent::ServerSet { manifest } => {
            let (tools, roots) = (manifest.tools.len(), manifest.resources.len());
            (
                "server_set",
                format!("{}: {tools} tools, {roots} resource roots", manifest.name),
            )
        }
        LedgerEvent::ServerSecretsSet { secrets, .. } => {
            ("server_secrets_set", format!("{} secrets", secrets.len()))
        }
        LedgerEvent::ServerRemoved { .. } => ("server_removed", String::new()),
        LedgerEvent::PolicyLoaded {
            digest,
            grants,
            guardrails,
        } => (
            "policy_loaded",
            format!("{grants} grants, {guardrails} guardrails, digest {digest}"),
        ),
        LedgerEvent::TaskOpened { task } => {
            let client = if task.client_secret.is_some() {
                "; with a client of its own"
            } else {
                ""
            };
            let verified = task
                .verified
                .as_ref()
                .map(|by| format!("; steward verified by {}", by.issuer));
            let verified = verified.unwrap_or_default();
            let parent = task.parent.as_ref().map(|parent| {
                format!(
                    "; in the place of agent {}, by a pass of {}",
                    parent.agent, parent.task
                )
            });
            let from = parent.unwrap_or_default();
            (
                "task_opened",
                format!(
                    "{} until {}{client}{verified}{from}",
                    task.purpose, task.ends_at
                ),
            )
        }
        LedgerEvent::TokenIssued { token, .. } => {
            let rights = list(
                token
                    .decided_by
                    .iter()
                    .map(|by| format!("{} by grant {}", by.right, by.grant)),
            );
            let bound = token
                .holder
                .as_deref()
                .map(|key| format!("; bound to key {key}"))
                .unwrap_or_default();
            let (until, id) = (token.expires_at, token.revocation_id);
            (
                "token_issued",
                format!("{rights}; until {until}{bound}; revocation id {id}"),
            )
        }
        LedgerEvent::RequestRefused { reasons, .. } => {
            let reasons = reasons
                .iter()
                .map(|reason| format!("{}: {}", reason.code, reason.detail));
            ("request_refused", reasons.collect::<Vec<_>>().join("; "))
        }
        LedgerEvent::TaskCompleted { passes_end, .. } => (
            "task_completed",
            format!("its passes would end at {passes_end}"),
        ),
        LedgerEvent::DelegationReported {
            blocks,
            delegate,
            registered,
            ..
        } => {
            let asserted = delegate.as_deref().map(|to| format!(" to {to} (asserted)"));
            let known = registered.as_ref().map(|agent| {
                format!(
                    " to {}, with a key that is registered to agent {agent}",
                    delegate.as_deref().unwrap_or("an unnamed delegate")
                )
            });
            let to = known.or(asserted).unwrap_or_default();
            (
                "delegation_reported",
                format!("{} blocks{to}: {}", blocks.len(), list(blocks)),
            )
        }
        LedgerEvent::Revoked { revocation } => {
            let reason = revocation
                .reason
                .as_deref()
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            ("revoked", format!("{}{reason}", revocation.subject))
        }
        LedgerEvent::Reinstated { subject } => ("reinstated", subject.to_string()),
        LedgerEvent::AssertionUsed { expires_at, .. } => {
            ("assertion_used", format!("remembered until {expires_at}"))
        }
        LedgerEvent::SignInCodeMade { expires_at, .. } => (
            "sign_in_code_made",
            format!("good once, until {expires_at}"),
        ),
        LedgerEvent::SignedIn { .. } => ("signed_in", String::new()),
        LedgerEvent::ConsentGiven { consent } => {
            let sent = consent
                .redirect_uri
                .as_deref()
                .map(|uri| format!("; code sent to {uri}"))
                .unwrap_or_default();
            (
                "consent_given",
                format!(
                    "{}; until {}{sent}",
                    list(consent.details.iter().map(names)),
                    consent.ends_at
                ),
            )
        }
        LedgerEvent::CodeUsed { task, .. } => {
            let words = if task.is_some() {
                "by its client"
            } else {
                "came from where it should not have been"
            };
            ("code_used", words.to_owned())
        }
        LedgerEvent::RefreshRotated { .. } => ("refresh_rotated", String::new()),
        LedgerEvent::ClientRegistered { registration } => {
            let name = registration.name.as_deref().unwrap_or("without a name");
            (
                "client_registered",
                format!("{name} (its word): {}", list(&registration.redirect_uris)),
            )
        }
    }
}

fn names(detail: &RequestedDetail) -> String {
    let tools = detail.tools.iter().map(|name| format!("tool {name}"));
    let prompts = detail.prompts.iter().map(|name| format!("prompt {name}"));
    let resources = detail
        .resources
        .iter()
        .map(|tree| format!("resource {tree}"));
    list(tools.chain(prompts).chain(resources))
}

/// `1 keys; 1 secrets; groups none; codes to https://app.example/cb; described by https://app.example/client`.
fn agent_words(agent: &AgentRecord) -> String {
    let mut words = vec![format!("{} keys", agent.keys.len())];
    if !agent.secrets.is_empty() {
        words.push(format!("{} secrets", agent.secrets.len()));
    }
    words.push(format!("groups {}", list(&agent.groups)));
    if let Some(client) = &agent.client {
        if !client.redirect_uris.is_empty() {
            words.push(format!("codes to {}", list(&client.redirect_uris)));
        }
        match &client.origin {
            ClientOrigin::Registered => {}
            ClientOrigin::MetadataDocument { url } => words.push(format!("described by {url}")),
            ClientOrigin::Dynamic => words.push("registered by itself".to_owned()),
        }
        if let Some(published) = &client.published_keys {
            words.push(format!("keys at {}", published.jwks_uri));
        }
    }
    words.join("; ")
}

fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
