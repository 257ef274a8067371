//! Layers: file, environment and flags laid over the defaults, each value with its origin.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::{Deserialize as _, de::IntoDeserializer as _};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::server::config::{
    error::{ConfigError, Problem},
    origin::Origin,
    overrides::Overrides,
    settings::{Fallback, Kind, SETTINGS, Setting, TRUSTED_ISSUERS},
};
use hallpass_broker::identity::issuer::IssuerSettings;

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
        let mut file = match overrides.file(&environment) {
            Some(path) => read_file(&path)?,
            None => FileValues::default(),
        };
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            let flag = setting
                .flag
                .and_then(|flag| Some((overrides.flags.get(flag)?.clone(), Origin::Flag(flag))));
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
    let syntax = |error: &toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        line: line_at(error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    };
    let table = DeTable::parse(&text).map_err(|error| syntax(&error))?;
    let mut found = Found::default();
    found
        .table("", table.into_inner())
        .map_err(|wrong| match wrong {
            Wrong::Value(error) => syntax(&error),
            Wrong::Key { offset, message } => ConfigError::Syntax {
                path: path.to_owned(),
                line: line_at(offset),
                message,
            },
        })?;
    let at = |offset| Origin::File {
        path: path.to_owned(),
        line: line_at(offset),
    };
    let issuers = found.issuers.into_iter();
    let issuers = issuers.map(|issuer| (at(issuer.span().start), issuer.into_inner()));
    let directory = path.parent().unwrap_or(Path::new(""));
    let issuers = issuers.map(|(origin, issuer)| {
        let beside = |path: Option<PathBuf>| path.map(|path| directory.join(path));
        let issuer = IssuerSettings {
            root_certificates: beside(issuer.root_certificates),
            sign_in_secret_file: beside(issuer.sign_in_secret_file),
            ..issuer
        };
        (issuer, origin)
    });
    let issuers = issuers.collect();
    let mut values = BTreeMap::new();
    let mut problems = Vec::new();
    for (setting, value) in found.values {
        let origin = at(value.span().start);
        match value.into_inner().into_text(setting.kind) {
            Ok(text) => {
                let text = match setting.kind {
                    Kind::File if !text.is_empty() => {
                        directory.join(text).to_string_lossy().into_owned()
                    }
                    _ => text,
                };
                values.insert(setting.key, (text, origin));
            }
            Err((given, detail)) => problems.push(Problem {
                key: setting.key,
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

/// What stands in a file, in the file's order.
///
/// A value of another kind than its setting's is kept, so that it is reported with its key and line like every other
/// bad value.
#[derive(Default)]
struct Found {
    values: Vec<(&'static Setting, Spanned<toml::Value>)>,
    issuers: Vec<Spanned<IssuerSettings>>,
}

/// What makes a file unreadable.
enum Wrong {
    Value(toml::de::Error),
    Key { offset: usize, message: String },
}

impl Found {
    /// Reads the table whose settings begin with `prefix`.
    fn table(&mut self, prefix: &str, table: DeTable<'_>) -> Result<(), Wrong> {
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            // SECURITY: `"limits.body_bytes"` in quotes would be the setting a second time.
            if name.as_ref().contains('.') {
                return Err(unknown(&name, prefix));
            }
            let key = format!("{prefix}{}", name.as_ref());
            if let Some(setting) = Setting::named(&key) {
                let span = value.span();
                let value = toml::Value::deserialize(value.into_deserializer());
                let value = value.map_err(Wrong::Value)?;
                self.values.push((setting, Spanned::new(span, value)));
            } else if key == TRUSTED_ISSUERS {
                let issuers = Vec::deserialize(value.into_deserializer());
                self.issuers = issuers.map_err(Wrong::Value)?;
            } else {
                let inner = format!("{key}.");
                let offset = value.span().start;
                match value.into_inner() {
                    DeValue::Table(table) if names_below(&inner).next().is_some() => {
                        self.table(&inner, table)?;
                    }
                    _ if names_below(&inner).next().is_some() => {
                        let message = format!("`{key}` is a table");
                        return Err(Wrong::Key { offset, message });
                    }
                    _ => return Err(unknown(&name, prefix)),
                }
            }
        }
        Ok(())
    }
}

/// The names that stand directly in the table whose settings begin with `prefix`.
fn names_below(prefix: &str) -> impl Iterator<Item = &'static str> {
    let keys = SETTINGS.iter().map(|setting| setting.key);
    let below = keys
        .chain([TRUSTED_ISSUERS])
        .filter_map(move |key| key.strip_prefix(prefix));
    below.map(|rest| rest.split('.').next().unwrap_or(rest))
}

/// SECURITY: the key and never its value, which may be a secret in the wrong place.
fn unknown(name: &Spanned<Cow<'_, str>>, prefix: &str) -> Wrong {
    let known: BTreeSet<_> = names_below(prefix)
        .map(|name| format!("`{name}`"))
        .collect();
    let known: Vec<_> = known.into_iter().collect();
    Wrong::Key {
        offset: name.span().start,
        message: format!(
            "unknown field `{}`, expected one of {}",
            name.as_ref(),
            known.join(", ")
        ),
    }
}

trait IntoText {
    fn into_text(self, kind: Kind) -> Result<String, (String, &'static str)>;
}

impl IntoText for toml::Value {
    fn into_text(self, kind: Kind) -> Result<String, (String, &'static str)> {
        match (kind, self) {
            (Kind::Text | Kind::File | Kind::Duration { .. }, Self::String(text)) => Ok(text),
            (Kind::Integer { .. }, Self::Integer(number)) => Ok(number.to_string()),
            (Kind::Boolean, Self::Boolean(truth)) => Ok(truth.to_string()),
            (Kind::Text | Kind::File, other) => {
                Err((other.to_string(), "expected a text in quotes"))
            }
            (Kind::Duration { .. }, other) => Err((
                other.to_string(),
                "expected a duration in quotes, such as \"10s\"",
            )),
            (Kind::Integer { .. }, other) => {
                Err((other.to_string(), "expected a whole number, without quotes"))
            }
            (Kind::Boolean, other) => {
                Err((other.to_string(), "expected true or false, without quotes"))
            }
        }
    }
}
