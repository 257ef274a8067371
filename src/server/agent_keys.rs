//! Agents' registered keys, parsed once.

use std::{fmt, hint::black_box, sync::Arc};

use moka::sync::Cache;
use serde_json::Value;

use hallpass_broker::{
    State,
    identity::{AgentKey, RegisteredKey},
};
use hallpass_core::base::ids::AgentId;

/// Agents' keys, parsed; an entry counts as long as the agent's record holds the same JWKs.
pub(crate) struct AgentKeys {
    parsed: Cache<AgentId, Arc<Parsed>>,
    /// Of no agent.
    decoy: Arc<Parsed>,
}

struct Parsed {
    jwks: Vec<Value>,
    keys: Arc<[RegisteredKey]>,
}

impl AgentKeys {
    /// Without any key.
    pub(crate) fn new() -> Self {
        let decoy = "decoy".parse().map(AgentKey::generate);
        let jwks: Vec<Value> = decoy.iter().map(AgentKey::public_jwk).collect();
        let keys = RegisteredKey::from_jwks(&jwks).unwrap_or_default().into();
        Self {
            parsed: Cache::new(MAX_AGENTS),
            decoy: Arc::new(Parsed { jwks, keys }),
        }
    }

    /// The keys of `agent`; `None` when it is not registered in `state` or its keys cannot be read.
    ///
    /// SECURITY: the same is looked up and compared for an agent that is not registered, so that the time does not say which
    /// agents there are.
    pub(crate) fn of(&self, state: &State, agent: &AgentId) -> Option<Arc<[RegisteredKey]>> {
        let known = self.parsed.get(agent);
        let Some(record) = state.agent(agent) else {
            let decoy = known.unwrap_or_else(|| Arc::clone(&self.decoy));
            black_box(decoy.jwks == self.decoy.jwks);
            return None;
        };
        if let Some(parsed) = known.filter(|parsed| parsed.jwks == record.keys) {
            return Some(Arc::clone(&parsed.keys));
        }
        let keys: Arc<[RegisteredKey]> = RegisteredKey::from_jwks(&record.keys).ok()?.into();
        let parsed = Parsed {
            jwks: record.keys.clone(),
            keys: Arc::clone(&keys),
        };
        self.parsed.insert(agent.clone(), Arc::new(parsed));
        Some(keys)
    }
}

impl fmt::Debug for AgentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AgentKeys")
    }
}

const MAX_AGENTS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_keys_of_the_decoy() {
        let keys = AgentKeys::new();
        assert_eq!(keys.decoy.keys.len(), 1);
        let state = State::default();
        for agent in ["decoy", "research-bot"] {
            assert!(keys.of(&state, &agent.parse().unwrap()).is_none());
        }
    }
}
