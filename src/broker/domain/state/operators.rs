//! Operators, as the records describe them.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::domain::event::Role;
use hallpass_core::base::time::Timestamp;

/// An operator, as in the records.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperatorEntry {
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) expires_at: Timestamp,
    /// Tokens issued up to then are refused.
    pub(crate) removed_at: Option<Timestamp>,
    /// The `iat` of its latest token.
    pub(crate) latest_issue: Timestamp,
}

impl OperatorEntry {
    /// The `iat` of a token made at `at`: tokens of a removed operator end with the second of the
    /// removal, so a new one begins after it.
    pub(crate) fn issue_time(before: Option<&Self>, at: Timestamp) -> Timestamp {
        let removed_at = before.and_then(|entry| entry.removed_at);
        let after_removal = removed_at.map(|at| at.floor_second().plus(Duration::from_secs(1)));
        after_removal.map_or(at.floor_second(), |after| after.max(at.floor_second()))
    }

    /// Whether it was made, or made again, since it was removed.
    pub(crate) fn is_accepted(&self) -> bool {
        self.removed_at
            .is_none_or(|removed_at| self.latest_issue > removed_at)
    }
}
