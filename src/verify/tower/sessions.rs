//! The owners of sessions: before MCP 2026-07-28 a session's id gives access to responses of earlier requests.

use std::{collections::BTreeSet, sync::Arc};

use quick_cache::sync::Cache;

use crate::Pass;
use hallpass_core::{
    base::{
        digest::Digest,
        holder::HolderKey,
        ids::{AgentId, RevocationId, StewardId, TaskId},
    },
    token::NamedRight,
};

/// The owner of every session that was opened through the layer: an agent that acts for a person.
///
/// A session holds responses to all its calls. These passes may use it: the pass that opened it; a pass of
/// the agent from which that one was narrowed; and a pass that was not narrowed, for the same person, bound
/// to the same key if any, that names no less and demands no more. The latter is a renewed pass, or that of
/// another task, as an OAuth client gets when its token has expired. For any other pass the session does not exist.
#[derive(Debug)]
pub(super) struct Sessions(Cache<Digest, Arc<Owner>>);

#[derive(Debug)]
struct Owner {
    agent: AgentId,
    steward: StewardId,
    task: TaskId,
    chain: Vec<RevocationId>,
    holder: Option<HolderKey>,
    rights: Vec<NamedRight>,
    demands: BTreeSet<Digest>,
}

impl Owner {
    fn of(pass: &Pass) -> Self {
        let claims = pass.verified().claims();
        Self {
            agent: claims.agent.clone(),
            steward: claims.steward.clone(),
            task: claims.task.clone(),
            chain: pass.verified().blocks().to_vec(),
            holder: claims.holder.clone(),
            rights: claims.rights.clone(),
            demands: pass.verified().demands().clone(),
        }
    }

    fn lets(&self, pass: &Pass) -> bool {
        let claims = pass.verified().claims();
        claims.agent == self.agent
            && (claims.task == self.task && self.chain.starts_with(pass.verified().blocks())
                || self.is_no_less(pass))
    }

    /// Whether it was not narrowed, and allows no less than the pass that opened the session.
    fn is_no_less(&self, pass: &Pass) -> bool {
        let (claims, blocks) = (pass.verified().claims(), pass.verified().blocks());
        blocks.len() == 1
            && claims.steward == self.steward
            && claims.holder == self.holder
            && self
                .rights
                .iter()
                .all(|right| claims.rights.iter().any(|wider| wider.covers(right)))
            && pass.verified().demands().is_subset(&self.demands)
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_SESSIONS))
    }

    /// Records that `pass` opened the session `id`.
    pub(super) fn open(&self, id: &[u8], pass: &Pass) {
        self.0.insert(Digest::of(id), Arc::new(Owner::of(pass)));
    }

    /// Whether the session `id` is known and `pass` may use it.
    pub(super) fn may_use(&self, id: &[u8], pass: &Pass) -> bool {
        self.0
            .get(&Digest::of(id))
            .is_some_and(|owner| owner.lets(pass))
    }

    /// Removes the ended session `id`.
    pub(super) fn close(&self, id: &[u8]) {
        self.0.remove(&Digest::of(id));
    }
}

/// Above this number the least recently used session is evicted, and its client opens a new one.
const MAX_SESSIONS: usize = 16_384;
