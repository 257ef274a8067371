//! Tasks: completing them, reporting what was handed on, looking at them.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, Caller, LiveTask, ObjectKind, TaskEnd,
    change::{Changes, Decided, Done, View},
    domain::event::{LedgerEvent, TaskRecord, TokenRecord},
    error::trail,
    ledger::{
        record::Record,
        views::{Filter, Order, Views, Window},
    },
};
use hallpass_core::{
    base::{
        ids::{AgentId, RevocationId, StewardId, TaskId},
        time::Timestamp,
    },
    token::{GrantedDetail, MAX_APPENDED_BLOCKS},
};

/// A task, as its agent and operators see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskView {
    /// Its id.
    pub task_id: TaskId,
    /// Whose.
    pub agent: AgentId,
    /// For whom.
    pub steward: StewardId,
    /// The issuer through which that person proved it; absent when the agent said so, and when they consented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward_verified_by: Option<String>,
    /// Whether the steward allowed it in person, on the consent page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consented: bool,
    /// What for.
    pub purpose: String,
    /// `open`, `completed`, `revoked` or `over`.
    pub state: Cow<'static, str>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it is or was over.
    pub ends_at: Timestamp,
    /// Its newest passes, at most 100.
    pub passes: Vec<PassView>,
    /// How many passes it has had.
    pub pass_count: usize,
    /// What its agent reported last to have handed on, at most 100.
    pub delegations: Vec<DelegationView>,
    /// How many delegations were reported.
    pub delegation_count: usize,
    /// Whether an OAuth client of its own gets its passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_client: bool,
    /// Of which task's pass it came, when it came of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentView>,
    /// Tasks that came of its passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<TaskId>,
}

/// A task in a list: without its passes, of which it may have a thousand.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct TaskItem {
    /// Its id.
    pub task_id: TaskId,
    /// Whose.
    pub agent: AgentId,
    /// For whom.
    pub steward: StewardId,
    /// The issuer through which that person proved it; absent when the agent said so, and when they consented.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward_verified_by: Option<String>,
    /// Whether the steward allowed it in person, on the consent page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consented: bool,
    /// What for.
    pub purpose: String,
    /// `open`, `completed`, `revoked` or `over`.
    pub state: Cow<'static, str>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it is or was over.
    pub ends_at: Timestamp,
    /// How many passes it has had.
    pub pass_count: usize,
    /// How many delegations were reported.
    pub delegation_count: usize,
    /// Whether an OAuth client of its own gets its passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_client: bool,
    /// Of which task's pass it came, when it came of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentView>,
}

/// The task by one of whose passes another one was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ParentView {
    /// Its id.
    pub task_id: TaskId,
    /// Its agent, in whose place the other acts.
    pub agent: AgentId,
}

/// A pass of a task, without its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PassView {
    /// The first block's id: what to revoke it by.
    pub revocation_id: RevocationId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Whether it was revoked by that id.
    pub revoked: bool,
    /// What it allows.
    pub authorization_details: Vec<GrantedDetail>,
}

/// What an agent said to have handed on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DelegationView {
    /// The longer token's blocks, block 0 first; revoke the last to end it alone.
    pub blocks: Vec<RevocationId>,
    /// To whom, as the agent says; it is not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted_delegate: Option<String>,
    /// Which registered agent has the key that the pass was handed to, as the agent reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_delegate: Option<AgentId>,
    /// Whether one of its own blocks was revoked.
    pub revoked: bool,
}

/// What an agent reports to have handed on.
#[derive(Debug, Clone, Default)]
pub struct DelegationReport {
    /// The longer token's block ids, block 0 first.
    pub blocks: Vec<RevocationId>,
    /// To whom, in the agent's words.
    pub delegate: Option<String>,
    /// The thumbprint (RFC 7638) of the key that it was handed to.
    pub delegate_key: Option<String>,
}

/// Tasks that were opened.
#[derive(Debug)]
pub struct Tasks {
    pub(crate) changes: Arc<Changes>,
    /// Where the tasks are looked up that memory has forgotten.
    pub(crate) views: Option<Views>,
}

