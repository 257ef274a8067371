//! Idempotency: one key, one effect, one answer.
//!
//! For ten minutes (`Options::repeat_answers`) the same request gets the very same answer from memory; requests that come
//! while the first is under way wait for it. Afterwards, or after a restart, the journal still
//! knows the key, and the answer, which may have held a token, is gone: 409 says so and names the task.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::server::{
    App,
    edge::{answer::Answer, describe::Described, problem::Problem},
};
use hallpass_broker::Caller;
use hallpass_core::base::{ReasonCode, digest::Digest};

/// The request's idempotency key with its route, when it has one.
#[derive(Debug)]
pub(crate) struct Once {
    key: Option<String>,
    route: String,
}

impl FromRequestParts<Arc<App>> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let route = format!("{} {}", parts.method, parts.uri.path());
        Ok(Self {
            key: read_key(&parts.headers)?,
            route,
        })
    }
}

impl Described for Once {
    fn parameters() -> Vec<Parameter> {
        IdempotencyKey::into_params(|| Some(ParameterIn::Header))
    }
}

/// One key, one effect, one answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes the header and is never made")]
struct IdempotencyKey {
    /// 1 to 128 visible ASCII characters. The same request under the same key has no second effect.
    #[param(rename = "Idempotency-Key")]
    key: Option<String>,
}

impl Once {
    /// Does `work` unless it was done under this key before. `body` is the digest of what was sent.
    pub(crate) async fn run<F>(
        self,
        app: &App,
        (caller, body): (Caller, Digest),
        work: impl FnOnce(Caller) -> F,
    ) -> Result<Answer, Problem>
    where
        F: Future<Output = Result<Answer, Problem>>,
    {
        let Some(key) = self.key else {
            return work(caller).await;
        };
        let principal = caller.actor.to_string();
        let digest = Digest::of_parts(&[
            principal.as_bytes(),
            &[0],
            self.route.as_bytes(),
            &[0],
            key.as_bytes(),
        ]);
        let turn = app.answers.turn(digest);
        let _turn = turn.lock().await;
        if let Some((of, answer)) = app.answers.made(&digest) {
            let detail = "this key was used for another request: use a new key";
            return if of == body {
                Ok(answer)
            } else {
                Err(conflict(detail))
            };
        }
        refuse_known(app, digest).await?;
        let made = work(Caller {
            idempotency: Some(digest),
            ..caller
        })
        .await?;
        app.answers.remember(digest, (body, made.clone()));
        Ok(made)
    }
}

/// Refuses a key that the journal knows: its answer was in memory only.
async fn refuse_known(app: &App, digest: Digest) -> Result<(), Problem> {
    let broker = Arc::clone(&app.broker);
    let found = tokio::task::spawn_blocking(move || broker.views().idempotency(&digest)).await;
    let failed = |inside: String| {
        Problem::unavailable(
            "it cannot be determined now whether this was done before",
            inside,
        )
    };
    let found = found
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    match found {
        Some((_, task)) => {
            let detail = "this was done before and its answer is gone; `task_id` names the task, when there is one";
            Err(conflict(detail).task(task))
        }
        None => Ok(()),
    }
}

fn read_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let bad = || {
        Problem::invalid(
            HEADER,
            format!("give one key of 1 to {MAX_KEY_CHARS} visible ASCII characters"),
        )
    };
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let is_key = |text: &&str| {
        (1..=MAX_KEY_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let key = value.to_str().ok().filter(is_key).ok_or_else(bad)?;
    if values.next().is_some() {
        Err(bad())
    } else {
        Ok(Some(key.to_owned()))
    }
}

fn conflict(detail: &'static str) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        ReasonCode::IdempotencyConflict,
        detail,
    )
    .field(HEADER)
}

const HEADER: &str = "Idempotency-Key";
const MAX_KEY_CHARS: usize = 128;
