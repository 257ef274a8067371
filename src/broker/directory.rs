//! The directory: which person an opaque steward id stands for. The only place that knows people's
//! names; it is a file of its own, so that a name can be erased and every proof stays valid.

use std::{collections::BTreeMap, path::PathBuf};

use crate::base::{
    ids::StewardId,
    json,
    secret_file::{SecretFileError, read_secret_at_most, write_secret},
};

/// Names of stewards, by opaque id.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    names: BTreeMap<StewardId, String>,
}

/// The directory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The file.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Its content.
    #[error("`{path}` is not a directory of stewards: {detail}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// It holds as many names as can be read again at the next start.
    #[error("the directory of stewards is full: erase names that are not needed any more")]
    Full,
}

impl Directory {
    pub(super) fn open(path: PathBuf) -> Result<Self, DirectoryError> {
        let names = if path.exists() {
            let text = read_secret_at_most(&path, u64::try_from(MAX_DIRECTORY_BYTES).unwrap_or(u64::MAX))?;
            let content = |detail: json::JsonError| DirectoryError::Content {
                path: path.display().to_string(),
                detail: detail.to_string(),
            };
            // A file of our own, that nobody else may write: bounded by its length alone.
            json::parse_signed_as(text.as_bytes(), MAX_DIRECTORY_BYTES).map_err(content)?
        } else {
            BTreeMap::new()
        };
        Ok(Self { path, names })
    }

    pub(super) fn name(&self, steward: &StewardId) -> Option<&str> {
        self.names.get(steward).map(String::as_str)
    }

    /// Who of those that count is meant by `text`: an opaque id, or a person's name. A name may stand
    /// at an id that no record knows, when its record could not be written.
    pub(super) fn find(&self, text: &str, counts: impl Fn(&StewardId) -> bool) -> Option<StewardId> {
        if let Ok(id) = text.parse() {
            return Some(id).filter(counts);
        }
        let mut named = self.names.iter().filter(|(_, name)| *name == text);
        named.find(|(id, _)| counts(id)).map(|(id, _)| id.clone())
    }

    pub(super) fn set(&mut self, steward: StewardId, name: String) -> Result<(), DirectoryError> {
        let mut names = self.names.clone();
        names.insert(steward, name);
        self.replace(names)
    }

    pub(super) fn erase(&mut self, steward: &StewardId) -> Result<bool, DirectoryError> {
        let mut names = self.names.clone();
        let known = names.remove(steward).is_some();
        if known {
            self.replace(names)?;
        }
        Ok(known)
    }

    fn replace(&mut self, names: BTreeMap<StewardId, String>) -> Result<(), DirectoryError> {
        let content = |error: serde_json::Error| DirectoryError::Content {
            path: self.path.display().to_string(),
            detail: error.to_string(),
        };
        let text = serde_json::to_string_pretty(&names).map_err(content)?;
        if text.len() > MAX_DIRECTORY_BYTES {
            return Err(DirectoryError::Full);
        }
        write_secret(&self.path, &text)?;
        self.names = names;
        Ok(())
    }
}

/// Some ninety thousand stewards, even when every name is as long as a name may be.
const MAX_DIRECTORY_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn steward(number: u64) -> StewardId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        StewardId::from_random(bytes)
    }

    #[test]
    fn what_was_written_is_read_again_and_more_is_refused_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("stewards.json");
        let mut directory = Directory::open(path.clone()).unwrap();
        let many = (0..20_000).map(|number| (steward(number), format!("steward number {number}"))).collect();
        directory.replace(many).unwrap();
        let mut again = Directory::open(path.clone()).unwrap();
        assert_eq!(again.name(&steward(19_999)), Some("steward number 19999"));
        let full = again.set(steward(20_000), "x".repeat(MAX_DIRECTORY_BYTES));
        assert!(matches!(full, Err(DirectoryError::Full)), "{full:?}");
        assert_eq!(Directory::open(path).unwrap().names.len(), 20_000);
    }

    #[test]
    fn a_name_at_an_id_that_does_not_count_hides_no_other() {
        let home = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(home.path().join("stewards.json")).unwrap();
        for number in [1, 2] {
            directory.set(steward(number), "alice".to_owned()).unwrap();
        }
        for number in [1, 2] {
            let found = directory.find("alice", |id| *id == steward(number));
            assert_eq!(found, Some(steward(number)));
        }
    }
}
