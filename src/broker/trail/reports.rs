//! Reports over the audit trail: the records that a question concerns, folded into rows.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{
    BrokerError, Decisions, Keys, LiveTask, Policies, State,
    change::Changes,
    domain::{
        decision::{Attribution, DecisionEvent},
        eligibility::people,
        event::{AgentRecord, LedgerEvent, TokenRecord},
    },
    error::trail,
    ledger::{
        audit::{self, ActivityRow, LiveRow, Reach, ReachRow, RefusalRow, Refusals, Trail},
        record::Record,
        tree::Tree,
        views::{Filter, FoundPage, IndexError, Order, Verdict, Views, Window},
    },
    registry::directory::SharedDirectory,
    trail::decisions::Chain,
};
use hallpass_core::base::{
    ids::{AgentId, IssuerUri, ServerUri, StewardId, ToolName},
    time::Timestamp,
};

/// What is shown of the past: events, proofs, reports, calls.
#[derive(Debug)]
pub struct History {
    pub(crate) changes: Arc<Changes>,
    pub(crate) views: Views,
    pub(crate) tree: Arc<Tree>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) directory: Arc<SharedDirectory>,
    pub(crate) decisions: Arc<Decisions>,
    pub(crate) policy: Arc<Policies>,
    pub(crate) issuer: IssuerUri,
    /// No pass lives longer, as this broker mints them.
    pub(crate) max_pass_ttl: Duration,
    /// Permits to read through the journal, or decide much, for a report.
    pub(crate) scans: Semaphore,
}

impl History {
    /// The audit trail.
    #[must_use]
    pub const fn trail(&self) -> Trail<'_> {
        Trail::new(&self.views)
    }

    /// The activity in the records that `filter` selects, as far as `window` shows them, and the
    /// `after` of the next window. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When index or journal fail; never a part of an answer.
    pub fn activity(
        &self,
        filter: &Filter,
        window: Window,
    ) -> Result<(Vec<ActivityRow>, Option<u64>), BrokerError> {
        let FoundPage { found, next } = self.views.page(filter, window).map_err(trail)?;
        let mut rows = Vec::new();
        for sequence in found {
            let Some(record) = self.views.record(sequence).map_err(trail)? else {
                continue;
            };
            let subjects = self.views.subjects(&record.entry).map_err(trail)?;
            // That it was seen here is no deed.
            if !matches!(record.entry.event, LedgerEvent::AssertionUsed { .. }) {
                rows.extend(audit::activity(&record, &subjects));
            }
        }
        Ok((rows, next))
    }

    /// The passes by which `tool` of `server` could be called at `at`: at most `limit` of those issued
    /// after record `after`, in the order of their issue. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When index or journal fail, too many records have to be read, or others read as many already.
    pub fn reach(
        &self,
        (server, tool): (ServerUri, ToolName),
        at: Timestamp,
        (after, limit): (Option<u64>, usize),
    ) -> Result<Vec<ReachRow>, BrokerError> {
        let mut reach = Reach::new(server, tool, at);
        let longest = self.max_pass_ttl.max(LONGEST_PASS);
        self.scan((Some(at.minus(longest)), Some(at)), |record| {
            let subjects = match &record.entry.event {
                LedgerEvent::TokenIssued { .. } => {
                    self.views.subjects(&record.entry).map_err(trail)?
                }
                _ => crate::domain::subjects::Subjects::of(&record.entry),
            };
            reach.take(record, &subjects);
            Ok(())
        })?;
        Ok(reach
            .rows()
            .filter(|row| after.is_none_or(|after| row.seq > after))
            .take(limit)
            .collect())
    }

    /// What was refused from `from` to before `to`, by reason and agent. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When index or journal fail, too many records have to be read, or others read as many already.
    pub fn refusals(
        &self,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Vec<RefusalRow>, BrokerError> {
        let mut refusals = Refusals::default();
        let last = to.map(|to| to.minus(Duration::from_millis(1)));
        self.scan((from, last), |record| {
            refusals.take(record);
            Ok(())
        })?;
        Ok(refusals.rows().collect())
    }

    /// What agents can do now: at most `limit` of those after `after`, of one steward or all.
    ///
    /// # Errors
    ///
    /// When the journal or the chain of decisions cannot be read.
    pub async fn live(
        self: &Arc<Self>,
        steward: Option<StewardId>,
        (after, limit): (Option<AgentId>, usize),
    ) -> Result<Vec<LiveRow>, BrokerError> {
        let decisions = self.decisions.chain().await?;
        let history = Arc::clone(self);
        let work = move || history.review((steward.as_ref(), &decisions), (after.as_ref(), limit));
        tokio::task::spawn_blocking(work).await.map_err(trail)?
    }

    fn review(
        &self,
        (steward, decisions): (Option<&StewardId>, &Chain),
        (after, limit): (Option<&AgentId>, usize),
    ) -> Result<Vec<LiveRow>, BrokerError> {
        let now = self.changes.now();
        let mut rows: Vec<LiveRow> = {
            let state = self.changes.state();
            let wanted = |agent: &&AgentRecord| {
                after.is_none_or(|after| agent.agent > *after)
                    && steward.is_none_or(|id| agent.steward == *id)
            };
            let agents: Vec<_> = state.agents.values().filter(wanted).take(limit).collect();
            let row = |agent: &AgentRecord| {
                let tasks: Vec<_> = state.tasks_of(&agent.agent, None).collect();
                live_row(&state, (agent, &tasks), now)
            };
            agents.into_iter().map(row).collect()
        };
        for row in &mut rows {
            row.steward_name = self.directory.lock().name(&row.steward).map(str::to_owned);
            if row.last_issued.is_none() {
                row.last_issued = self.last_issued(&row.agent)?;
            }
            row.last_used = last_used(decisions, &row.agent).map_err(trail)?;
        }
        Ok(rows)
    }

    /// When an agent that has no pass now last got one.
    fn last_issued(&self, agent: &AgentId) -> Result<Option<Timestamp>, BrokerError> {
        let filter = Filter {
            agent: Some(agent.clone()),
            ..Filter::default()
        };
        let window = Window {
            order: Order::NewestFirst,
            after: None,
            limit: LOOK_BACK_RECORDS,
        };
        for sequence in self.views.query(&filter, window).map_err(trail)? {
            let event = self
                .views
                .record(sequence)
                .map_err(trail)?
                .map(|record| record.entry.event);
            if let Some(LedgerEvent::TokenIssued { token, .. }) = event {
                return Ok(Some(token.issued_at));
            }
        }
        Ok(None)
    }

    /// Hands every record that was decided between the two times, both included, to `take`, while few others scan.
    fn scan(
        &self,
        (from, last): (Option<Timestamp>, Option<Timestamp>),
        mut take: impl FnMut(&Record) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let _scanning = self.scans.try_acquire().map_err(|_| BrokerError::Busy)?;
        let window = Window {
            order: Order::OldestFirst,
            after: None,
            limit: 1,
        };
        // The time of records never goes back, so the first that is late enough is where reading begins.
        let filter = Filter {
            from,
            ..Filter::default()
        };
        let Some(first) = self
            .views
            .query(&filter, window)
            .map_err(trail)?
            .first()
            .copied()
        else {
            return Ok(());
        };
        for (count, record) in self.records_from(first)?.enumerate() {
            let record = record.map_err(trail)?;
            if last.is_some_and(|last| record.entry.at > last) {
                break;
            }
            if count >= MAX_SCANNED_RECORDS {
                let detail = format!(
                    "more than {MAX_SCANNED_RECORDS} records were decided in that time: ask for less of it"
                );
                return Err(BrokerError::invalid("from", detail));
            }
            take(&record)?;
        }
        Ok(())
    }
}

