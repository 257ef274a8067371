//! `hallpass server`: which MCP servers there are, and what they were found to offer.

mod import;
mod manifest;
mod mcp;
mod merge;
mod schema;
mod view;

use std::{env, path::PathBuf};

use clap::{Args, Subcommand};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

pub(super) use crate::cli::server::manifest::read_manifest;
use crate::cli::{
    access::{Operator, token_argument},
    error::{CliError, Exit},
    output::{Columns, Output},
    secret_out::{SECRET, SecretPlace},
    server::{
        import::{Annotations, Import},
        mcp::{Target, read_offer},
        merge::{Difference, merged},
        view::{show, with_secret},
    },
    session::Session,
    view::state,
};
use hallpass_broker::domain::client::SecretId;
use hallpass_core::{
    base::ids::{ServerName, ServerUri},
    token::{UnverifiedPass, manifest::Manifest},
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
    /// Import a registered server anew: what people decided stays, and the differences are shown.
    #[command(after_help = "\
Example, after a new release of the server:
  hallpass server diff ledger
  hallpass server refresh ledger

Labels, read_only, irreversible, path and URL arguments, aliases, region and roots that you added stay as they are.
Tools that the server does not list any more are dropped with --yes only.")]
    Refresh(Refresh),
    /// Show how a registered server differs from what it lists now.
    Diff(Refresh),
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
    #[command(flatten)]
    live: Live,
    /// With --import: show the manifest as TOML and register nothing.
    #[arg(long, requires = "import")]
    dry_run: bool,
    /// Replace the manifest of a server that is registered already.
    #[arg(long)]
    replace: bool,
    /// With --replace: drop what the server does not list any more, and replace what this operator may not read.
    #[arg(long, requires = "replace")]
    yes: bool,
}

#[derive(Debug, Args)]
struct Refresh {
    /// Its name or URI.
    server: String,
    /// Drop what the server does not list any more.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    live: Live,
}

