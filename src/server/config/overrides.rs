//! What the command line says over the other layers.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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

    /// The file that is read: the one that is named, or the default one when it is there.
    pub fn file(&self, environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
        let variable = || environment(CONFIG_VARIABLE).filter(|value| !value.is_empty());
        let named = self
            .config
            .clone()
            .or_else(|| variable().map(PathBuf::from));
        named.or_else(|| {
            let usual = Path::new(DEFAULT_FILE);
            usual.exists().then(|| usual.to_owned())
        })
    }

    /// With the value of a flag, such as `--listen`, when it is given. The table of [`SETTINGS`](crate::server::config::SETTINGS) says which there are.
    #[must_use]
    pub fn flag(mut self, flag: &'static str, value: Option<&str>) -> Self {
        self.flags
            .extend(value.map(|value| (flag, value.to_owned())));
        self
    }
}

/// The file that is read when it is there.
pub const DEFAULT_FILE: &str = "hallpass.toml";

/// The variable that names another file.
pub const CONFIG_VARIABLE: &str = "HALLPASS_CONFIG";
