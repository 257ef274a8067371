//! Layers: file, environment and flags laid over the defaults, each value with its origin.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::server::config::{ConfigError, Fallback, Kind, Overrides, Problem, SETTINGS, Setting};
use hallpass_broker::identity::issuer::IssuerSettings;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing else was said.
    Default,
    /// A line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Every setting as text with its origin; what the text means is decided in one place, for all layers.
pub(super) struct RawConfig {
    values: BTreeMap<&'static str, (String, Origin)>,
    issuers: Vec<(IssuerSettings, Origin)>,
}

/// What a file says.
#[derive(Default)]
struct FileValues {
    values: BTreeMap<&'static str, (String, Origin)>,
    issuers: Vec<(IssuerSettings, Origin)>,
}

impl RawConfig {
    /// Lays the layers over each other.
    pub(super) fn gather(
        overrides: &Overrides,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        let named = overrides
            .config
            .clone()
            .or_else(|| environment(CONFIG_VARIABLE).map(PathBuf::from));
        let mut file = match named {
            Some(path) => read_file(&path)?,
            None if Path::new(DEFAULT_FILE).exists() => read_file(Path::new(DEFAULT_FILE))?,
            None => FileValues::default(),
        };
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            let flag = setting
                .flag
                .and_then(|flag| Some((overrides.value(setting.key)?, Origin::Flag(flag))));
            let variable = setting.variable();
            let from_environment =
                || environment(&variable).map(|text| (text, Origin::Environment(variable.clone())));
            let from_file = file.values.remove(setting.key);
            let fallback = || match setting.default {
                Fallback::Value(text) => Some((text.to_owned(), Origin::Default)),
                Fallback::Unset(_) => None,
            };
            if let Some(value) = flag
                .or_else(from_environment)
                .or(from_file)
                .or_else(fallback)
            {
                values.insert(setting.key, value);
            }
        }
        Ok(Self {
            values,
            issuers: file.issuers,
        })
    }

    /// The trusted issuers; only the file has them.
    pub(super) fn issuers(&self) -> &[(IssuerSettings, Origin)] {
        &self.issuers
    }

    pub(super) fn get(&self, key: &str) -> Option<&(String, Origin)> {
        self.values.get(key)
    }
}

fn read_file(path: &Path) -> Result<FileValues, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let line_at = |offset: usize| {
        text.bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
            .saturating_add(1)
    };
    let mut file: FileConfig = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_at(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let at = |offset| Origin::File {
        path: path.to_owned(),
        line: line_at(offset),
    };
    let issuers = std::mem::take(&mut file.oauth.issuer).into_iter();
    let issuers = issuers.map(|issuer| (at(issuer.span().start), issuer.into_inner()));
    let issuers = issuers.map(|(origin, issuer)| (issuer, origin)).collect();
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    for (key, value) in file.into_entries() {
        let Some(value) = value else { continue };
        let origin = at(value.span().start);
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        match value
            .into_inner()
            .into_text(setting.map_or(Kind::Text, |setting: &Setting| setting.kind))
        {
            Ok(text) => drop(values.insert(key, (text, origin))),
            Err((given, detail)) => problems.push(Problem {
                key,
                given,
                origin,
                detail: detail.to_owned(),
            }),
        }
    }
    if problems.is_empty() {
        Ok(FileValues { values, issuers })
    } else {
        Err(ConfigError::Values(problems))
    }
}

