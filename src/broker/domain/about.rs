//! Whom and what each entry is about, as far as the entry itself says.

use crate::domain::{
    event::{Actor, ChainEvent, Entry, LedgerEvent, Subject},
    subjects::Subjects,
};
use hallpass_core::base::{digest::Digest, ids::RevocationId};

impl Subjects {
    /// Whom and what `entry` names.
    #[must_use]
    pub fn of<E: ChainEvent>(entry: &Entry<E>) -> Self {
        let mut subjects = Self::default();
        match &entry.actor {
            Actor::Agent(agent) => subjects.add_agent(agent),
            Actor::TaskClient(task) => subjects.add_task(task),
            Actor::Steward(steward) => subjects.add_steward(steward),
            Actor::Broker | Actor::Operator(_) => {}
        }
        entry.event.name_subjects(&mut subjects);
        subjects
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
}

impl ChainEvent for LedgerEvent {
    fn segment_begun(snapshot: Option<Digest>) -> Self {
        Self::SegmentBegun { snapshot }
    }

    fn begins_segment(&self) -> bool {
        matches!(self, Self::SegmentBegun { .. })
    }

    fn snapshot(&self) -> Option<Digest> {
        match self {
            Self::SegmentBegun { snapshot } => *snapshot,
            _ => None,
        }
    }

    fn made_token(&self) -> Option<RevocationId> {
        match self {
            Self::TokenIssued { token, .. } => Some(token.revocation_id),
            Self::OperatorAdded { revocation_id, .. } => Some(*revocation_id),
            _ => None,
        }
    }

    fn name_subjects(&self, subjects: &mut Subjects) {
        match self {
            Self::BrokerStarted { .. }
            | Self::SegmentBegun { .. }
            | Self::KeyChanged { .. }
            | Self::OperatorRemoved { .. }
            | Self::PolicyLoaded { .. } => {}
            Self::OperatorAdded {
                servers,
                revocation_id,
                ..
            } => {
                subjects.servers.extend(servers.iter().cloned());
                subjects.tokens.insert(*revocation_id);
            }
            Self::StewardAdded { steward }
            | Self::StewardErased { steward }
            | Self::StewardIdentified { steward, .. }
            | Self::StewardUnidentified { steward }
            | Self::SignInCodeMade { steward, .. }
            | Self::SignedIn { steward, .. } => subjects.add_steward(steward),
            Self::ConsentGiven { consent } => {
                subjects.add_agent(&consent.agent);
                subjects.add_steward(&consent.steward);
                subjects
                    .servers
                    .extend(consent.details.iter().map(|detail| detail.server.clone()));
            }
            Self::CodeUsed {
                agent,
                steward,
                task,
                ..
            } => {
                subjects.add_agent(agent);
                subjects.add_steward(steward);
                subjects.tasks.extend(task.clone());
            }
            Self::RefreshRotated { task, .. } => subjects.add_task(task),
            Self::ClientRegistered { registration } => subjects.add_agent(&registration.agent),
            Self::AgentSet { agent } => {
                subjects.add_agent(&agent.agent);
                subjects.add_steward(&agent.steward);
            }
            Self::AgentRemoved { agent } | Self::AssertionUsed { agent, .. } => {
                subjects.add_agent(agent)
            }
            Self::ServerSet { manifest } => subjects.add_server(&manifest.server),
            Self::ServerSecretsSet { server, .. } | Self::ServerRemoved { server } => {
                subjects.add_server(server)
            }
            Self::TaskOpened { task } => {
                subjects.add_task(&task.task);
                subjects.add_agent(&task.agent);
                subjects.add_steward(&task.steward);
                subjects
                    .parents
                    .extend(task.parent.as_ref().map(|parent| parent.task.clone()));
            }
            Self::TokenIssued { task, token } => {
                subjects.add_task(task);
                subjects.tokens.insert(token.revocation_id);
                subjects
                    .servers
                    .extend(token.rights.iter().map(|right| right.server.clone()));
            }
            Self::RequestRefused {
                agent,
                steward,
                task,
                asked,
                ..
            } => {
                subjects.add_agent(agent);
                subjects.add_steward(steward);
                subjects.tasks.extend(task.clone());
                subjects
                    .servers
                    .extend(asked.iter().map(|right| right.server.clone()));
            }
            Self::TaskCompleted { task, .. } => subjects.add_task(task),
            Self::DelegationReported { task, blocks, .. } => {
                subjects.add_task(task);
                subjects.tokens.extend(blocks.iter().copied());
            }
            Self::Revoked { revocation } => {
                subjects.add_subject(&revocation.subject);
                subjects.servers.extend(revocation.servers.iter().cloned());
            }
            Self::Reinstated { subject } => subjects.add_subject(subject),
        }
    }
}
