//! The state in snapshots: what a start begins with instead of all records.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::state::{LiveTask, State};
use crate::{
    base::ids::{ServerUri, TaskId},
    index::Carried,
    journal::{Record, Restore, Snapshot, SnapshotError, TakeSnapshot},
    token::manifest::Manifest,
};

/// The snapshot's part that is the [`State`].
pub(super) const STATE: &str = "state";

/// What a start restores and replays into.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) state: State,
}

impl Restore for Saved {
    fn restore(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let state = snapshot.get::<State>(STATE)?.ok_or_else(|| SnapshotError::new("it has no state"))?;
        self.state = state;
        self.state.complete();
        Ok(())
    }

    fn replay(&mut self, record: &Record) {
        let _ = self.state.apply(record);
    }
}

/// Takes snapshots of `state`.
pub(super) fn take_snapshot(state: Arc<RwLock<State>>) -> TakeSnapshot {
    Box::new(move || {
        let mut snapshot = Snapshot::default();
        snapshot.set(STATE, &*state.read().unwrap_or_else(PoisonError::into_inner))?;
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
