//! `hallpass operator`: whoever administers, audits, or verifies.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::{
    access::{Operator, server_uri},
    client::{Bearer, Client},
    config_file::ConfigFile,
    error::CliError,
    output::{Output, View},
    secret_out::{Place, Told},
    view::{text, under},
};
use hallpass_broker::{Broker, identity::Operation};
use hallpass_core::{
    base::{
        ids::OperatorId,
        time::{Clock as _, SystemClock},
    },
    token::{PassToken, attenuate_operator},
};

/// Whoever administers, audits, or verifies.
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

impl Operators {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::Add(add) => add.run(&self.operator, output).await,
            Command::List => {
                let (client, bearer) = self.operator.open()?;
                list(&client, &bearer, output).await
            }
            Command::Remove { operator } => {
                let (client, bearer) = self.operator.open()?;
                client
                    .delete(&format!("/v1/operators/{operator}"), &bearer)
                    .await?;
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
        let (client, bearer) = operator.open()?;
        let mut servers = Vec::new();
        for server in &self.servers {
            servers.push(server_uri(&client, server, operator).await?);
        }
        let roles = self.roles.iter().filter_map(ValueEnum::to_possible_value);
        let roles: Vec<String> = roles.map(|role| role.get_name().to_owned()).collect();
        let mut body =
            json!({"operator": self.operator, "roles": roles, "ttl_seconds": self.ttl.as_secs()});
        if let (Some(body), false) = (body.as_object_mut(), servers.is_empty()) {
            body.insert("servers".to_owned(), json!(servers));
        }
        let place = Place::tried(self.token_out.as_deref())?;
        let made = client.post("/v1/operators", &body, &bearer).await?;
        let made = place.keep(&TOKEN, made, output)?;
        let names = [
            ("operator", "/operator"),
            ("token", "/token"),
            ("revocation id", "/revocation_id"),
            ("expires", "/expires_at"),
        ];
        let fields = names.map(|(name, pointer)| (name, text(&made, pointer)));
        output.show(
            &made,
            View::Fields(
                fields
                    .into_iter()
                    .filter(|(_, value)| value != "-")
                    .collect(),
            ),
        )
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

async fn list(client: &Client, bearer: &Bearer, output: Output) -> Result<(), CliError> {
    let operators = client
        .list("/v1/operators", (&[], usize::MAX), bearer)
        .await?;
    let row = |operator: &Value| {
        ["/operator", "/roles", "/expires_at"]
            .map(|pointer| text(operator, pointer))
            .into()
    };
    let columns = &["operator", "roles", "expires"];
    let view = View::Table {
        columns,
        rows: operators.iter().map(row).collect(),
        empty: "no operators",
    };
    output.show(&json!({"items": operators}), view)
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
const TOKEN: Told = Told {
    member: "token",
    noun: "token",
    shown: "the token is shown this once: keep it where only its operator can read it",
    lost: "the token was made and is lost: `hallpass operator remove` refuses it",
};