/// When a call with a pass of `agent` was last let through, by reports that agree with the broker's own records
/// and are among the last of that agent.
fn last_used(decisions: &Chain, agent: &AgentId) -> Result<Option<Timestamp>, IndexError> {
    let verdict = Some(Verdict::Allowed);
    let filter = Filter {
        agent: Some(agent.clone()),
        verdict,
        ..Filter::default()
    };
    let window = Window {
        order: Order::NewestFirst,
        after: None,
        limit: LOOK_BACK_RECORDS,
    };
    for sequence in decisions.views.query(&filter, window)? {
        let Some(Record { entry, .. }) = decisions.views.record(sequence)? else {
            continue;
        };
        // SECURITY: any verifier can name any agent, and its clock may be ahead.
        if let DecisionEvent::CallDecided {
            call,
            attribution: Attribution::Confirmed,
        } = entry.event
        {
            return Ok(Some(call.at.min(entry.at)));
        }
    }
    Ok(None)
}

fn live_row(
    state: &State,
    (agent, tasks): (&AgentRecord, &[&LiveTask]),
    now: Timestamp,
) -> LiveRow {
    let passes = tasks
        .iter()
        .flat_map(|task| live_passes(state, agent, task, now));
    let mut row = LiveRow::new(agent, passes);
    row.suspended = state.is_suspended_agent(agent);
    row
}

/// The passes of a task of `agent` that are alive at `now`.
pub(crate) fn live_passes<'t>(
    state: &State,
    agent: &AgentRecord,
    task: &'t LiveTask,
    now: Timestamp,
) -> impl Iterator<Item = &'t TokenRecord> + use<'t> {
    let people = people(agent, &task.record.steward);
    let cut_offs = people.iter().filter_map(|subject| state.cut_off(subject));
    let cut_off = cut_offs.max();
    let is_alive = move |pass: &&TokenRecord| {
        task.end.is_none()
            && pass.expires_at > now
            && !task.revoked.contains(&pass.revocation_id)
            && cut_off.is_none_or(|cut_off| pass.issued_at > cut_off)
    };
    task.tokens.iter().filter(is_alive)
}

/// No configuration lets a pass live longer.
const LONGEST_PASS: Duration = Duration::from_secs(24 * 3600);

/// So many questions may read through the journal at once: each takes a thread and a core for as long.
pub(crate) const MAX_SCANS: usize = 2;

/// One question reads at most so many records: some seconds.
const MAX_SCANNED_RECORDS: usize = 500_000;

/// An agent's last pass is looked for among so many of its records.
const LOOK_BACK_RECORDS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Broker;

    #[tokio::test]
    async fn no_more_than_a_few_read_through_the_journal_at_once() {
        let home = tempfile::tempdir().unwrap();
        let broker = Broker::opened_in(home.path()).await;
        let mut sent_away = 0;
        for _ in 0..2 {
            let first = broker.history.scan((None, None), |_| {
                broker.history.scan((None, None), |_| {
                    let third = broker.history.refusals(None, None);
                    sent_away += usize::from(matches!(third, Err(BrokerError::Busy)));
                    Ok(())
                })
            });
            first.unwrap();
            broker.history.refusals(None, None).unwrap();
        }
        assert!(sent_away >= 2, "{sent_away}");
    }
}
