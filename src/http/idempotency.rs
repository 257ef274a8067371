//! Idempotency: one key, one effect, one answer.
//!
//! For ten minutes (`Options::repeat_answers`) the same request gets the very same answer from memory; requests that come
//! while the first is under way wait for it. Afterwards, or after a restart, the journal still
//! knows the key, and the answer, which may have held a token, is gone: 409 says so and names the task.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use moka::sync::Cache;
use tokio::sync::Mutex;

use super::{App, answer::Answer, problem::Problem};
use crate::{
    base::{ReasonCode, digest::Digest},
    broker::Caller,
    journal::Actor,
};

/// The request's idempotency key with its route, when it has one.
#[derive(Debug)]
pub(super) struct Once {
    key: Option<String>,
    route: String,
}

impl FromRequestParts<Arc<App>> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let route = format!("{} {}", parts.method, parts.uri.path());
        Ok(Self { key: read_key(&parts.headers)?, route })
    }
}

impl Once {
    /// Does `work` unless it was done under this key before. `body` is the digest of what was sent.
    pub(super) async fn run<F>(
        self,
        app: &App,
        (caller, body): (Caller, Digest),
        work: impl FnOnce(Caller) -> F,
    ) -> Result<Answer, Problem>
    where
        F: Future<Output = Result<Answer, Problem>>,
    {
        let Some(key) = self.key else { return work(caller).await };
        let principal = match &caller.actor {
            Actor::Agent(agent) => format!("agent {agent}"),
            Actor::Operator(operator) => format!("operator {operator}"),
            Actor::Broker => "broker".to_owned(),
        };
        let digest = Digest::of_parts(&[principal.as_bytes(), &[0], self.route.as_bytes(), &[0], key.as_bytes()]);
        let slot = app.answers.slot(digest);
        let mut slot = slot.lock().await;
        if let Some((of, answer)) = &*slot {
            let detail = "this key was used for another request: use a new key";
            return if *of == body { Ok(answer.clone()) } else { Err(conflict(detail)) };
        }
        refuse_known(app, digest).await?;
        let made = work(Caller { idempotency: Some(digest), ..caller }).await?;
        *slot = Some((body, made.clone()));
        Ok(made)
    }
}

/// The answers that are remembered.
pub(super) struct Answers {
    slots: Cache<Digest, Arc<Slot>>,
}

/// One key: what was asked under it and the answer, once there is one. A request that fails leaves
/// nothing, and whoever waited for it tries for itself.
type Slot = Mutex<Option<(Digest, Answer)>>;

impl Answers {
    pub(super) fn new(repeated: Duration) -> Self {
        Self { slots: Cache::builder().max_capacity(MAX_ANSWERS).time_to_live(repeated).build() }
    }

    fn slot(&self, digest: Digest) -> Arc<Slot> {
        self.slots.get_with(digest, || Arc::new(Mutex::new(None)))
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answers")
    }
}

/// Refuses a key that the journal knows: its answer was in memory only.
async fn refuse_known(app: &App, digest: Digest) -> Result<(), Problem> {
    let broker = Arc::clone(&app.broker);
    let found = tokio::task::spawn_blocking(move || broker.index().idempotency(&digest)).await;
    let failed = |inside: String| Problem::unavailable("whether this was done before cannot be told now", inside);
    let found = found.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    match found {
        Some((_, task)) => {
            let detail = "this was done before and its answer is gone; `task_id` names the task, when there is one";
            Err(conflict(detail).task(task))
        }
        None => Ok(()),
    }
}

fn read_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let bad = || Problem::invalid(HEADER, format!("give one key of 1 to {MAX_KEY_CHARS} visible ASCII characters"));
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_key =
        |text: &&str| (1..=MAX_KEY_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let key = value.to_str().ok().filter(is_key).ok_or_else(bad)?;
    if values.next().is_some() { Err(bad()) } else { Ok(Some(key.to_owned())) }
}

fn conflict(detail: &'static str) -> Problem {
    Problem::new(StatusCode::CONFLICT, ReasonCode::IdempotencyConflict, detail).field(HEADER)
}

const HEADER: &str = "Idempotency-Key";
const MAX_KEY_CHARS: usize = 128;

/// At most this many answers; the journal answers for those that were pushed out.
const MAX_ANSWERS: u64 = 10_000;
