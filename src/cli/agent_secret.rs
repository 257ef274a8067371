//! `hallpass agent secret`: client secrets, for programs that know OAuth and no keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    agent::{path, show},
    client::{Bearer, Client},
    error::CliError,
    output::Output,
};
use crate::{
    base::{ids::AgentId, secret_file::write_secret},
    journal::client::SecretId,
};

#[derive(Debug, Subcommand)]
pub(super) enum Secrets {
    /// Make another secret, of two at most; the old one stays good until it is removed.
    #[command(after_help = "Example:\n  hallpass agent secret add build-bot --secret-out build-bot.secret")]
    Add {
        /// The agent's id.
        agent: AgentId,
        #[command(flatten)]
        place: SecretPlace,
    },
    /// Remove a secret; passes that were given for it live on.
    #[command(after_help = "Example:\n  hallpass agent secret remove build-bot 0123456789abcdef")]
    Remove {
        /// The agent's id.
        agent: AgentId,
        /// The secret's id, as `hallpass agent show` lists it.
        secret: SecretId,
    },
}

/// Where a secret goes.
#[derive(Debug, Args)]
pub(super) struct SecretPlace {
    /// Write the secret here, mode 0600, instead of showing it.
    #[arg(long, value_name = "FILE")]
    secret_out: Option<PathBuf>,
}

impl Secrets {
    pub(super) async fn run(self, (client, bearer): (&Client, &Bearer), output: Output) -> Result<(), CliError> {
        match self {
            Self::Add { agent, place } => {
                let view = client.post(&format!("{}/secrets", path(&agent)), &json!({}), bearer).await?;
                place.show(view, output)
            }
            Self::Remove { agent, secret } => {
                show(&client.delete(&format!("{}/secrets/{secret}", path(&agent)), bearer).await?, output)
            }
        }
    }
}

impl SecretPlace {
    pub(super) const fn is_named(&self) -> bool {
        self.secret_out.is_some()
    }

    /// Shows an agent with the secret that was just made for it, or puts the secret into its file.
    pub(super) fn show(&self, mut view: Value, output: Output) -> Result<(), CliError> {
        if let Some(file) = &self.secret_out {
            let secret = view.as_object_mut().and_then(|view| view.remove("client_secret"));
            let secret = secret.as_ref().and_then(Value::as_str).unwrap_or_default();
            write_secret(file, secret).map_err(|error| {
                CliError::failed(error).hint("the secret was made and is lost: remove it, and add another")
            })?;
            output.note(&format!("the secret is in `{}` (mode 0600)", file.display()));
        } else if view.get("client_secret").is_some() {
            output.note("the secret is shown this once: give it to the agent and to nobody else");
        }
        show(&view, output)
    }
}
