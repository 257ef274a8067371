//! Where expensive decisions wait: few run at once, off the runtime's tasks, and agents take turns.
//!
//! A decision costs CPU time for each right. One about many rights takes tens of milliseconds, which on a thread of the
//! runtime would stop what else is served there, revocations included.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as Lock},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
};

use crate::{BrokerError, domain::event::Actor};
use hallpass_core::base::sync::MutexExt;

/// The places for expensive decisions, and who waits for them.
///
/// A caller has at most one decision running or waiting for a place; its further ones wait behind that one. So a caller that
/// asks most waits longest, and each caller waits for at most one decision of every other.
#[derive(Debug)]
pub(crate) struct DecisionQueue {
    places: Arc<Semaphore>,
    /// Of each caller that decides or waits.
    callers: Lock<HashMap<String, Arc<Mutex<()>>>>,
}

/// A place for one decision. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'q> {
    queue: &'q DecisionQueue,
    caller: String,
    // In this order: the next caller is woken before the next decision of this one.
    held: Option<(OwnedSemaphorePermit, OwnedMutexGuard<()>)>,
}

impl DecisionQueue {
    /// Half of the processors decide at most; at least one does.
    pub(crate) fn for_this_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_places((processors / 2).max(1))
    }

    fn with_places(count: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(count)),
            callers: Lock::default(),
        }
    }

    /// Waits for a place for a decision of `caller` about so many `rights`. `None`: few rights need none.
    ///
    /// # Errors
    ///
    /// Never while the broker runs: the places are not closed.
    pub(crate) async fn place(
        &self,
        caller: &Actor,
        rights: usize,
    ) -> Result<Option<Place<'_>>, BrokerError> {
        if rights <= FEW_RIGHTS {
            return Ok(None);
        }
        let mut place = Place {
            queue: self,
            caller: caller.to_string(),
            held: None,
        };
        let own = Arc::clone(
            self.callers
                .locked()
                .entry(place.caller.clone())
                .or_default(),
        );
        let turn = own.lock_owned().await;
        let closed = |_| BrokerError::Internal("the places for decisions were closed".to_owned());
        let permit = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(closed)?;
        place.held = Some((permit, turn));
        Ok(Some(place))
    }
}

impl Place<'_> {
    /// Decides, while another thread goes on with the runtime's other tasks.
    pub(crate) fn run<T>(&self, decide: impl FnOnce() -> T) -> T {
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(decide),
            // There is no other thread.
            _ => decide(),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut callers = self.queue.callers.locked();
        // No other caller has it or waits for it: it would be held by that one too.
        let is_last = |own: &Arc<Mutex<()>>| Arc::strong_count(own) == 1;
        if callers.get(&self.caller).is_some_and(is_last) {
            callers.remove(&self.caller);
        }
    }
}

/// A decision about so many rights at most needs no place: it takes a few milliseconds.
const FEW_RIGHTS: usize = 16;

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn agent(name: &str) -> Actor {
        Actor::Agent(name.parse().unwrap())
    }

    #[tokio::test]
    async fn few_rights_do_not_wait_and_many_do() {
        let queue = DecisionQueue::with_places(1);
        let held = queue.place(&agent("a"), FEW_RIGHTS + 1).await.unwrap();
        assert!(held.is_some());
        assert!(
            queue
                .place(&agent("a"), FEW_RIGHTS)
                .await
                .unwrap()
                .is_none()
        );
        let b = agent("b");
        let another = queue.place(&b, FEW_RIGHTS + 1);
        tokio::pin!(another);
        assert!(futures_now(&mut another).is_none());
        drop(held);
        assert!(futures_now(&mut another).is_some());
    }

    #[tokio::test]
    async fn an_agent_with_many_requests_does_not_keep_another_waiting_behind_all_of_them() {
        let queue = Arc::new(DecisionQueue::with_places(1));
        let held = queue.place(&agent("a"), 100).await.unwrap();
        let (sender, mut order) = mpsc::unbounded_channel();
        for name in ["a", "a", "a", "b"] {
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            tokio::spawn(async move {
                let place = queue.place(&agent(name), 100).await.unwrap().unwrap();
                sender.send(place.run(|| name)).unwrap();
            });
            // Each waits before the next one comes.
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut served = Vec::new();
        for _ in 0..4 {
            served.push(order.recv().await.unwrap());
        }
        assert_eq!(served, ["b", "a", "a", "a"]);
        assert!(queue.callers.locked().is_empty(), "no caller is remembered");
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let queue = DecisionQueue::with_places(1);
        let held = queue.place(&agent("a"), 100).await.unwrap();
        for name in ["a", "b"] {
            let waiter = agent(name);
            let waiting = queue.place(&waiter, 100);
            tokio::pin!(waiting);
            assert!(futures_now(&mut waiting).is_none());
        }
        drop(held);
        assert!(queue.callers.locked().is_empty());
        assert!(queue.place(&agent("c"), 100).await.unwrap().is_some());
    }

    /// What `future` gives when it is polled once.
    fn futures_now<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
