//! Whose a session is: before MCP 2026-07-28 a session's id fetches answers of earlier requests.

use quick_cache::sync::Cache;

use crate::{
    base::{
        digest::Digest,
        ids::{AgentId, RevocationId, TaskId},
    },
    verify::Pass,
};

/// The owner of every session that was opened through the layer: an agent in a task, with a chain
/// of blocks.
///
/// A session holds answers to whatever was called in it. The pass that opened it goes on with it,
/// and any pass of the agent's in the task that allows no less: one that it was narrowed from, and
/// a renewed one that nobody narrowed. A pass that was narrowed further, or otherwise, finds no
/// session and opens its own.
#[derive(Debug)]
pub(super) struct Sessions(Cache<Digest, Owner>);

#[derive(Debug, Clone)]
struct Owner {
    agent: AgentId,
    task: TaskId,
    chain: Vec<RevocationId>,
}

impl Owner {
    fn of(pass: &Pass) -> Self {
        let claims = pass.verified().claims();
        let chain = pass.verified().blocks().to_vec();
        Self { agent: claims.agent.clone(), task: claims.task.clone(), chain }
    }

    fn lets(&self, pass: &Pass) -> bool {
        let (claims, blocks) = (pass.verified().claims(), pass.verified().blocks());
        let is_no_narrower = blocks.len() == 1 || self.chain.starts_with(blocks);
        claims.agent == self.agent && claims.task == self.task && is_no_narrower
    }
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self(Cache::new(MAX_SESSIONS))
    }

    /// The session `id` was opened by `pass`.
    pub(super) fn open(&self, id: &[u8], pass: &Pass) {
        self.0.insert(Digest::of(id), Owner::of(pass));
    }

    /// Whether the session `id` is known and `pass` may go on with it.
    pub(super) fn may_use(&self, id: &[u8], pass: &Pass) -> bool {
        self.0.get(&Digest::of(id)).is_some_and(|owner| owner.lets(pass))
    }

    /// The session `id` was ended.
    pub(super) fn close(&self, id: &[u8]) {
        self.0.remove(&Digest::of(id));
    }
}

/// Sessions beyond this push out the least used: their clients are told to open new ones.
const MAX_SESSIONS: usize = 16_384;
