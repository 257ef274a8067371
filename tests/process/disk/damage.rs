//! Damage at random places of journal and index: everything is there again, or the start is refused and
//! names the place. Never an answer that is wrong, and never silence.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hallpass_broker::{
    domain::event::{Entry, Subject},
    ledger::{
        file::{Journal, OpenError, Options, Record},
        views::{Index, IndexError},
    },
};
use tempfile::TempDir;

use support::records::AppendBlocking as _;
use support::records::{block, delegated, issued, opened, refused, revoked};

#[test]
fn damage_anywhere_is_recovered_from_or_refused_by_its_place() {
    let sound = TempDir::new().unwrap();
    let truth = write(sound.path());
    let files = files_below(sound.path());
    let mut seen = Seen::default();
    for place in 0..places() {
        let dir = TempDir::new().unwrap();
        copy(sound.path(), dir.path());
        let damage = Damage::at(place, sound.path(), &files);
        damage.apply(dir.path());
        seen.note(
            &damage,
            outcome(dir.path(), &truth).unwrap_or_else(|why| panic!("{damage:?}: {why}")),
        );
    }
    eprintln!("{seen:?}");
    assert!(
        seen.refused > 0 && seen.rebuilt > 0 && seen.unharmed > 0,
        "{seen:?}"
    );
}

/// How often what came of it.
#[derive(Debug, Default)]
struct Seen {
    refused: usize,
    rebuilt: usize,
    unharmed: usize,
}

/// What came of one damage.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The start names the file.
    Refused(PathBuf),
    /// The index was built anew, and that is told.
    Rebuilt,
    /// Everything is there.
    Unharmed,
}

impl Seen {
    fn note(&mut self, damage: &Damage, outcome: Outcome) {
        let of_journal = damage.file.starts_with("journal");
        match outcome {
            Outcome::Refused(file) => {
                assert!(
                    of_journal && file.ends_with(&damage.file),
                    "{damage:?} is refused as {}",
                    file.display()
                );
                self.refused += 1;
            }
            Outcome::Rebuilt => self.rebuilt += 1,
            // A byte may have become what it was before, and the marker is made again when it is gone; no
            // other damage to the journal passes.
            Outcome::Unharmed => {
                let is_remade =
                    damage.file.ends_with("format") && matches!(damage.kind, Kind::Delete);
                assert!(
                    !of_journal || damage.is_none || is_remade,
                    "{damage:?} was not noticed"
                );
                self.unharmed += 1;
            }
        }
    }
}

/// Opens what is left, as a broker does, and compares every answer with the truth.
fn outcome(dir: &Path, truth: &[Record]) -> Result<Outcome, String> {
    let mut records = Vec::new();
    let opened = <Journal>::open(dir, Options::default(), |record| {
        records.push(record.clone())
    });
    let (recovered, recovery) = match opened {
        Ok(opened) => opened,
        Err(
            OpenError::Damaged { file, .. }
            | OpenError::Missing { file, .. }
            | OpenError::Unknown { file },
        ) => {
            return Ok(Outcome::Refused(file));
        }
        Err(other) => return Err(format!("refused without a place: {other}")),
    };
    if records[..] != truth[..records.len()] {
        return Err("records that were never written".to_owned());
    }
    let reader = recovered.reader();
    let (index, found) = match Index::open(dir, &reader) {
        Ok(opened) => opened,
        Err(IndexError::Ahead { .. }) => {
            return Ok(Outcome::Refused(dir.join("journal/000001.jsonl")));
        }
        Err(other) => return Err(format!("the index: {other}")),
    };
    // The index knows every record, so even a last line that looks like an interrupted write is missed.
    if records.len() < truth.len() || recovery.torn.is_some() {
        return Err(format!(
            "{} records of {} are enough to start with",
            records.len(),
            truth.len()
        ));
    }
    let anew = TempDir::new().unwrap();
    let (anew, _) = Index::open(anew.path(), &reader).map_err(|error| error.to_string())?;
    if index.dump().map_err(|error| error.to_string())? != anew.dump().unwrap() {
        return Err("the index answers otherwise than one that is built anew".to_owned());
    }
    Ok(if found.rebuilt.is_some() {
        Outcome::Rebuilt
    } else {
        Outcome::Unharmed
    })
}