/// How a live server is asked.
#[derive(Debug, Args)]
struct Live {
    /// A bearer token that the server wants, or `-` to read it from stdin.
    #[arg(
        long,
        value_name = "TOKEN",
        env = IMPORT_TOKEN_VARIABLE,
        hide_env_values = true
    )]
    token: Option<String>,
    /// A header that the server wants, such as 'Notion-Token: …'; `-` for its value reads that from stdin. May be repeated.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Believe the server when it says that a new tool only reads.
    #[arg(long)]
    trust_annotations: bool,
    /// Certificates (PEM) to trust besides the system's, for a server behind a private CA.
    #[arg(long, value_name = "FILE")]
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
            Command::Refresh(refresh) => refresh.run(&open()?, output).await,
            Command::Diff(refresh) => refresh.show_difference(&open()?, output).await,
            Command::List => list(&open()?, output).await,
            Command::Show { server, toml } => {
                let view = open()?.server(&server).await?;
                if toml {
                    // Whole, since it is edited and registered again.
                    write_toml(&view.read_whole()?.manifest)
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
        self.refuse_unused_options()?;
        let mut through_pass = false;
        let manifest = match &self.source.manifest {
            Some(path) => read_manifest(path, self.server.as_ref(), self.name.as_ref())?,
            None => {
                let (Some(server), Some(name)) = (&self.server, &self.name) else {
                    return Err(CliError::usage(
                        "--import needs the server's URI and --name",
                    ));
                };
                let imported = self.live.import(server, name, output).await?;
                through_pass = imported.through_pass;
                imported.manifest
            }
        };
        if self.dry_run && !self.replace {
            return write_toml(&manifest);
        }
        let session = operator.open()?;
        if !self.replace {
            let added = session.add_server(&manifest).await;
            let added = added.map_err(|error| match error.code() {
                Some("conflict") => error
                    .hint("say --replace to register its manifest anew, or `hallpass server refresh` to take over what it lists now"),
                _ => error,
            })?;
            return output.answer(&added, show);
        }
        let before = self.before(&session, &manifest, output).await?;
        match before {
            Some(before) if self.source.import => {
                let offered = Offered {
                    before,
                    imported: manifest,
                    through_pass,
                };
                if self.dry_run {
                    note(&offered.difference(), output);
                    return write_toml(&merged(&offered.before, offered.imported));
                }
                offered.register(&session, self.yes, output).await
            }
            _ if self.dry_run => write_toml(&manifest),
            // A file says all that is to hold: what it changes is shown, and done.
            before => {
                if let Some(before) = before {
                    note(&Difference::between(&before, &manifest), output);
                }
                output.answer(&session.set_server(&manifest).await?, show)
            }
        }
    }

    /// `--import` alone asks the live server.
    fn refuse_unused_options(&self) -> Result<(), CliError> {
        let live = &self.live;
        let given = [
            ("--trust-annotations", live.trust_annotations),
            ("--server-ca-file", live.server_ca_file.is_some()),
            ("--header", !live.headers.is_empty()),
            // The variable may be set for other commands.
            (
                "--token",
                live.token.is_some() && env::var_os(IMPORT_TOKEN_VARIABLE).is_none(),
            ),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) if !self.source.import => Err(CliError::usage(format!(
                "{option} is about asking the live server, and --manifest does not ask it"
            ))
            .hint("say --import instead of --manifest, or leave it out")),
            _ => Ok(()),
        }
    }

    /// What is registered now; `None` as well for an operator who may register and not read, and says --yes to that.
    async fn before(
        &self,
        session: &Session,
        manifest: &Manifest,
        output: Output,
    ) -> Result<Option<Manifest>, CliError> {
        match session.server(manifest.server.as_str()).await {
            Ok(view) => Ok(Some(view.read_whole()?.manifest)),
            Err(error) if error.code() == Some("not_found") => Ok(None),
            Err(error) if error.exit() == Exit::Refused && !self.source.import => {
                if !self.yes {
                    return Err(error.hint(
                        "what it replaces cannot be shown to this operator: say --yes to replace it unseen",
                    ));
                }
                output.note("warning: what is replaced cannot be shown to this operator");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn write_toml(manifest: &Manifest) -> Result<(), CliError> {
    Output::raw(&toml::to_string(manifest).map_err(CliError::failed)?)
}

impl Refresh {
    async fn run(self, session: &Session, output: Output) -> Result<(), CliError> {
        let offered = self.offered(session, output).await?;
        offered.register(session, self.yes, output).await
    }

    async fn show_difference(self, session: &Session, output: Output) -> Result<(), CliError> {
        let offered = self.offered(session, output).await?;
        let difference = offered.difference();
        output.show(&difference.document(), difference.view())
    }

    async fn offered(&self, session: &Session, output: Output) -> Result<Offered, CliError> {
        let before = session.server(&self.server).await?.read_whole()?.manifest;
        let imported = self
            .live
            .import(&before.server, &before.name, output)
            .await?;
        Ok(Offered {
            before,
            imported: imported.manifest,
            through_pass: imported.through_pass,
        })
    }
}

/// A registered server, and what it lists now.
struct Offered {
    before: Manifest,
    imported: Manifest,
    /// The lists came through a pass, which hides what it does not name.
    through_pass: bool,
}

impl Offered {
    fn difference(&self) -> Difference {
        Difference::between(&self.before, &merged(&self.before, self.imported.clone()))
    }

    async fn register(self, session: &Session, yes: bool, output: Output) -> Result<(), CliError> {
        let difference = self.difference();
        note(&difference, output);
        if !difference.weakened.is_empty() {
            if self.through_pass {
                return Err(CliError::failed(
                    "the lists came through a pass, which hides what it does not name",
                )
                .hint(
                    "import with a credential that sees everything, or with a pass for every tool",
                ));
            }
            if !yes {
                return Err(CliError::failed(
                    "the server does not list any more what it did: nothing was changed",
                )
                .hint("say --yes to drop it"));
            }
        }
        let manifest = merged(&self.before, self.imported);
        output.answer(&session.set_server(&manifest).await?, show)
    }
}

fn note(difference: &Difference, output: Output) {
    for line in difference.lines() {
        output.note(&line);
    }
}

impl Live {
    async fn import(
        &self,
        server: &ServerUri,
        name: &ServerName,
        output: Output,
    ) -> Result<Imported, CliError> {
        let token = self.token.as_deref().map(token_argument).transpose()?;
        let through_pass = token
            .as_ref()
            .is_some_and(|token| UnverifiedPass::parse(token).is_ok());
        let offer = read_offer(&Target {
            server,
            token,
            headers: headers(&self.headers)?,
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
        Ok(Imported {
            manifest: import.manifest,
            through_pass,
        })
    }
}

/// `NAME: VALUE`, several times.
fn headers(given: &[String]) -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    for text in given {
        // SECURITY: the value may be a secret, so that no message shows it.
        let (name, value) = text.split_once(':').ok_or_else(|| {
            CliError::usage("--header wants a name, a colon and a value, such as 'Notion-Token: …'")
        })?;
        let name = name.trim();
        let wrong = || CliError::usage(format!("--header `{name}`: not a header that can be sent"));
        let value = token_argument(value.trim())?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// What a live server lists.
struct Imported {
    manifest: Manifest,
    /// The token was a pass: a guarded server lists what it names and nothing else.
    through_pass: bool,
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

/// The variable that holds the token for an import.
pub(super) const IMPORT_TOKEN_VARIABLE: &str = "HALLPASS_IMPORT_TOKEN";
