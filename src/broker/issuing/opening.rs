//! Opening: the record of a new task, however it comes to be opened.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    SignedIn, VerifiedSteward,
    domain::{
        event::{AgentRecord, TaskRecord},
        parent::ParentPass,
    },
};
use hallpass_core::{
    base::{ids::TaskId, time::Timestamp},
    token::{Holding, RequestedDetail},
};

/// Who opens a task.
pub(crate) enum OpenedBy<'o> {
    /// Its agent: for the steward who answers for it, or for a person who proved to be another one.
    Agent {
        verified: Option<VerifiedSteward>,
        rights: Rights,
    },
    /// A client of a person's, who allowed it on the consent page.
    Consent(&'o SignedIn),
    /// Its agent, with a pass of the task `of`, which `pass` describes: on the same person's behalf, where that was
    /// proven.
    Exchange {
        of: &'o TaskRecord,
        pass: ParentPass,
    },
}

/// How binding what an agent asks for is.
pub(crate) struct Rights {
    /// Whether a renewal may ask for that and nothing else.
    pub(crate) are_fixed: bool,
    /// Whether less is good enough.
    pub(crate) may_be_partial: bool,
}

/// What every task has, however it is opened.
pub(crate) struct Terms<'t> {
    pub(crate) agent: &'t AgentRecord,
    pub(crate) purpose: String,
    pub(crate) opened_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    pub(crate) context: BTreeMap<String, Value>,
    pub(crate) asked: Vec<RequestedDetail>,
    pub(crate) holder: Option<Holding>,
}

impl TaskRecord {
    /// The record of a new task.
    pub(crate) fn open(by: OpenedBy<'_>, terms: Terms<'_>) -> Self {
        let Terms {
            agent,
            purpose,
            opened_at,
            ends_at,
            context,
            asked,
            holder,
        } = terms;
        let mut task = Self {
            task: new_task_id(),
            agent: agent.agent.clone(),
            steward: agent.steward.clone(),
            answered_for_by: None,
            purpose,
            opened_at,
            ends_at,
            context,
            asked,
            // What a person allowed, and what is left of a pass, is fixed; what policy has taken back meanwhile does
            // not take the rest with it.
            fixed_rights: true,
            allow_partial: true,
            holder,
            verified: None,
            client_secret: None,
            parent: None,
            consented: false,
        };
        match by {
            OpenedBy::Agent { verified, rights } => {
                if let Some(VerifiedSteward { steward, by }) = verified {
                    (task.steward, task.verified) = (steward, Some(by));
                }
                (task.fixed_rights, task.allow_partial) = (rights.are_fixed, rights.may_be_partial);
            }
            OpenedBy::Consent(SignedIn { steward, by }) => {
                (task.steward, task.consented) = (steward.clone(), true);
                task.verified.clone_from(by);
            }
            OpenedBy::Exchange { of, pass } => {
                if of.consented || of.verified.is_some() {
                    task.steward.clone_from(&of.steward);
                }
                (task.verified, task.consented) = (of.verified.clone(), of.consented);
                task.parent = Some(pass);
            }
        }
        task.answered_for_by = agent.answered_for_beside(&task.steward);
        task
    }
}

/// The id of a task that is opened now: later ones are greater.
fn new_task_id() -> TaskId {
    TaskId::from_uuid_bytes(*uuid::Uuid::now_v7().as_bytes())
}
