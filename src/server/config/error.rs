//! Why a configuration is refused.

use std::{net::SocketAddr, path::PathBuf};

use crate::server::config::origin::Origin;

/// A configuration that was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or with a key that there is not.
    #[error("{} line {line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// Values that are refused, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Values(Vec<Problem>),
    /// The listener's address is no URL for others.
    #[error("`issuer` must be set: others cannot reach the broker at `{0}` by a URL that is safe")]
    NoIssuer(SocketAddr),
}

/// One value that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` = `{given}` ({origin}): {detail}")]
pub struct Problem {
    /// The key.
    pub key: &'static str,
    /// The value, as text.
    pub given: String,
    /// Where it was given.
    pub origin: Origin,
    /// What was expected.
    pub detail: String,
}
