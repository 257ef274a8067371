//! What the command line says over the other layers.

use std::{collections::BTreeMap, path::PathBuf};

/// What the command line says, before anything of it is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub(super) config: Option<PathBuf>,
    pub(super) flags: BTreeMap<&'static str, String>,
}

impl Overrides {
    /// Nothing but the file: `--config`.
    #[must_use]
    pub fn new(config: Option<PathBuf>) -> Self {
        Self {
            config,
            flags: BTreeMap::new(),
        }
    }

    /// With the value of a flag, such as `--listen`, when it is given. The table of [`SETTINGS`](crate::server::config::SETTINGS) says which there are.
    #[must_use]
    pub fn flag(mut self, flag: &'static str, value: Option<&str>) -> Self {
        self.flags
            .extend(value.map(|value| (flag, value.to_owned())));
        self
    }
}
