//! Snapshots: what all records up to one add up to, in named parts, so that a start need not read them.
//!
//! A snapshot is a file beside the segment that it was taken for. The segment's first record holds its
//! digest, so it is as trustworthy as the chain. Its first line names the record that it was taken after;
//! each further line is an object with one member: a part's name and its value.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};

use crate::ledger::record::Head;
use hallpass_core::base::json;

/// What records add up to, in named parts; each is a JSON value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    parts: BTreeMap<String, String>,
    /// Whether the records before it are all kept.
    is_dispensable: bool,
}

/// Takes a snapshot of everything that was applied so far; called while nothing is being applied.
pub type TakeSnapshot = Box<dyn FnMut() -> Result<Snapshot, SnapshotError> + Send>;

/// Why a snapshot was not made, or not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SnapshotError(String);

impl SnapshotError {
    /// With what is wrong, in words.
    #[must_use]
    pub fn new(detail: impl fmt::Display) -> Self {
        Self(detail.to_string())
    }
}

impl Snapshot {
    /// Adds the part `name`, lower-case letters and underscores, in place of an earlier one.
    ///
    /// # Errors
    ///
    /// Refuses another kind of name, and what cannot be written as JSON.
    pub fn set<T: Serialize>(&mut self, name: &str, part: &T) -> Result<(), SnapshotError> {
        if !is_name(name) {
            return Err(SnapshotError(format!(
                "`{name}` is no name for a part of a snapshot"
            )));
        }
        let text = serde_json::to_string(part)
            .map_err(|error| SnapshotError(format!("part `{name}`: {error}")))?;
        self.parts.insert(name.to_owned(), text);
        Ok(())
    }

    /// The part `name`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the part does not have the shape of `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SnapshotError> {
        let part = self
            .parts
            .get(name)
            .map(|text| json::parse_own_as(text))
            .transpose();
        part.map_err(|error| SnapshotError(format!("part `{name}`: {error}")))
    }

    /// Whether all records that it adds up are kept, so that a start could do without it.
    #[must_use]
    pub const fn is_dispensable(&self) -> bool {
        self.is_dispensable
    }

    pub(super) const fn mark_dispensable(&mut self, is_dispensable: bool) {
        self.is_dispensable = is_dispensable;
    }

    /// The file of a snapshot taken after the record `head`.
    pub(super) fn to_bytes(&self, head: Head) -> Vec<u8> {
        let mut text = format!(
            "{{\"after\":{},\"hash\":\"{}\"}}\n",
            head.sequence, head.hash
        );
        for (name, part) in &self.parts {
            text.push_str("{\"");
            text.push_str(name);
            text.push_str("\":");
            text.push_str(part);
            text.push_str("}\n");
        }
        text.into_bytes()
    }

    /// Reads a file whose digest was checked, and that must have been taken after the record `head`.
    pub(super) fn from_bytes(bytes: Vec<u8>, head: Head) -> Result<Self, SnapshotError> {
        let text = String::from_utf8(bytes).map_err(SnapshotError::new)?;
        let mut lines = text.lines();
        let expected = format!("{{\"after\":{},\"hash\":\"{}\"}}", head.sequence, head.hash);
        if lines.next() != Some(&expected) {
            return Err(SnapshotError(format!("it was not taken after {head}")));
        }
        let part = |line: &str| {
            let (name, part) = line
                .strip_prefix("{\"")?
                .strip_suffix('}')?
                .split_once("\":")?;
            is_name(name).then(|| (name.to_owned(), part.to_owned()))
        };
        let parts = lines
            .map(|line| part(line).ok_or_else(|| SnapshotError::new("a line of it is no part")));
        Ok(Self {
            parts: parts.collect::<Result<_, _>>()?,
            is_dispensable: false,
        })
    }
}

/// Names only: parts hold what is private.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.parts.keys()).finish()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
