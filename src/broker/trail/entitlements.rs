//! What agents could be given, for a review of entitlements: agent by server by right, beside the passes that live.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::{Bound, RangeBounds as _},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{
    BrokerError, History, State,
    domain::event::{AgentRecord, Subject},
    policy::{Catalogue, Entitlement, EntitlementAnswer, EntitlementProof, PolicySet, Right},
    trail::reports::live_passes,
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{AgentId, GrantId, ServerUri, StewardId},
        time::Timestamp,
    },
    token::manifest::Manifest,
};

/// A right that a grant names for an agent, and what a plain request for it would be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EntitlementRow {
    /// Who answers for the agent; of a client that people brought: who consented first.
    pub steward: StewardId,
    /// That person's name, unless it was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steward_name: Option<String>,
    /// The agent.
    pub agent: AgentId,
    /// Its groups.
    pub groups: Vec<String>,
    /// Whether nothing is given now, since the agent, who answers for it, or the server is revoked and not reinstated.
    pub suspended: bool,
    /// The server.
    pub server: ServerUri,
    /// The right: `tool read_ledger`.
    pub right: String,
    /// What policy answers.
    pub answer: EntitlementAnswer,
    /// The grant by which it is given: the first that names it.
    pub grant: GrantId,
    /// Its file.
    pub file: String,
    /// The further grants that name it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_grants: Vec<GrantId>,
    /// How long one pass lives at most, in seconds, by the grant and the broker's configuration.
    pub max_ttl_seconds: u64,
    /// What the arguments are limited to, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<String>,
    /// What each call must prove.
    pub proof: EntitlementProof,
    /// The guardrails that forbid it, or forbid it without proof: `name (file)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guardrails: Vec<String>,
    /// Why it is undecided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// How many passes with this right are alive now.
    pub live_passes: u64,
}

/// Which agents and servers are asked about; all, where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct EntitlementFilter {
    /// Only this agent.
    pub agent: Option<AgentId>,
    /// Only this steward's agents.
    pub steward: Option<StewardId>,
    /// Only this server.
    pub server: Option<ServerUri>,
}

/// Where a page of entitlements ended: after an agent, or after one of its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntitlementPlace {
    agent: AgentId,
    right: Option<(ServerUri, String)>,
}

impl fmt::Display for EntitlementPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither an agent's id nor a URI has a space.
        match &self.right {
            None => self.agent.fmt(f),
            Some((server, right)) => write!(f, "{} {server} {right}", self.agent),
        }
    }
}

impl FromStr for EntitlementPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, ' ');
        let agent = parts
            .next()
            .and_then(|agent| agent.parse().ok())
            .ok_or(())?;
        let right = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(server), Some(right)) => {
                Some((server.parse().map_err(|_| ())?, right.to_owned()))
            }
            (Some(_), None) => return Err(()),
        };
        Ok(Self { agent, right })
    }
}

impl History {
    /// What agents could be given: at most `limit` rows of those after `after`, and where the next page begins. Blocks
    /// for as long as it takes to decide each of them twice.
    ///
    /// # Errors
    ///
    /// When other reports take all the time that there is for them.
    pub fn entitlements(
        &self,
        filter: &EntitlementFilter,
        after: Option<EntitlementPlace>,
        limit: usize,
    ) -> Result<(Vec<EntitlementRow>, Option<EntitlementPlace>), BrokerError> {
        let _deciding = self.scans.try_acquire().map_err(|_| BrokerError::Busy)?;
        let set = self.policy.current();
        let catalogue = self.changes.state().catalogue();
        let mut page = Page {
            set: &set,
            catalogue: &catalogue,
            filter,
            max_ttl_seconds: self.max_pass_ttl.as_secs(),
            limit,
            rows: Vec::new(),
            last: None,
        };
        let mut at = after;
        for _ in 0..MAX_AGENTS {
            // One agent at a time, so that no change waits for a decision.
            let Some((agent, suspended)) = self.agent_at(at.as_ref(), filter) else {
                return Ok((self.completed(page.rows), None));
            };
            let shown = at.take().filter(|at| at.agent == agent.agent);
            if page.add(&agent, suspended, shown.and_then(|at| at.right).as_ref()) {
                return Ok((self.completed(page.rows), page.last));
            }
            at = Some(EntitlementPlace {
                agent: agent.agent,
                right: None,
            });
        }
        Ok((self.completed(page.rows), at))
    }

    /// The agent that follows, or the one whose rights were not all shown; and whether it is suspended.
    fn agent_at(
        &self,
        at: Option<&EntitlementPlace>,
        filter: &EntitlementFilter,
    ) -> Option<(AgentRecord, bool)> {
        let state = self.changes.state();
        let is_wanted = |agent: &&AgentRecord| {
            let steward = filter.steward.as_ref();
            steward.is_none_or(|steward| agent.steward == *steward)
        };
        let from = match at {
            None => Bound::Unbounded,
            Some(place) if place.right.is_some() => Bound::Included(&place.agent),
            Some(place) => Bound::Excluded(&place.agent),
        };
        let rest = (from, Bound::Unbounded);
        let agent = match &filter.agent {
            Some(agent) => state
                .agent(agent)
                .filter(|_| rest.contains(agent))
                .filter(is_wanted),
            None => state
                .agents
                .range::<AgentId, _>(rest)
                .map(|(_, agent)| agent)
                .find(is_wanted),
        }?;
        Some((agent.clone(), state.is_suspended_agent(agent)))
    }

