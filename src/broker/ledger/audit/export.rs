//! Exports: the exact lines of records, and a seal that makes them checkable anywhere.

use crate::ledger::{
    audit::Seal,
    file::{ReadError, Records},
};

/// An export as a stream of bytes; holds one piece in memory.
#[derive(Debug)]
pub struct Export {
    records: Records,
    /// How many records are to come.
    left: u64,
    seal: Option<Vec<u8>>,
}

impl Export {
    /// The next `count` of `records`, and then `seal`.
    ///
    /// # Errors
    ///
    /// Only when the seal cannot be written as JSON.
    pub fn new(records: Records, count: u64, seal: &Seal) -> Result<Self, serde_json::Error> {
        let mut seal = serde_json::to_vec(seal)?;
        seal.push(b'\n');
        Ok(Self {
            records,
            left: count,
            seal: Some(seal),
        })
    }

    /// The next bytes, some whole lines of them; `None` after the seal. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When a record is damaged or missing. What came before is then no export: it has no seal.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let mut piece = Vec::new();
        while self.left > 0 && piece.len() < PIECE_BYTES {
            match self.records.next() {
                Some(record) => drop(record?),
                // The journal was cut behind the broker's back: the seal names more than there is.
                None => break,
            }
            self.left = self.left.saturating_sub(1);
            piece.extend_from_slice(self.records.line());
            piece.push(b'\n');
        }
        if piece.is_empty() {
            return Ok(self.seal.take());
        }
        Ok(Some(piece))
    }
}

/// A piece is sent when it has so many bytes.
const PIECE_BYTES: usize = 64 * 1024;
