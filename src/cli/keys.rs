//! `hallpass keys`: what the broker signs with.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{
    access::{Operator, key_document},
    error::CliError,
    output::{Output, View},
    view::{items, text},
};
use crate::base::ids::IssuerUri;

/// The broker's keys.
#[derive(Debug, Args)]
pub(super) struct Keys {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the keys that sign, will sign, or are still believed.
    List,
    /// Make a new key. It is published now and signs later, when every verifier knows it; the old one
    /// is believed until the last thing that it signed has ended.
    #[command(after_help = "Example:\n  hallpass keys rotate root")]
    Rotate {
        /// What the key signs.
        purpose: Purpose,
    },
    /// Show what others pin: the issuer and the feed key's thumbprint for verifiers, the checkpoint key's
    /// for whoever checks the audit trail.
    #[command(after_help = "\
Asks without a credential and believes the connection: over a network use https, or run it on the
broker's machine.")]
    ShowPin {
        /// The issuer that is meant; needed when the broker calls itself by another origin than --broker.
        #[arg(long, value_name = "URI")]
        issuer: Option<IssuerUri>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Purpose {
    /// Passes.
    Root,
    /// The feed of revocations.
    Feed,
    /// Operators' tokens.
    Operator,
    /// Heads and exports of the audit trail.
    Checkpoint,
}

impl Keys {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::List => {
                let (client, bearer) = self.operator.open()?;
                let keys = client.get("/v1/keys", &[], &bearer).await?;
                let rows = items(&keys, "/items").iter().map(row).collect();
                output.show(&keys, View::Table { columns: COLUMNS, rows, empty: "no keys" })
            }
            Command::Rotate { purpose } => {
                let (client, bearer) = self.operator.open()?;
                let purpose = purpose.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
                let key = client.post(&format!("/v1/keys/{purpose}/rotate"), &json!({}), &bearer).await?;
                output.show(&key, View::Fields(COLUMNS.iter().copied().zip(row(&key)).collect()))
            }
            Command::ShowPin { issuer } => {
                let client = self.operator.connection.client()?;
                let document = key_document(&client, issuer.as_ref()).await?;
                let thumbprint = document.feed_key.thumbprint();
                let checkpoint = document.checkpoint_key.map(|key| key.thumbprint());
                let fields = vec![
                    ("issuer", document.iss.to_string()),
                    ("feed key", thumbprint.clone()),
                    ("checkpoint key", checkpoint.clone().unwrap_or_else(|| "-".to_owned())),
                ];
                let pins = json!({"issuer": document.iss, "feed_key": thumbprint, "checkpoint_key": checkpoint});
                output.show(&pins, View::Fields(fields))
            }
        }
    }
}

fn row(key: &Value) -> Vec<String> {
    ["/purpose", "/id", "/state", "/since", "/thumbprint"].map(|pointer| text(key, pointer)).into()
}

const COLUMNS: &[&str] = &["purpose", "id", "state", "since", "thumbprint"];
