//! Journal files: any bytes, a journal with changed bytes, and one whose changed entries were
//! chained anew.

use std::{fs, path::Path};

use hallpass_broker::{
    domain::event::Subject,
    ledger::file::{Journal, OpenError, Options, Record, Recovery},
};
use hallpass_core::base::digest::Digest;
use serde_json::Value;

use crate::fuzz::{corpus, fuzz, input::Input};
use support::records;
use support::records::AppendBlocking as _;

struct JournalTarget {
    files: Vec<Vec<u8>>,
    entries: Vec<Value>,
    /// The records of the first file.
    records: Vec<Record>,
}

impl JournalTarget {
    fn new() -> Self {
        let files = corpus::contents("journal");
        let lines = |file: &Vec<u8>| {
            String::from_utf8_lossy(file)
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let entry = |line: String| {
            let mut entry: Value = serde_json::from_str(&line).unwrap();
            for name in ["seq", "prev", "hash"] {
                entry.as_object_mut().unwrap().remove(name);
            }
            entry
        };
        let entries = lines(&files[0]).into_iter().map(entry).collect();
        let records = Opened::of(&files[0]).answer.unwrap().1;
        assert!(records.len() > 5);
        Self {
            files,
            entries,
            records,
        }
    }
}

/// What opening a journal with these bytes said, and the bytes that then were in the file.
struct Opened {
    answer: Result<(Recovery, Vec<Record>), OpenError>,
    left: Vec<u8>,
}

impl Opened {
    fn of(bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let segment = directory.path().join("journal/000001.jsonl");
        fs::create_dir(segment.parent().unwrap()).unwrap();
        fs::write(&segment, bytes).unwrap();
        let answer = Self::open(directory.path());
        let left = fs::read(&segment).unwrap();
        match &answer {
            Ok((recovery, records)) => {
                let kept = recovery
                    .torn
                    .as_ref()
                    .map_or(Vec::new(), |torn| fs::read(&torn.kept_at).unwrap());
                assert_eq!([left.as_slice(), &kept].concat(), bytes, "bytes were lost");
                assert_eq!(recovery.head.sequence, records.len() as u64);
                assert!(
                    (1..)
                        .zip(records)
                        .all(|(number, record)| record.sequence == number)
                );
                // What was mended needs no mending.
                let (again, same) = Self::open(directory.path()).unwrap();
                assert!(again.torn.is_none() && again.head == recovery.head && same == *records);
            }
            Err(_) => assert_eq!(left, bytes, "a journal that was refused was changed"),
        }
        Self { answer, left }
    }

    fn open(directory: &Path) -> Result<(Recovery, Vec<Record>), OpenError> {
        let mut records = Vec::new();
        let (_recovered, recovery) = <Journal>::open(directory, Options::default(), |record| {
            records.push(record.clone())
        })?;
        Ok((recovery, records))
    }
}

/// The lines of these entries, each with its number, its predecessor's hash and its own.
fn chained(entries: &[Value]) -> Vec<u8> {
    let (mut lines, mut prev) = (String::new(), Digest::ZERO);
    for (number, entry) in (1..).zip(entries) {
        let members = entry.to_string();
        let members = members
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or(&members)
            .to_owned();
        let line = format!("{{\"seq\":{number},\"prev\":\"{prev}\",{members}");
        prev = Digest::of(line.as_bytes());
        lines += &format!("{line},\"hash\":\"{prev}\"}}\n");
    }
    lines.into_bytes()
}

#[test]
fn the_seeds_are_good() {
    if corpus::is_to_be_written() {
        write_seeds();
    }
    let whole = JournalTarget::new().records;
    let opened = |name: &str| {
        Opened::of(&fs::read(corpus::directory("journal").join(name)).unwrap())
            .answer
            .unwrap()
    };
    let (recovery, records) = opened("torn.jsonl");
    assert!(recovery.torn.is_some() && records == whole[..whole.len() - 1]);
    assert!(opened("a_whole.jsonl").0.torn.is_none());
}

#[test]
fn a_journal_is_opened_with_the_records_that_were_written_or_not_at_all() {
    let seeds = corpus::files("journal").len();
    fuzz!(
        "journal",
        seeds,
        JournalTarget::new(),
        |setup: &mut JournalTarget, input: &mut Input<'_>| {
            // Nobody can make a record of their own that continues the chain.
            let bytes = input.seed(&setup.files);
            let opened = Opened::of(&bytes);
            assert!(bytes.starts_with(&opened.left));
            if let Ok((_, records)) = opened.answer {
                assert!(
                    setup.records.starts_with(&records),
                    "a record that nobody wrote"
                );
            }
            let mut entries = setup.entries.clone();
            let at = input.below(entries.len());
            entries[at] = input.json_seed(&setup.entries);
            if let Ok((recovery, records)) = Opened::of(&chained(&entries)).answer {
                assert!(records.len() == entries.len() && recovery.torn.is_none());
            }
            Opened::of(input.rest());
        }
    );
}

/// Writes the seed anew, one record of each kind that the tests know.
fn write_seeds() {
    let directory = tempfile::tempdir().unwrap();
    let (recovered, _) = <Journal>::open(directory.path(), Options::default(), |_| {}).unwrap();
    let journal = recovered.start(Box::new(|_| {})).unwrap();
    let entries = [
        records::agent_entry(serde_json::json!({"kty": "OKP"})),
        records::opened(1, "bot", 1, "count the beans"),
        records::issued(1, 1, "https://a.example/mcp"),
        records::delegated(1, &[1, 2], "scout"),
        records::refused("bot", Some(1), "no grant names `transfer`"),
        records::revoked(Subject::RevocationId(records::block(1))),
        records::revoked(Subject::Task(records::id("tsk", 1))),
    ];
    for entry in entries {
        journal.append_blocking(vec![entry]).unwrap();
    }
    drop(journal);
    let bytes = fs::read(directory.path().join("journal/000001.jsonl")).unwrap();
    let to = corpus::directory("journal");
    fs::create_dir_all(&to).unwrap();
    fs::write(to.join("a_whole.jsonl"), &bytes).unwrap();
    fs::write(to.join("torn.jsonl"), &bytes[..bytes.len() - 40]).unwrap();
}
