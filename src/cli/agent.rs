//! `hallpass agent`: who may ask for passes.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::{
    access::{Operator, json_file},
    agent_secret::{SECRET, SecretPlace, Secrets},
    client::{Bearer, Client},
    error::CliError,
    output::{Output, View},
    rights::Rights,
    view::{details_words, items, secrets_words, text, under, words},
};
use hallpass_broker::identity::{AgentKey, RegisteredKey};
use hallpass_core::base::{
    ids::{AgentId, GroupName},
    redirect::RedirectUri,
};

/// Register, change and remove agents.
#[derive(Debug, Args)]
pub(super) struct Agents {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register an agent.
    #[command(after_help = "\
Examples:
  hallpass agent add research-bot --steward alice --group research --key-out research-bot.key
  hallpass agent add build-bot --steward bob --key build-bot.public.jwk
  hallpass agent add ci-bot --steward bob --secret --server ledger --tool 'read_*'")]
    Add(Add),
    /// List the agents.
    List,
    /// Show one agent.
    Show {
        /// Its id.
        agent: AgentId,
    },
    /// Change an agent's steward, groups, keys, default rights or redirect URIs; what is not named stays.
    #[command(after_help = "\
Examples:
  hallpass agent change research-bot --group research --group reviewers
  hallpass agent change research-bot --key-out research-bot-2.key --keep-keys")]
    Change(Change),
    /// Make a key for an agent, offline, and show its public half: for a delegate that the broker
    /// need not know.
    #[command(
        after_help = "Example:\n  hallpass agent key summariser --key-out summariser.key > summariser.jwk --json"
    )]
    Key {
        /// What the agent is called.
        agent: AgentId,
        /// Where to write the key, mode 0600; an existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        key_out: PathBuf,
    },
    /// Client secrets, for programs that know OAuth and no keys.
    #[command(subcommand)]
    Secret(Secrets),
    /// Remove an agent for good: its id stays taken. Revoke it first to end its passes.
    Remove {
        /// Its id.
        agent: AgentId,
    },
    /// Allow minting again for an agent that was revoked; its dead passes stay dead.
    Reinstate {
        /// Its id.
        agent: AgentId,
    },
}

#[derive(Debug, Args)]
struct Add {
    /// Its id: lower-case letters, digits, `.`, `_`, `-`.
    agent: AgentId,
    /// The human who answers for it: a name, or a steward's id.
    #[arg(long, value_name = "NAME")]
    steward: String,
    /// A group it belongs to; may be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<GroupName>,
    #[command(flatten)]
    keys: KeySource,
    /// Make a client secret, for programs that know OAuth and no keys; it needs no key then.
    #[arg(long)]
    secret: bool,
    #[command(flatten)]
    secret_place: SecretPlace,
    /// It is the workload of a platform that the broker trusts: it needs no key and no secret then.
    #[arg(long)]
    workload: bool,
    /// Where authorization codes may be sent, for a program that acts for people who consent; may be
    /// repeated. Without a key or secret it is a public client.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<RedirectUri>,
    #[command(flatten)]
    defaults: Rights,
}

#[derive(Debug, Args)]
struct Change {
    /// Its id.
    agent: AgentId,
    /// Another steward.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// The groups from now on; may be repeated.
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "no_groups")]
    groups: Vec<GroupName>,
    /// No groups from now on.
    #[arg(long)]
    no_groups: bool,
    #[command(flatten)]
    keys: KeySource,
    /// Add the new keys to the old ones, for a change without a gap.
    #[arg(long)]
    keep_keys: bool,
    /// Where authorization codes may be sent from now on; may be repeated.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<RedirectUri>,
    #[command(flatten)]
    defaults: Rights,
}

#[derive(Debug, Args)]
struct KeySource {
    /// Make a new key and write it here, mode 0600; an existing file is never overwritten.
    #[arg(long, value_name = "FILE", conflicts_with = "keys")]
    key_out: Option<PathBuf>,
    /// A public key (JWK: Ed25519, P-256, P-384 or RSA) that the agent has already; may be repeated.
    #[arg(long = "key", value_name = "JWKFILE")]
    keys: Vec<PathBuf>,
}