/// The file's shape. Leaves are read as any scalar, so that a value of another kind is reported
/// with its key and line like every other bad value.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileConfig {
    issuer: Leaf,
    listen: Leaf,
    admin_listen: Leaf,
    data_dir: Leaf,
    policy_dir: Leaf,
    dangerous_plain_http: Leaf,
    drain_timeout: Leaf,
    tls: FileTls,
    limits: FileLimits,
    keys: FileKeys,
    journal: FileJournal,
    oauth: FileOAuth,
    log: FileLog,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileTls {
    certificate: Leaf,
    private_key: Leaf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileLimits {
    body_bytes: Leaf,
    requests_per_second: Leaf,
    burst: Leaf,
    concurrent_requests: Leaf,
    connections: Leaf,
    request_timeout: Leaf,
    max_task_ttl: Leaf,
    max_pass_ttl: Leaf,
    decisions_bytes: Leaf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileKeys {
    rotation_overlap: Leaf,
    rotate_after: Leaf,
    passphrase_file: Leaf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileJournal {
    segment_bytes: Leaf,
    keep_for: Leaf,
    keep_bytes: Leaf,
    archive_dir: Leaf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileOAuth {
    token_ttl: Leaf,
    client_documents: Leaf,
    dynamic_registration: Leaf,
    dangerous_fetch_loopback: Leaf,
    issuer: Vec<Spanned<IssuerSettings>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct FileLog {
    format: Leaf,
    filter: Leaf,
}

type Leaf = Option<Spanned<toml::Value>>;

impl FileConfig {
    fn into_entries(self) -> [(&'static str, Leaf); 31] {
        [
            ("issuer", self.issuer),
            ("listen", self.listen),
            ("admin_listen", self.admin_listen),
            ("data_dir", self.data_dir),
            ("policy_dir", self.policy_dir),
            ("dangerous_plain_http", self.dangerous_plain_http),
            ("drain_timeout", self.drain_timeout),
            ("tls.certificate", self.tls.certificate),
            ("tls.private_key", self.tls.private_key),
            ("limits.body_bytes", self.limits.body_bytes),
            (
                "limits.requests_per_second",
                self.limits.requests_per_second,
            ),
            ("limits.burst", self.limits.burst),
            (
                "limits.concurrent_requests",
                self.limits.concurrent_requests,
            ),
            ("limits.connections", self.limits.connections),
            ("limits.request_timeout", self.limits.request_timeout),
            ("limits.max_task_ttl", self.limits.max_task_ttl),
            ("limits.max_pass_ttl", self.limits.max_pass_ttl),
            ("limits.decisions_bytes", self.limits.decisions_bytes),
            ("keys.rotation_overlap", self.keys.rotation_overlap),
            ("keys.rotate_after", self.keys.rotate_after),
            ("keys.passphrase_file", self.keys.passphrase_file),
            ("journal.segment_bytes", self.journal.segment_bytes),
            ("journal.keep_for", self.journal.keep_for),
            ("journal.keep_bytes", self.journal.keep_bytes),
            ("journal.archive_dir", self.journal.archive_dir),
            ("oauth.token_ttl", self.oauth.token_ttl),
            ("oauth.client_documents", self.oauth.client_documents),
            (
                "oauth.dynamic_registration",
                self.oauth.dynamic_registration,
            ),
            (
                "oauth.dangerous_fetch_loopback",
                self.oauth.dangerous_fetch_loopback,
            ),
            ("log.format", self.log.format),
            ("log.filter", self.log.filter),
        ]
    }
}

trait IntoText {
    fn into_text(self, kind: Kind) -> Result<String, (String, &'static str)>;
}

impl IntoText for toml::Value {
    fn into_text(self, kind: Kind) -> Result<String, (String, &'static str)> {
        match (kind, self) {
            (Kind::Text | Kind::Duration, Self::String(text)) => Ok(text),
            (Kind::Integer, Self::Integer(number)) => Ok(number.to_string()),
            (Kind::Boolean, Self::Boolean(truth)) => Ok(truth.to_string()),
            (Kind::Text, other) => Err((other.to_string(), "expected a text in quotes")),
            (Kind::Duration, other) => Err((
                other.to_string(),
                "expected a duration in quotes, such as \"10s\"",
            )),
            (Kind::Integer, other) => {
                Err((other.to_string(), "expected a whole number, without quotes"))
            }
            (Kind::Boolean, other) => {
                Err((other.to_string(), "expected true or false, without quotes"))
            }
        }
    }
}

/// The file that is read when it is there.
pub const DEFAULT_FILE: &str = "hallpass.toml";

/// The variable that names another file.
pub const CONFIG_VARIABLE: &str = "HALLPASS_CONFIG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_table_have_the_same_keys() {
        let file: Vec<_> = FileConfig::default()
            .into_entries()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let table: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        assert_eq!(file, table);
    }

    #[test]
    fn every_flag_of_the_table_can_be_overridden() {
        let all = Overrides::all_set_to("x");
        for setting in SETTINGS {
            assert_eq!(
                all.value(setting.key).is_some(),
                setting.flag.is_some(),
                "{}",
                setting.key
            );
            assert_eq!(
                Overrides::default().value(setting.key),
                None,
                "{}",
                setting.key
            );
        }
    }
}
