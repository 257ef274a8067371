//! The state in snapshots: what a start begins with instead of all records.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    LiveTask, State,
    domain::state::cell::StateCell,
    ledger::{
        file::{Restore, Snapshot, SnapshotError, TakeSnapshot},
        record::Record,
        tree::{SavedTree, Tree, TreeError},
        views::Carried,
    },
};
use hallpass_core::{
    base::ids::{ServerUri, TaskId},
    token::manifest::Manifest,
};

/// The snapshot's part that is the [`State`].
const STATE: &str = "state";

/// The snapshot's part that is the right edge of the Merkle tree.
const TREE: &str = "tree";

/// What a start restores and replays into.
#[derive(Debug)]
pub(crate) struct StateSnapshot {
    data_dir: PathBuf,
    state: State,
    tree: Tree,
    /// Whether the files of the tree could be written.
    grown: Result<(), TreeError>,
}

impl StateSnapshot {
    /// Nothing yet, for the data directory `data_dir`.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let tree = Tree::new(data_dir, SavedTree::default());
        Self {
            data_dir: data_dir.to_owned(),
            state: State::default(),
            tree,
            grown: Ok(()),
        }
    }

    pub(crate) fn into_parts(self) -> (State, Tree) {
        if let Err(error) = self.grown {
            // Proofs can wait; revoking cannot.
            tracing::error!(error = %error, "the files of the audit trail's tree could not be written");
        }
        (self.state, self.tree)
    }
}

impl Restore for StateSnapshot {
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let missing = |part: &str| SnapshotError::new(format_args!("it has no {part}"));
        let state = snapshot
            .get::<State>(STATE)?
            .ok_or_else(|| missing(STATE))?;
        let saved = snapshot
            .get::<SavedTree>(TREE)?
            .ok_or_else(|| missing(TREE))?;
        let tree = Tree::new(&self.data_dir, saved);
        if tree.root().head.sequence != state.last_sequence() {
            return Err(SnapshotError::new(
                "its state and its tree are not of the same record",
            ));
        }
        // The files of the tree are derived. While all records are there they are worth the longer start.
        if snapshot.is_dispensable() && !tree.has_files() {
            return Err(SnapshotError::new("the files of the tree are missing"));
        }
        (self.state, self.tree) = (state, tree);
        self.state.complete();
        Ok(())
    }

    fn replay(&mut self, record: &Record) {
        let _ = self.state.apply(record);
        if let Err(error) = self.tree.append(std::slice::from_ref(record)) {
            self.grown = Err(error);
        }
    }
}

/// What the records of a journal add up to, and nothing beside it: for a look at a journal that is not opened.
#[derive(Debug, Default)]
pub(crate) struct StateAlone(pub(crate) State);

impl Restore for StateAlone {
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let state = snapshot.get::<State>(STATE)?;
        self.0 = state.ok_or_else(|| SnapshotError::new(format_args!("it has no {STATE}")))?;
        self.0.complete();
        Ok(())
    }

    fn replay(&mut self, record: &Record) {
        let _ = self.0.apply(record);
    }
}

/// Takes snapshots of `state` and of the edge of `tree`.
pub(crate) fn take_snapshot(state: Arc<StateCell>, tree: Arc<Tree>) -> TakeSnapshot {
    Box::new(move || {
        let mut snapshot = Snapshot::default();
        snapshot.set(STATE, &*state.read())?;
        snapshot.set(TREE, &tree.checkpoint().map_err(SnapshotError::new)?)?;
        Ok(snapshot)
    })
}

impl State {
    /// What an index that is built anew must know of living tasks whose records may not be kept.
    pub(crate) fn carried(&self) -> Vec<Carried> {
        let carried = |live: &LiveTask| {
            let minted = live.tokens.iter().map(|token| token.revocation_id);
            let appended = live
                .delegations
                .iter()
                .flat_map(|reported| reported.blocks.iter().copied());
            Carried {
                task: live.record.task.clone(),
                agent: live.record.agent.clone(),
                steward: live.record.steward.clone(),
                tokens: minted.collect(),
                appended: appended.collect(),
            }
        };
        self.tasks().map(carried).collect()
    }
}

