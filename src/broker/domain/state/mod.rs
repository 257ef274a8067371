//! State: what the records add up to. A pure fold; the same records give the same state.

pub(crate) mod cell;
mod forgetting;
pub(crate) mod holders;
pub(crate) mod live_task;
pub(crate) mod operators;
pub(crate) mod people;
pub(crate) mod snapshot;
mod suspended;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    LiveTask,
    domain::{
        client::ClientSecret,
        descendants::Descendants,
        event::{AgentRecord, KeyPurpose, KeyState, LedgerEvent, RevocationRecord, Subject},
        state::{
            holders::{Holders, keys},
            operators::OperatorEntry,
            people::People,
        },
    },
    ledger::record::Record,
    policy::Catalogue,
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, KeyId, OperatorId, RevocationId, ServerName, ServerUri, StewardId, TaskId},
        key::PublicKey,
        time::Timestamp,
    },
    token::manifest::Manifest,
    wire::document::{RevocationEntry, Subjects},
};

/// What the records add up to. Written as it is, it is the part `state` of a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    epoch: i64,
    last_sequence: u64,
    last_at: Option<Timestamp>,
    /// Under which issuer the last start wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(with = "snapshot::pairs")]
    pub(crate) keys: BTreeMap<(KeyPurpose, KeyId), KeyEntry>,
    pub(crate) feed_key_chain: Vec<String>,
    pub(crate) checkpoint_key_chain: Vec<String>,
    pub(crate) operators: BTreeMap<OperatorId, OperatorEntry>,
    pub(crate) stewards: BTreeSet<StewardId>,
    pub(crate) agents: BTreeMap<AgentId, AgentRecord>,
    /// From the agents.
    #[serde(skip)]
    pub(crate) holders: Holders,
    /// Agents that were removed: their ids stay taken, so that no record speaks of two of them.
    pub(crate) removed_agents: BTreeSet<AgentId>,
    #[serde(with = "snapshot::manifests")]
    pub(crate) servers: BTreeMap<ServerUri, Arc<Manifest>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) server_secrets: BTreeMap<ServerUri, Vec<ClientSecret>>,
    /// From the servers.
    #[serde(skip)]
    catalogue: Arc<Catalogue>,
    #[serde(with = "snapshot::tasks")]
    pub(crate) tasks: BTreeMap<TaskId, LiveTask>,
    /// From the tasks.
    #[serde(skip)]
    agent_tasks: HashMap<AgentId, BTreeSet<TaskId>>,
    /// From the tasks: when to look whether one may be forgotten.
    #[serde(skip)]
    pub(in crate::domain) leaving: BTreeSet<(Timestamp, TaskId)>,
    /// From the tasks.
    #[serde(skip)]
    tokens: HashMap<RevocationId, TaskId>,
    /// From the tasks.
    #[serde(skip)]
    pub(crate) descendants: Descendants,
    /// Revoked and not reinstated, with the cut-off: nothing is minted for these.
    #[serde(with = "snapshot::pairs")]
    suspended: BTreeMap<Subject, Timestamp>,
    /// The latest cut-off of each subject, reinstated or not: what is minted must be later.
    #[serde(with = "snapshot::pairs")]
    cut_offs: BTreeMap<Subject, Timestamp>,
    /// The latest `iat` of any pass; it may lie ahead of the clock after a reinstatement.
    last_issued_at: Option<Timestamp>,
    pub(crate) revocations: BTreeMap<u64, RevocationRecord>,
    feed: BTreeMap<u64, FeedChange>,
    /// What may be used once and was used, until it expires.
    #[serde(with = "snapshot::pairs")]
    used: BTreeMap<Digest, Timestamp>,
    /// From what was used.
    #[serde(skip)]
    used_until: BTreeSet<(Timestamp, Digest)>,
    #[serde(default, skip_serializing_if = "People::is_empty")]
    pub(crate) people: People,
}

