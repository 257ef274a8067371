//! One reader's view of the index: sled, and the chunk that was being filled when the reader came.

use std::{
    ops::Bound,
    sync::{Arc, atomic::Ordering},
};

use sled::IVec;

use crate::ledger::{
    record::LinePlace,
    views::{Index, IndexError, chunk::Chunk, indexed::Indexed, keys, values, window::Order},
};
use hallpass_core::base::time::Timestamp;

/// What a reader reads. Walks do not see what is applied meanwhile.
pub(super) struct Reading {
    /// The generation that counted. It is read to the end, even when it was replaced.
    pub(super) db: sled::Db,
    /// SECURITY: sled may have this chunk and later ones by now, so a walk through sled ends before it.
    pub(super) filling: Arc<Chunk>,
    /// Records before this one are gone.
    pub(super) kept_from: u64,
}

impl<E: Indexed> Index<E> {
    /// The index with everything that was announced; perhaps a part of it, when records were missed.
    pub(super) fn reading(&self) -> Reading {
        let applied = self.wait_for_announced();
        self.reading_with(Arc::clone(&applied.filling))
    }

    pub(super) fn reading_with(&self, filling: Arc<Chunk>) -> Reading {
        Reading {
            db: self.db(),
            filling,
            kept_from: self.kept_from.load(Ordering::SeqCst),
        }
    }
}

impl Reading {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, IndexError> {
        match self.filling.get(key) {
            Some(value) => Ok(Some(value.into())),
            None => Ok(self.db.get(key)?),
        }
    }

    /// The chunk that record `sequence` would be in.
    pub(super) fn chunk_of(&self, sequence: u64) -> Result<Option<u64>, IndexError> {
        if sequence >= self.filling.first() {
            return Ok(Some(self.filling.first()));
        }
        let found = self
            .db
            .range(keys::by_sequence(0)..=keys::by_sequence(sequence))
            .next_back()
            .transpose()?;
        found
            .map(|(key, _)| keys::chunk_of(&key).ok_or(IndexError::Damaged))
            .transpose()
    }

    /// Where record `sequence` stands and when it was decided; `None` when it is not kept, or not there yet.
    pub(super) fn located(
        &self,
        sequence: u64,
    ) -> Result<Option<(LinePlace, Timestamp)>, IndexError> {
        if sequence < self.kept_from {
            return Ok(None);
        }
        let Some(chunk) = self.chunk_of(sequence)? else {
            return Ok(None);
        };
        let distance =
            usize::try_from(sequence.saturating_sub(chunk)).map_err(|_| IndexError::Damaged)?;
        let value = self.get(&keys::by_sequence(chunk))?;
        let located =
            value.map(|value| values::read_located_at(&value, distance).ok_or(IndexError::Damaged));
        Ok(located.transpose()?.flatten())
    }

    /// The records of `chunk`, in order; `None` when it was removed.
    pub(super) fn records_of(
        &self,
        chunk: u64,
    ) -> Result<Option<Vec<(LinePlace, Timestamp)>>, IndexError> {
        let value = self.get(&keys::by_sequence(chunk))?;
        value
            .map(|value| values::read_located(&value).ok_or(IndexError::Damaged))
            .transpose()
    }

    /// The records of `chunk` that are listed under `prefix`, in order.
    pub(super) fn listed(&self, prefix: &[u8], chunk: u64) -> Result<Vec<u64>, IndexError> {
        let Some(value) = self.get(&keys::in_chunk(prefix.to_vec(), chunk))? else {
            return Ok(Vec::new());
        };
        values::read_offsets(chunk, &value).ok_or(IndexError::Damaged)
    }

    /// The values of the keys that are `prefix` and a chunk from `low` to `high`, each with its chunk.
    pub(super) fn chunks<'r>(
        &'r self,
        prefix: &[u8],
        (low, high): (u64, u64),
        order: Order,
    ) -> Box<dyn Iterator<Item = Result<(u64, IVec), IndexError>> + 'r> {
        let key = |chunk| keys::in_chunk(prefix.to_vec(), chunk);
        let end = self.filling.first();
        let filling = if (low..=high).contains(&end) {
            self.filling.get(&key(end))
        } else {
            None
        };
        let filling = filling.map(|value| Ok((end, value.into()))).into_iter();
        let upper = if high < end {
            Bound::Included(key(high))
        } else {
            Bound::Excluded(key(end))
        };
        if low > high || low >= end {
            return Box::new(filling);
        }
        let sealed = self
            .db
            .range::<Vec<u8>, _>((Bound::Included(key(low)), upper))
            .map(|pair| {
                let (key, value) = pair?;
                Ok((keys::chunk_of(&key).ok_or(IndexError::Damaged)?, value))
            });
        match order {
            Order::OldestFirst => Box::new(sealed.chain(filling)),
            Order::NewestFirst => Box::new(filling.chain(sealed.rev())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::views::{
        Filter, Window,
        fixture::{entry, followed},
    };

    #[test]
    fn a_reader_sees_each_record_once_while_chunks_are_filled_and_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, index, _) = followed(dir.path());
        journal
            .append_blocking((0..20).map(entry).collect())
            .unwrap();
        let before = index.reading();
        journal
            .append_blocking((20..70).map(entry).collect())
            .unwrap();
        let listed = |reading: &Reading, order| -> Vec<u64> {
            let chunks = reading.chunks(keys::BY_TIME, (0, u64::MAX), order);
            let chunks = chunks.map(|chunk| chunk.unwrap().0);
            chunks
                .flat_map(|chunk| (chunk..).take(reading.records_of(chunk).unwrap().unwrap().len()))
                .collect()
        };
        assert_eq!(
            listed(&before, Order::OldestFirst),
            (1..=20).collect::<Vec<_>>()
        );
        assert_eq!(before.filling.first(), 17);
        assert_eq!(index.reading().filling.first(), 65);
        let steward = Filter {
            steward: format!("stw_{:032x}", 1).parse().ok(),
            ..Filter::default()
        };
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let window = Window {
                order,
                after: None,
                limit: 100,
            };
            let mut found = index.query(&steward, window).unwrap();
            found.sort_unstable();
            assert_eq!(
                found,
                (1..=70)
                    .filter(|sequence| sequence % 2 == 0)
                    .collect::<Vec<_>>()
            );
            assert_eq!(index.query(&Filter::default(), window).unwrap().len(), 70);
        }
    }
}
