//! Copying a journal while a broker writes it.
//!
//! A line that ends with a newline is never written again, segments only follow each other, and the oldest go first. So a
//! copy of whole lines, in order, is what the journal was at some moment, and can be brought up to a later one by what
//! was appended since.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use crate::ledger::file::{
    DIRECTORY,
    error::OpenError,
    files::{self, MARKER},
};
use hallpass_core::base::private_file;

/// A copy of the journal in one data directory, in another.
#[derive(Debug)]
pub struct JournalCopy {
    from: PathBuf,
    to: PathBuf,
    /// How many bytes of each segment were copied: whole lines.
    copied: BTreeMap<u32, u64>,
}

impl JournalCopy {
    /// Begins an empty copy, in `to`, of the journal in the data directory `from`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn new(from: &Path, to: &Path) -> Result<Self, OpenError> {
        let (from, to) = (from.join(DIRECTORY), to.join(DIRECTORY));
        files::ensure_dir(&to)?;
        Ok(Self {
            from,
            to,
            copied: BTreeMap::new(),
        })
    }

    /// Brings the copy up to what the journal is when this returns, a line in flight left out; durable then. Every
    /// number of bytes that is copied is given to `copied`.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written.
    pub fn follow(&mut self, copied: &dyn Fn(u64)) -> Result<(), OpenError> {
        loop {
            let numbers = files::segments_in(&self.from)?;
            self.forget_others(&numbers)?;
            if self.copy_segments(&numbers, copied)? {
                self.leave_unbegun_out(&numbers)?;
                self.copy_beside(&numbers)?;
                files::sync_dir(&self.to)?;
                // No later segment: so the journal ended where reading did, at that moment.
                if files::segments_in(&self.from)?.last() == numbers.last() {
                    return Ok(());
                }
            }
        }
    }

    /// A later segment without a whole record is removed again: a start would do that, and report it as odd.
    fn leave_unbegun_out(&self, numbers: &[u32]) -> Result<(), OpenError> {
        match numbers {
            [_, .., last] if self.copied.get(last) == Some(&0) => {
                files::remove(&self.to.join(files::segment_name(*last)))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was retired meanwhile, and what was begun and then undone.
    fn forget_others(&mut self, numbers: &[u32]) -> Result<(), OpenError> {
        let gone: Vec<u32> = self
            .copied
            .keys()
            .copied()
            .filter(|number| !numbers.contains(number))
            .collect();
        for number in gone {
            files::remove(&self.to.join(files::segment_name(number)))?;
            files::remove(&self.to.join(files::snapshot_name(number)))?;
            self.copied.remove(&number);
        }
        Ok(())
    }

    /// Copies what is new of these segments; `false` when one of them was removed meanwhile.
    fn copy_segments(&mut self, numbers: &[u32], copied: &dyn Fn(u64)) -> Result<bool, OpenError> {
        for number in numbers.iter().copied() {
            // A segment with a record ends the one before it for good.
            let later = number.saturating_add(1)..;
            let is_final = self.copied.range(later).any(|(_, bytes)| *bytes > 0);
            if !is_final && !self.copy_segment(number, copied)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn copy_segment(&mut self, number: u32, copied: &dyn Fn(u64)) -> Result<bool, OpenError> {
        let name = files::segment_name(number);
        let (from, to) = (self.from.join(&name), self.to.join(&name));
        let read = |error| OpenError::io("read", &from, error);
        let write = |error| OpenError::io("write", &to, error);
        let mut source = match File::open(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.map_err(read)?,
        };
        let begin = self.copied.get(&number).copied().unwrap_or(0);
        source.seek(SeekFrom::Start(begin)).map_err(read)?;
        let mut options = private_file::options();
        options.write(true).create(true).truncate(false);
        let mut target = options.open(&to).map_err(write)?;
        target.seek(SeekFrom::Start(begin)).map_err(write)?;
        let (mut at, mut whole) = (begin, begin);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = source.read(&mut buffer).map_err(read)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            target.write_all(bytes).map_err(write)?;
            let newline = bytes.iter().rposition(|byte| *byte == b'\n');
            if let Some(newline) = newline {
                whole = at.saturating_add(length(newline)).saturating_add(1);
            }
            at = at.saturating_add(length(count));
            copied(length(count));
        }
        if at > whole {
            target.set_len(whole).map_err(write)?;
        }
        if at > begin {
            target.sync_all().map_err(write)?;
        }
        self.copied.insert(number, whole);
        Ok(true)
    }

    /// Copies what is beside the segments: the marker, and the snapshots that a start may begin with.
    fn copy_beside(&self, numbers: &[u32]) -> Result<(), OpenError> {
        let begun = |number: &&u32| self.copied.get(number).is_some_and(|bytes| *bytes > 0);
        let snapshots = numbers.iter().filter(begun).rev().take(KEPT_SNAPSHOTS);
        let names = snapshots.map(|number| files::snapshot_name(*number));
        for name in names.chain([MARKER.to_owned()]) {
            let (from, to) = (self.from.join(&name), self.to.join(&name));
            if to.exists() {
                continue;
            }
            match fs::read(&from) {
                // The first segment has none, and one that is lost may not be needed: the check of the copy says.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(OpenError::io("read", &from, error)),
                Ok(bytes) => files::create(&to, &bytes)?,
            }
        }
        Ok(())
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

const BUFFER_BYTES: usize = 256 * 1024;

/// As many as a journal keeps.
const KEPT_SNAPSHOTS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn files_in(directory: &Path) -> BTreeMap<String, String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        let file = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        };
        entries.map(file).collect()
    }

    #[test]
    fn a_copy_has_whole_lines_in_order_and_follows_what_is_appended_begun_undone_and_retired() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        let journal = from.join(DIRECTORY);
        fs::create_dir_all(&journal).unwrap();
        fs::create_dir_all(&to).unwrap();
        let put = |name: &str, text: &str| fs::write(journal.join(name), text).unwrap();
        let bytes = std::cell::Cell::new(0);
        let mut copy = JournalCopy::new(&from, &to).unwrap();
        let mut follow = || {
            copy.follow(&|count| bytes.set(bytes.get() + count))
                .unwrap();
            let files = files_in(&to.join(DIRECTORY)).into_iter();
            files
                .map(|(name, text)| format!("{name}={text}"))
                .collect::<Vec<_>>()
        };
        put("000001.jsonl", "a\nb\npa");
        assert_eq!(follow(), ["000001.jsonl=a\nb\n"]);
        assert_eq!(bytes.get(), 6);
        // What was in flight is read anew; a segment that has no record is none yet.
        put("format", "f");
        put("000001.jsonl", "a\nb\npart\nc\n");
        put("000002.jsonl", "in fl");
        put("000002.snapshot", "undone");
        assert_eq!(follow(), ["000001.jsonl=a\nb\npart\nc\n", "format=f"]);
        fs::remove_file(journal.join("000002.jsonl")).unwrap();
        put("000001.jsonl", "a\nb\npart\nc\nd\n");
        assert_eq!(follow(), ["000001.jsonl=a\nb\npart\nc\nd\n", "format=f"]);
        put("000002.jsonl", "e\n");
        put("000002.snapshot", "s2");
        put("torn-1-1", "cut off");
        let expected = [
            "000001.jsonl=a\nb\npart\nc\nd\n",
            "000002.jsonl=e\n",
            "000002.snapshot=s2",
            "format=f",
        ];
        assert_eq!(follow(), expected);
        fs::remove_file(journal.join("000001.jsonl")).unwrap();
        put("000003.jsonl", "f\n");
        put("000003.snapshot", "s3");
        let expected = [
            "000002.jsonl=e\n",
            "000002.snapshot=s2",
            "000003.jsonl=f\n",
            "000003.snapshot=s3",
            "format=f",
        ];
        assert_eq!(follow(), expected);
    }
}
