//! Opening a journal: take the lock, check every record, cut a torn tail, refuse everything else.
//!
//! The chain is checked over every segment that is kept. What the records add up to begins with the newest
//! snapshot whose digest the chain holds, and only what follows is replayed.

use std::{fs::File, path::Path, sync::Mutex};

use crate::{
    domain::event::ChainEvent,
    ledger::{
        file::{
            Apply, Journal, Options, Recovered, Recovery, Restore, Snapshot, SnapshotError,
            Storage,
            error::OpenError,
            recover::recover,
            writer::{self, Files, Views},
        },
        record::Record,
    },
};

impl<E: ChainEvent> Journal<E> {
    /// Opens the journal in `data_dir`, beginning one when there was none, and hands every record that is
    /// kept to `replay`, in order.
    ///
    /// # Errors
    ///
    /// Refuses a directory that another process has open, a journal with damage anywhere but in an
    /// unterminated last line, one that is missing though something shows that it existed, and one
    /// in a form that this build does not know. Nothing is changed in these cases.
    pub fn open(
        data_dir: &Path,
        options: Options,
        replay: impl FnMut(&Record<E>),
    ) -> Result<(Recovered<E>, Recovery), OpenError> {
        struct All<F>(F);
        impl<E, F: FnMut(&Record<E>)> Restore<E> for All<F> {
            fn restore(&mut self, _: &Snapshot) -> Result<(), SnapshotError> {
                Err(SnapshotError::new("every record is wanted"))
            }

            fn replay(&mut self, record: &Record<E>) {
                (self.0)(record);
            }
        }
        recover(data_dir, options, &mut All(replay), false)
    }

    /// [`open`](Self::open), beginning with the newest snapshot that the chain vouches for: only the records
    /// after it are replayed. A snapshot that is missing or not as it was written is passed over for an
    /// older one, or for all records, and that is reported.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and when older segments were removed and no snapshot can be used.
    pub fn restore(
        data_dir: &Path,
        options: Options,
        views: &mut dyn Restore<E>,
    ) -> Result<(Recovered<E>, Recovery), OpenError> {
        recover(data_dir, options, views, true)
    }
}

impl<E: ChainEvent> Recovered<E> {
    /// Starts the writers. `apply` is called with the records of each durable batch, in order, before
    /// any call is answered, so that a caller that has an answer sees its effect.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn start(self, apply: Apply<E>) -> Result<Journal<E>, OpenError> {
        self.start_with_storage(|segment| Box::new(segment), apply)
    }

    /// [`start`](Self::start) with another way to store what is written: for tests of faults.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_with_storage(
        self,
        storage: impl FnOnce(File) -> Box<dyn Storage>,
        apply: Apply<E>,
    ) -> Result<Journal<E>, OpenError> {
        let reader = self.reader.clone();
        let files = Files {
            lock: self.lock,
            storage: storage(self.segment),
        };
        let views = Views {
            apply,
            take_snapshot: self.take_snapshot,
        };
        let (queue, writers) =
            writer::spawn(files, self.reader, (&self.options, self.last_at), views)
                .map_err(|error| OpenError::io("start the writers of", reader.dir(), error))?;
        Ok(Journal {
            queue,
            reader,
            writers: Mutex::new(writers),
        })
    }
}
