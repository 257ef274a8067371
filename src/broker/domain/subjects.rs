//! Whom and what an entry is about, as far as the entry itself says.

use std::collections::BTreeSet;

use crate::domain::event::{Actor, Entry, Event, Subject};
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
    /// Whom and what `entry` names.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let mut subjects = Self::default();
        match &entry.actor {
            Actor::Agent(agent) => subjects.add_agent(agent),
            Actor::TaskClient(task) => subjects.add_task(task),
            Actor::Steward(steward) => subjects.add_steward(steward),
            Actor::Broker | Actor::Operator(_) => {}
        }
        subjects.add_event(&entry.event);
        subjects
    }

    fn add_event(&mut self, event: &Event) {
        match event {
            Event::BrokerStarted { .. }
            | Event::SegmentBegun { .. }
            | Event::KeyChanged { .. }
            | Event::OperatorRemoved { .. }
            | Event::PolicyLoaded { .. } => {}
            Event::OperatorAdded {
                servers,
                revocation_id,
                ..
            } => {
                self.servers.extend(servers.iter().cloned());
                self.tokens.insert(*revocation_id);
            }
            Event::StewardAdded { steward }
            | Event::StewardErased { steward }
            | Event::StewardIdentified { steward, .. }
            | Event::StewardUnidentified { steward }
            | Event::SignInCodeMade { steward, .. }
            | Event::SignedIn { steward, .. } => self.add_steward(steward),
            Event::ConsentGiven { consent } => {
                self.add_agent(&consent.agent);
                self.add_steward(&consent.steward);
                self.servers
                    .extend(consent.details.iter().map(|detail| detail.server.clone()));
            }
            Event::CodeUsed {
                agent,
                steward,
                task,
                ..
            } => {
                self.add_agent(agent);
                self.add_steward(steward);
                self.tasks.extend(task.clone());
            }
            Event::RefreshRotated { task, .. } => self.add_task(task),
            Event::ClientRegistered { registration } => self.add_agent(&registration.agent),
            Event::AgentSet { agent } => {
                self.add_agent(&agent.agent);
                self.add_steward(&agent.steward);
            }
            Event::AgentRemoved { agent } | Event::AssertionUsed { agent, .. } => {
                self.add_agent(agent)
            }
            Event::ServerSet { manifest } => self.add_server(&manifest.server),
            Event::ServerSecretsSet { server, .. } | Event::ServerRemoved { server } => {
                self.add_server(server)
            }
            Event::TaskOpened { task } => {
                self.add_task(&task.task);
                self.add_agent(&task.agent);
                self.add_steward(&task.steward);
                self.parents
                    .extend(task.parent.as_ref().map(|parent| parent.task.clone()));
            }
            Event::TokenIssued { task, token } => {
                self.add_task(task);
                self.tokens.insert(token.revocation_id);
                self.servers
                    .extend(token.rights.iter().map(|right| right.server.clone()));
            }
            Event::RequestRefused {
                agent,
                steward,
                task,
                asked,
                ..
            } => {
                self.add_agent(agent);
                self.add_steward(steward);
                self.tasks.extend(task.clone());
                self.servers
                    .extend(asked.iter().map(|right| right.server.clone()));
            }
            Event::TaskCompleted { task, .. } => self.add_task(task),
            Event::DelegationReported { task, blocks, .. } => {
                self.add_task(task);
                self.tokens.extend(blocks.iter().copied());
            }
            Event::Revoked { revocation } => {
                self.add_subject(&revocation.subject);
                self.servers.extend(revocation.servers.iter().cloned());
            }
            Event::Reinstated { subject } => self.add_subject(subject),
            Event::CallDecided { call, .. } => {
                self.add_task(&call.task);
                self.add_agent(&call.agent);
                self.add_steward(&call.steward);
                self.add_server(&call.server);
                self.tokens.extend(call.chain.iter().copied());
            }
            Event::ReportsLost { lost } => self.add_server(&lost.server),
        }
    }

    fn add_subject(&mut self, subject: &Subject) {
        match subject {
            Subject::RevocationId(id) => {
                self.tokens.insert(*id);
            }
            Subject::Task(task) => self.add_task(task),
            Subject::Agent(agent) => self.add_agent(agent),
            Subject::Steward(steward) => self.add_steward(steward),
            Subject::Server(server) => self.add_server(server),
            Subject::Key(_) => {}
        }
    }

    fn add_agent(&mut self, agent: &AgentId) {
        self.agents.insert(agent.clone());
    }

    fn add_steward(&mut self, steward: &StewardId) {
        self.stewards.insert(steward.clone());
    }

    fn add_task(&mut self, task: &TaskId) {
        self.tasks.insert(task.clone());
    }

    fn add_server(&mut self, server: &ServerUri) {
        self.servers.insert(server.clone());
    }
}
