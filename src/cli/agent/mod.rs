//! `hallpass agent`: who may ask for passes.

mod key;
mod secret;
mod view;

use std::{collections::BTreeSet, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{
    api::agents::{AgentChange, AgentRequest},
    cli::{
        access::{LookUp, Operator},
        agent::{
            key::{KeySource, make_key},
            secret::Secrets,
            view::{show, with_secret},
        },
        error::CliError,
        output::{Columns, Output},
        rights::Rights,
        secret_out::{SECRET, SecretPlace},
        session::Session,
        steward::ask_about_new,
        view::listed,
    },
};
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
    /// The steward is another person than those whose names are nearly the same.
    #[arg(long)]
    new_steward: bool,
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
    /// The steward is another person than those whose names are nearly the same.
    #[arg(long, requires = "steward")]
    new_steward: bool,
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

impl Agents {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        if let Command::Key { agent, key_out } = &self.command {
            return make_key(agent, key_out, output);
        }
        let session = self.operator.open()?;
        match self.command {
            Command::Add(add) => add.run(&self.operator, &session, output).await,
            Command::List => list(&session, output).await,
            Command::Show { agent } => output.answer(&session.agent(&agent).await?, show),
            Command::Change(change) => change.run(&self.operator, &session, output).await,
            Command::Secret(secrets) => secrets.run(&session, output).await,
            Command::Key { agent, key_out } => make_key(&agent, &key_out, output),
            Command::Remove { agent } => {
                session.remove_agent(&agent).await?;
                output.note(&format!("agent {agent} is removed; its id stays taken"));
                Ok(())
            }
            Command::Reinstate { agent } => {
                session.reinstate_agent(&agent).await?;
                output.note(&format!("agent {agent} can be minted for again"));
                Ok(())
            }
        }
    }
}

impl Add {
    async fn run(
        self,
        operator: &Operator,
        session: &Session,
        output: Output,
    ) -> Result<(), CliError> {
        let wants_secret = self.secret || self.secret_place.is_named();
        let default_details = self
            .defaults
            .asked(session.client(), LookUp::Operator(operator))
            .await?;
        if !self.keys.is_named() && !wants_secret && !self.workload && self.redirect_uris.is_empty()
        {
            return Err(CliError::usage("an agent needs a key or a secret")
                .hint("say --key-out FILE to make a key, --key JWKFILE, --secret, --redirect-uri or --workload"));
        }
        if !self.new_steward {
            ask_about_new(session, &self.steward, output).await?;
        }
        let place = self.secret_place.tried()?;
        let keys = self.keys.public_keys(&self.agent)?;
        let request = AgentRequest {
            agent: self.agent,
            steward: self.steward,
            groups: self.groups.into_iter().collect(),
            keys,
            secret: wants_secret,
            default_details: default_details.unwrap_or_default(),
            redirect_uris: self.redirect_uris,
        };
        let answer = session.add_agent(&request).await;
        let mut made = self.keys.keep_if_needed(answer)?;
        place.keep(&SECRET, &mut made, output)?;
        output.answer(&made, with_secret)?;
        self.keys.show(output);
        Ok(())
    }
}

impl Change {
    async fn run(
        self,
        operator: &Operator,
        session: &Session,
        output: Output,
    ) -> Result<(), CliError> {
        if let Some(steward) = self.steward.as_deref().filter(|_| !self.new_steward) {
            ask_about_new(session, steward, output).await?;
        }
        // SECURITY: whole, since it is written back: a limit that this program does not know would be lost.
        let old = session.agent(&self.agent).await?.read_whole()?;
        let groups: BTreeSet<GroupName> = if self.groups.is_empty() && !self.no_groups {
            old.groups
        } else {
            self.groups.into_iter().collect()
        };
        let default_details = self
            .defaults
            .asked(session.client(), LookUp::Operator(operator))
            .await?;
        let new = self.keys.public_keys(&self.agent)?;
        let mut keys = old.keys;
        if !self.keep_keys && !new.is_empty() {
            keys.clear();
        }
        keys.extend(new);
        let redirect_uris = if self.redirect_uris.is_empty() {
            let uris = old.redirect_uris.iter().map(|uri| uri.parse());
            uris.collect::<Result<_, _>>().map_err(CliError::failed)?
        } else {
            self.redirect_uris
        };
        let change = AgentChange {
            agent: None,
            steward: self.steward.unwrap_or_else(|| old.steward.to_string()),
            groups,
            keys,
            default_details: default_details.unwrap_or(old.default_details),
            redirect_uris,
        };
        let answer = session.change_agent(&self.agent, &change).await;
        let changed = self.keys.keep_if_needed(answer)?;
        output.answer(&changed, show)?;
        self.keys.show(output);
        Ok(())
    }
}

async fn list(session: &Session, output: Output) -> Result<(), CliError> {
    let table = Columns {
        columns: &["agent", "steward", "groups", "keys", "state"],
        empty: "no agents: `hallpass agent add` registers one",
    };
    output.list(&session.agents().await?, table, |agent| {
        vec![
            agent.agent.to_string(),
            view::steward(&agent),
            listed(&agent.groups),
            agent.keys.len().to_string(),
            view::state_words(&agent),
        ]
    })
}
