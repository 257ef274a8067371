//! Which agents a revocation is about, and which keys are those of suspended agents.

use crate::{
    State,
    domain::{
        event::{AgentRecord, Subject},
        state::holders::keys,
    },
};
use hallpass_core::{base::digest::SubjectDigest, wire::document::Subjects};

impl State {
    /// The registered agents that have the key with this thumbprint (RFC 7638), in the order of their ids.
    pub fn agents_with_key(&self, thumbprint: &str) -> impl Iterator<Item = &AgentRecord> {
        self.holders
            .with_key(thumbprint)
            .filter_map(|agent| self.agent(agent))
    }

    /// Whether the agent or who answers for it is revoked and not reinstated.
    pub(crate) fn is_suspended_agent(&self, agent: &AgentRecord) -> bool {
        let own = agent
            .answered_for_by()
            .map(|steward| Subject::Steward(steward.clone()));
        [Subject::Agent(agent.agent.clone())]
            .iter()
            .chain(&own)
            .any(|subject| self.is_suspended(subject))
    }

    /// Whether one of these thumbprints is that of a key of an agent that is suspended.
    pub(crate) fn has_suspended_holder(&self, thumbprints: &[String]) -> bool {
        let mut agents = thumbprints.iter().flat_map(|key| self.agents_with_key(key));
        agents.any(|agent| self.is_suspended_agent(agent))
    }

    /// The keys of every agent that is suspended.
    pub(crate) fn suspended_holders(&self) -> Vec<SubjectDigest> {
        let suspended = self
            .agents
            .values()
            .filter(|agent| self.is_suspended_agent(agent));
        suspended
            .flat_map(keys)
            .map(|key| Subjects::holder(&key))
            .collect()
    }

    /// The registered agents that die with `subject`, in other people's passes too: itself, or all those of a
    /// steward.
    pub(crate) fn agents_of<'s>(
        &'s self,
        subject: &'s Subject,
    ) -> impl Iterator<Item = &'s AgentRecord> {
        self.agents.values().filter(move |agent| match subject {
            Subject::Agent(id) => agent.agent == *id,
            Subject::Steward(id) => agent.answered_for_by() == Some(id),
            _ => false,
        })
    }
}