/// One damage, the same for the same number.
#[derive(Debug)]
struct Damage {
    /// Below the data directory.
    file: PathBuf,
    kind: Kind,
    /// Whether the bytes are what they were.
    is_none: bool,
}

#[derive(Debug)]
enum Kind {
    Flip { at: u64, bit: u8 },
    Truncate { to: u64 },
    Zero { at: u64, bytes: usize },
    Delete,
}

impl Damage {
    fn at(place: u64, sound: &Path, files: &[PathBuf]) -> Self {
        let mut chance = Chance(place);
        // The journal, as often as everything else.
        let journal = PathBuf::from("journal/000001.jsonl");
        let file = if chance.below(2) == 0 {
            journal
        } else {
            files[chance.below(files.len() as u64) as usize].clone()
        };
        let before = fs::read(sound.join(&file)).unwrap();
        let length = (before.len() as u64).max(1);
        let at = chance.below(length);
        let kind = match chance.below(20) {
            0 => Kind::Delete,
            1..4 => Kind::Truncate { to: at },
            4..7 => Kind::Zero {
                at,
                bytes: (chance.below(512) + 1).min(length - at) as usize,
            },
            _ => Kind::Flip {
                at,
                bit: chance.below(8) as u8,
            },
        };
        let is_none = match kind {
            Kind::Zero { at, bytes } => before
                .iter()
                .skip(at as usize)
                .take(bytes)
                .all(|byte| *byte == 0),
            _ => before.is_empty(),
        };
        Self {
            file,
            kind,
            is_none,
        }
    }

    fn apply(&self, dir: &Path) {
        let path = dir.join(&self.file);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        match self.kind {
            Kind::Flip { at, bit } => {
                let mut byte = [0];
                if file.read_at(&mut byte, at).unwrap() == 1 {
                    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
                }
            }
            Kind::Truncate { to } => file.set_len(to).unwrap(),
            Kind::Zero { at, bytes } => {
                let there = file.metadata().unwrap().len();
                file.write_all_at(&vec![0; bytes.min((there - at.min(there)) as usize)], at)
                    .unwrap();
            }
            Kind::Delete => fs::remove_file(path).unwrap(),
        }
    }
}

/// SplitMix64: the same numbers everywhere and always.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A journal and its index, closed; the records.
fn write(dir: &Path) -> Vec<Record> {
    let (recovered, _) = <Journal>::open(dir, Options::default(), |_| {}).unwrap();
    let index = Arc::new(Index::open(dir, &recovered.reader()).unwrap().0);
    let applied = Arc::clone(&index);
    let journal = recovered
        .start(Box::new(move |records| applied.apply(records).unwrap()))
        .unwrap();
    for n in 0..60 {
        journal.append_blocking(story(n)).unwrap();
    }
    index.flush().unwrap();
    let records = journal
        .reader()
        .read_from(1, None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    drop(journal);
    records
}

fn story(n: u64) -> Vec<Entry> {
    vec![
        opened(n, "bot", n % 3, "pay the bills"),
        issued(n, 10 * n, "https://a.example/mcp"),
        delegated(n, &[10 * n, 10 * n + 1], "helper"),
        refused("scout", Some(n), "no grant gives it"),
        revoked(Subject::RevocationId(block(10 * n))),
    ]
}

/// Every file, below `dir`.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(dir.join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                directories.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.retain(|file| file != Path::new("lock"));
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}

/// 50 in every test run; `HALLPASS_DAMAGED_PLACES=1000` for the long one.
fn places() -> u64 {
    std::env::var("HALLPASS_DAMAGED_PLACES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(50)
}