impl Tasks {
    /// Ends a task: its passes die everywhere. Ending it twice is ending it once.
    ///
    /// # Errors
    ///
    /// When it is not this agent's, or was revoked or over before.
    pub async fn complete_task(
        &self,
        caller: &Caller,
        agent: &AgentId,
        task: &TaskId,
    ) -> Result<TaskView, BrokerError> {
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let live = state.task(task).filter(|live| live.record.agent == *agent);
            let live = live.ok_or_else(|| BrokerError::not_found(ObjectKind::Task, task))?;
            if matches!(live.end, Some((TaskEnd::Completed, _))) {
                return Ok(Decided::record(now, Vec::new(), ()));
            }
            let live = state.open_task_of(agent, task, now)?;
            let event = LedgerEvent::TaskCompleted {
                task: task.clone(),
                passes_end: live.passes_end(),
            };
            Ok::<_, BrokerError>(Decided::record(now, vec![event], ()))
        };
        // Where nothing changes, nothing waits for the turn and holds up a revocation.
        if self.changes.state().is_completed(agent, task) {
            self.changes.note(caller).await?;
        } else {
            let Done { .. } = self.changes.in_turn(caller, decide).await?;
        }
        self.task(task, Some(agent))
    }

    /// Records blocks that an agent appended, so that they can be revoked before first use.
    ///
    /// # Errors
    ///
    /// When the task is not this agent's, or the chain does not begin with one of its passes.
    pub async fn report_delegation(
        &self,
        caller: &Caller,
        agent: &AgentId,
        (task, report): (&TaskId, DelegationReport),
    ) -> Result<DelegationView, BrokerError> {
        // Beside others: reports that come at once may pass the limit by their number, and hold up no revocation.
        let decide = |view: &View<'_>| {
            let (now, state) = (view.now(), view.state());
            let live = state.open_task_of(agent, task, now)?;
            report.refuse_malformed()?;
            let is_its_pass =
                |token: &TokenRecord| report.blocks.first() == Some(&token.revocation_id);
            if !live.tokens.iter().any(is_its_pass) {
                return Err(BrokerError::invalid(
                    "blocks",
                    "the first block is not that of a pass of this task",
                ));
            }
            if live.delegations.len() >= MAX_DELEGATIONS {
                return Err(BrokerError::Conflict(format!(
                    "a task reports at most {MAX_DELEGATIONS} delegations"
                )));
            }
            let holder = report.delegate_key.as_ref();
            let registered = holder.and_then(|key| state.agents_with_key(key).next());
            let registered = registered.map(|agent| agent.agent.clone());
            let event = LedgerEvent::DelegationReported {
                task: task.clone(),
                blocks: report.blocks.clone(),
                delegate: report.delegate.clone(),
                registered: registered.clone(),
            };
            Ok::<_, BrokerError>(Decided::record(now, vec![event], registered))
        };
        let registered_delegate = self.changes.beside_others(caller, decide).await?.value;
        let state = self.changes.state();
        let revoked = |id: &RevocationId| state.is_revoked_block(id);
        Ok(DelegationView {
            revoked: report.blocks.iter().any(revoked),
            asserted_delegate: report.delegate.clone(),
            blocks: report.blocks.clone(),
            registered_delegate,
        })
    }

    /// One task; with `agent` only when it is that agent's. Tasks that memory has forgotten are
    /// read from the journal.
    ///
    /// # Errors
    ///
    /// When there is none, or the journal cannot be read.
    pub fn task(&self, task: &TaskId, agent: Option<&AgentId>) -> Result<TaskView, BrokerError> {
        let known = {
            let state = self.changes.state();
            state.task(task).map(|live| {
                (
                    live.clone(),
                    state.descendants.children(task).cloned().collect(),
                )
            })
        };
        let live = match known {
            Some(known) => Some(known),
            None => self.recall_task(task)?,
        };
        let live = live.filter(|(live, _)| agent.is_none_or(|agent| live.record.agent == *agent));
        let view = live.map(|(live, children)| self.view(&live, children));
        view.ok_or_else(|| BrokerError::not_found(ObjectKind::Task, task))
    }

    /// Tasks that are not forgotten, newest first, those after `after`, at most `limit`.
    #[must_use]
    pub fn tasks(
        &self,
        agent: Option<&AgentId>,
        after: Option<&TaskId>,
        limit: usize,
    ) -> Vec<TaskItem> {
        let now = self.changes.now();
        let state = self.changes.state();
        // What is not shown is not looked at: the state's writer, and everybody with it, waits for this.
        match agent {
            Some(agent) => {
                let later = state.tasks_of(agent, after);
                later.take(limit).map(|live| item(live, now)).collect()
            }
            None => {
                let later = state.tasks_before(after);
                later.take(limit).map(|live| item(live, now)).collect()
            }
        }
    }

    /// The task and its children, as the journal has them.
    fn recall_task(&self, task: &TaskId) -> Result<Option<(LiveTask, Vec<TaskId>)>, BrokerError> {
        let mut live: Option<LiveTask> = None;
        let mut children = Vec::new();
        for record in self.recall(task)? {
            match (&record.entry.event, live.as_mut()) {
                (LedgerEvent::TaskOpened { task: opened }, _) if opened.task != *task => {
                    children.push(opened.task.clone())
                }
                (LedgerEvent::TaskOpened { task }, None) => {
                    live = Some(LiveTask::new(task.clone()))
                }
                (event, Some(live)) => live.note(event, record.entry.at),
                (_, None) => {}
            }
        }
        if let Some(live) = live.as_mut().filter(|live| live.end.is_none()) {
            live.end = self.recall_end_of_parent(&live.record)?;
        }
        Ok(live.map(|live| (live, children)))
    }

    /// How a task ended because its parent's pass ended, as far as the records of the parent's task say; no
    /// record of its own does.
    fn recall_end_of_parent(
        &self,
        task: &TaskRecord,
    ) -> Result<Option<(TaskEnd, Timestamp)>, BrokerError> {
        let Some(parent) = &task.parent else {
            return Ok(None);
        };
        let records = self.recall(&parent.task)?;
        let end = records
            .iter()
            .find(|record| parent.is_ended_by(&record.entry.event))
            .map(|record| record.entry.at);
        let end = match end {
            Some(at) => Some(at),
            // It may have come of a pass itself.
            None => self
                .recall_task(&parent.task)?
                .and_then(|(live, _)| live.end)
                .map(|(_, at)| at),
        };
        Ok(end
            .filter(|at| *at < task.ends_at)
            .map(|at| (TaskEnd::Revoked, at)))
    }

    /// The first records about a task that are still kept.
    fn recall(&self, task: &TaskId) -> Result<Vec<Record>, BrokerError> {
        let filter = Filter {
            task: Some(task.clone()),
            ..Filter::default()
        };
        let window = Window {
            order: Order::OldestFirst,
            after: None,
            limit: MAX_RECALLED,
        };
        let Some(views) = &self.views else {
            return Ok(Vec::new());
        };
        let sequences = views.query(&filter, window).map_err(trail)?;
        let kept = sequences
            .into_iter()
            .filter_map(|sequence| views.record(sequence).transpose());
        kept.collect::<Result<_, _>>().map_err(trail)
    }

    fn view(&self, live: &LiveTask, children: Vec<TaskId>) -> TaskView {
        let now = self.changes.now();
        let state = self.changes.state();
        let revoked = |id: &RevocationId| live.revoked.contains(id) || state.is_revoked_block(id);
        let newest = |count: usize| count.saturating_sub(MAX_SHOWN);
        let passes = live.tokens.iter().skip(newest(live.tokens.len()));
        let passes = passes.map(|token| PassView {
            revocation_id: token.revocation_id,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
            revoked: revoked(&token.revocation_id),
            authorization_details: token.rights.clone(),
        });
        let delegations = live.delegations.iter();
        let delegations = delegations
            .skip(newest(live.delegations.len()))
            .map(|reported| DelegationView {
                blocks: reported.blocks.clone(),
                asserted_delegate: reported.asserted.clone(),
                registered_delegate: reported.registered.clone(),
                revoked: reported.blocks.iter().any(revoked),
            });
        let parent = live.record.parent.as_ref();
        TaskView {
            task_id: live.record.task.clone(),
            agent: live.record.agent.clone(),
            steward: live.record.steward.clone(),
            steward_verified_by: live.record.verified.as_ref().map(|by| by.issuer.clone()),
            consented: live.record.consented,
            purpose: live.record.purpose.clone(),
            state: state_word(live, now).into(),
            opened_at: live.record.opened_at,
            ends_at: live.record.ends_at,
            passes: passes.collect(),
            pass_count: live.tokens.len(),
            delegations: delegations.collect(),
            delegation_count: live.delegations.len(),
            has_client: live.record.client_secret.is_some(),
            parent: parent.map(|parent| ParentView {
                task_id: parent.task.clone(),
                agent: parent.agent.clone(),
            }),
            children,
        }
    }
}

