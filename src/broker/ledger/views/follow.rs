//! Following the journal: a caller is answered once its records are durable, and the index applies them
//! right after. Queries wait for what was announced, so that none returns less than what was answered.

use std::{
    sync::{
        Arc, MutexGuard,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    domain::event::LedgerEvent,
    ledger::{
        record::Record,
        views::{Index, IndexError, index::Applied, indexed::Indexed},
    },
};
use hallpass_core::base::sync::{MutexExt as _, ignoring_poison};

/// Applies records to an index on a thread of its own; ends, with everything applied, when it is dropped.
#[derive(Debug)]
pub struct Follower<E: Indexed = LedgerEvent> {
    index: Arc<Index<E>>,
    batches: Option<SyncSender<Vec<Record<E>>>>,
    thread: Option<JoinHandle<()>>,
}

impl<E: Indexed> Follower<E> {
    /// Begins to follow; `failed` is called once with the reason why records were not applied. The index refuses queries from then on.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
    pub fn start(
        index: Arc<Index<E>>,
        failed: impl FnOnce(IndexError) + Send + 'static,
    ) -> Result<Self, IndexError> {
        let (batches, waiting) = sync_channel(MAX_WAITING_BATCHES);
        let following = Arc::clone(&index);
        let thread = thread::Builder::new().name("hallpass-index".to_owned());
        let thread = thread
            .spawn(move || follow(&following, &waiting, failed))
            .map_err(IndexError::NoThread)?;
        Ok(Self {
            index,
            batches: Some(batches),
            thread: Some(thread),
        })
    }

    /// Announces durable records that follow on those announced before. Waits only when too many were not applied yet.
    pub fn follow(&self, records: &[Record<E>]) {
        let (Some(last), Some(batches)) = (records.last(), &self.batches) else {
            return;
        };
        self.index.announced.store(last.sequence, Ordering::SeqCst);
        if batches.send(records.to_vec()).is_err() {
            self.index.give_up();
        }
    }
}

impl<E: Indexed> Drop for Follower<E> {
    fn drop(&mut self) {
        self.batches = None;
        // A thread that panicked has woken the queries.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn follow<E: Indexed>(
    index: &Index<E>,
    waiting: &Receiver<Vec<Record<E>>>,
    failed: impl FnOnce(IndexError),
) {
    let _ending = Ending(index);
    let mut failed = Some(failed);
    while let Ok(mut records) = waiting.recv() {
        while records.len() < MAX_RECORDS_AT_ONCE
            && let Ok(more) = waiting.try_recv()
        {
            records.extend(more);
        }
        if let Err(error) = index.apply(&records)
            && let Some(failed) = failed.take()
        {
            failed(error);
        }
    }
}

/// However the thread ends, no query waits for it any more.
struct Ending<'i, E: Indexed>(&'i Index<E>);

impl<E: Indexed> Drop for Ending<'_, E> {
    fn drop(&mut self) {
        if self.0.applied().sequence < self.0.announced.load(Ordering::SeqCst) {
            self.0.give_up();
        }
    }
}

impl<E: Indexed> Index<E> {
    /// Waits until everything is applied that was announced.
    pub(super) fn wait_for_announced(&self) -> MutexGuard<'_, Applied> {
        let mut applied = self.applied.locked();
        while applied.head.sequence < self.announced.load(Ordering::SeqCst) && applied.is_whole {
            applied = ignoring_poison(self.moved.wait(applied));
        }
        applied
    }

    /// Refuses every query from now on: records were missed.
    pub(super) fn give_up(&self) {
        // Under the lock, so that no query misses it between its check and its wait.
        self.applied.locked().is_whole = false;
        self.moved.notify_all();
    }
}

/// The journal waits when so many of its batches were not applied.
const MAX_WAITING_BATCHES: usize = 256;

const MAX_RECORDS_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::mpsc::channel};

    use super::*;
    use crate::ledger::{
        file::{Journal, Options, Recovered},
        views::{Filter, Order, Window, fixture::entry},
    };

    fn opened(dir: &Path) -> (Recovered, Arc<Index>) {
        let (recovered, _) = <Journal>::open(dir, Options::default(), |_| {}).unwrap();
        let (index, _) = Index::open(dir, &recovered.reader()).unwrap();
        (recovered, Arc::new(index))
    }

    #[test]
    fn a_caller_that_was_answered_reads_its_records_and_no_record_is_left_unapplied_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, index) = opened(dir.path());
        let follower = Follower::start(Arc::clone(&index), |error| panic!("{error}")).unwrap();
        let journal = recovered
            .start(Box::new(move |records| follower.follow(records)))
            .unwrap();
        let window = |limit| Window {
            order: Order::NewestFirst,
            after: None,
            limit,
        };
        for number in 0..200 {
            let receipt = journal.append_blocking(vec![entry(number)]).unwrap();
            let newest = index.query(&Filter::default(), window(1)).unwrap();
            assert_eq!(newest, [receipt.sequence()]);
            assert!(index.place(receipt.sequence()).unwrap().is_some());
        }
        let last = journal
            .append_blocking((200..300).map(entry).collect())
            .unwrap()
            .sequence();
        drop(journal);
        assert_eq!(index.applied().sequence, last);
        assert_eq!(Arc::strong_count(&index), 1);
    }

    #[test]
    fn queries_are_refused_and_not_kept_waiting_when_records_were_missed() {
        let dir = tempfile::tempdir().unwrap();
        let (recovered, index) = opened(dir.path());
        let (sender, failures) = channel();
        let failed = move |error: IndexError| sender.send(error.to_string()).unwrap();
        let follower = Follower::start(Arc::clone(&index), failed).unwrap();
        let mut seen = 0;
        let journal = recovered.start(Box::new(move |records| {
            seen += 1;
            if seen != 1 {
                follower.follow(records);
            }
        }));
        let journal = journal.unwrap();
        for number in 0..3 {
            journal.append_blocking(vec![entry(number)]).unwrap();
        }
        let window = Window {
            order: Order::NewestFirst,
            after: None,
            limit: 1,
        };
        assert!(matches!(
            index.query(&Filter::default(), window),
            Err(IndexError::Behind)
        ));
        drop(journal);
        assert_eq!(failures.iter().count(), 1);
    }
}
