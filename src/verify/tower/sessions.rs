//! Whose a session is: before MCP 2026-07-28 a session's id fetches answers of earlier requests.

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
/// A session holds answers to whatever was called in it. The pass that opened it goes on with it, and
/// any pass of the agent's that allows no less: one that it was narrowed from; and one that nobody narrowed,
/// for the same person, that is bound to the same key if any, names no less and demands no more: a renewed
/// one, or that of another task, which is what an OAuth client gets whose token has ended. Any other pass finds no session and opens its own.
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

    /// Whether nobody narrowed it, and it allows no less than the pass that opened the session.
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

    /// The session `id` was opened by `pass`.
    pub(super) fn open(&self, id: &[u8], pass: &Pass) {
        self.0.insert(Digest::of(id), Arc::new(Owner::of(pass)));
    }

    /// Whether the session `id` is known and `pass` may go on with it.
    pub(super) fn may_use(&self, id: &[u8], pass: &Pass) -> bool {
        self.0
            .get(&Digest::of(id))
            .is_some_and(|owner| owner.lets(pass))
    }

    /// The session `id` was ended.
    pub(super) fn close(&self, id: &[u8]) {
        self.0.remove(&Digest::of(id));
    }
}

/// Sessions beyond this push out the least used: their clients are told to open new ones.
const MAX_SESSIONS: usize = 16_384;
