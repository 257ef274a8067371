//! What is dropped because no living pass is concerned by it.

use crate::{
    LiveTask, State,
    domain::state::{FeedNews, KEEP_ENDED_TASKS},
};
use hallpass_core::base::{ids::TaskId, time::Timestamp};

impl State {
    /// Forgets what no living pass is concerned by. Nothing else is looked at: everybody waits meanwhile.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let long_ago = now.minus(KEEP_ENDED_TASKS);
        while let Some((at, task)) = self.leaving.pop_first() {
            if at >= long_ago {
                self.leaving.insert((at, task));
                break;
            }
            match self.tasks.get(&task).map(LiveTask::over_at) {
                Some(over) if over >= long_ago => drop(self.leaving.insert((over, task))),
                Some(_) => self.forget_task(&task),
                None => {}
            }
        }
        while let Some((until, digest)) = self.used_until.pop_first() {
            if until > now {
                self.used_until.insert((until, digest));
                break;
            }
            if self.used.get(&digest).is_some_and(|last| *last <= now) {
                self.used.remove(&digest);
            }
        }
        self.people.forget(now);
        let long_expired = |expires_at: Timestamp| expires_at < long_ago;
        self.revocations
            .retain(|_, revocation| !long_expired(revocation.expires_at));
        self.feed.retain(|_, change| match &change.what {
            FeedNews::Revocation(entries, _) => {
                entries.iter().any(|entry| !long_expired(entry.expires_at))
            }
            FeedNews::Keys | FeedNews::Holders | FeedNews::Manifest(_) => true,
        });
    }

    pub(super) fn forget_task(&mut self, task: &TaskId) {
        let Some(live) = self.tasks.remove(task) else {
            return;
        };
        for token in &live.tokens {
            self.tokens.remove(&token.revocation_id);
        }
        self.descendants.remove(&live.record);
        if let Some(of_agent) = self.agent_tasks.get_mut(&live.record.agent) {
            of_agent.remove(task);
            if of_agent.is_empty() {
                self.agent_tasks.remove(&live.record.agent);
            }
        }
    }
}
