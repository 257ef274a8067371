//! The task that sends the spool, oldest batch first, with retries until the broker has accepted each.

use std::{sync::Arc, time::Duration};

use backon::ExponentialBackoff;
use reqwest::{StatusCode, header::RETRY_AFTER};
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use crate::feed::{
    link::{Failure, Link, Problem, Reply},
    reports::{batch, shared::Shared},
    waits::{LASTING_WAIT, MAX_STEP, waits},
};
use hallpass_core::base::time::Timestamp;

pub(super) struct Sender {
    link: Arc<Link>,
    shared: Arc<Shared>,
    waits: ExponentialBackoff,
    /// The batches that the broker has not accepted yet.
    pending: Option<Vec<u8>>,
}

/// The result of an attempt.
enum Outcome {
    /// There was nothing to send.
    Idle,
    /// The broker has the batch, or will never accept it.
    Settled,
    /// Retry after this time.
    Later(Duration),
}

impl Sender {
    pub(super) fn new(link: Arc<Link>, shared: Arc<Shared>) -> Self {
        Self {
            link,
            shared,
            waits: waits(),
            pending: None,
        }
    }

    /// Runs until `keeper` has written the last report; then tries once more to send the rest.
    pub(super) async fn run(mut self, mut keeper: JoinHandle<()>) {
        loop {
            let outcome = self.attempt().await;
            let shared = Arc::clone(&self.shared);
            let next = async {
                match outcome {
                    Outcome::Settled => {}
                    Outcome::Idle => shared.spooled.notified().await,
                    Outcome::Later(wait) => tokio::time::sleep(wait).await,
                }
            };
            tokio::select! {
                biased;
                _ended = &mut keeper => break,
                () = next => {}
            }
        }
        while matches!(self.attempt().await, Outcome::Settled) {}
        let shared = Arc::clone(&self.shared);
        let left = tokio::task::spawn_blocking(move || shared.spool().leave_clean()).await;
        if let Ok(Err(problem)) = left {
            warn!(server = %self.shared.server, "reports: cannot close the spool: {problem}; the next start reports a gap");
        }
    }

    async fn attempt(&mut self) -> Outcome {
        let line = match self.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return Outcome::Idle,
            Err(problem) => {
                return self.later(&format!("the spool cannot be read: {problem}"), None);
            }
        };
        match self
            .link
            .send_reports(&batch::key_of(&line), line.clone())
            .await
        {
            Ok(answer) => self.take_answer(line, answer).await,
            Err(failure) => {
                self.pending = Some(line);
                self.later(&failure.to_string(), None)
            }
        }
    }

    async fn take_answer(&mut self, line: Vec<u8>, answer: Reply) -> Outcome {
        let status = answer.status;
        if status.is_success() {
            self.waits = waits();
            let count = batch::of_line(&line).map_or(0, |held| held.reports());
            self.shared.progress.send_modify(|progress| {
                progress.delivered = progress.delivered.saturating_add(count);
                progress.last_error = None;
            });
            return self.settle(line).await;
        }
        let problem = Problem::read(&answer.body);
        if is_final(status) && is_older_broker(&problem) {
            self.pending = Some(line);
            let Problem { field, detail } = problem;
            return self.later(
                &format!(
                    "the broker cannot read these reports (`{field}`: {detail}): upgrade the broker"
                ),
                Some(LASTING_WAIT),
            );
        }
        if is_final(status) {
            let Problem { field, detail } = problem;
            error!(server = %self.shared.server, "reports: the broker refused a batch permanently ({status}): `{field}`: {detail}; it is lost");
            match batch::of_line(&line) {
                Some(held) => {
                    if let Some((count, times)) = held.calls {
                        self.shared.losses.add(count, times);
                    }
                    // The gap in it was counted when it was lost.
                    self.shared.losses.put_back(held.gap);
                }
                None => self
                    .shared
                    .losses
                    .add_unknown(Timestamp::EPOCH, Timestamp::EPOCH),
            }
            // A broker that refuses everything would also refuse the report of this gap at once.
            return match self.settle(line).await {
                Outcome::Settled => {
                    self.later(&format!("the last batch was refused ({status})"), None)
                }
                other => other,
            };
        }
        let wait = match status {
            // Only an administrator can change that.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                Some(LASTING_WAIT)
            }
            _ => retry_after(&answer),
        };
        let failure = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Denied(status),
            status if status.is_redirection() => Failure::Redirect(status),
            status => Failure::Status(status),
        };
        self.pending = Some(line);
        self.later(&failure.to_string(), wait)
    }

    /// The oldest batch that the broker has not accepted.
    async fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.pending.take() {
            return Ok(Some(line));
        }
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.spool().next())
            .await
            .map_err(std::io::Error::other)?
    }

    /// Removes the batch from the spool.
    async fn settle(&self, line: Vec<u8>) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let removed = tokio::task::spawn_blocking(move || {
            let mut spool = shared.spool();
            (spool.delivered(&line), spool.waiting())
        });
        match removed.await {
            Ok((removed, waiting)) => {
                self.shared.note_spool(
                    waiting,
                    removed
                        .err()
                        .map(|error| format!("the spool cannot be emptied: {error}")),
                );
                if self.shared.losses.is_open() {
                    self.shared.freed.notify_one();
                }
                Outcome::Settled
            }
            // The runtime ends.
            Err(_) => Outcome::Later(MAX_STEP),
        }
    }

    fn later(&mut self, problem: &str, wait: Option<Duration>) -> Outcome {
        let is_news = self.shared.progress.borrow().last_error.as_deref() != Some(problem);
        if is_news {
            warn!(server = %self.shared.server, "reports: {problem}; retrying");
        } else {
            debug!(server = %self.shared.server, "reports: {problem}");
        }
        self.shared.progress.send_modify(|progress| {
            progress.failures = progress.failures.saturating_add(1);
            progress.last_error = Some(problem.to_owned());
        });
        Outcome::Later(wait.unwrap_or_else(|| self.waits.next().unwrap_or(MAX_STEP)))
    }
}

/// Whether the broker will never accept this batch.
fn is_final(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// Whether the broker refuses the format of the batch, or a member in it that must be understood: a later
/// build of the broker will accept it.
fn is_older_broker(problem: &Problem) -> bool {
    let last = problem.field.rsplit('.').next();
    problem.field == "v" || last == Some("crit")
}

fn retry_after(answer: &Reply) -> Option<Duration> {
    let seconds = answer
        .headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(LASTING_WAIT))
}
