//! Answers to people's questions, folded from records: what an agent did, who could reach a tool, what
//! was refused, who holds what.
//!
//! Pure: records and whom they are about go in, rows come out. Every row is flat, so that it is a line
//! of a table, of JSON and of CSV alike.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        descendants::Descendants,
        event::{AgentRecord, LedgerEvent, Subject, TokenRecord},
        parent::ParentPass,
        subjects::Subjects,
    },
    ledger::{audit::AuditEvent, record::Record},
};
use hallpass_core::base::{
    ReasonCode,
    ids::{AgentId, GrantId, RevocationId, ServerUri, StewardId, TaskId, ToolName},
    time::Timestamp,
};

/// Something that an agent did, or that was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ActivityRow {
    /// When.
    pub at: Timestamp,
    /// The record.
    pub seq: u64,
    /// What: `token_issued`, `request_refused`, …
    pub event: String,
    /// Who caused it.
    pub actor: String,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The steward for whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<StewardId>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUri>,
    /// The right: `tool read_ledger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    /// The grant that allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The block of the pass that it is about: its first, or the one that was appended to hand it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<RevocationId>,
    /// To whom it was handed on: a registered agent, else as the agent said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<String>,
    /// The rest in words.
    pub detail: String,
}

/// The activity in a record: a row for each right of a pass and each reason of a refusal.
#[must_use]
pub fn activity(record: &Record, subjects: &Subjects) -> Vec<ActivityRow> {
    let event = AuditEvent::new(record, subjects);
    let row = ActivityRow {
        at: event.at,
        seq: event.seq,
        event: event.event_type,
        actor: event.actor,
        agent: event.agent,
        steward: event.steward,
        task: event.task,
        server: Some(event.servers)
            .filter(|servers| servers.len() == 1)
            .and_then(|servers| servers.first().cloned()),
        right: None,
        grant: None,
        token: None,
        delegate: None,
        detail: event.detail,
    };
    match &record.entry.event {
        LedgerEvent::TokenIssued { token, .. } if !token.decided_by.is_empty() => {
            let right = |by: &crate::domain::event::RecordedGrant| ActivityRow {
                server: Some(by.server.clone()),
                right: Some(by.right.clone()),
                grant: Some(by.grant.clone()),
                token: Some(token.revocation_id),
                detail: format!("until {}", token.expires_at),
                ..row.clone()
            };
            token.decided_by.iter().map(right).collect()
        }
        LedgerEvent::RequestRefused { reasons, .. } if !reasons.is_empty() => {
            let reason = |reason: &crate::domain::event::RecordedReason| ActivityRow {
                detail: format!("{}: {}", reason.code, reason.detail),
                ..row.clone()
            };
            reasons.iter().map(reason).collect()
        }
        LedgerEvent::DelegationReported {
            blocks,
            delegate,
            registered,
            ..
        } => vec![ActivityRow {
            token: blocks.last().copied(),
            delegate: registered
                .as_ref()
                .map(ToString::to_string)
                .or_else(|| delegate.clone()),
            ..row
        }],
        _ => vec![row],
    }
}

/// A pass by which a tool could be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ReachRow {
    /// The record of its issue.
    pub seq: u64,
    /// The agent that got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// For whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward: Option<StewardId>,
    /// The task.
    pub task: TaskId,
    /// The grant that allowed the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// Its first block.
    pub token: RevocationId,
    /// Since when.
    pub issued_at: Timestamp,
    /// Until when, had it not been revoked.
    pub expires_at: Timestamp,
    /// To whom it was handed on, as far as it was reported and not revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegates: Vec<String>,
}

/// Who could call a tool at a time: the passes that were issued before and alive then.
///
/// To be given every record up to that time, from the longest life of a pass before it on.
#[derive(Debug)]
pub struct Reach {
    server: ServerUri,
    tool: ToolName,
    at: Timestamp,
    live: BTreeMap<u64, Live>,
    descendants: Descendants,
    /// The passes of which tasks came.
    parents: BTreeMap<TaskId, ParentPass>,
    /// Who answers for the agents of tasks on others' behalf.
    answered_for_by: BTreeMap<TaskId, StewardId>,
}

