//! What the broker has recorded about tasks and passes, for what verifiers report about them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    change::Changes,
    domain::{
        decision::Attribution,
        event::{LedgerEvent, TokenRecord},
    },
    ledger::views::{IndexError, TaskSummary, Views},
};
use hallpass_core::{
    base::ids::{RevocationId, TaskId},
    wire::report::{CallReport, Decision},
};

/// What the broker has recorded about tasks and passes, looked up once each. Blocks on the disk.
///
/// The state knows all about what lives. Of what ended, the index may remember more than there are records.
pub(crate) struct Records<'b> {
    changes: &'b Changes,
    views: &'b Views,
    tasks: HashMap<TaskId, Option<Arc<TaskSummary>>>,
    events: HashMap<u64, Option<Arc<LedgerEvent>>>,
}

impl<'b> Records<'b> {
    pub(crate) fn new(changes: &'b Changes, views: &'b Views) -> Self {
        Self {
            changes,
            views,
            tasks: HashMap::new(),
            events: HashMap::new(),
        }
    }

    /// What is known of a task.
    pub(crate) fn task(&mut self, task: &TaskId) -> Result<Option<Arc<TaskSummary>>, IndexError> {
        if let Some(known) = self.tasks.get(task) {
            return Ok(known.clone());
        }
        let found = self.views.task(task)?.map(Arc::new);
        self.tasks.insert(task.clone(), found.clone());
        Ok(found)
    }

    /// What a task was opened for.
    pub(crate) fn purpose(
        &mut self,
        (id, task): (&TaskId, &TaskSummary),
    ) -> Result<Option<String>, IndexError> {
        if let Some(live) = self.changes.state().task(id) {
            return Ok(Some(live.record.purpose.clone()));
        }
        Ok(self.event(task.opened)?.and_then(|event| match &*event {
            LedgerEvent::TaskOpened { task } => Some(task.purpose.clone()),
            _ => None,
        }))
    }

    /// What `of` makes of the record of the pass of `task` whose block 0 is `pass`, if there is one (still).
    pub(crate) fn of_pass<T>(
        &mut self,
        (task, pass): (&TaskSummary, &RevocationId),
        of: impl FnOnce(&TokenRecord) -> T,
    ) -> Result<Option<T>, IndexError> {
        if let Some(live) = self.changes.state().task_of(pass) {
            return Ok(live
                .tokens
                .iter()
                .find(|token| token.revocation_id == *pass)
                .map(of));
        }
        let Some((sequence, _)) = task.tokens.iter().find(|(_, token)| token == pass) else {
            return Ok(None);
        };
        Ok(self.event(*sequence)?.and_then(|event| match &*event {
            LedgerEvent::TokenIssued { token, .. } => Some(of(token)),
            _ => None,
        }))
    }

    /// Whether a reported call agrees with what is recorded.
    pub(super) fn attribution(&mut self, call: &CallReport) -> Result<Attribution, IndexError> {
        let Some(task) = self.task(&call.task)? else {
            return Ok(Attribution::UnknownTask);
        };
        if task.agent != call.agent {
            return Ok(Attribution::OtherAgent);
        }
        if task.steward != call.steward {
            return Ok(Attribution::OtherSteward);
        }
        let issued = |id: &&RevocationId| task.tokens.iter().any(|(_, token)| token == *id);
        let Some(pass) = call.chain.first().filter(issued) else {
            return Ok(Attribution::OtherPass);
        };
        let is_for =
            |token: &TokenRecord| token.rights.iter().any(|right| right.server == call.server);
        // Refusing a pass at the wrong server is what a verifier is for.
        if call.decision == Decision::Allowed && self.of_pass((&task, pass), is_for)? == Some(false)
        {
            return Ok(Attribution::OtherServer);
        }
        Ok(Attribution::Confirmed)
    }

    fn event(&mut self, sequence: u64) -> Result<Option<Arc<LedgerEvent>>, IndexError> {
        if let Some(known) = self.events.get(&sequence) {
            return Ok(known.clone());
        }
        let found = self.views.record(sequence)?;
        let found = found.map(|record| Arc::new(record.entry.event));
        self.events.insert(sequence, found.clone());
        Ok(found)
    }
}
