//! `hallpass server`: which MCP servers there are, and what they were found to offer.

mod import;
mod manifest;
mod mcp;
mod view;

use std::path::PathBuf;

use clap::{Args, Subcommand};

pub(super) use crate::cli::server::manifest::read_manifest;
use crate::cli::{
    access::{Operator, token_argument},
    error::CliError,
    output::{Columns, Output},
    secret_out::{SECRET, SecretPlace},
    server::{
        import::{Annotations, Import},
        mcp::{Target, read_offer},
        view::{show, with_secret},
    },
    session::Session,
    view::state,
};
use hallpass_broker::domain::client::SecretId;
use hallpass_core::{
    base::ids::{ServerName, ServerUri},
    token::manifest::Manifest,
};

/// Register and remove MCP servers.
#[derive(Debug, Args)]
pub(super) struct Servers {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a server with what it offers.
    #[command(after_help = "\
Examples:
  hallpass server add https://ledger.example/mcp --name ledger --import
  hallpass server add https://ledger.example/mcp --name ledger --manifest ledger.toml
  hallpass server show ledger --toml > ledger.toml; $EDITOR ledger.toml
  hallpass server add --manifest ledger.toml --replace

--import asks the live server once and pins its lists; nothing is believed later because it says so.
Which tools only read, and which arguments are paths or URLs, decides what passes allow: look them
over.")]
    Add(Add),
    /// List the servers.
    List,
    /// Show one server and what it offers.
    Show {
        /// Its name or URI.
        server: String,
        /// Print the manifest as TOML, to edit and to register again.
        #[arg(long, conflicts_with = "json")]
        toml: bool,
    },
    /// Remove a server: nothing is minted for it any more. Revoke it first to end its passes.
    Remove {
        /// Its name or URI.
        server: String,
    },
    /// Secrets by which a server that cannot verify passes asks the broker about them.
    #[command(subcommand)]
    Secret(Secrets),
    /// Allow minting again for a server that was revoked; dead passes stay dead.
    Reinstate {
        /// Its name or URI.
        server: String,
    },
}

#[derive(Debug, Subcommand)]
enum Secrets {
    /// Make a secret, of two at most; an older one stays good until it is removed.
    #[command(after_help = "\
Example, for a Python server with fastmcp's IntrospectionTokenVerifier: its client id is the server's name
  hallpass server secret add ledger --secret-out ledger.secret")]
    Add {
        /// The server's name or URI.
        server: String,
        #[command(flatten)]
        place: SecretPlace,
    },
    /// Remove a secret.
    #[command(after_help = "Example:\n  hallpass server secret remove ledger 0123456789abcdef")]
    Remove {
        /// The server's name or URI.
        server: String,
        /// The secret's id, as `hallpass server show` lists it.
        secret: SecretId,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Its URI: where clients reach it, and what passes name. May be left to the manifest.
    server: Option<ServerUri>,
    /// A short name for people and grants. May be left to the manifest.
    #[arg(long)]
    name: Option<ServerName>,
    #[command(flatten)]
    source: Source,
    /// With --import: a bearer token that the server wants, or `-` to read it from stdin.
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "import",
        env = "HALLPASS_IMPORT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// With --import: believe the server when it says that a tool only reads.
    #[arg(long, requires = "import")]
    trust_annotations: bool,
    /// With --import: show the manifest as TOML and register nothing.
    #[arg(long, requires = "import")]
    dry_run: bool,
    /// Replace the manifest of a server that is registered already.
    #[arg(long)]
    replace: bool,
    /// With --import: certificates (PEM) to trust besides the system's, for a server behind a private CA.
    #[arg(long, value_name = "FILE", requires = "import")]
    server_ca_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// Ask the live server what it offers, over MCP.
    #[arg(long, requires_all = ["server", "name"])]
    import: bool,
    /// A manifest in a .toml or .json file.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

impl Servers {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let open = || self.operator.open();
        match self.command {
            Command::Add(add) => add.run(&self.operator, output).await,
            Command::List => list(&open()?, output).await,
            Command::Show { server, toml } => {
                let view = open()?.server(&server).await?;
                if toml {
                    // Whole, since it is edited and registered again.
                    let manifest = view.read_whole()?.manifest;
                    Output::raw(&toml::to_string(&manifest).map_err(CliError::failed)?)
                } else {
                    output.answer(&view, show)
                }
            }
            Command::Remove { server } => {
                open()?.remove_server(&server).await?;
                output.note(&format!(
                    "server {server} is removed: nothing is minted for it any more"
                ));
                Ok(())
            }
            Command::Secret(Secrets::Add { server, place }) => {
                let place = place.tried()?;
                let mut made = open()?.add_server_secret(&server).await?;
                place.keep(&SECRET, &mut made, output)?;
                output.answer(&made, with_secret)
            }
            Command::Secret(Secrets::Remove { server, secret }) => {
                let view = open()?.remove_server_secret(&server, &secret).await?;
                output.answer(&view, show)
            }
            Command::Reinstate { server } => {
                open()?.reinstate_server(&server).await?;
                output.note(&format!("server {server} can be minted for again"));
                Ok(())
            }
        }
    }
}

impl Add {
    async fn run(self, operator: &Operator, output: Output) -> Result<(), CliError> {
        let manifest = match &self.source.manifest {
            Some(path) => read_manifest(path, self.server.as_ref(), self.name.as_ref())?,
            None => self.import(output).await?,
        };
        if self.dry_run {
            return Output::raw(&toml::to_string(&manifest).map_err(CliError::failed)?);
        }
        let session = operator.open()?;
        let answer = if self.replace {
            session.set_server(&manifest).await
        } else {
            session.add_server(&manifest).await
        };
        let answer = answer.map_err(|error| match error.code() {
            Some("conflict") if !self.replace => {
                error.hint("say --replace to register its manifest anew")
            }
            _ => error,
        })?;
        output.answer(&answer, show)
    }

    async fn import(&self, output: Output) -> Result<Manifest, CliError> {
        let (Some(server), Some(name)) = (&self.server, &self.name) else {
            return Err(CliError::usage(
                "--import needs the server's URI and --name",
            ));
        };
        let token = self.token.as_deref().map(token_argument).transpose()?;
        let offer = read_offer(&Target {
            server,
            token,
            ca_file: self.server_ca_file.as_ref(),
        })
        .await?;
        let annotations = if self.trust_annotations {
            Annotations::Trust
        } else {
            Annotations::Ignore
        };
        let import = Import::of((server.clone(), name.clone()), &offer, annotations)?;
        import
            .notes
            .iter()
            .for_each(|note| output.note(&format!("note: {note}")));
        Ok(import.manifest)
    }
}

async fn list(session: &Session, output: Output) -> Result<(), CliError> {
    let table = Columns {
        columns: &["name", "server", "tools", "resources", "prompts", "state"],
        empty: "no servers: `hallpass server add` registers one",
    };
    output.list(&session.servers().await?, table, |server| {
        let manifest = &server.manifest;
        vec![
            manifest.name.to_string(),
            manifest.server.to_string(),
            manifest.tools.len().to_string(),
            manifest.resources.len().to_string(),
            manifest.prompts.len().to_string(),
            state(server.suspended),
        ]
    })
}
