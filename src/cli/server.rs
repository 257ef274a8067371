//! `hallpass server`: which MCP servers there are, and what they were found to offer.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    access::{MAX_INPUT_BYTES, Operator, json_file, token_argument},
    agent::state,
    agent_secret::{SECRET, SecretPlace},
    client::{Bearer, Client, segment},
    error::CliError,
    import::{Annotations, Import},
    mcp::{Target, read_offer},
    output::{Output, View},
    view::{items, secrets_words, text, under},
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
        let path = |server: &str| format!("/v1/servers/{}", segment(server));
        let open = || self.operator.open();
        match self.command {
            Command::Add(add) => add.run(&self.operator, output).await,
            Command::List => {
                let (client, bearer) = open()?;
                list((&client, &bearer), output).await
            }
            Command::Show { server, toml } => {
                let (client, bearer) = open()?;
                let view = client.get(&path(&server), &[], &bearer).await?;
                if toml {
                    Output::raw(&manifest_toml(&view)?)
                } else {
                    show(&view, output)
                }
            }
            Command::Remove { server } => {
                let (client, bearer) = open()?;
                client.delete(&path(&server), &bearer).await?;
                output.note(&format!(
                    "server {server} is removed: nothing is minted for it any more"
                ));
                Ok(())
            }
            Command::Secret(Secrets::Add { server, place }) => {
                let place = place.tried()?;
                let (client, bearer) = open()?;
                let view = client
                    .post(&format!("{}/secrets", path(&server)), &json!({}), &bearer)
                    .await?;
                show(&place.keep(&SECRET, view, output)?, output)
            }
            Command::Secret(Secrets::Remove { server, secret }) => {
                let (client, bearer) = open()?;
                show(
                    &client
                        .delete(&format!("{}/secrets/{secret}", path(&server)), &bearer)
                        .await?,
                    output,
                )
            }
            Command::Reinstate { server } => {
                let (client, bearer) = open()?;
                client
                    .post(&format!("{}/reinstate", path(&server)), &json!({}), &bearer)
                    .await?;
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
        let (client, bearer) = operator.open()?;
        let body = serde_json::to_value(&manifest).map_err(CliError::failed)?;
        let answer = if self.replace {
            client.put("/v1/servers", &body, &bearer).await
        } else {
            client.post("/v1/servers", &body, &bearer).await
        };
        let answer = answer.map_err(|error| match error.code() {
            Some("conflict") if !self.replace => {
                error.hint("say --replace to register its manifest anew")
            }
            _ => error,
        })?;
        show(&answer, output)
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

/// The manifest in a .toml or .json file; `server` and `name` fill in what it leaves out.
pub(super) fn read_manifest(
    path: &Path,
    server: Option<&ServerUri>,
    name: Option<&ServerName>,
) -> Result<Manifest, CliError> {
    let wrong =
        |reason: &dyn std::fmt::Display| CliError::usage(format!("`{}`: {reason}", path.display()));
    let mut value = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => {
            let size = std::fs::metadata(path).map(|metadata| metadata.len());
            if size.is_ok_and(|size| usize::try_from(size).is_ok_and(|size| size > MAX_INPUT_BYTES))
            {
                return Err(wrong(&format_args!("longer than {MAX_INPUT_BYTES} bytes")));
            }
            let text = std::fs::read_to_string(path).map_err(|error| {
                CliError::failed(format!("cannot read `{}`: {error}", path.display()))
            })?;
            toml::from_str::<Value>(&text).map_err(|error| wrong(&error))?
        }
        Some("json") => json_file(path)?,
        _ => return Err(wrong(&"a manifest is a .toml or a .json file")),
    };
    let members = value
        .as_object_mut()
        .ok_or_else(|| wrong(&"a manifest is a table of members"))?;
    let given = [
        ("server", server.map(|server| json!(server))),
        ("name", name.map(|name| json!(name))),
    ];
    for (member, given) in given
        .into_iter()
        .filter_map(|(member, given)| Some((member, given?)))
    {
        let stands = members.entry(member).or_insert_with(|| given.clone());
        if *stands != given {
            return Err(wrong(&format_args!(
                "`{member}` is {stands} there and {given} on the command line"
            )));
        }
    }
    serde_json::from_value(value).map_err(|error| wrong(&error))
}

fn manifest_toml(view: &Value) -> Result<String, CliError> {
    let manifest = view.get("manifest").cloned().unwrap_or_default();
    let manifest: Manifest = serde_json::from_value(manifest).map_err(CliError::failed)?;
    toml::to_string(&manifest).map_err(CliError::failed)
}

async fn list((client, bearer): (&Client, &Bearer), output: Output) -> Result<(), CliError> {
    let servers = client
        .list("/v1/servers", (&[], usize::MAX), bearer)
        .await?;
    let count = |server: &Value, pointer: &str| match server.pointer(pointer) {
        Some(Value::Object(members)) => members.len().to_string(),
        Some(Value::Array(items)) => items.len().to_string(),
        _ => "0".to_owned(),
    };
    let row = |server: &Value| {
        let counts = [
            "/manifest/tools",
            "/manifest/resources",
            "/manifest/prompts",
        ]
        .map(|pointer| count(server, pointer));
        let names = ["/manifest/name", "/manifest/server"].map(|pointer| text(server, pointer));
        names
            .into_iter()
            .chain(counts)
            .chain([state(server)])
            .collect()
    };
    let columns = &["name", "server", "tools", "resources", "prompts", "state"];
    let empty = "no servers: `hallpass server add` registers one";
    let view = View::Table {
        columns,
        rows: servers.iter().map(row).collect(),
        empty,
    };
    output.show(&json!({"items": servers}), view)
}

fn show(server: &Value, output: Output) -> Result<(), CliError> {
    let mut fields = vec![
        ("name", text(server, "/manifest/name")),
        ("server", text(server, "/manifest/server")),
        ("state", state(server)),
    ];
    let optional = [
        ("client id", "/client_id"),
        ("client secret", "/client_secret"),
        ("aliases", "/manifest/aliases"),
        ("region", "/manifest/region"),
    ];
    let optional = optional.map(|(name, pointer)| (name, text(server, pointer)));
    fields.extend(optional.into_iter().filter(|(_, value)| value != "-"));
    let named = |pointer: &str| {
        server
            .pointer(pointer)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    let tools = named("/manifest/tools").map(|(name, tool)| tool_words(name, tool));
    fields.extend(under("tools", tools.collect()));
    let roots = items(server, "/manifest/resources")
        .iter()
        .map(|root| text(root, "/uri"));
    fields.extend(under("resources", roots.collect()));
    fields.extend(under(
        "prompts",
        named("/manifest/prompts")
            .map(|(name, _)| name.clone())
            .collect(),
    ));
    fields.extend(under("secrets", secrets_words(items(server, "/secrets"))));
    output.show(server, View::Fields(fields))
}

/// `read_ledger (/year, /path): read-only; paths /path; risk = low`.
fn tool_words(name: &str, tool: &Value) -> String {
    let mut words = Vec::new();
    let is = |member: &str| tool.get(member) == Some(&Value::Bool(true));
    words.extend(is("read_only").then(|| "read-only".to_owned()));
    words.extend(is("irreversible").then(|| "irreversible".to_owned()));
    for (word, member) in [("paths", "/path_arguments"), ("URLs", "/url_arguments")] {
        words.extend(
            (!items(tool, member).is_empty()).then(|| format!("{word} {}", text(tool, member))),
        );
    }
    let labels = tool
        .get("labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    words.extend(
        labels.map(|(label, value)| format!("{label} = {}", crate::cli::view::words(value))),
    );
    let arguments = if items(tool, "/arguments").is_empty() {
        String::new()
    } else {
        format!(" ({})", text(tool, "/arguments"))
    };
    let words = if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join("; "))
    };
    format!("{name}{arguments}{words}")
}
