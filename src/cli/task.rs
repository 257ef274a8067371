//! `hallpass task`: an agent asks for passes; agents and operators look at tasks.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::{
    access::{Either, token_argument},
    error::CliError,
    handover::public_key,
    output::{Output, View},
    rights::Rights,
    view::{details_words, items, text, under, words},
};
use hallpass_core::{
    base::ids::{AgentId, RevocationId, TaskId},
    token::UnverifiedPass,
};

/// Ask for passes, as an agent; look at tasks.
#[derive(Debug, Args)]
pub(super) struct Tasks {
    #[command(flatten)]
    who: Either,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open a task and get its first pass, or credentials for a stock MCP client.
    #[command(after_help = "\
Examples:
  hallpass task open --as research-bot.key --purpose \"close the Q3 books\" \\
      --server ledger --tool read_ledger --ttl 5m
  hallpass task open --as pay.key --purpose \"refund 17\" --ttl 2m --context customer_id=c-17 \\
      --server https://ledger.example/mcp --tool transfer --closed transfer \\
      --constraint 'transfer:/amount={\"max\":100}'
  hallpass task open --as bot.key --purpose sync --details rights.json --ttl 10m --json
  hallpass task open --as bot.key --purpose sync --server ledger --tool 'read_*' --ttl 1h --credentials")]
    Open(Open),
    /// Get another pass in an open task; policy is asked again.
    #[command(after_help = "Example:\n  hallpass task token TASK_ID --as research-bot.key")]
    Token {
        /// The task's id.
        task: TaskId,
        #[command(flatten)]
        rights: Rights,
    },
    /// End a task: its passes die everywhere.
    Complete {
        /// The task's id.
        task: TaskId,
    },
    /// Tell the broker what was handed on, so that it can be revoked before anybody saw it.
    Delegations {
        #[command(subcommand)]
        command: Delegations,
    },
    /// List tasks, newest first: with --as the agent's own.
    List {
        /// Only this agent's.
        #[arg(long)]
        agent: Option<AgentId>,
        /// At most so many.
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Show a task with its passes and what was handed on.
    Show {
        /// The task's id.
        task: TaskId,
    },
}

#[derive(Debug, Subcommand)]
enum Delegations {
    /// Report a narrowed pass.
    #[command(after_help = "\
Example, of a pass that `hallpass token attenuate` made:
  hallpass task delegations report TASK_ID --as research-bot.key --token NARROWED \\
      --delegate summariser")]
    Report(Report),
}

#[derive(Debug, Args)]
struct Open {
    /// What the task is for, for whoever reads the audit trail.
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// How long the task lasts, such as 5m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    rights: Rights,
    /// Take less than was asked for rather than nothing.
    #[arg(long)]
    allow_partial: bool,
    /// For whom: the agent's own steward.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// A person's ID token, or `-` to read it from stdin: the task is on that person's behalf.
    #[arg(long, value_name = "TOKEN")]
    subject_token: Option<String>,
    /// A value that grants may pin arguments to, such as patient_id=p-123; may be repeated.
    #[arg(long = "context", value_name = "NAME=VALUE", value_parser = context_value)]
    context: Vec<(String, Value)>,
    /// Bind the pass to the agent's own key: every use then needs a proof by it.
    #[arg(long, conflicts_with = "holder_key")]
    bound: bool,
    /// Bind the pass to the public key in this JWK file.
    #[arg(long, value_name = "JWKFILE")]
    holder_key: Option<PathBuf>,
    /// How often a bound pass may be handed on.
    #[arg(long, value_name = "TIMES")]
    max_delegations: Option<u8>,
    /// Get credentials for a stock OAuth client instead of a pass; they end with the task.
    #[arg(long)]
    credentials: bool,
}

#[derive(Debug, Args)]
struct Report {
    /// The task's id.
    task: TaskId,
    #[command(flatten)]
    chain: Chain,
    /// Whom it was given to, in your words.
    #[arg(long, value_name = "NAME")]
    delegate: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Chain {
    /// The narrowed pass, or `-` for stdin: only its block ids are sent.
    #[arg(long)]
    token: Option<String>,
    /// The narrowed pass's revocation ids, block 0 first; may be repeated.
    #[arg(long = "block", value_name = "REVOCATION_ID")]
    blocks: Vec<RevocationId>,
}

impl Tasks {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let who = &self.who;
        match self.command {
            Command::Open(open) => {
                let (client, bearer) = who.as_agent().await?;
                let body =
                    open.to_json(open.rights.resolved(&client, &who.operator).await?, who)?;
                let answer = client.post("/v1/tasks", &body, &bearer).await?;
                if open.credentials {
                    output
                        .note("the secret is shown this once; configure a stock MCP client with it and with no scope");
                }
                issued(&answer, output)
            }
            Command::Token { task, rights } => {
                let (client, bearer) = who.as_agent().await?;
                let asked = rights.asked((&client, &who.operator)).await?;
                let body = asked.map_or_else(
                    || json!({}),
                    |details| json!({"authorization_details": details}),
                );
                issued(
                    &client
                        .post(&format!("/v1/tasks/{task}/tokens"), &body, &bearer)
                        .await?,
                    output,
                )
            }
            Command::Complete { task } => {
                let (client, bearer) = who.as_agent().await?;
                show(
                    &client
                        .post(&format!("/v1/tasks/{task}/complete"), &json!({}), &bearer)
                        .await?,
                    output,
                )
            }
            Command::Delegations {
                command: Delegations::Report(report),
            } => {
                let body = report.to_json()?;
                let (client, bearer) = who.as_agent().await?;
                show(
                    &client
                        .post(
                            &format!("/v1/tasks/{}/delegations", report.task),
                            &body,
                            &bearer,
                        )
                        .await?,
                    output,
                )
            }
            Command::List { agent, limit } => list(who, (agent, limit), output).await,
            Command::Show { task } => {
                let (client, bearer) = who.open().await?;
                show(
                    &client
                        .get(&format!("/v1/tasks/{task}"), &[], &bearer)
                        .await?,
                    output,
                )
            }
        }
    }
}

impl Open {
    fn to_json(&self, details: Value, who: &Either) -> Result<Value, CliError> {
        let mut body = Map::new();
        body.insert("purpose".to_owned(), json!(self.purpose));
        body.insert("ttl_seconds".to_owned(), json!(self.ttl.as_secs()));
        body.insert("authorization_details".to_owned(), details);
        if self.allow_partial {
            body.insert("allow_partial".to_owned(), json!(true));
        }
        if self.credentials {
            body.insert("credentials".to_owned(), json!("client_secret"));
        }
        body.extend(
            self.steward
                .as_ref()
                .map(|steward| ("steward".to_owned(), json!(steward))),
        );
        if let Some(token) = &self.subject_token {
            body.insert(
                "subject_token".to_owned(),
                json!(token_argument(token)?.as_str()),
            );
        }
        body.extend(context_json(&self.context)?.map(|context| ("context".to_owned(), context)));
        let holder = match &self.holder_key {
            Some(path) => Some(public_key(path)?.to_jwk()),
            None if self.bound => Some(who.agent_key()?.public_jwk()),
            None => None,
        };
        if self.max_delegations.is_some() && holder.is_none() {
            return Err(
                CliError::usage("--max-delegations needs --bound or --holder-key").hint(
                    "only the holder of a bound pass can be made to sign when it hands it on",
                ),
            );
        }
        body.extend(holder.map(|key| ("holder_key".to_owned(), key)));
        body.extend(
            self.max_delegations
                .map(|times| ("max_delegation_depth".to_owned(), json!(times))),
        );
        Ok(Value::Object(body))
    }
}

impl Report {
    fn to_json(&self) -> Result<Value, CliError> {
        let mut body = Map::new();
        let mut delegate = self.delegate.clone();
        match &self.chain.token {
            Some(token) => {
                let token = token_argument(token)?;
                let pass = UnverifiedPass::parse(&token)
                    .map_err(|error| CliError::usage(format!("not a pass: {error}")))?;
                let blocks = pass.dangerous_unverified_summary().blocks;
                let ids: Vec<RevocationId> =
                    blocks.iter().map(|block| block.revocation_id).collect();
                body.insert("blocks".to_owned(), json!(ids));
                if let Some(hop) = blocks
                    .iter()
                    .rev()
                    .find_map(|block| block.delegation.as_ref())
                {
                    body.insert("delegate_key".to_owned(), json!(hop.key));
                    delegate.get_or_insert_with(|| hop.to.clone());
                }
            }
            None => drop(body.insert("blocks".to_owned(), json!(self.chain.blocks))),
        }
        body.extend(delegate.map(|delegate| ("delegate".to_owned(), json!(delegate))));
        Ok(Value::Object(body))
    }
}

/// `patient_id=p-123`; a value that reads as an integer, true or false is one, in quotes it is text.
pub(super) fn context_value(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected NAME=VALUE, such as patient_id=p-123")?;
    let value = match value {
        "true" | "false" => json!(value == "true"),
        quoted if quoted.len() >= 2 && quoted.starts_with('"') && quoted.ends_with('"') => {
            json!(
                quoted
                    .strip_prefix('"')
                    .and_then(|rest| rest.strip_suffix('"'))
            )
        }
        other => other
            .parse::<i64>()
            .map_or_else(|_| json!(other), |number| json!(number)),
    };
    Ok((name.to_owned(), value))
}

pub(super) fn context_json(context: &[(String, Value)]) -> Result<Option<Value>, CliError> {
    let mut members = Map::new();
    for (name, value) in context {
        if members.insert(name.clone(), value.clone()).is_some() {
            return Err(CliError::usage(format!("--context names `{name}` twice")));
        }
    }
    Ok((!members.is_empty()).then_some(Value::Object(members)))
}

/// Shows a pass that was handed out: the commands that end here are there to give one.
fn issued(issued: &Value, output: Output) -> Result<(), CliError> {
    let names = [
        ("token", "/token"),
        ("revocation id", "/revocation_id"),
        ("client id", "/client_id"),
        ("client secret", "/client_secret"),
        ("issuer", "/issuer"),
        ("token endpoint", "/token_endpoint"),
        ("resource", "/resources"),
        ("scope", "/scope"),
        ("task", "/task_id"),
        ("type", "/token_type"),
        ("expires", "/expires_at"),
        ("task ends", "/task_ends_at"),
    ];
    let told = names
        .into_iter()
        .filter(|(_, pointer)| issued.pointer(pointer).is_some());
    let mut fields: Vec<_> = told
        .map(|(name, pointer)| (name, text(issued, pointer)))
        .collect();
    fields.extend(under(
        "granted",
        details_words(items(issued, "/authorization_details")),
    ));
    fields.extend(under("decided by", decided_words(issued)));
    let dropped = items(issued, "/dropped");
    if !dropped.is_empty() {
        fields.extend(under(
            "left out",
            dropped
                .iter()
                .map(crate::cli::error::reason_words)
                .collect(),
        ));
    }
    output.show(issued, View::Fields(fields))
}

/// What decided, a line each: `tool read_ledger by grant research-reads in policy/research.toml`.
pub(super) fn decided_words(issued: &Value) -> Vec<String> {
    let words = |decided: &Value| {
        let [right, grant, file] =
            ["/right", "/grant", "/file"].map(|pointer| text(decided, pointer));
        format!("{right} by grant {grant} in {file}")
    };
    items(issued, "/decided_by").iter().map(words).collect()
}

fn show(task: &Value, output: Output) -> Result<(), CliError> {
    let names = [
        ("task", "/task_id"),
        ("agent", "/agent"),
        ("steward", "/steward"),
        ("purpose", "/purpose"),
        ("state", "/state"),
        ("opened", "/opened_at"),
        ("ends", "/ends_at"),
    ];
    let mut fields: Vec<_> = names
        .into_iter()
        .map(|(name, pointer)| (name, text(task, pointer)))
        .collect();
    if task.get("steward_verified_by").is_some() {
        fields.push(("steward verified by", text(task, "/steward_verified_by")));
    }
    if task.get("has_client") == Some(&Value::Bool(true)) {
        fields.push((
            "client",
            "an OAuth client of its own gets its passes".to_owned(),
        ));
    }
    if task.get("parent").is_some() {
        let [agent, parent] =
            ["/parent/agent", "/parent/task_id"].map(|pointer| text(task, pointer));
        fields.push((
            "acts for",
            format!("agent {agent}, by a pass of {parent}; it ends with that pass"),
        ));
    }
    fields.extend(under(
        "exchanged",
        items(task, "/children").iter().map(words).collect(),
    ));
    for pass in items(task, "/passes") {
        let revoked = if pass.get("revoked") == Some(&Value::Bool(true)) {
            ", revoked"
        } else {
            ""
        };
        fields.push(("pass", text(pass, "/revocation_id")));
        fields.push((
            "",
            format!(
                "issued {}, expires {}{revoked}",
                text(pass, "/issued_at"),
                text(pass, "/expires_at")
            ),
        ));
        fields.extend(
            details_words(items(pass, "/authorization_details"))
                .into_iter()
                .map(|line| ("", line)),
        );
    }
    for delegation in items(task, "/delegations") {
        let revoked = if delegation.get("revoked") == Some(&Value::Bool(true)) {
            ", revoked"
        } else {
            ""
        };
        let last = items(delegation, "/blocks")
            .last()
            .map(words)
            .unwrap_or_default();
        fields.push(("handed on", last));
        let to = match delegation
            .get("registered_delegate")
            .and_then(Value::as_str)
        {
            Some(agent) => format!("to a key that is registered to agent {agent} (reported)"),
            None => format!("to {} (asserted)", text(delegation, "/asserted_delegate")),
        };
        fields.push(("", format!("{to}{revoked}")));
    }
    output.show(task, View::Fields(fields))
}

async fn list(
    who: &Either,
    (agent, limit): (Option<AgentId>, usize),
    output: Output,
) -> Result<(), CliError> {
    let (client, bearer) = who.open().await?;
    if who.is_agent() && limit > AGENT_PAGE {
        // Every page would need an assertion of its own.
        return Err(CliError::usage(format!(
            "an agent lists at most {AGENT_PAGE} of its tasks"
        )));
    }
    let query: Vec<_> = agent
        .map(|agent| ("agent", agent.to_string()))
        .into_iter()
        .collect();
    let tasks = client.list("/v1/tasks", (&query, limit), &bearer).await?;
    let row = |task: &Value| {
        let passes = items(task, "/passes").len().to_string();
        let cells = ["/task_id", "/agent", "/state", "/ends_at", "/purpose"]
            .map(|pointer| text(task, pointer));
        let [id, agent, state, ends, purpose] = cells;
        vec![id, agent, state, ends, passes, purpose]
    };
    let columns = &["task", "agent", "state", "ends", "passes", "purpose"];
    let view = View::Table {
        columns,
        rows: tasks.iter().map(row).collect(),
        empty: "no tasks",
    };
    output.show(&json!({"items": tasks}), view)
}

/// What one request answers at most.
const AGENT_PAGE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_values_are_what_they_read_as() {
        let value = |text| context_value(text).unwrap().1;
        assert_eq!(value("a=p-123"), json!("p-123"));
        assert_eq!(value("a=17"), json!(17));
        assert_eq!(value("a=\"17\""), json!("17"));
        assert_eq!(value("a=true"), json!(true));
        assert_eq!(value("a=x=y"), json!("x=y"));
        assert!(context_value("a").is_err());
        assert!(context_json(&[("a".into(), json!(1)), ("a".into(), json!(2))]).is_err());
    }
}
