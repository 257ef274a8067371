//! The directory: which person an opaque steward id stands for. The only place that knows people's
//! names; it is a file of its own, so that a name can be erased and every proof stays valid.

use std::{collections::BTreeMap, path::PathBuf};

use crate::base::{
    ids::StewardId,
    json,
    secret_file::{SecretFileError, read_secret, write_secret},
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
}

impl Directory {
    pub(super) fn open(path: PathBuf) -> Result<Self, DirectoryError> {
        let names = if path.exists() {
            let text = read_secret(&path)?;
            let content = |detail: json::JsonError| DirectoryError::Content {
                path: path.display().to_string(),
                detail: detail.to_string(),
            };
            json::parse_as(text.as_bytes(), MAX_DIRECTORY_BYTES).map_err(content)?
        } else {
            BTreeMap::new()
        };
        Ok(Self { path, names })
    }

    pub(super) fn name(&self, steward: &StewardId) -> Option<&str> {
        self.names.get(steward).map(String::as_str)
    }

    /// Who is meant by `text`: an opaque id as it is, or a person's name.
    pub(super) fn find(&self, text: &str) -> Option<StewardId> {
        if let Ok(id) = text.parse() {
            return Some(id);
        }
        self.names.iter().find(|(_, name)| *name == text).map(|(id, _)| id.clone())
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
        write_secret(&self.path, &text)?;
        self.names = names;
        Ok(())
    }
}

const MAX_DIRECTORY_BYTES: usize = 60 * 1024;
