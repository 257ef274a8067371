//! Which policies can decide a question: every guardrail, and the grants that speak of the agent and the server.
//!
//! The price of a decision does not grow with grants for other agents and servers. What is left out could not have
//! permitted anything, since its selectors do not match.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use cedar_policy::{Policy, PolicySet};

use crate::policy::{AgentSelector, Question, ServerSelector, grant_file::PlacedGrant};
use hallpass_core::{
    base::{
        ids::{AgentId, GroupName, ServerName, ServerUri},
        sync::MutexExt as _,
    },
    token::manifest::Manifest,
};

/// A fault: the engine could not be built or asked. Never a "no" of the policy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct EngineFault(pub(super) String);

/// Guardrails, and grants by what they select.
#[derive(Debug)]
pub(super) struct Candidates {
    guardrails: PolicySet,
    /// The Cedar permits of each grant, by its place.
    permits: Vec<Vec<Policy>>,
    any_agent: BTreeSet<usize>,
    agents: BTreeMap<AgentId, BTreeSet<usize>>,
    groups: BTreeMap<GroupName, BTreeSet<usize>>,
    servers: BTreeMap<ServerUri, BTreeSet<usize>>,
    names: BTreeMap<ServerName, BTreeSet<usize>>,
    /// Sets that were put together lately, by the grants in them.
    known: Mutex<HashMap<Vec<usize>, Arc<PolicySet>>>,
}

impl Candidates {
    /// The `permits` of `grants`, in their order, and the guardrails.
    pub(super) fn new(
        grants: &[PlacedGrant],
        permits: Vec<Vec<Policy>>,
        guardrails: impl Iterator<Item = Policy>,
    ) -> Result<Self, EngineFault> {
        let guardrails =
            PolicySet::from_policies(guardrails).map_err(|error| EngineFault(error.to_string()))?;
        let mut candidates = Self {
            guardrails,
            permits,
            any_agent: BTreeSet::new(),
            agents: BTreeMap::new(),
            groups: BTreeMap::new(),
            servers: BTreeMap::new(),
            names: BTreeMap::new(),
            known: Mutex::default(),
        };
        for (at, placed) in grants.iter().enumerate() {
            for selector in &placed.grant.agents {
                match selector {
                    AgentSelector::Any => &mut candidates.any_agent,
                    AgentSelector::Agent(agent) => {
                        candidates.agents.entry(agent.clone()).or_default()
                    }
                    AgentSelector::Group(group) => {
                        candidates.groups.entry(group.clone()).or_default()
                    }
                }
                .insert(at);
            }
            match &placed.grant.server {
                ServerSelector::Uri(uri) => candidates.servers.entry(uri.clone()).or_default(),
                ServerSelector::Name(name) => candidates.names.entry(name.clone()).or_default(),
            }
            .insert(at);
        }
        Ok(candidates)
    }

    /// What can decide `question` at the server of `manifest`.
    pub(super) fn of(
        &self,
        question: &Question,
        manifest: &Manifest,
    ) -> Result<Arc<PolicySet>, EngineFault> {
        let grants = self.grants(&question.agent, &question.groups, manifest);
        if let Some(known) = self.known.locked().get(&grants) {
            return Ok(Arc::clone(known));
        }
        let mut policies = self.guardrails.clone();
        for permit in grants
            .iter()
            .filter_map(|at| self.permits.get(*at))
            .flatten()
        {
            policies
                .add(permit.clone())
                .map_err(|error| EngineFault(error.to_string()))?;
        }
        let policies = Arc::new(policies);
        let mut known = self.known.locked();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(grants, Arc::clone(&policies));
        Ok(policies)
    }

    /// Whether some grant selects the agent, or one of its groups, and the server.
    pub(super) fn select(
        &self,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
        manifest: &Manifest,
    ) -> bool {
        !self.grants(agent, groups, manifest).is_empty()
    }

    /// The places of the grants that select the agent and the server, in order.
    fn grants(
        &self,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
        manifest: &Manifest,
    ) -> Vec<usize> {
        let of_server: BTreeSet<usize> = self
            .servers
            .get(&manifest.server)
            .into_iter()
            .chain(self.names.get(&manifest.name))
            .flatten()
            .copied()
            .collect();
        let of_agent = self.grants_for(agent, groups);
        of_server.intersection(&of_agent).copied().collect()
    }

    /// The places of the grants that select the agent, on whatever server.
    pub(super) fn grants_for(
        &self,
        agent: &AgentId,
        groups: &BTreeSet<GroupName>,
    ) -> BTreeSet<usize> {
        let groups = groups.iter().filter_map(|group| self.groups.get(group));
        groups
            .chain(self.agents.get(agent))
            .chain([&self.any_agent])
            .flatten()
            .copied()
            .collect()
    }
}

/// More than the kinds of agents times the servers that most brokers have.
const MAX_KNOWN: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Behalf, Catalogue, PolicyFile, PolicySet as Set};

    /// Three grants that can decide, among two hundred for other agents and other servers.
    fn grants() -> String {
        let grant = |id: &str, agents: &str, server: &str| {
            format!(
                "[[grant]]\nid = \"{id}\"\nagents = [\"{agents}\"]\nserver = \"{server}\"\ntools = [\"read\"]\nmax_ttl = \"10m\"\n\n"
            )
        };
        let mut text = grant("own", "bot", "s")
            + &grant("group", "group:g", "s")
            + &grant("any", "*", "https://s.example/mcp");
        for number in 0..100 {
            text += &grant(&format!("agent-{number}"), &format!("bot-{number}"), "s");
            text += &grant(&format!("server-{number}"), "bot", &format!("s-{number}"));
        }
        text
    }

    fn manifest() -> Manifest {
        let text = r#"{"server": "https://s.example/mcp", "name": "s", "tools": {"read": {}}}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn grants_for_other_agents_and_servers_are_not_evaluated() {
        let catalogue = Catalogue::new([Arc::new(manifest())]).unwrap();
        let files = vec![
            PolicyFile {
                name: "policy/g.toml".to_owned(),
                text: grants(),
            },
            PolicyFile {
                name: "policy/r.cedar".to_owned(),
                text: "@id(\"never\") forbid (principal, action, resource) when { context.purpose == \"x\" };".to_owned(),
            },
        ];
        let (set, _) = Set::from_files(files, &catalogue).unwrap();
        let mut question = Question {
            agent: "bot".parse().unwrap(),
            groups: BTreeSet::from(["g".parse().unwrap()]),
            steward: format!("stw_{:032x}", 1).parse().unwrap(),
            behalf: Behalf {
                steward: format!("stw_{:032x}", 1).parse().unwrap(),
                verified: false,
                groups: BTreeSet::new(),
            },
            purpose: "count".to_owned(),
            requested: Vec::new(),
            ttl_seconds: 60,
            context: BTreeMap::new(),
            holder_bound: false,
            allow_partial: false,
        };
        let count = |question: &Question| {
            let policies = set.candidates().of(question, &manifest()).unwrap();
            policies.policies().count()
        };
        assert_eq!(count(&question), 1 + 3);
        question.groups.clear();
        assert_eq!(count(&question), 1 + 2);
        question.agent = "bot-7".parse().unwrap();
        assert_eq!(count(&question), 1 + 2);
        question.agent = "stranger".parse().unwrap();
        assert_eq!(count(&question), 1 + 1);
    }
}
