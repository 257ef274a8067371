//! `hallpass keys`: what the broker signs with.

use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::{
    access::{Operator, key_document},
    config_file::ConfigFile,
    error::CliError,
    output::{Output, View},
};
use hallpass_broker::{Broker, KeyView, KeysAtRest, Options, domain::event::KeyPurpose};
use hallpass_core::base::{
    ids::{IssuerUri, KeyId},
    time::SystemClock,
};

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
    /// Refuse every operator's token that an older operator key signed, from now on. For passes:
    /// `hallpass revoke --key`.
    #[command(after_help = "\
When the key may be known to others:
  hallpass keys rotate operator
  hallpass operator recover          # with the broker stopped: a token by the new key
  hallpass keys revoke-operator 1    # and every operator and verifier needs a new token")]
    RevokeOperator {
        /// Its number, as `hallpass keys list` shows it.
        id: KeyId,
    },
    /// Encrypt the private key files, on the broker's machine while the broker is stopped.
    #[command(after_help = "\
Under the passphrase in the file that `keys.passphrase_file` names, or under the key in
HALLPASS_KEY_ENCRYPTION_KEY; the broker is then started with the same. What the files held before
may still be found on the disk: rotate every key if others may have read that.

Example:
  HALLPASS_KEYS_PASSPHRASE_FILE=/etc/hallpass/passphrase hallpass keys encrypt")]
    Encrypt {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Decrypt the private key files again, on the broker's machine while the broker is stopped.
    Decrypt {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show what others pin: the issuer and the feed key's thumbprint for verifiers, the checkpoint key's
    /// for auditors who check the audit trail.
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

impl From<Purpose> for KeyPurpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Root => Self::Root,
            Purpose::Feed => Self::Feed,
            Purpose::Operator => Self::Operator,
            Purpose::Checkpoint => Self::Checkpoint,
        }
    }
}

impl Keys {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::List => {
                let keys = self.operator.open()?.keys().await?;
                output.answer(&keys, |page| View::Table {
                    columns: COLUMNS,
                    rows: page.items.iter().map(row).collect(),
                    empty: "no keys",
                })
            }
            Command::Rotate { purpose } => {
                let session = self.operator.open()?;
                output.answer(&session.rotate_key(purpose.into()).await?, fields)
            }
            Command::RevokeOperator { id } => {
                let key = self.operator.open()?.revoke_operator_key(id).await?;
                output.note("operators and verifiers whose tokens it signed need new ones");
                output.answer(&key, fields)
            }
            Command::Encrypt { config } => {
                rewrite(
                    config.options_to_change_keys(KeysAtRest::Sealing)?,
                    "encrypted",
                    output,
                )
                .await
            }
            Command::Decrypt { config } => {
                rewrite(
                    config.options_to_change_keys(KeysAtRest::Unsealing)?,
                    "decrypted",
                    output,
                )
                .await
            }
            Command::ShowPin { issuer } => {
                let client = self.operator.connection.client()?;
                let document = key_document(&client, issuer.as_ref()).await?;
                let thumbprint = document.feed_key.thumbprint();
                let checkpoint = document.checkpoint_key.map(|key| key.thumbprint());
                let fields = vec![
                    ("issuer", document.iss.to_string()),
                    ("feed key", thumbprint.clone()),
                    (
                        "checkpoint key",
                        checkpoint.clone().unwrap_or_else(|| "-".to_owned()),
                    ),
                ];
                let pins = json!({"issuer": document.iss, "feed_key": thumbprint, "checkpoint_key": checkpoint});
                output.show(&pins, View::Fields(fields))
            }
        }
    }
}

async fn rewrite(options: Options, done: &str, output: Output) -> Result<(), CliError> {
    let opened = Broker::open(options, Arc::new(SystemClock::default()))
        .await
        .map_err(CliError::failed)?;
    let written = opened.broker.keys.rewrite_key_files();
    let closed = opened.broker.close().await;
    let count = written.map_err(|error| {
        CliError::failed(error)
            .hint("some files have the new form and some the old one: try again, both are read")
    })?;
    closed.map_err(CliError::failed)?;
    output.show(
        &json!({done: count}),
        View::Fields(vec![("key files", format!("{count} {done}"))]),
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "an answer is given to its view"
)]
fn fields(key: KeyView) -> View {
    let mut fields: Vec<_> = COLUMNS.iter().copied().zip(row(&key)).collect();
    fields.extend(key.signs_from.map(|at| ("signs from", at.to_string())));
    View::Fields(fields)
}

fn row(key: &KeyView) -> Vec<String> {
    vec![
        key.purpose.as_str().to_owned(),
        key.id.to_string(),
        key.state.as_str().to_owned(),
        key.since.to_string(),
        key.thumbprint.clone(),
    ]
}

const COLUMNS: &[&str] = &["purpose", "id", "state", "since", "thumbprint"];
