//! A file as lines, one at a time.

use std::io::{self, BufRead, Read as _};

use crate::ledger::file::line::MAX_LINE_BYTES;

/// Splits a reader into lines, holding one at a time and no more of it than a record can be long.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
}

/// What stands next in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without its newline.
    Complete(&'a [u8]),
    /// Bytes after the last newline, cut at the length of the longest record.
    Unterminated(&'a [u8]),
    /// A line that is longer than any record.
    TooLong,
    /// The end.
    End,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `reader`.
    #[must_use]
    pub const fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
        }
    }

    /// The bytes of the line that was read last.
    #[must_use]
    pub fn last_line(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads on.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub fn next_line(&mut self) -> io::Result<Line<'_>> {
        self.buffer.clear();
        let cap = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX);
        self.reader
            .by_ref()
            .take(cap)
            .read_until(b'\n', &mut self.buffer)?;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            return Ok(Line::Complete(&self.buffer));
        }
        if self.buffer.is_empty() {
            return Ok(Line::End);
        }
        if self.skip_line()? {
            return Ok(Line::TooLong);
        }
        Ok(Line::Unterminated(&self.buffer))
    }

    /// Skips to after the next newline; whether there was one.
    fn skip_line(&mut self) -> io::Result<bool> {
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let skipped = newline.map_or(chunk.len(), |at| at.saturating_add(1));
            self.reader.consume(skipped);
            if newline.is_some() {
                return Ok(true);
            }
        }
    }
}
