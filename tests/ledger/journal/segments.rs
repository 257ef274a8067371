//! A journal in many files is one chain: read across them, checked across them, shortened at its beginning.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use hallpass_broker::{
    domain::event::LedgerEvent,
    ledger::file::{
        Flaw, Journal, OpenError, Options, ReadError, Record, Storage, segment_name, segment_number,
    },
};
use tempfile::TempDir;

use support::records::AppendBlocking as _;
use support::records::note;

const SEGMENT_BYTES: u64 = 1500;

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Result<(Journal, Vec<Record>), OpenError> {
    let mut seen = Vec::new();
    let (recovered, _) = <Journal>::open(dir, options(), |record| seen.push(record.clone()))?;
    Ok((recovered.start(Box::new(|_| {}))?, seen))
}

fn file(dir: &Path, number: u32) -> PathBuf {
    dir.join("journal").join(segment_name(number))
}

fn files(dir: &Path) -> Vec<u32> {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut numbers: Vec<_> = names.filter_map(|path| segment_number(&path)).collect();
    numbers.sort_unstable();
    numbers
}

/// A closed journal of some segments; their numbers.
fn written(dir: &Path) -> Vec<u32> {
    let (journal, _) = open(dir).unwrap();
    for n in 0..20 {
        journal.append_blocking(vec![note(n)]).unwrap();
    }
    drop(journal);
    let numbers = files(&dir.join("journal"));
    assert!(numbers.len() > 3, "{numbers:?}");
    numbers
}

#[test]
fn records_are_read_across_segments() {
    let dir = TempDir::new().unwrap();
    let last = *written(dir.path()).last().unwrap();
    let (journal, seen) = open(dir.path()).unwrap();
    let reader = journal.reader();
    assert_eq!(seen.last().unwrap().place.segment, last);
    assert!(
        (1..)
            .zip(&seen)
            .all(|(sequence, record)| record.sequence == sequence)
    );
    let read = |from| {
        reader
            .read_from(from, None)
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
    };
    for (from, record) in seen.iter().enumerate() {
        assert_eq!(read(record.sequence), seen[from..]);
        assert_eq!(
            reader.read_at(record.sequence, record.place).unwrap(),
            *record
        );
        let begins = record.place.offset == 0 && record.place.segment > 1;
        assert_eq!(
            matches!(
                record.entry.event,
                LedgerEvent::SegmentBegun { snapshot: None }
            ),
            begins
        );
    }
    let notes = seen
        .iter()
        .filter(|record| !matches!(record.entry.event, LedgerEvent::SegmentBegun { .. }));
    assert_eq!(
        notes.map(|record| record.entry.clone()).collect::<Vec<_>>(),
        (0..20).map(note).collect::<Vec<_>>()
    );
    for segment in reader.segments() {
        let length = fs::metadata(file(dir.path(), segment.number))
            .unwrap()
            .len();
        assert!(segment.number == last || length >= SEGMENT_BYTES);
        assert_eq!(
            seen.iter()
                .find(|record| record.place.segment == segment.number)
                .unwrap()
                .sequence,
            segment.first
        );
    }
}

#[test]
fn damage_in_any_segment_stops_the_start_and_names_file_and_line() {
    let dir = TempDir::new().unwrap();
    for number in written(dir.path()) {
        let path = file(dir.path(), number);
        let bytes = fs::read(&path).unwrap();
        let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let mut flipped = bytes.clone();
        flipped[second + 40] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let Err(OpenError::Damaged { file, damage }) = open(dir.path()) else {
            panic!("{number} was not looked at")
        };
        assert_eq!(
            (file, damage.segment, damage.line, damage.flaw),
            (path.clone(), number, 2, Flaw::Hash)
        );
        fs::write(&path, &bytes).unwrap();
    }
    open(dir.path()).unwrap();
}

#[test]
fn only_the_last_segment_can_be_torn() {
    let dir = TempDir::new().unwrap();
    let numbers = written(dir.path());
    let (last, before) = (numbers[numbers.len() - 1], numbers[numbers.len() - 2]);
    let path = file(dir.path(), before);
    let bytes = fs::read(&path).unwrap();
    for left in [bytes.len() - 1, bytes.len() - 40] {
        fs::write(&path, &bytes[..left]).unwrap();
        assert!(
            matches!(open(dir.path()), Err(OpenError::Damaged { file, damage }) if file == path && damage.flaw == Flaw::Unterminated)
        );
    }
    let whole_line_less = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    fs::write(&path, &bytes[..whole_line_less]).unwrap();
    assert!(
        matches!(open(dir.path()), Err(OpenError::Damaged { damage, .. }) if damage.segment == last)
    );
    fs::write(&path, &bytes).unwrap();
    let torn = file(dir.path(), last);
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 40]).unwrap();
    let (recovered, recovery) = <Journal>::open(dir.path(), options(), |_| {}).unwrap();
    assert_eq!(recovery.torn.unwrap().segment, torn);
    drop(recovered);
}

