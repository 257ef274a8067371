//! Keys of agents: files that are made, and public halves that are registered.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use crate::cli::{
    access::json_file,
    error::CliError,
    output::{Output, View},
};
use hallpass_broker::identity::{AgentKey, RegisteredKey};
use hallpass_core::base::ids::AgentId;

/// Where the public keys of an agent come from.
#[derive(Debug, Args)]
pub(super) struct KeySource {
    /// Make a new key and write it here, mode 0600; an existing file is never overwritten.
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    key_out: Option<PathBuf>,
    /// A public key (JWK: Ed25519, P-256, P-384 or RSA) that the agent has already; may be repeated.
    #[arg(long = "key", value_name = "JWKFILE")]
    keys: Vec<PathBuf>,
}

/// Makes a key for an agent, offline.
pub(super) fn make_key(agent: &AgentId, path: &Path, output: Output) -> Result<(), CliError> {
    let key = AgentKey::generate(agent.clone());
    key.create(path).map_err(CliError::failed)?;
    output.note(&format!(
        "the private key is in {}; what follows is public",
        path.display()
    ));
    let jwk = key.public_jwk();
    let fields = vec![("public key", jwk.to_string())];
    output.show(&jwk, View::Fields(fields))
}

impl KeySource {
    /// Whether keys are named at all.
    pub(super) const fn is_named(&self) -> bool {
        self.key_out.is_some() || !self.keys.is_empty()
    }

    /// The public keys to register. A key that is made is on disk before the broker hears of it, so
    /// that no agent is registered with a lost key.
    pub(super) fn public_keys(&self, agent: &AgentId) -> Result<Vec<Value>, CliError> {
        if let Some(path) = &self.key_out {
            let key = AgentKey::generate(agent.clone());
            key.create(path).map_err(CliError::failed)?;
            return Ok(vec![key.public_jwk()]);
        }
        self.keys.iter().map(|path| public_key(path)).collect()
    }

    /// The answer; when the broker said no, the key that was made for it is taken away again. When
    /// it is not known what the broker did, the key stays.
    pub(super) fn keep_if_needed<T>(&self, answer: Result<T, CliError>) -> Result<T, CliError> {
        match (answer, &self.key_out) {
            (Err(error), Some(path)) if error.code().is_some() => {
                let removed = fs::remove_file(path);
                let left = removed.err().map(|error| {
                    format!(
                        "`{}` is of no use and could not be removed: {error}",
                        path.display()
                    )
                });
                Err(match left {
                    Some(left) => error.hint(left),
                    None => error,
                })
            }
            (Err(error), Some(path)) => Err(error.hint(format!(
                "`{}` was made and kept: the agent may be registered with it",
                path.display()
            ))),
            (answer, _) => answer,
        }
    }

    pub(super) fn show(&self, output: Output) {
        if let Some(path) = &self.key_out {
            output.note(&format!(
                "the private key is in `{}` (mode 0600): give it to the agent only",
                path.display()
            ));
        }
    }
}

fn public_key(path: &Path) -> Result<Value, CliError> {
    let jwk = json_file(path)?;
    let key = RegisteredKey::from_jwk(&jwk)
        .map_err(|error| CliError::usage(format!("`{}`: {error}", path.display())))?;
    Ok(key.jwk().clone())
}
