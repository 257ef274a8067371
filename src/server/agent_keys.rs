//! Agents' registered keys, parsed once.

use std::{fmt, sync::Arc};

use moka::sync::Cache;
use serde_json::Value;

use hallpass_broker::{State, identity::RegisteredKey};
use hallpass_core::base::ids::AgentId;

/// Agents' keys, parsed; an entry counts as long as the agent's record holds the same JWKs.
pub(crate) struct AgentKeys(Cache<AgentId, (Vec<Value>, Arc<[RegisteredKey]>)>);

impl AgentKeys {
    /// Without any key.
    pub(crate) fn new() -> Self {
        Self(Cache::new(MAX_AGENTS))
    }

    /// The keys of `agent`; `None` when it is not registered in `state` or its keys cannot be read.
    pub(crate) fn of(&self, state: &State, agent: &AgentId) -> Option<Arc<[RegisteredKey]>> {
        let record = state.agent(agent)?;
        if let Some((jwks, keys)) = self.0.get(agent)
            && jwks == record.keys
        {
            return Some(keys);
        }
        let keys: Arc<[RegisteredKey]> = RegisteredKey::from_jwks(&record.keys).ok()?.into();
        self.0
            .insert(agent.clone(), (record.keys.clone(), Arc::clone(&keys)));
        Some(keys)
    }
}

impl fmt::Debug for AgentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKeys")
    }
}

const MAX_AGENTS: u64 = 10_000;
