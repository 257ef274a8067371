//! The state in snapshots: what a start begins with instead of all records.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::state::{LiveTask, State};
use crate::{
    audit::{SavedTree, Tree, TreeError},
    base::ids::{ServerUri, TaskId},
    index::Carried,
    journal::{Record, Restore, Snapshot, SnapshotError, TakeSnapshot},
    token::manifest::Manifest,
};

/// The snapshot's part that is the [`State`].
pub(super) const STATE: &str = "state";

/// The snapshot's part that is the right edge of the Merkle tree.
const TREE: &str = "tree";

/// What a start restores and replays into.
#[derive(Debug)]
pub(super) struct Saved {
    data_dir: PathBuf,
    state: State,
    tree: Tree,
    /// Whether the tree could follow; its files are derived, but a start that cannot write them would go on for ever
    /// without proofs.
    grown: Result<(), TreeError>,
}

impl Saved {
    /// Nothing yet, for the data directory `data_dir`.
    pub(super) fn new(data_dir: &Path) -> Self {
        let tree = Tree::new(data_dir, SavedTree::default());
        Self { data_dir: data_dir.to_owned(), state: State::default(), tree, grown: Ok(()) }
    }

    pub(super) fn into_parts(self) -> Result<(State, Tree), TreeError> {
        self.grown.map(|()| (self.state, self.tree))
    }
}

impl Restore for Saved {
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let missing = |part: &str| SnapshotError::new(format_args!("it has no {part}"));
        let state = snapshot.get::<State>(STATE)?.ok_or_else(|| missing(STATE))?;
        let saved = snapshot.get::<SavedTree>(TREE)?.ok_or_else(|| missing(TREE))?;
        let tree = Tree::new(&self.data_dir, saved);
        if tree.root().head.sequence != state.last_sequence() {
            return Err(SnapshotError::new("its state and its tree are not of the same record"));
        }
        (self.state, self.tree) = (state, tree);
        self.state.complete();
        Ok(())
    }

    fn replay(&mut self, record: &Record) {
        let _ = self.state.apply(record);
        if self.grown.is_ok() {
            self.grown = self.tree.append(std::slice::from_ref(record));
        }
    }
}

/// Takes snapshots of `state` and of the edge of `tree`.
pub(super) fn take_snapshot(state: Arc<RwLock<State>>, tree: Arc<Tree>) -> TakeSnapshot {
    Box::new(move || {
        let mut snapshot = Snapshot::default();
        snapshot.set(STATE, &*state.read().unwrap_or_else(PoisonError::into_inner))?;
        snapshot.set(TREE, &tree.checkpoint().map_err(SnapshotError::new)?)?;
        Ok(snapshot)
    })
}

impl State {
    /// What an index that is built anew must know of living tasks whose records may not be kept.
    pub(super) fn carried(&self) -> Vec<Carried> {
        let carried = |live: &LiveTask| {
            let minted = live.tokens.iter().map(|token| token.revocation_id);
            let appended = live.delegations.iter().flat_map(|reported| reported.blocks.iter().copied());
            Carried {
                task: live.record.task.clone(),
                agent: live.record.agent.clone(),
                steward: live.record.steward.clone(),
                tokens: minted.chain(appended).collect(),
            }
        };
        self.tasks().map(carried).collect()
    }
}

/// A map whose keys are no text, as a list of pairs.
pub(super) mod pairs {
    use super::{BTreeMap, Deserialize, Deserializer, Serialize, Serializer};

    pub(in super::super) fn serialize<K, V, S>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        to.collect_seq(map)
    }

    pub(in super::super) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Manifests name their server.
pub(super) mod manifests {
    use super::{Arc, BTreeMap, Deserialize, Deserializer, Manifest, Serializer, ServerUri};

    type Servers = BTreeMap<ServerUri, Arc<Manifest>>;

    pub(in super::super) fn serialize<S: Serializer>(servers: &Servers, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(servers.values().map(|manifest| &**manifest))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Servers, D::Error> {
        let manifests = Vec::<Manifest>::deserialize(from)?;
        Ok(manifests.into_iter().map(|manifest| (manifest.server.clone(), Arc::new(manifest))).collect())
    }
}

/// Tasks have their id in them; in order, so that equal states are written alike.
pub(super) mod tasks {
    use super::{BTreeMap, Deserialize, Deserializer, HashMap, LiveTask, Serializer, TaskId};

    pub(in super::super) fn serialize<S: Serializer>(
        tasks: &HashMap<TaskId, LiveTask>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(tasks.iter().collect::<BTreeMap<_, _>>().values())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<HashMap<TaskId, LiveTask>, D::Error> {
        let tasks = Vec::<LiveTask>::deserialize(from)?;
        Ok(tasks.into_iter().map(|task| (task.record.task.clone(), task)).collect())
    }
}
