//! `hallpass agent secret`: client secrets, for programs that know OAuth and no keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{
    agent::{path, show},
    client::{Bearer, Client},
    error::CliError,
    output::Output,
    secret_out::{Place, Told},
};
use hallpass_broker::domain::client::SecretId;
use hallpass_core::base::ids::AgentId;

#[derive(Debug, Subcommand)]
pub(super) enum Secrets {
    /// Make another secret, of two at most; the old one stays good until it is removed.
    #[command(
        after_help = "Example:\n  hallpass agent secret add build-bot --secret-out build-bot.secret"
    )]
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
    /// Write the secret here, mode 0600, instead of showing it; an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    secret_out: Option<PathBuf>,
}

impl Secrets {
    pub(super) async fn run(
        self,
        (client, bearer): (&Client, &Bearer),
        output: Output,
    ) -> Result<(), CliError> {
        match self {
            Self::Add { agent, place } => {
                let place = place.tried()?;
                let view = client
                    .post(&format!("{}/secrets", path(&agent)), &json!({}), bearer)
                    .await?;
                show(&place.keep(&SECRET, view, output)?, output)
            }
            Self::Remove { agent, secret } => show(
                &client
                    .delete(&format!("{}/secrets/{secret}", path(&agent)), bearer)
                    .await?,
                output,
            ),
        }
    }
}

impl SecretPlace {
    pub(super) const fn is_named(&self) -> bool {
        self.secret_out.is_some()
    }

    /// Tries the file, before the secret is made.
    pub(super) fn tried(&self) -> Result<Place<'_>, CliError> {
        Place::tried(self.secret_out.as_deref())
    }
}

/// A client secret.
pub(super) const SECRET: Told = Told {
    member: "client_secret",
    noun: "secret",
    shown: "the secret is shown this once: give it to whom it is for and to nobody else",
    lost: "the secret was made and is lost: add another, and remove it",
};
