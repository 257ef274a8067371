//! Parents: where the task of a pass that was exchanged for another one came from.

use serde::{Deserialize, Serialize};

use super::event::{Event, Subject};
use crate::{
    base::ids::{AgentId, KeyId, RevocationId, StewardId, TaskId},
    token::rights::GrantedDetail,
};

/// The pass that was exchanged for a task of another agent: that task ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct ParentPass {
    /// Its task.
    pub task: TaskId,
    /// Its agent, in whose place the child's acts.
    pub agent: AgentId,
    /// Its steward.
    pub steward: StewardId,
    /// The root key that signed it.
    pub key: KeyId,
    /// Its blocks, block 0 first.
    pub blocks: Vec<RevocationId>,
    /// The thumbprints (RFC 7638) of the keys that it went through, where it was bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<String>,
    /// What was left of it and asked for: no pass of the child allows more.
    pub limits: Vec<GrantedDetail>,
}

impl ParentPass {
    /// Whether `event` ends this pass, and so the task that came of it, for good.
    #[must_use]
    pub fn is_ended_by(&self, event: &Event) -> bool {
        match event {
            Event::TaskCompleted { task, .. } => self.task == *task,
            Event::Revoked { revocation } => match &revocation.subject {
                Subject::RevocationId(id) => self.blocks.contains(id),
                Subject::Task(task) => self.task == *task,
                Subject::Agent(agent) => self.agent == *agent,
                Subject::Steward(steward) => self.steward == *steward,
                Subject::Key(key) => self.key == *key,
                // The child's passes die there by themselves, and live elsewhere.
                Subject::Server(_) => false,
            },
            _ => false,
        }
    }
}