#[derive(Debug)]
struct Live {
    row: ReachRow,
    token: TokenRecord,
    handed_on: Vec<(Vec<RevocationId>, String)>,
}

impl Reach {
    /// For `tool` of `server` at `at`.
    #[must_use]
    pub fn new(server: ServerUri, tool: ToolName, at: Timestamp) -> Self {
        let (live, parents, answered_for_by) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            server,
            tool,
            at,
            live,
            descendants: Descendants::default(),
            parents,
            answered_for_by,
        }
    }

    /// Takes a record into account; one from after the time changes nothing.
    pub fn take(&mut self, record: &Record, subjects: &Subjects) {
        if record.entry.at > self.at {
            return;
        }
        self.end_children(&record.entry.event);
        match &record.entry.event {
            LedgerEvent::TaskOpened { task } => {
                self.descendants.add(task);
                if let Some(parent) = &task.parent {
                    let pass = ParentPass {
                        limits: Vec::new(),
                        ..parent.clone()
                    };
                    self.parents.insert(task.task.clone(), pass);
                }
                if let Some(steward) = &task.answered_for_by {
                    self.answered_for_by
                        .insert(task.task.clone(), steward.clone());
                }
            }
            LedgerEvent::TokenIssued { task, token } => {
                self.issue(record.sequence, (task, token), subjects)
            }
            LedgerEvent::TaskCompleted { task, .. } => {
                self.live.retain(|_, live| live.row.task != *task)
            }
            LedgerEvent::DelegationReported {
                blocks,
                delegate,
                registered,
                ..
            } => {
                let to = registered
                    .as_ref()
                    .map(ToString::to_string)
                    .or_else(|| delegate.clone());
                let live = self
                    .live
                    .values_mut()
                    .find(|live| blocks.first() == Some(&live.row.token));
                if let (Some(live), Some(to)) = (live, to) {
                    live.handed_on.push((blocks.clone(), to));
                }
            }
            LedgerEvent::Revoked { revocation } => self.revoke(&revocation.subject),
            _ => {}
        }
    }

    /// The passes, in the order of their issue.
    pub fn rows(self) -> impl Iterator<Item = ReachRow> {
        self.live.into_values().map(|live| {
            let delegates: BTreeSet<String> =
                live.handed_on.into_iter().map(|(_, to)| to).collect();
            ReachRow {
                delegates: delegates.into_iter().collect(),
                ..live.row
            }
        })
    }

    fn issue(&mut self, seq: u64, (task, token): (&TaskId, &TokenRecord), subjects: &Subjects) {
        let allows = token
            .rights
            .iter()
            .any(|right| right.server == self.server && right.tools.contains(&self.tool));
        if !allows || token.expires_at <= self.at {
            return;
        }
        let right = format!("tool {}", self.tool);
        let by = token
            .decided_by
            .iter()
            .find(|by| by.server == self.server && by.right == right);
        let row = ReachRow {
            seq,
            agent: subjects.agents.first().cloned(),
            steward: subjects.stewards.first().cloned(),
            task: task.clone(),
            grant: by.map(|by| by.grant.clone()),
            token: token.revocation_id,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            delegates: Vec::new(),
        };
        self.live.insert(
            seq,
            Live {
                row,
                token: token.clone(),
                handed_on: Vec::new(),
            },
        );
    }

    /// Tasks that came of a pass end with it, and what came of theirs.
    fn end_children(&mut self, event: &LedgerEvent) {
        let mut ended = self.descendants.candidates(event);
        ended.retain(|child| {
            self.parents
                .get(child)
                .is_some_and(|parent| parent.is_ended_by(event))
        });
        let ended = self.descendants.with_descendants(ended);
        self.live.retain(|_, live| !ended.contains(&live.row.task));
    }

    /// A revocation reaches what was recorded before it, whatever its cut-off (see the broker's state).
    fn revoke(&mut self, subject: &Subject) {
        let server = &self.server;
        let is_meant = |live: &Live| match subject {
            Subject::RevocationId(id) => live.row.token == *id,
            Subject::Task(task) => live.row.task == *task,
            Subject::Agent(agent) => live.row.agent.as_ref() == Some(agent),
            Subject::Steward(steward) => {
                let answers = self.answered_for_by.get(&live.row.task);
                live.row.steward.as_ref() == Some(steward) || answers == Some(steward)
            }
            Subject::Server(revoked) => revoked == server,
            Subject::Key(key) => live.token.key == *key,
        };
        self.live.retain(|_, live| !is_meant(live));
        if let Subject::RevocationId(id) = subject {
            for live in self.live.values_mut() {
                live.handed_on.retain(|(blocks, _)| !blocks.contains(id));
            }
        }
    }
}

