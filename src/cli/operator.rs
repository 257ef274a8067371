//! `hallpass operator`: people and verifiers that administer, audit, or verify.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{
    api::operators::OperatorRequest,
    cli::{
        access::{LookUp, Operator, server_uri},
        config_file::ConfigFile,
        error::CliError,
        output::{Columns, Output, View},
        secret_out::{Place, SecretKind},
        session::Session,
        view::{listed, under},
    },
};
use hallpass_broker::{Broker, domain::event, identity::Operation};
use hallpass_core::{
    base::{
        ids::OperatorId,
        time::{Clock as _, SystemClock},
    },
    token::{PassToken, attenuate_operator},
};

/// Operators: people and verifiers that administer, audit, or verify.
#[derive(Debug, Args)]
pub(super) struct Operators {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token for an operator; it is shown once.
    #[command(after_help = "\
Examples:
  hallpass operator add carol --role auditor --ttl 30d
  hallpass operator add ledger-verifier --role verifier --server ledger --ttl 90d \\
      --token-out verifier.token")]
    Add(Add),
    /// List the operators whose tokens are accepted.
    List,
    /// Refuse every token of an operator from now on.
    Remove {
        /// Its id.
        operator: OperatorId,
    },
    /// Make a new token for `admin` without one, on the broker's machine while the broker is stopped.
    #[command(after_help = "\
Refuses every older token of `admin`. Example:
  hallpass operator recover --config /etc/hallpass.toml")]
    Recover {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Narrow your own token, offline, for a script that needs no more.
    #[command(after_help = "\
Example, a token that can revoke and nothing else:
  hallpass operator attenuate --operation revocations:create --ttl 8h")]
    Attenuate(Attenuate),
}

#[derive(Debug, Args)]
struct Add {
    /// Its id: lower-case letters, digits, `.`, `_`, `-`.
    operator: OperatorId,
    /// What it may do; may be repeated.
    #[arg(long = "role", required = true)]
    roles: Vec<Role>,
    /// For a verifier: a server, by name or URI, whose feed it follows; may be repeated.
    #[arg(long = "server", value_name = "SERVER")]
    servers: Vec<String>,
    /// How long the token lives, such as 30d.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Write the token here, mode 0600, instead of showing it; an existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    token_out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Attenuate {
    /// What it may still do; may be repeated.
    #[arg(long = "operation", value_name = "OPERATION", value_parser = operation)]
    operations: Vec<Operation>,
    /// How long it may still be used, such as 8h.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Everything.
    Admin,
    /// Reading everything.
    Auditor,
    /// Following the feed of its servers.
    Verifier,
}

impl From<Role> for event::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Auditor => Self::Auditor,
            Role::Verifier => Self::Verifier,
        }
    }
}

impl Operators {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::Add(add) => add.run(&self.operator, output).await,
            Command::List => list(&self.operator.open()?, output).await,
            Command::Remove { operator } => {
                self.operator.open()?.remove_operator(&operator).await?;
                output.note(&format!("tokens of {operator} are refused from now on"));
                Ok(())
            }
            Command::Recover { config } => recover(&config, output).await,
            Command::Attenuate(attenuate) => attenuate.run(&self.operator, output),
        }
    }
}

impl Add {
    async fn run(self, operator: &Operator, output: Output) -> Result<(), CliError> {
        let session = operator.open()?;
        let mut servers = BTreeSet::new();
        for server in &self.servers {
            servers.insert(server_uri(session.client(), server, LookUp::Operator(operator)).await?);
        }
        let request = OperatorRequest {
            operator: self.operator,
            roles: self.roles.into_iter().map(event::Role::from).collect(),
            servers,
            ttl_seconds: self.ttl.as_secs(),
        };
        let place = Place::tried(self.token_out.as_deref())?;
        let mut made = session.add_operator(&request).await?;
        // Read before the token goes to its file, and looked at only when it is there.
        let read = made.read();
        place.keep(&TOKEN, &mut made, output)?;
        let made_read = read?;
        let mut fields = vec![("operator", made_read.operator.to_string())];
        if !place.is_file() {
            fields.push(("token", made_read.token.expose().to_owned()));
        }
        fields.extend([
            ("revocation id", made_read.revocation_id.to_string()),
            ("expires", made_read.expires_at.to_string()),
        ]);
        output.show(made.raw(), View::Fields(fields))
    }
}

impl Attenuate {
    fn run(self, operator: &Operator, output: Output) -> Result<(), CliError> {
        let token = PassToken::from_text(operator.token()?.as_str().to_owned());
        let operations: Vec<&str> = self
            .operations
            .iter()
            .map(|operation| operation.as_str())
            .collect();
        let expires_at = self
            .ttl
            .map(|ttl| SystemClock::default().now().plus(ttl).floor_second());
        let narrowed = attenuate_operator(&token, &operations, expires_at).map_err(|error| {
            CliError::usage(error).hint("say --operation OPERATION, --ttl TIME, or both")
        })?;
        let mut fields = vec![("token", narrowed.token.expose().to_owned())];
        fields.extend(under(
            "revocation ids",
            narrowed.blocks.iter().map(ToString::to_string).collect(),
        ));
        let document = json!({"token": narrowed.token.expose(), "revocation_ids": narrowed.blocks});
        output.show(&document, View::Fields(fields))
    }
}

async fn list(session: &Session, output: Output) -> Result<(), CliError> {
    let table = Columns {
        columns: &["operator", "roles", "expires"],
        empty: "no operators",
    };
    output.list(&session.operators().await?, table, |operator| {
        vec![
            operator.operator.to_string(),
            listed(operator.roles.iter().map(|role| role.as_str())),
            operator.expires_at.to_string(),
        ]
    })
}

async fn recover(config: &ConfigFile, output: Output) -> Result<(), CliError> {
    let options = config.broker_options()?;
    let opened = Broker::open(options, Arc::new(SystemClock::default()))
        .await
        .map_err(CliError::failed)?;
    let written = opened.broker.write_admin_token().await;
    let closed = opened.broker.close().await;
    let path = written.map_err(CliError::failed)?;
    closed.map_err(CliError::failed)?;
    output.note("older tokens of admin are refused from now on");
    let path = path.display().to_string();
    output.show(
        &json!({"operator": "admin", "token_file": path}),
        View::Fields(vec![("operator", "admin".to_owned()), ("token file", path)]),
    )
}

fn operation(text: &str) -> Result<Operation, String> {
    let found = Operation::ALL
        .iter()
        .copied()
        .find(|operation| operation.as_str() == text);
    found.ok_or_else(|| {
        let all: Vec<_> = Operation::ALL
            .iter()
            .map(|operation| operation.as_str())
            .collect();
        format!("expected one of {}", all.join(", "))
    })
}

/// An operator's token.
const TOKEN: SecretKind = SecretKind {
    member: "token",
    noun: "token",
    shown: "the token is shown this once: keep it where only its operator can read it",
    lost: "the token was made and is lost: `hallpass operator remove` refuses it",
};