/// A key, as in the records; the secret is elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyEntry {
    pub(crate) public: PublicKey,
    pub(crate) state: KeyState,
    /// When it came into this state.
    pub(crate) since: Timestamp,
    /// When the last thing that it signed ends.
    pub(crate) last_expiry: Timestamp,
}

/// Something that verifiers must hear of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedChange {
    pub(crate) what: FeedNews,
    /// It does not wait for others to share a frame, as the completion of a task does.
    pub(crate) urgent: bool,
    /// Whether it is a revocation of an agent or steward with keys.
    pub(crate) concerns_keys: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FeedNews {
    Keys,
    /// Whose keys may not hold a pass changed.
    Holders,
    Manifest(ServerUri),
    /// The servers concerned; empty means all.
    Revocation(Vec<RevocationEntry>, BTreeSet<ServerUri>),
}

impl State {
    /// Which journal this is: its first record's time, in milliseconds.
    #[must_use]
    pub const fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The issuer of the last start; `None` before the first one, and where a snapshot of an older build does not say.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The last record that was applied.
    #[must_use]
    pub const fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    /// When the last record was decided.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.last_at.unwrap_or(Timestamp::EPOCH)
    }

    /// The registered servers' manifests.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue)
    }

    /// An agent's record.
    #[must_use]
    pub fn agent(&self, agent: &AgentId) -> Option<&AgentRecord> {
        self.agents.get(agent)
    }

    /// A task that is not forgotten yet.
    #[must_use]
    pub fn task(&self, task: &TaskId) -> Option<&LiveTask> {
        self.tasks.get(task)
    }

    /// The tasks that are not forgotten yet, in the order of their ids.
    pub fn tasks(&self) -> impl Iterator<Item = &LiveTask> {
        self.tasks.values()
    }

    /// Those whose ids come before `before`, the last first: the newest.
    pub(crate) fn tasks_before(&self, before: Option<&TaskId>) -> impl Iterator<Item = &LiveTask> {
        let earlier = self.tasks.range((Bound::Unbounded, bound(before)));
        earlier.rev().map(|(_, live)| live)
    }

    /// The same of one agent's.
    pub(crate) fn tasks_of<'s>(
        &'s self,
        agent: &AgentId,
        before: Option<&TaskId>,
    ) -> impl Iterator<Item = &'s LiveTask> + use<'s> {
        let of_agent = self.agent_tasks.get(agent);
        let earlier = of_agent.map(|tasks| tasks.range((Bound::Unbounded, bound(before))).rev());
        let earlier = earlier.into_iter().flatten();
        earlier.filter_map(|task| self.tasks.get(task))
    }

    /// The task of a token by its first block's id.
    #[must_use]
    pub fn task_of(&self, token: &RevocationId) -> Option<&LiveTask> {
        self.tasks.get(self.tokens.get(token)?)
    }

    /// A server by URI, alias or short name.
    #[must_use]
    pub fn server(&self, text: &str) -> Option<&Arc<Manifest>> {
        if let Ok(uri) = text.parse::<ServerUri>() {
            return self.catalogue.get(&uri);
        }
        self.catalogue.named(&text.parse::<ServerName>().ok()?)
    }

    /// Whether nothing is minted for `subject` until it is reinstated.
    #[must_use]
    pub fn is_suspended(&self, subject: &Subject) -> bool {
        self.suspended.contains_key(subject)
    }

    /// The latest cut-off of `subject`.
    #[must_use]
    pub fn cut_off(&self, subject: &Subject) -> Option<Timestamp> {
        self.cut_offs.get(subject).copied()
    }

    /// Whether a block that is not the first of a live pass was revoked: an operator's, or an appended one.
    #[must_use]
    pub fn is_revoked_block(&self, id: &RevocationId) -> bool {
        self.cut_offs.contains_key(&Subject::RevocationId(*id))
    }

    /// Whether tokens of `operator` that were issued at `issued_at` are accepted.
    #[must_use]
    pub fn accepts_operator(&self, operator: &OperatorId, issued_at: Timestamp) -> bool {
        let entry = self.operators.get(operator);
        entry.is_some_and(|entry| {
            entry
                .removed_at
                .is_none_or(|removed_at| issued_at > removed_at)
        })
    }

    /// The public operator key with this number, unless it is revoked.
    #[must_use]
    pub fn operator_key(&self, id: KeyId) -> Option<PublicKey> {
        let entry = self.keys.get(&(KeyPurpose::Operator, id))?;
        (entry.state != KeyState::Revoked).then_some(entry.public)
    }

    pub(crate) fn live_keys(
        &self,
        purpose: KeyPurpose,
    ) -> impl Iterator<Item = (KeyId, &KeyEntry)> {
        let of_purpose = self.keys.iter().filter(move |((of, _), _)| *of == purpose);
        of_purpose
            .filter(|(_, entry)| entry.state != KeyState::Revoked)
            .map(|((_, id), entry)| (*id, entry))
    }

    /// Whether what the key signs is accepted: it is known and not revoked.
    pub(crate) fn may_sign(&self, purpose: KeyPurpose, id: KeyId) -> bool {
        let key = self.keys.get(&(purpose, id));
        key.is_some_and(|entry| entry.state != KeyState::Revoked)
    }

    pub(crate) fn news_since(&self, sequence: u64) -> impl Iterator<Item = &FeedChange> {
        self.feed
            .range(sequence.saturating_add(1)..)
            .map(|(_, change)| change)
    }

    /// Whether this state knows everything that happened after `sequence`.
    pub(crate) fn remembers_since(&self, sequence: u64) -> bool {
        sequence <= self.last_sequence
    }

    /// Whether a record says that this was used and it has not expired by `now`.
    pub(crate) fn is_used(&self, key: &Digest, now: Timestamp) -> bool {
        self.used
            .get(key)
            .is_some_and(|expires_at| *expires_at > now)
    }

    /// Assertions that must not be accepted again.
    pub(crate) fn unexpired_assertions(
        &self,
        now: Timestamp,
    ) -> impl Iterator<Item = (Digest, Timestamp)> {
        self.used
            .iter()
            .map(|(key, expires_at)| (*key, *expires_at))
            .filter(move |(_, expires_at)| *expires_at > now)
    }

    /// Derives what a snapshot leaves out.
    pub(crate) fn complete(&mut self) {
        self.rebuild_catalogue();
        let tokens = |task: &LiveTask| {
            let id = task.record.task.clone();
            task.tokens
                .iter()
                .map(move |token| (token.revocation_id, id.clone()))
                .collect::<Vec<_>>()
        };
        self.tokens = self.tasks.values().flat_map(tokens).collect();
        for (id, live) in &self.tasks {
            let of_agent = self.agent_tasks.entry(live.record.agent.clone());
            of_agent.or_default().insert(id.clone());
            self.leaving.insert((live.over_at(), id.clone()));
        }
        self.used_until = self
            .used
            .iter()
            .map(|(digest, until)| (*until, *digest))
            .collect();
        self.descendants = Descendants::of(self.tasks.values().map(|task| &task.record));
        self.holders = Holders::of(self.agents.values());
        self.people.complete();
    }

    /// Takes a record into account; says whether verifiers must hear of it.
    pub(crate) fn apply(&mut self, record: &Record) -> bool {
        let (sequence, at) = (record.sequence, record.entry.at);
        if self.last_at.is_none() {
            self.epoch = at.unix_millis();
        }
        self.last_sequence = sequence;
        self.last_at = Some(self.last_at().max(at));
        if let Some(task) = task_of(&record.entry.event).and_then(|task| self.tasks.get_mut(task)) {
            task.note(&record.entry.event, at);
            // Until then it is looked at when it would end by itself.
            if task.end.is_some() {
                self.leaving
                    .insert((task.over_at(), task.record.task.clone()));
            }
        }
        self.people.apply(&record.entry.event);
        let news = self
            .apply_event(&record.entry.event, at)
            .map(|news| self.with_tasks_that_end(news, &record.entry.event, at));
        let changed = news.is_some();
        if let Some(what) = news {
            let urgent = !matches!(record.entry.event, LedgerEvent::TaskCompleted { .. });
            let concerns_keys = match &record.entry.event {
                LedgerEvent::Revoked { revocation } => self
                    .agents_of(&revocation.subject)
                    .flat_map(keys)
                    .next()
                    .is_some(),
                _ => false,
            };
            self.feed.insert(
                sequence,
                FeedChange {
                    what,
                    urgent,
                    concerns_keys,
                },
            );
        }
        if let LedgerEvent::Revoked { revocation } = &record.entry.event {
            self.revocations.insert(sequence, self.reach(revocation));
        }
        changed
    }

    fn apply_event(&mut self, event: &LedgerEvent, at: Timestamp) -> Option<FeedNews> {
        match event {
            LedgerEvent::KeyChanged {
                purpose,
                key,
                public,
                state,
                link,
            } => {
                let last_expiry = self
                    .keys
                    .get(&(*purpose, *key))
                    .map_or(at, |entry| entry.last_expiry);
                self.keys.insert(
                    (*purpose, *key),
                    KeyEntry {
                        public: *public,
                        state: *state,
                        since: at,
                        last_expiry,
                    },
                );
                if *purpose == KeyPurpose::Checkpoint {
                    // What it signs is for auditors; verifiers have no use for it.
                    self.checkpoint_key_chain.extend(link.clone());
                    return None;
                }
                self.feed_key_chain.extend(link.clone());
                return Some(FeedNews::Keys);
            }
            LedgerEvent::OperatorAdded {
                operator,
                roles,
                expires_at,
                ..
            } => {
                let old = self.operators.get(operator);
                let mut entry = OperatorEntry {
                    roles: roles.clone(),
                    expires_at: *expires_at,
                    removed_at: old.and_then(|old| old.removed_at),
                    latest_issue: OperatorEntry::issue_time(old, at),
                };
                // An older token that still counts lives beside the new one.
                if let Some(old) = old.filter(|old| old.is_accepted()) {
                    entry.roles.extend(old.roles.iter().copied());
                    entry.expires_at = entry.expires_at.max(old.expires_at);
                    entry.latest_issue = entry.latest_issue.max(old.latest_issue);
                }
                self.operators.insert(operator.clone(), entry);
            }
            LedgerEvent::OperatorRemoved { operator } => {
                if let Some(entry) = self.operators.get_mut(operator) {
                    // The latest token may be dated ahead of the clock.
                    entry.removed_at = Some(at.max(entry.latest_issue));
                }
            }
            LedgerEvent::StewardAdded { steward } => drop(self.stewards.insert(steward.clone())),
            LedgerEvent::AgentSet { agent } => {
                let old = self.agents.insert(agent.agent.clone(), agent.clone());
                old.iter().for_each(|old| self.holders.remove(old));
                self.holders.add(agent);
                let is_concerned = |agent: &AgentRecord| self.is_suspended_agent(agent);
                let changed = is_concerned(agent) || old.as_ref().is_some_and(is_concerned);
                return changed.then_some(FeedNews::Holders);
            }
            LedgerEvent::AgentRemoved { agent } => {
                let old = self.agents.remove(agent);
                old.iter().for_each(|old| self.holders.remove(old));
                self.removed_agents.insert(agent.clone());
            }
            LedgerEvent::ServerSet { manifest } => {
                self.servers
                    .insert(manifest.server.clone(), Arc::new(manifest.clone()));
                self.rebuild_catalogue();
                return Some(FeedNews::Manifest(manifest.server.clone()));
            }
            LedgerEvent::ServerSecretsSet { server, secrets } => {
                self.server_secrets.insert(server.clone(), secrets.clone());
            }
            LedgerEvent::ServerRemoved { server } => {
                self.servers.remove(server);
                self.server_secrets.remove(server);
                self.rebuild_catalogue();
            }
            LedgerEvent::TaskOpened { task } => {
                // A task is opened once. Were it opened again, the passes of the first would be no task's.
                self.forget_task(&task.task);
                let live = LiveTask::new(task.clone());
                self.tasks.insert(task.task.clone(), live);
                self.descendants.add(task);
                let of_agent = self.agent_tasks.entry(task.agent.clone()).or_default();
                of_agent.insert(task.task.clone());
                self.leaving.insert((task.ends_at, task.task.clone()));
            }
            LedgerEvent::TokenIssued { task, token } => {
                if self.tasks.contains_key(task) {
                    self.tokens.insert(token.revocation_id, task.clone());
                }
                self.last_issued_at = self.last_issued_at.max(Some(token.issued_at));
                if let Some(key) = self.keys.get_mut(&(KeyPurpose::Root, token.key)) {
                    key.last_expiry = key.last_expiry.max(token.expires_at);
                }
            }
            LedgerEvent::TaskCompleted { task, passes_end } => {
                let live = self.tasks.get(task);
                let servers = live.map(LiveTask::servers).unwrap_or_default();
                // A pass may have been recorded between the question and the record.
                let expires_at =
                    live.map_or(*passes_end, |live| live.passes_end().max(*passes_end));
                let entry = RevocationEntry {
                    subject: Subjects::task(task),
                    cut_off: None,
                    expires_at,
                };
                return Some(FeedNews::Revocation(vec![entry], servers));
            }
            LedgerEvent::Revoked { revocation } => {
                return Some(self.apply_revocation(&self.reach(revocation)));
            }
            LedgerEvent::Reinstated { subject } => {
                self.suspended.remove(subject);
                return Some(FeedNews::Holders);
            }
            LedgerEvent::AssertionUsed {
                jti, expires_at, ..
            } => {
                let until = self.used.entry(*jti).or_insert(*expires_at);
                *until = (*until).max(*expires_at);
                self.used_until.insert((*until, *jti));
            }
            LedgerEvent::BrokerStarted { issuer, .. } => self.issuer = Some(issuer.clone()),
            // People's are taken into account by their own fold.
            LedgerEvent::SignInCodeMade { .. }
            | LedgerEvent::SignedIn { .. }
            | LedgerEvent::ConsentGiven { .. }
            | LedgerEvent::CodeUsed { .. }
            | LedgerEvent::RefreshRotated { .. }
            | LedgerEvent::ClientRegistered { .. }
            | LedgerEvent::SegmentBegun { .. }
            | LedgerEvent::PolicyLoaded { .. }
            | LedgerEvent::StewardErased { .. }
            | LedgerEvent::StewardIdentified { .. }
            | LedgerEvent::StewardUnidentified { .. }
            | LedgerEvent::RequestRefused { .. }
            | LedgerEvent::DelegationReported { .. } => {}
        }
        None
    }

    /// What a revocation reaches, seen from its place among the records: passes that were recorded
    /// while it was on its way are reached too.
    fn reach(&self, recorded: &RevocationRecord) -> RevocationRecord {
        let mut reach = recorded.clone();
        let task = match &recorded.subject {
            Subject::Task(task) => self.task(task),
            Subject::RevocationId(id) => self.task_of(recorded.appended_to.as_ref().unwrap_or(id)),
            _ => None,
        };
        if task.is_none() {
            // The configuration may have allowed longer lives when these passes were minted.
            let last_end = self
                .keys
                .iter()
                .filter(|((purpose, _), _)| *purpose == KeyPurpose::Root);
            let last_end = last_end
                .map(|(_, entry)| entry.last_expiry.plus(AFTERLIFE))
                .max();
            reach.expires_at = last_end.map_or(reach.expires_at, |last| last.max(reach.expires_at));
        }
        match task {
            Some(task) => {
                reach.task = Some(task.record.task.clone());
                reach.servers.extend(task.servers());
            }
            // SECURITY: a block that was not minted here is everybody's business, whatever the record says.
            None if matches!(recorded.subject, Subject::RevocationId(_)) => {
                (reach.task, reach.servers) = (None, BTreeSet::new());
            }
            // A pass that was minted after a reinstatement is dated ahead, and was minted before this.
            None => {
                reach.cut_off = self
                    .last_issued_at
                    .map_or(reach.cut_off, |latest| latest.max(reach.cut_off))
            }
        }
        reach
    }

    fn apply_revocation(&mut self, revocation: &RevocationRecord) -> FeedNews {
        let RevocationRecord {
            subject,
            cut_off,
            expires_at,
            servers,
            task,
            ..
        } = revocation;
        let is_foreign_block = matches!(subject, Subject::RevocationId(_)) && task.is_none();
        let (digest, cut_off_matters) = match subject {
            Subject::RevocationId(id) => (Subjects::token(id), false),
            Subject::Task(task) => (Subjects::task(task), false),
            Subject::Agent(agent) => (Subjects::agent(agent), true),
            Subject::Steward(steward) => (Subjects::steward(steward), true),
            Subject::Server(server) => (Subjects::server(server), true),
            Subject::Key(key) => (Subjects::key(*key), false),
        };
        if cut_off_matters {
            self.suspended.insert(subject.clone(), *cut_off);
        }
        // What was minted in a task is remembered there, and forgotten with it. Another block may be
        // that of an operator's token, which lives long.
        if cut_off_matters || is_foreign_block {
            let latest = self.cut_offs.entry(subject.clone()).or_insert(*cut_off);
            *latest = (*latest).max(*cut_off);
        }
        let cut_off = cut_off_matters.then_some(*cut_off);
        let agents = self.agents_acting_for_others(subject);
        let holders = self
            .agents_of(subject)
            .flat_map(keys)
            .map(|key| Subjects::holder(&key));
        let subjects = std::iter::once(digest).chain(holders);
        let subjects = subjects.chain(agents.iter().map(Subjects::agent));
        let entries = subjects.map(|subject| RevocationEntry {
            subject,
            cut_off,
            expires_at: *expires_at,
        });
        FeedNews::Revocation(entries.collect(), servers.clone())
    }

    /// SECURITY: passes of a revoked steward's agents name another steward when they are on that one's behalf,
    /// so those agents are named too.
    fn agents_acting_for_others(&self, subject: &Subject) -> BTreeSet<AgentId> {
        let Subject::Steward(steward) = subject else {
            return BTreeSet::new();
        };
        let answered_for = self
            .agents
            .values()
            .filter(|agent| agent.answered_for_by() == Some(steward));
        let acts_for_others = |agent: &&AgentRecord| {
            let mut tasks = self.tasks_of(&agent.agent, None);
            tasks.any(|live| live.record.steward != *steward)
        };
        answered_for
            .filter(acts_for_others)
            .map(|agent| agent.agent.clone())
            .collect()
    }

    fn rebuild_catalogue(&mut self) {
        // Registration refuses what a catalogue refuses, so the records never hold such servers; were
        // they to, the old catalogue stays and the new server cannot be asked for.
        if let Ok(catalogue) = Catalogue::new(self.servers.values().cloned()) {
            self.catalogue = Arc::new(catalogue);
        }
    }
}

fn bound(before: Option<&TaskId>) -> Bound<&TaskId> {
    before.map_or(Bound::Unbounded, Bound::Excluded)
}

fn task_of(event: &LedgerEvent) -> Option<&TaskId> {
    match event {
        LedgerEvent::TokenIssued { task, .. }
        | LedgerEvent::TaskCompleted { task, .. }
        | LedgerEvent::DelegationReported { task, .. } => Some(task),
        LedgerEvent::Revoked { revocation } => revocation.task.as_ref(),
        _ => None,
    }
}

/// A revocation is kept this much longer than any pass that it concerns lives: for clocks that differ.
pub(crate) const AFTERLIFE: Duration = Duration::from_secs(300);

/// Ended tasks are kept this long for those who ask about them; later the audit trail answers.
pub(crate) const KEEP_ENDED_TASKS: Duration = Duration::from_secs(3600);
