//! What a backup says of itself: the file `backup.json`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ledger::record::Head;
use hallpass_core::base::{digest::Digest, ids::IssuerUri, time::Timestamp};

/// What a backup holds, and of which broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    /// The format of this document and of the layout: 1.
    pub v: u64,
    /// The version of hallpass that made it.
    pub hallpass: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// The issuer under which the broker recorded its last start.
    pub issuer: IssuerUri,
    /// How far the journal goes.
    pub journal: Extent,
    /// How far the chain of decisions goes; absent when there was none, or it was damaged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<Extent>,
    /// Whether the key files are encrypted; under what is never in a backup.
    pub keys_encrypted: bool,
    /// Every file, by its name in the backup.
    pub files: BTreeMap<String, BackupFile>,
}

/// How far a chain goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// The last record's number.
    pub sequence: u64,
    /// The last record's hash.
    pub hash: Digest,
    /// When the last record was decided; absent for an empty chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

impl Extent {
    /// The last record.
    #[must_use]
    pub const fn head(&self) -> Head {
        Head {
            sequence: self.sequence,
            hash: self.hash,
        }
    }
}

/// A file of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Digest,
}

impl BackupFile {
    /// Reads the file at `path`; every number of bytes is given to `read`.
    pub(super) fn of(path: &Path, read: &dyn Fn(u64)) -> io::Result<Self> {
        Self::copied(&mut File::open(path)?, &mut io::sink(), read)
    }

    /// Copies what `from` has left into `to`, and says what that was.
    pub(super) fn copied(
        from: &mut dyn Read,
        to: &mut dyn Write,
        copied: &dyn Fn(u64),
    ) -> io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut total: u64 = 0;
        loop {
            let count = from.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            hasher.update(bytes);
            to.write_all(bytes)?;
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            total = total.saturating_add(count);
            copied(count);
        }
        Ok(Self {
            bytes: total,
            sha256: Digest::from_bytes(hasher.finalize().into()),
        })
    }
}

/// Where a file of a backup belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the data directory.
    Data(PathBuf),
    /// In the policy directory, by its name.
    Policy(PathBuf),
    /// The configuration file, which is not restored: it says where things are on this machine.
    Configuration,
}

impl Place {
    /// Where the file of this name in a backup belongs; `None` for a name that no backup holds.
    pub(super) fn of(name: &str) -> Option<Self> {
        // SECURITY: the names come from a file; none leads out of the directories that are restored to.
        let parts: Vec<&str> = name.split('/').collect();
        let is_plain = |part: &&str| {
            let mut components = Path::new(part).components();
            matches!(components.next(), Some(Component::Normal(_)))
                && components.next().is_none()
                && !part.starts_with('.')
                && !part.contains(['\\', '\0'])
        };
        if !parts.iter().all(is_plain) {
            return None;
        }
        match parts.as_slice() {
            [CONFIGURATION] => Some(Self::Configuration),
            [POLICY, file] => Some(Self::Policy(PathBuf::from(file))),
            [DATA, file @ ("stewards.json" | "operator.token")] => {
                Some(Self::Data(PathBuf::from(file)))
            }
            [DATA, directory @ ("keys" | "journal"), file] => {
                Some(Self::Data([*directory, *file].iter().collect()))
            }
            [DATA, "decisions", "journal", file] => {
                Some(Self::Data(["decisions", "journal", *file].iter().collect()))
            }
            _ => None,
        }
    }
}

/// The file that says what a backup holds. It is written last: a backup without it was interrupted.
pub const MANIFEST: &str = "backup.json";

/// The configuration file in a backup.
pub const CONFIGURATION: &str = "hallpass.toml";

pub(super) const DATA: &str = "data";
pub(super) const POLICY: &str = "policy";
const BUFFER_BYTES: usize = 256 * 1024;
pub(super) const FORMAT: u64 = 1;
pub(super) const MAX_MANIFEST_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_place_of_such_a_file_and_nowhere_else() {
        let data = |path: &str| Some(Place::Data(PathBuf::from(path)));
        assert_eq!(Place::of("data/stewards.json"), data("stewards.json"));
        assert_eq!(Place::of("data/keys/root-1.key"), data("keys/root-1.key"));
        assert_eq!(
            Place::of("data/decisions/journal/000001.jsonl"),
            data("decisions/journal/000001.jsonl")
        );
        assert_eq!(
            Place::of("policy/a.toml"),
            Some(Place::Policy(PathBuf::from("a.toml")))
        );
        assert_eq!(Place::of("hallpass.toml"), Some(Place::Configuration));
        for name in [
            "",
            "/etc/passwd",
            "data",
            "data/index/db",
            "data/keys/../../x",
            "data/keys/..",
            "data//keys/x",
            "data/keys/.x",
            "data/keys/a\\b",
            "data/keys/a/b",
            "policy/../x",
            "policy/a/b.toml",
            "backup.json",
        ] {
            assert_eq!(Place::of(name), None, "{name}");
        }
    }
}
