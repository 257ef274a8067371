//! Whose a session is: before MCP 2026-07-28 a session's id fetches answers of earlier requests.

use quick_cache::sync::Cache;

use crate::{
    base::{
        digest::Digest,
        ids::{AgentId, TaskId},
    },
    verify::Pass,
};

/// The owner of every session that was opened through the layer: an agent in a task. A renewed or
/// narrowed pass of the same task goes on with the session; any other pass finds no session.
#[derive(Debug)]
pub(super) struct Sessions(Cache<Digest, Owner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    agent: AgentId,
    task: TaskId,
}

impl Owner {
    fn of(pass: &Pass) -> Self {
        let claims = pass.verified().claims();
        Self { agent: claims.agent.clone(), task: claims.task.clone() }
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
        self.0.get(&Digest::of(id)).is_some_and(|owner| owner == Owner::of(pass))
    }

    /// The session `id` was ended.
    pub(super) fn close(&self, id: &[u8]) {
        self.0.remove(&Digest::of(id));
    }
}

/// Sessions beyond this push out the least used: their clients are told to open new ones.
const MAX_SESSIONS: usize = 16_384;