    /// With what only the state and the directory know.
    fn completed(&self, mut rows: Vec<EntitlementRow>) -> Vec<EntitlementRow> {
        {
            let now = self.changes.now();
            let state = self.changes.state();
            let live = LiveRights::of(&state, &rows, now);
            for row in &mut rows {
                let server = Subject::Server(row.server.clone());
                row.suspended = row.suspended || state.is_suspended(&server);
                row.live_passes = live.count(row);
            }
        }
        let directory = self.directory.lock();
        for row in &mut rows {
            row.steward_name = directory.name(&row.steward).map(str::to_owned);
        }
        rows
    }
}

/// The rows of one page.
struct Page<'p> {
    set: &'p PolicySet,
    catalogue: &'p Catalogue,
    filter: &'p EntitlementFilter,
    max_ttl_seconds: u64,
    limit: usize,
    rows: Vec<EntitlementRow>,
    /// The last right that was decided.
    last: Option<EntitlementPlace>,
}

impl Page<'_> {
    /// Adds what `agent` could be given after `after`; whether the page is full and there is more.
    fn add(
        &mut self,
        agent: &AgentRecord,
        suspended: bool,
        after: Option<&(ServerUri, String)>,
    ) -> bool {
        let entitlements = self
            .set
            .entitlements(&agent.agent, &agent.groups, &agent.steward);
        for (server, manifest) in entitlements.servers(self.catalogue) {
            let is_shown = after.is_some_and(|(shown, _)| server < shown);
            let is_other = self
                .filter
                .server
                .as_ref()
                .is_some_and(|wanted| wanted != server);
            if is_shown || is_other {
                continue;
            }
            let mut rights = entitlements.rights(manifest);
            if let Some((_, shown)) = after.filter(|(shown, _)| shown == server) {
                rights.retain(|right, _| right > shown);
            }
            let room = self.limit.saturating_sub(self.rows.len());
            let is_more = rights.len() > room;
            let rights: Vec<Right> = rights.into_values().take(room).collect();
            if let Some(right) = rights.last() {
                self.last = Some(EntitlementPlace {
                    agent: agent.agent.clone(),
                    right: Some((server.clone(), right.to_string())),
                });
            }
            let decided = entitlements.decided(manifest, &rights);
            let rows = decided
                .iter()
                .map(|found| self.row(agent, suspended, manifest, found));
            let rows: Vec<_> = rows.collect();
            self.rows.extend(rows);
            if is_more {
                return true;
            }
        }
        false
    }

    fn row(
        &self,
        agent: &AgentRecord,
        suspended: bool,
        manifest: &Manifest,
        found: &Entitlement<'_>,
    ) -> EntitlementRow {
        let limits = found
            .limits
            .iter()
            .map(|(argument, constraint)| format!("{argument} {constraint}"));
        let pins = found
            .pins
            .iter()
            .map(|argument| format!("{argument} as in the task's context"));
        let closed = found.closed.then(|| "no other arguments".to_owned());
        let (mut guardrails, mut reasons) = (Vec::new(), Vec::new());
        for reason in &found.reasons {
            match &reason.decided_by {
                Some(source) if reason.code == ReasonCode::Guardrail => {
                    guardrails.push(format!("{} ({})", source.name, source.file));
                }
                _ if found.answer == EntitlementAnswer::Undecided => {
                    reasons.push(reason.detail.clone())
                }
                _ => {}
            }
        }
        EntitlementRow {
            steward: agent.steward.clone(),
            steward_name: None,
            agent: agent.agent.clone(),
            groups: agent.groups.iter().map(ToString::to_string).collect(),
            suspended,
            server: manifest.server.clone(),
            right: found.right.to_string(),
            answer: found.answer,
            grant: found.grant.id.clone(),
            file: found.file.to_owned(),
            more_grants: found.more.iter().map(|grant| grant.id.clone()).collect(),
            max_ttl_seconds: found.grant.max_ttl.as_secs().min(self.max_ttl_seconds),
            limits: limits.chain(pins).chain(closed).collect(),
            proof: found.proof,
            guardrails,
            reasons,
            live_passes: 0,
        }
    }
}

/// How many passes are alive, by agent, server and right, of the agents of a page.
struct LiveRights<'s>(HashMap<(&'s AgentId, &'s ServerUri, &'s str), u64>);

impl<'s> LiveRights<'s> {
    fn of(state: &'s State, rows: &[EntitlementRow], now: Timestamp) -> Self {
        let agents: HashSet<&AgentId> = rows.iter().map(|row| &row.agent).collect();
        let mut live = HashMap::new();
        let tasks = agents.iter().flat_map(|agent| state.tasks_of(agent, None));
        for task in tasks {
            let Some(agent) = state.agent(&task.record.agent) else {
                continue;
            };
            for pass in live_passes(state, agent, task, now) {
                for by in &pass.decided_by {
                    let count: &mut u64 = live
                        .entry((&task.record.agent, &by.server, by.right.as_str()))
                        .or_default();
                    *count = count.saturating_add(1);
                }
            }
        }
        Self(live)
    }

    fn count(&self, row: &EntitlementRow) -> u64 {
        let key = (&row.agent, &row.server, row.right.as_str());
        self.0.get(&key).copied().unwrap_or(0)
    }
}

/// One page looks at so many agents at most, since most may have no grant at all.
const MAX_AGENTS: usize = 5_000;
