//! Holders: which agents have which keys, and which agents a revocation is about.

use std::collections::{BTreeSet, HashMap};

use crate::{
    State,
    domain::event::{AgentRecord, Subject},
};
use hallpass_core::{
    base::{digest::SubjectDigest, holder::HolderKey, ids::AgentId},
    wire::document::Subjects,
};

/// The agents that have a key, by its thumbprint (RFC 7638).
#[derive(Debug, Default)]
pub(crate) struct Holders(HashMap<String, BTreeSet<AgentId>>);

impl Holders {
    pub(crate) fn of<'a>(agents: impl Iterator<Item = &'a AgentRecord>) -> Self {
        let mut holders = Self::default();
        agents.for_each(|agent| holders.add(agent));
        holders
    }

    pub(crate) fn add(&mut self, agent: &AgentRecord) {
        for key in keys(agent) {
            self.0
                .entry(key.thumbprint())
                .or_default()
                .insert(agent.agent.clone());
        }
    }

    pub(crate) fn remove(&mut self, agent: &AgentRecord) {
        for thumbprint in keys(agent).map(|key| key.thumbprint()) {
            if let Some(agents) = self.0.get_mut(&thumbprint) {
                agents.remove(&agent.agent);
                if agents.is_empty() {
                    self.0.remove(&thumbprint);
                }
            }
        }
    }
}

impl State {
    /// The registered agents that have the key with this thumbprint (RFC 7638), in the order of their ids.
    pub fn agents_with_key(&self, thumbprint: &str) -> impl Iterator<Item = &AgentRecord> {
        self.holders
            .0
            .get(thumbprint)
            .into_iter()
            .flatten()
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

/// An agent's keys that can be bound to passes.
pub(crate) fn keys(agent: &AgentRecord) -> impl Iterator<Item = HolderKey> {
    agent.keys.iter().filter_map(HolderKey::from_jwk)
}