fn item(live: &LiveTask, now: Timestamp) -> TaskItem {
    let record = &live.record;
    TaskItem {
        task_id: record.task.clone(),
        agent: record.agent.clone(),
        steward: record.steward.clone(),
        steward_verified_by: record.verified.as_ref().map(|by| by.issuer.clone()),
        consented: record.consented,
        purpose: record.purpose.clone(),
        state: state_word(live, now).into(),
        opened_at: record.opened_at,
        ends_at: record.ends_at,
        pass_count: live.tokens.len(),
        delegation_count: live.delegations.len(),
        has_client: record.client_secret.is_some(),
        parent: record.parent.as_ref().map(|parent| ParentView {
            task_id: parent.task.clone(),
            agent: parent.agent.clone(),
        }),
    }
}

fn state_word(live: &LiveTask, now: Timestamp) -> &'static str {
    match live.end {
        Some((TaskEnd::Completed, _)) => "completed",
        Some((TaskEnd::Revoked, _)) => "revoked",
        None if live.record.ends_at <= now => "over",
        None => "open",
    }
}

impl DelegationReport {
    fn refuse_malformed(&self) -> Result<(), BrokerError> {
        let Self {
            blocks, delegate, ..
        } = self;
        if !(2..=MAX_APPENDED_BLOCKS.saturating_add(1)).contains(&blocks.len()) {
            return Err(BrokerError::invalid(
                "blocks",
                format!("name block 0 and 1 to {MAX_APPENDED_BLOCKS} appended ones"),
            ));
        }
        if blocks.iter().collect::<BTreeSet<_>>().len() != blocks.len() {
            return Err(BrokerError::invalid("blocks", "a block is named twice"));
        }
        let is_misnamed = |name: &String| name.is_empty() || name.len() > 128;
        if delegate.as_ref().is_some_and(is_misnamed) {
            return Err(BrokerError::invalid(
                "delegate",
                "a name has 1 to 128 bytes",
            ));
        }
        Ok(())
    }
}

const MAX_DELEGATIONS: usize = 1000;
/// How many passes and delegations of a task are shown.
const MAX_SHOWN: usize = 100;
const MAX_RECALLED: usize = 5000;
