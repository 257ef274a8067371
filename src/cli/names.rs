//! Names of stewards beside their opaque ids, for people.

use std::collections::BTreeMap;

use crate::cli::{output::Output, session::Session};
use hallpass_core::base::ids::StewardId;

/// The names that the broker tells this operator.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<StewardId, String>);

impl Names {
    /// Asks for them; none where the operator may not read them, and none for programs.
    pub(super) async fn known_to(session: &Session, output: Output) -> Self {
        let mut names = BTreeMap::new();
        if output.is_json() {
            return Self(names);
        }
        for steward in session.stewards().await.unwrap_or_default() {
            // What cannot be read has no name here: its id is shown.
            if let Ok(steward) = steward.read()
                && let Some(name) = steward.name
            {
                names.insert(steward.steward, name);
            }
        }
        Self(names)
    }

    /// `alice (stw_…)`, or the id alone.
    pub(super) fn of(&self, steward: &StewardId) -> String {
        match self.0.get(steward) {
            Some(name) => format!("{name} ({steward})"),
            None => steward.to_string(),
        }
    }
}
