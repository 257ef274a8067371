//! Holders: which agents have which keys.

use std::collections::{BTreeSet, HashMap};

use crate::domain::event::AgentRecord;
use hallpass_core::base::{holder::HolderKey, ids::AgentId};

/// The agents that have a key, by its thumbprint (RFC 7638).
#[derive(Debug, Default)]
pub(crate) struct Holders(HashMap<String, BTreeSet<AgentId>>);

impl Holders {
    /// The agents that have the key with this thumbprint.
    pub(crate) fn with_key(&self, thumbprint: &str) -> impl Iterator<Item = &AgentId> {
        self.0.get(thumbprint).into_iter().flatten()
    }

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

/// An agent's keys that can be bound to passes.
pub(crate) fn keys(agent: &AgentRecord) -> impl Iterator<Item = HolderKey> {
    agent.keys.iter().filter_map(HolderKey::from_jwk)
}
