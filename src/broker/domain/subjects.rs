//! Whom and what an entry is about.

use std::collections::BTreeSet;

use hallpass_core::base::ids::{AgentId, RevocationId, ServerUri, StewardId, TaskId};

/// Whom and what an entry is about. A task's agent and steward are in the entry that opened it;
/// [`Index::subjects`](crate::ledger::views::Index::subjects) adds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subjects {
    /// Agents, the acting one included.
    pub agents: BTreeSet<AgentId>,
    /// Stewards.
    pub stewards: BTreeSet<StewardId>,
    /// Tasks.
    pub tasks: BTreeSet<TaskId>,
    /// Tasks whose passes were exchanged for those.
    pub parents: BTreeSet<TaskId>,
    /// Servers.
    pub servers: BTreeSet<ServerUri>,
    /// Blocks of tokens.
    pub tokens: BTreeSet<RevocationId>,
}

impl Subjects {
    pub(super) fn add_agent(&mut self, agent: &AgentId) {
        self.agents.insert(agent.clone());
    }

    pub(super) fn add_steward(&mut self, steward: &StewardId) {
        self.stewards.insert(steward.clone());
    }

    pub(super) fn add_task(&mut self, task: &TaskId) {
        self.tasks.insert(task.clone());
    }

    pub(super) fn add_server(&mut self, server: &ServerUri) {
        self.servers.insert(server.clone());
    }
}