/// A map whose keys are no text, as a list of pairs.
pub(crate) mod pairs {
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K, V, S>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        to.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Manifests name their server.
pub(crate) mod manifests {
    use super::{Arc, BTreeMap, Deserialize, Deserializer, Manifest, Serializer, ServerUri};

    type Servers = BTreeMap<ServerUri, Arc<Manifest>>;

    pub(crate) fn serialize<S: Serializer>(servers: &Servers, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(servers.values().map(|manifest| &**manifest))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Servers, D::Error> {
        let manifests = Vec::<Manifest>::deserialize(from)?;
        Ok(manifests
            .into_iter()
            .map(|manifest| (manifest.server.clone(), Arc::new(manifest)))
            .collect())
    }
}

/// Tasks have their id in them.
pub(crate) mod tasks {
    use super::{BTreeMap, Deserialize, Deserializer, LiveTask, Serializer, TaskId};

    pub(crate) fn serialize<S: Serializer>(
        tasks: &BTreeMap<TaskId, LiveTask>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(tasks.values())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<TaskId, LiveTask>, D::Error> {
        let tasks = Vec::<LiveTask>::deserialize(from)?;
        Ok(tasks
            .into_iter()
            .map(|task| (task.record.task.clone(), task))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::{
        event::{Actor, Entry, LedgerEvent},
        state::KEEP_ENDED_TASKS,
    };
    use hallpass_core::base::{digest::Digest, json, key::PrivateKey, time::Timestamp};

    fn at(second: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_795_000_000 + second)
    }

    fn id(prefix: &str, n: u64) -> String {
        format!("{prefix}_{n:032x}")
    }

    fn block(n: u64) -> String {
        format!("{n:0128x}")
    }

    fn secret(n: u64) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    /// A refresh token is of one task only: it is random.
    fn refresh(task: u64, n: u64) -> Digest {
        secret(100 + task * 8 + n)
    }

    fn server(n: u64) -> String {
        format!("https://s{n}.example/mcp")
    }

    fn subject() -> impl Strategy<Value = Value> {
        let n = || 0..4_u64;
        prop_oneof![
            n().prop_map(|n| json!({"revocation_id": block(n)})),
            n().prop_map(|n| json!({"task": id("tsk", n)})),
            n().prop_map(|n| json!({"agent": format!("bot{n}")})),
            n().prop_map(|n| json!({"steward": id("stw", n)})),
            n().prop_map(|n| json!({"server": server(n)})),
            n().prop_map(|n| json!({"key": n + 1})),
        ]
    }

    /// Any event about few things, so that later ones meet earlier ones.
    fn event() -> impl Strategy<Value = Value> {
        let n = || 0..4_u64;
        let second = || (0..9000_u64).prop_map(at);
        let public = serde_json::to_value(PrivateKey::from_seed(&[7; 32]).public()).unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        prop_oneof![
            (0..3_usize, n(), 0..4_usize, any::<bool>()).prop_map(move |(purpose, key, state, link)| json!({
                "type": "key_changed", "purpose": (["root", "feed", "operator"][purpose]), "key": key + 1, "public": public,
                "state": (["pending", "active", "retiring", "revoked"][state]), "link": link.then_some("a.b.c"),
            })),
            (n(), n(), second(), 0..3_usize).prop_map(|(operator, token, expires_at, role)| json!({
                "type": "operator_added", "operator": format!("op{operator}"), "revocation_id": block(token),
                "roles": [(["admin", "auditor", "verifier"][role])], "expires_at": expires_at,
            })),
            n().prop_map(|n| json!({"type": "broker_started", "issuer": format!("https://b{n}.example"), "version": "1", "recovery": []})),
            n().prop_map(|n| json!({"type": "operator_removed", "operator": format!("op{n}")})),
            n().prop_map(|n| json!({"type": "steward_added", "steward": id("stw", n)})),
            (n(), n(), any::<bool>()).prop_map(move |(agent, steward, has_key)| json!({"type": "agent_set", "agent": {
                "agent": format!("bot{agent}"), "steward": id("stw", steward), "groups": [], "registered_at": at(0),
                "keys": if has_key { vec![jwk.clone()] } else { Vec::new() },
            }})),
            n().prop_map(|n| json!({"type": "agent_removed", "agent": format!("bot{n}")})),
            n().prop_map(|n| json!({"type": "server_set", "manifest": {
                "server": server(n), "name": format!("s{n}"), "tools": {"read": {"read_only": true}},
            }})),
            n().prop_map(|n| json!({"type": "server_removed", "server": server(n)})),
            n().prop_map(|n| json!({"type": "server_secrets_set", "server": server(n),
                "secrets": [{"digest": Digest::ZERO, "added_at": at(n)}]})),
            (n(), n(), n(), second()).prop_map(|(task, agent, steward, ends_at)| json!({"type": "task_opened", "task": {
                "task": id("tsk", task), "agent": format!("bot{agent}"), "steward": id("stw", steward), "purpose": "count",
                "opened_at": at(0), "ends_at": ends_at, "asked": [],
                "allow_partial": false, "context": {"ticket": {"a": [1, "b", null]}},
            }})),
            (n(), n(), n(), second()).prop_map(|(task, parent, of, ends_at)| json!({"type": "task_opened", "task": {
                "task": id("tsk", task), "agent": "bot0", "steward": id("stw", 0), "purpose": "help", "opened_at": at(0),
                "ends_at": ends_at, "asked": [], "allow_partial": false, "client_secret": {"digest": Digest::ZERO, "added_at": at(0)}, "parent": {
                    "task": id("tsk", parent), "agent": format!("bot{of}"), "steward": id("stw", of), "key": of + 1,
                    "blocks": [block(parent), block(of)], "limits": [],
                },
            }})),
            // A pass is of one task only: its id is a signature.
            (n(), n(), second(), second()).prop_map(|(task, to, issued_at, expires_at)| json!({
                "type": "token_issued", "task": id("tsk", task), "token": {
                    "revocation_id": block(task), "key": 1, "issued_at": issued_at, "expires_at": expires_at,
                    "rights": [{"type": "mcp", "server": server(to), "tools": ["read"]}], "decided_by": [],
                    "policy": Digest::ZERO,
                },
            })),
            (n(), second()).prop_map(|(task, end)| json!({
                "type": "task_completed", "task": id("tsk", task), "passes_end": end,
            })),
            (n(), n(), n()).prop_map(|(task, one, two)| json!({
                "type": "delegation_reported", "task": id("tsk", task), "blocks": [block(one), block(two)], "delegate": "x",
            })),
            (subject(), second(), second(), any::<bool>(), prop::option::of(n())).prop_map(
                |(subject, cut_off, expires_at, only_token, task)| json!({"type": "revoked", "revocation": {
                    "subject": subject, "cut_off": cut_off, "expires_at": expires_at, "only_token": only_token,
                    "task": task.map(|task| id("tsk", task)), "appended_to": task.map(block),
                }})
            ),
            subject().prop_map(|subject| json!({"type": "reinstated", "subject": subject})),
            (n(), n(), second()).prop_map(|(steward, code, expires_at)| json!({
                "type": "sign_in_code_made", "steward": id("stw", steward), "code": secret(code), "expires_at": expires_at,
            })),
            (n(), n()).prop_map(|(steward, code)| json!({
                "type": "signed_in", "steward": id("stw", steward), "code": secret(code),
            })),
            (n(), n(), n(), second()).prop_map(|(code, agent, steward, end)| json!({"type": "consent_given", "consent": {
                "code": secret(code), "agent": format!("bot{agent}"), "steward": id("stw", steward), "details": [],
                "challenge": Digest::ZERO, "expires_at": at(60), "ends_at": end,
            }})),
            (n(), n(), prop::option::of((n(), 0..8_u64))).prop_map(|(code, agent, opened)| json!({
                "type": "code_used", "code": secret(code), "agent": format!("bot{agent}"), "steward": id("stw", 0),
                "task": opened.map(|(task, _)| id("tsk", task)), "refresh": opened.map(|(task, token)| refresh(task, token)),
            })),
            (n(), 0..8_u64).prop_map(|(task, next)| json!({
                "type": "refresh_rotated", "task": id("tsk", task), "next": refresh(task, next),
            })),
            (n(), second()).prop_map(|(agent, end)| json!({"type": "client_registered", "registration": {
                "agent": format!("bot{agent}"), "redirect_uris": ["http://127.0.0.1/cb"], "expires_at": end,
            }})),
            (n(), n(), second()).prop_map(|(agent, jti, expires_at)| json!({
                "type": "assertion_used", "agent": format!("bot{agent}"), "jti": Digest::of(&[u8::try_from(jti).unwrap()]),
                "expires_at": expires_at,
            })),
        ]
    }

    fn record(number: usize, event: &Value) -> Record {
        let event: LedgerEvent =
            json::parse_as(&serde_json::to_vec(event).unwrap(), 100_000).unwrap();
        let sequence = u64::try_from(number).unwrap() + 1;
        let entry = Entry {
            at: at(sequence),
            actor: Actor::Broker,
            request: None,
            trace: None,
            idempotency: None,
            event,
        };
        Record {
            sequence,
            prev: Digest::ZERO,
            hash: Digest::ZERO,
            place: Default::default(),
            entry,
        }
    }

    /// All that a state knows, what it derives included.
    fn dump(state: &State) -> String {
        let mut tokens: Vec<_> = (0..4).map(|n| block(n).parse().unwrap()).collect();
        tokens.retain(|token| state.task_of(token).is_some());
        let named: Vec<_> = (0..4)
            .map(|n| state.server(&format!("s{n}")).is_some())
            .collect();
        let families: Vec<_> = (0..32)
            .map(|n| {
                state
                    .people
                    .family_of(&refresh(0, n))
                    .map(|(task, _)| task.clone())
            })
            .collect();
        format!(
            "{} {tokens:?} {named:?} {families:?}",
            serde_json::to_string(state).unwrap()
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_snapshot_and_what_follows_give_the_state_of_all_records(
            events in prop::collection::vec(event(), 1..60),
            cut in any::<prop::sample::Index>(),
            seconds in 0..20_000_u64,
        ) {
            let records: Vec<_> = events.iter().enumerate().map(|(number, event)| record(number, event)).collect();
            let (before, after) = records.split_at(cut.index(records.len()));
            let [home, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let mut all = StateSnapshot::new(other.path());
            records.iter().for_each(|record| all.replay(record));
            let mut first = StateSnapshot::new(home.path());
            before.iter().for_each(|record| first.replay(record));
            let (state, tree) = first.into_parts();
            let snapshot = take_snapshot(Arc::new(StateCell::new(state)), Arc::new(tree))().unwrap();
            let mut restored = StateSnapshot::new(home.path());
            restored.restore(&snapshot).unwrap();
            after.iter().for_each(|record| restored.replay(record));
            prop_assert_eq!(dump(&restored.state), dump(&all.state));
            prop_assert_eq!(restored.tree.root(), all.tree.root());
            for state in [&mut restored.state, &mut all.state] {
                let now = at(seconds);
                let kept = |live: &&LiveTask| live.over_at() >= now.minus(KEEP_ENDED_TASKS);
                let ids = |live: &LiveTask| live.record.task.clone();
                let expected: Vec<_> = state.tasks().filter(kept).map(ids).collect();
                state.forget(now);
                prop_assert_eq!(&state.tasks().map(ids).collect::<Vec<_>>(), &expected);
                let mut of_agents: Vec<_> = state
                    .tasks()
                    .map(|live| &live.record.agent)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .flat_map(|agent| state.tasks_of(agent, None))
                    .map(ids)
                    .collect();
                of_agents.sort();
                prop_assert_eq!(of_agents, expected);
            }
            prop_assert_eq!(dump(&restored.state), dump(&all.state));
        }
    }

    #[test]
    fn a_snapshot_of_a_build_that_knows_more_is_refused() {
        let mut state = serde_json::to_value(State::default()).unwrap();
        state["later"] = json!(true);
        let mut snapshot = Snapshot::default();
        snapshot.set(STATE, &state).unwrap();
        let home = tempfile::tempdir().unwrap();
        let tree = Tree::new(home.path(), SavedTree::default());
        snapshot.set(TREE, &tree.checkpoint().unwrap()).unwrap();
        let mut saved = StateSnapshot::new(home.path());
        assert!(saved.restore(&snapshot).is_err());
        assert!(saved.restore(&Snapshot::default()).is_err());
        snapshot.set(STATE, &State::default()).unwrap();
        saved.restore(&snapshot).unwrap();
    }
}