#[test]
fn a_gap_stops_the_start() {
    let dir = TempDir::new().unwrap();
    written(dir.path());
    let gone = file(dir.path(), 2);
    let bytes = fs::read(&gone).unwrap();
    fs::remove_file(&gone).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Missing { file, .. }) if file == gone));
    fs::write(&gone, bytes).unwrap();
    // What is left when the oldest are lost begins as a shortened journal does, unless it begins in the middle.
    fs::remove_file(file(dir.path(), 1)).unwrap();
    let (journal, seen) = open(dir.path()).unwrap();
    assert_eq!(journal.reader().first(), seen[0].sequence);
    drop(journal);
    let bytes = fs::read(file(dir.path(), 2)).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    fs::write(file(dir.path(), 2), &bytes[second..]).unwrap();
    assert!(
        matches!(open(dir.path()), Err(OpenError::Damaged { damage, .. }) if matches!(damage.flaw, Flaw::Sequence { .. }))
    );
}

#[test]
fn a_segment_without_a_whole_record_is_begun_again() {
    let dir = TempDir::new().unwrap();
    let last = *written(dir.path()).last().unwrap();
    let expected = open(dir.path()).unwrap().1;
    for beginning in [&b""[..], b"{\"seq\":", &[0; 100]] {
        fs::write(file(dir.path(), last + 1), beginning).unwrap();
        fs::write(dir.path().join("journal/000042.snapshot"), b"of no segment").unwrap();
        let (journal, seen) = open(dir.path()).unwrap();
        assert_eq!(seen, expected);
        assert_eq!(journal.head(), expected.last().unwrap().head());
        assert!(!file(dir.path(), last + 1).exists());
    }
    let (journal, _) = open(dir.path()).unwrap();
    for n in 0..20 {
        journal.append_blocking(vec![note(n)]).unwrap();
    }
    drop(journal);
    assert!(open(dir.path()).unwrap().1.len() > expected.len() + 20);
}

#[test]
fn old_segments_go_to_the_archive_and_are_no_longer_read() {
    let dir = TempDir::new().unwrap();
    let archive = dir.path().join("archive");
    let numbers = written(dir.path());
    let old: Vec<_> = numbers[..2]
        .iter()
        .map(|number| fs::read(file(dir.path(), *number)).unwrap())
        .collect();
    let (journal, seen) = open(dir.path()).unwrap();
    let reader = journal.reader();
    let mut whole = reader.read_from(1, None).unwrap();
    whole.next().unwrap().unwrap();
    // A copy that was cut off by a crash is made again; another file is not overwritten.
    fs::create_dir(&archive).unwrap();
    fs::write(archive.join("000001.copying"), b"half").unwrap();
    fs::write(archive.join(segment_name(2)), b"another").unwrap();
    assert!(matches!(
        journal.retire(3, Some(&archive)),
        Err(OpenError::Io {
            action: "archive",
            ..
        })
    ));
    assert_eq!(
        (files(&archive), reader.first()),
        (vec![1, 2], reader.segments()[0].first)
    );
    assert_eq!(reader.segments()[0].number, 2);
    fs::remove_file(archive.join(segment_name(2))).unwrap();
    assert_eq!(journal.retire(3, Some(&archive)).unwrap(), [2]);
    assert_eq!(
        old,
        [1, 2].map(|number| fs::read(archive.join(segment_name(number))).unwrap())
    );

    let first = reader.first();
    let kept: Vec<_> = seen
        .iter()
        .filter(|record| record.sequence >= first)
        .cloned()
        .collect();
    assert_eq!(
        reader
            .read_from(1, None)
            .unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        kept
    );
    for record in &seen {
        match reader.read_at(record.sequence, record.place) {
            Ok(read) => assert!(read == *record && read.sequence >= first),
            Err(ReadError::Archived {
                sequence,
                first: told,
            }) => assert!(sequence < first && told == first),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(
        whole.any(|record| matches!(record, Err(ReadError::Archived { .. }))),
        "a reader on its way hears of it"
    );
    // The last segment always stays.
    journal.retire(u32::MAX, None).unwrap();
    assert_eq!(reader.segments().len(), 1);
    let head = journal.append_blocking(vec![note(99)]).unwrap().hash();
    drop(journal);
    let (journal, seen) = open(dir.path()).unwrap();
    assert_eq!(
        (journal.head().hash, seen.last().unwrap().entry.clone()),
        (head, note(99))
    );
}

/// Writes to the file that it was given and follows to no other.
struct OneFile(File);

impl Write for OneFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Storage for OneFile {
    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[test]
fn a_segment_that_cannot_be_begun_costs_nothing() {
    let dir = TempDir::new().unwrap();
    let (recovered, _) = <Journal>::open(dir.path(), options(), |_| {}).unwrap();
    let journal = recovered
        .start_with_storage(|file| Box::new(OneFile(file)), Box::new(|_| {}))
        .unwrap();
    for n in 0..20 {
        assert_eq!(
            journal.append_blocking(vec![note(n)]).unwrap().sequence(),
            n + 1
        );
        assert_eq!(files(&dir.path().join("journal")), [1]);
    }
    drop(journal);
    assert_eq!(open(dir.path()).unwrap().1.len(), 20);
}