/// How often one agent was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RefusalRow {
    /// The reason.
    pub code: ReasonCode,
    /// The agent.
    pub agent: AgentId,
    /// How often.
    pub count: u64,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// What was said the last time.
    pub detail: String,
}

/// What was refused, by reason and agent.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<(ReasonCode, AgentId), RefusalRow>);

impl Refusals {
    /// Takes a record into account.
    pub fn take(&mut self, record: &Record) {
        let LedgerEvent::RequestRefused { agent, reasons, .. } = &record.entry.event else {
            return;
        };
        let at = record.entry.at;
        let mut seen = BTreeSet::new();
        for reason in reasons {
            let row = self
                .0
                .entry((reason.code, agent.clone()))
                .or_insert_with(|| RefusalRow {
                    code: reason.code,
                    agent: agent.clone(),
                    count: 0,
                    first: at,
                    last: at,
                    detail: String::new(),
                });
            // One request counts once for each of its reasons.
            row.count = row
                .count
                .saturating_add(u64::from(seen.insert(reason.code)));
            (row.last, row.detail) = (at, reason.detail.clone());
        }
    }

    /// The rows by reason and agent.
    pub fn rows(self) -> impl Iterator<Item = RefusalRow> {
        self.0.into_values()
    }
}

/// What an agent can do now, for a review of access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LiveRow {
    /// Who answers for it; of a client that people brought: who consented first.
    pub steward: StewardId,
    /// That person's name, unless it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward_name: Option<String>,
    /// The agent.
    pub agent: AgentId,
    /// Its groups.
    pub groups: Vec<String>,
    /// Revoked and not reinstated, itself or who answers for it.
    pub suspended: bool,
    /// How many passes are alive.
    pub live_passes: u64,
    /// When the last of them ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes_end: Option<Timestamp>,
    /// What they allow: `tool read_ledger on https://…`.
    pub rights: Vec<String>,
    /// The grants that allowed it.
    pub grants: Vec<GrantId>,
    /// When it last got a pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_issued: Option<Timestamp>,
    /// When a call with one of its passes was last let through, as verifiers reported and the broker's records confirm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
}

impl LiveRow {
    /// What `agent` can do by `passes`, those that are alive.
    pub fn new<'t>(agent: &AgentRecord, passes: impl IntoIterator<Item = &'t TokenRecord>) -> Self {
        let (mut rights, mut grants) = (BTreeSet::new(), BTreeSet::new());
        let (mut live_passes, mut passes_end, mut last_issued) = (0_u64, None, None);
        for pass in passes {
            live_passes = live_passes.saturating_add(1);
            passes_end = passes_end.max(Some(pass.expires_at));
            last_issued = last_issued.max(Some(pass.issued_at));
            rights.extend(
                pass.decided_by
                    .iter()
                    .map(|by| format!("{} on {}", by.right, by.server)),
            );
            grants.extend(pass.decided_by.iter().map(|by| by.grant.clone()));
        }
        Self {
            steward: agent.steward.clone(),
            steward_name: None,
            agent: agent.agent.clone(),
            groups: agent.groups.iter().map(ToString::to_string).collect(),
            suspended: false,
            live_passes,
            passes_end,
            rights: rights.into_iter().collect(),
            grants: grants.into_iter().collect(),
            last_issued,
            last_used: None,
        }
    }
}