impl Agents {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        if let Command::Key { agent, key_out } = &self.command {
            return make_key(agent, key_out, output);
        }
        let (client, bearer) = self.operator.open()?;
        let broker = (&client, &bearer);
        match self.command {
            Command::Add(add) => add.run(&self.operator, broker, output).await,
            Command::List => list(broker, output).await,
            Command::Show { agent } => {
                show(&client.get(&path(&agent), &[], &bearer).await?, output)
            }
            Command::Change(change) => change.run(&self.operator, broker, output).await,
            Command::Secret(secrets) => secrets.run(broker, output).await,
            Command::Key { agent, key_out } => make_key(&agent, &key_out, output),
            Command::Remove { agent } => {
                client.delete(&path(&agent), &bearer).await?;
                output.note(&format!("agent {agent} is removed; its id stays taken"));
                Ok(())
            }
            Command::Reinstate { agent } => {
                client
                    .post(&format!("{}/reinstate", path(&agent)), &json!({}), &bearer)
                    .await?;
                output.note(&format!("agent {agent} can be minted for again"));
                Ok(())
            }
        }
    }
}

fn make_key(agent: &AgentId, path: &Path, output: Output) -> Result<(), CliError> {
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

impl Add {
    async fn run(
        self,
        operator: &Operator,
        (client, bearer): (&Client, &Bearer),
        output: Output,
    ) -> Result<(), CliError> {
        let wants_secret = self.secret || self.secret_place.is_named();
        let defaults = self
            .defaults
            .asked((client, operator))
            .await?
            .unwrap_or_else(|| json!([]));
        let place = self.secret_place.tried()?;
        let keys = self.keys.public_keys(&self.agent)?;
        if keys.is_empty() && !wants_secret && !self.workload && self.redirect_uris.is_empty() {
            return Err(CliError::usage("an agent needs a key or a secret")
                .hint("say --key-out FILE to make a key, --key JWKFILE, --secret, --redirect-uri or --workload"));
        }
        let body = json!({
            "agent": self.agent, "steward": self.steward, "groups": self.groups, "keys": keys, "secret": wants_secret,
            "default_details": defaults, "redirect_uris": self.redirect_uris,
        });
        let answer = client.post("/v1/agents", &body, bearer).await;
        let view = self.keys.keep_if_needed(answer)?;
        show(&place.keep(&SECRET, view, output)?, output)?;
        self.keys.tell(output);
        Ok(())
    }
}

impl Change {
    async fn run(
        self,
        operator: &Operator,
        (client, bearer): (&Client, &Bearer),
        output: Output,
    ) -> Result<(), CliError> {
        let old = client.get(&path(&self.agent), &[], bearer).await?;
        let steward = self
            .steward
            .clone()
            .unwrap_or_else(|| text(&old, "/steward"));
        let groups: BTreeSet<String> = if self.groups.is_empty() && !self.no_groups {
            items(&old, "/groups")
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        } else {
            self.groups.iter().map(ToString::to_string).collect()
        };
        let defaults = self.defaults.asked((client, operator)).await?;
        let defaults = defaults.unwrap_or_else(|| json!(items(&old, "/default_details")));
        let new = self.keys.public_keys(&self.agent)?;
        let kept = items(&old, "/keys")
            .iter()
            .filter(|_| self.keep_keys || new.is_empty())
            .cloned();
        let keys: Vec<Value> = kept.chain(new.iter().cloned()).collect();
        let redirect_uris = match self.redirect_uris.as_slice() {
            [] => json!(items(&old, "/redirect_uris")),
            new => json!(new),
        };
        let body = json!({
            "steward": steward, "groups": groups, "keys": keys, "default_details": defaults,
            "redirect_uris": redirect_uris,
        });
        let answer = client.put(&path(&self.agent), &body, bearer).await;
        let view = self.keys.keep_if_needed(answer)?;
        show(&view, output)?;
        self.keys.tell(output);
        Ok(())
    }
}

impl KeySource {
    /// The public keys to register. A key that is made is on disk before the broker hears of it, so
    /// that no agent is registered whose key nobody has.
    fn public_keys(&self, agent: &AgentId) -> Result<Vec<Value>, CliError> {
        if let Some(path) = &self.key_out {
            let key = AgentKey::generate(agent.clone());
            key.create(path).map_err(CliError::failed)?;
            return Ok(vec![key.public_jwk()]);
        }
        self.keys.iter().map(|path| public_key(path)).collect()
    }

    /// The answer; when the broker said no, the key that was made for it is taken away again. When
    /// it is not known what the broker did, the key stays.
    fn keep_if_needed(&self, answer: Result<Value, CliError>) -> Result<Value, CliError> {
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

    fn tell(&self, output: Output) {
        if let Some(path) = &self.key_out {
            output.note(&format!(
                "the private key is in `{}` (mode 0600): give it to the agent and to nobody else",
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

async fn list((client, bearer): (&Client, &Bearer), output: Output) -> Result<(), CliError> {
    let agents = client.list("/v1/agents", (&[], usize::MAX), bearer).await?;
    let rows = agents.iter().map(|agent| {
        let keys = items(agent, "/keys").len().to_string();
        vec![
            text(agent, "/agent"),
            steward(agent),
            text(agent, "/groups"),
            keys,
            state(agent),
        ]
    });
    let columns = &["agent", "steward", "groups", "keys", "state"];
    let view = View::Table {
        columns,
        rows: rows.collect(),
        empty: "no agents: `hallpass agent add` registers one",
    };
    output.show(&json!({"items": agents}), view)
}

/// Shows one agent.
pub(super) fn show(agent: &Value, output: Output) -> Result<(), CliError> {
    let keys = items(agent, "/keys")
        .iter()
        .map(|jwk| match RegisteredKey::from_jwk(jwk) {
            Ok(key) => format!("{} {}", key.algorithm().as_str(), key.thumbprint()),
            Err(error) => error.to_string(),
        });
    let mut fields = vec![
        ("agent", text(agent, "/agent")),
        ("steward", steward(agent)),
        ("groups", text(agent, "/groups")),
    ];
    fields.extend(under("keys", keys.collect()));
    if let Some(secret) = agent.get("client_secret").and_then(Value::as_str) {
        fields.push(("client secret", secret.to_owned()));
    }
    fields.extend(under("secrets", secrets_words(items(agent, "/secrets"))));
    // Most agents have none of these.
    let of_clients = [
        (
            "default rights",
            details_words(items(agent, "/default_details")),
        ),
        (
            "redirect URIs",
            items(agent, "/redirect_uris").iter().map(words).collect(),
        ),
        (
            "client document",
            agent
                .get("client_document")
                .map(words)
                .into_iter()
                .collect(),
        ),
    ];
    for (name, values) in of_clients {
        if !values.is_empty() {
            fields.extend(under(name, values));
        }
    }
    fields.extend([
        ("registered", text(agent, "/registered_at")),
        ("state", state(agent)),
    ]);
    output.show(agent, View::Fields(fields))
}

fn steward(agent: &Value) -> String {
    match agent.get("steward_name").and_then(Value::as_str) {
        Some(name) => format!("{name} ({})", text(agent, "/steward")),
        None => text(agent, "/steward"),
    }
}

/// `active` or `revoked`: in words, of whatever can be suspended.
pub(super) fn state(value: &Value) -> String {
    let suspended = value.get("suspended") == Some(&Value::Bool(true));
    if suspended {
        "revoked".to_owned()
    } else {
        "active".to_owned()
    }
}

/// The agent's path in the API.
pub(super) fn path(agent: &AgentId) -> String {
    format!("/v1/agents/{agent}")
}
