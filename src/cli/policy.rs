//! `hallpass policy`: write, check and try what may be given.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::{
    access::Operator,
    client::{Bearer, Client},
    error::{CliError, Exit, reason_words},
    output::{Output, View},
    rights::{ArgumentLimit, Rights, is_empty, limits_json},
    server::read_manifest,
    task::{context_json, context_value, decided_words},
    view::{details_words, items, text, under, words},
};
use hallpass_broker::policy::{AgentSelector, Catalogue, PolicySet, ServerSelector};
use hallpass_core::{
    base::ids::{AgentId, GrantId},
    token::{
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// Write, check and try what may be given.
#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(flatten)]
    operator: Operator,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a grant into a file of its own in the policy directory, and put it into force.
    #[command(after_help = "\
Examples:
  hallpass policy grant --id research-reads --agents group:research --server ledger \\
      --tools 'read_*' --max-ttl 10m
  hallpass policy grant --id small-transfers --agents pay-bot --server ledger --tools transfer \\
      --constraint 'transfer:/amount={\"max\":100}' --closed transfer --pin /customer_id \\
      --max-ttl 2m

What must never be given stands in guardrails: Cedar `forbid` policies in *.cedar files beside the
grants.")]
    Grant(Box<NewGrant>),
    /// Check the policy files: those of the broker, or a directory offline.
    #[command(after_help = "\
Examples:
  hallpass policy check                                       what the broker would load
  hallpass policy check ./policy --manifest ledger.toml       offline, before it is deployed")]
    Check {
        /// Check this directory here, asking no broker.
        directory: Option<PathBuf>,
        /// With a directory: a server's manifest (.toml or .json) to check against; may be repeated.
        #[arg(long = "manifest", value_name = "FILE", requires = "directory")]
        manifests: Vec<PathBuf>,
    },
    /// Tell what a request would be answered, without minting anything.
    #[command(after_help = "\
Example:
  hallpass policy explain --agent research-bot --server ledger --tool read_ledger --ttl 5m

Exit 0: it would be granted. Exit 3: refused, with every reason.")]
    Explain(Box<Explain>),
    /// Put the policy files into force; when anything is wrong in any of them, the old policy stays.
    Reload,
    /// Show the policy that is in force.
    Show,
}

#[derive(Debug, Args)]
struct NewGrant {
    /// The grant's id, unique over all files.
    #[arg(long)]
    id: GrantId,
    /// To whom: agent ids, group:NAME, or `*` for every agent.
    #[arg(long, value_name = "WHO", required = true, value_delimiter = ',')]
    agents: Vec<AgentSelector>,
    /// On which server: its name or URI.
    #[arg(long)]
    server: ServerSelector,
    /// Tools; `*` stands for any characters.
    #[arg(long, value_name = "TOOL", value_delimiter = ',')]
    tools: Vec<NamePattern>,
    /// Resource subtrees.
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    resources: Vec<ResourceTree>,
    /// Prompts; `*` stands for any characters.
    #[arg(long, value_name = "PROMPT", value_delimiter = ',')]
    prompts: Vec<NamePattern>,
    /// How long one pass lives at most, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_ttl: Duration,
    /// A limit on an argument, such as 'transfer:/amount={"max":100}'; may be repeated.
    #[arg(long = "constraint", value_name = "TOOL:/ARGUMENT=JSON")]
    constraints: Vec<ArgumentLimit>,
    /// Tools that may be called with their constrained arguments only.
    #[arg(long = "closed", value_name = "TOOL", value_delimiter = ',')]
    closed: Vec<NamePattern>,
    /// Arguments that must equal the task's context value of the same name, such as /customer_id.
    #[arg(long, value_name = "/ARGUMENT", value_delimiter = ',')]
    pin: Vec<Pointer>,
    /// Only tools that the manifest marks read-only.
    #[arg(long)]
    read_only: bool,
    /// Only for passes that are bound to a key, whose possession every use proves.
    #[arg(long)]
    require_proof: bool,
    /// And every call of an irreversible tool needs a proof of the very call.
    #[arg(long)]
    require_call_proof: bool,
}

#[derive(Debug, Args)]
struct Explain {
    /// Who would ask.
    #[arg(long)]
    agent: AgentId,
    /// What the task would be for.
    #[arg(long, value_name = "TEXT", default_value = "explain")]
    purpose: String,
    /// How long the task would last, such as 5m.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    rights: Rights,
    /// Whether less would do.
    #[arg(long)]
    allow_partial: bool,
    /// A value that grants may pin arguments to, such as patient_id=p-123; may be repeated.
    #[arg(long = "context", value_name = "NAME=VALUE", value_parser = context_value)]
    context: Vec<(String, Value)>,
}

impl Policy {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        if let Command::Check {
            directory: Some(directory),
            manifests,
        } = &self.command
        {
            return check_offline(directory, manifests, output);
        }
        let (client, bearer) = self.operator.open()?;
        match self.command {
            Command::Grant(grant) => grant.run((&client, &bearer), output).await,
            Command::Check { .. } => {
                let found = client.post("/v1/policy/check", &json!({}), &bearer).await?;
                let lines = |name: &str| items(&found, name).iter().map(words).collect();
                checked(lines("/errors"), lines("/warnings"), output)
            }
            Command::Explain(explain) => {
                explain
                    .run((&client, &bearer), &self.operator, output)
                    .await
            }
            Command::Reload => show(
                &client
                    .post("/v1/policy/reload", &json!({}), &bearer)
                    .await?,
                output,
            ),
            Command::Show => show(&client.get("/v1/policy", &[], &bearer).await?, output),
        }
    }
}

impl NewGrant {
    async fn run(
        self,
        (client, bearer): (&Client, &Bearer),
        output: Output,
    ) -> Result<(), CliError> {
        let mut grant = json!({
            "id": self.id, "agents": self.agents, "server": self.server, "tools": self.tools,
            "resources": self.resources, "prompts": self.prompts,
            "max_ttl": humantime::format_duration(self.max_ttl).to_string(),
            "constraints": limits_json(&self.constraints)?, "closed_arguments": self.closed, "pin": self.pin,
            "read_only": self.read_only, "require_proof": self.require_proof,
            "require_call_proof": self.require_call_proof,
        });
        if let Some(grant) = grant.as_object_mut() {
            grant.retain(|_, value| !is_empty(value));
        }
        let written = client.post("/v1/policy/grants", &grant, bearer).await?;
        for warning in items(&written, "/policy/warnings") {
            output.note(&format!("warning: {}", words(warning)));
        }
        let fields = vec![
            ("grant", self.id.to_string()),
            ("file", text(&written, "/file")),
            ("in force", "yes".to_owned()),
        ];
        output.show(&written, View::Fields(fields))
    }
}

impl Explain {
    async fn run(
        self,
        (client, bearer): (&Client, &Bearer),
        operator: &Operator,
        output: Output,
    ) -> Result<(), CliError> {
        let mut body = Map::new();
        body.insert("agent".to_owned(), json!(self.agent));
        body.insert("purpose".to_owned(), json!(self.purpose));
        body.insert("ttl_seconds".to_owned(), json!(self.ttl.as_secs()));
        body.insert(
            "authorization_details".to_owned(),
            self.rights.resolved(client, operator).await?,
        );
        if self.allow_partial {
            body.insert("allow_partial".to_owned(), json!(true));
        }
        body.extend(context_json(&self.context)?.map(|context| ("context".to_owned(), context)));
        let answer = client
            .post("/v1/policy/explain", &Value::Object(body), bearer)
            .await?;
        let granted = answer.get("decision").and_then(Value::as_str) == Some("granted");
        let mut fields = vec![("decision", text(&answer, "/decision"))];
        if granted {
            fields.extend(under(
                "would give",
                details_words(items(&answer, "/authorization_details")),
            ));
            fields.extend(under("decided by", decided_words(&answer)));
            fields.push((
                "for at most",
                format!("{} seconds", text(&answer, "/max_ttl_seconds")),
            ));
        }
        for (name, pointer) in [("left out", "/dropped"), ("because", "/reasons")] {
            let reasons: Vec<_> = items(&answer, pointer).iter().map(reason_words).collect();
            if !reasons.is_empty() {
                fields.extend(under(name, reasons));
            }
        }
        output.show(&answer, View::Fields(fields))?;
        if granted {
            Ok(())
        } else {
            Err(CliError::answered(Exit::Refused))
        }
    }
}

fn check_offline(directory: &Path, manifests: &[PathBuf], output: Output) -> Result<(), CliError> {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|path| read_manifest(path, None, None).map(Arc::new))
        .collect::<Result<_, _>>()?;
    let catalogue = Catalogue::new(manifests).map_err(CliError::usage)?;
    match PolicySet::load(directory, &catalogue) {
        Ok((_, warnings)) => checked(
            Vec::new(),
            warnings.iter().map(ToString::to_string).collect(),
            output,
        ),
        Err(errors) => checked(
            errors.findings().iter().map(ToString::to_string).collect(),
            Vec::new(),
            output,
        ),
    }
}

/// The findings are the answer; errors among them make the command fail.
fn checked(errors: Vec<String>, warnings: Vec<String>, output: Output) -> Result<(), CliError> {
    let is_ok = errors.is_empty();
    let document = json!({"ok": is_ok, "errors": errors, "warnings": warnings});
    let mut lines: Vec<String> = errors
        .into_iter()
        .map(|error| format!("error: {error}"))
        .collect();
    lines.extend(
        warnings
            .into_iter()
            .map(|warning| format!("warning: {warning}")),
    );
    lines.extend(is_ok.then(|| "the policy is sound".to_owned()));
    output.show(&document, View::Lines(lines))?;
    if is_ok {
        Ok(())
    } else {
        Err(CliError::answered(Exit::Failed))
    }
}

fn show(policy: &Value, output: Output) -> Result<(), CliError> {
    let rules = |pointer: &str| -> Vec<String> {
        let rule = |rule: &Value| {
            format!(
                "{} ({}:{})",
                text(rule, "/id"),
                text(rule, "/file"),
                text(rule, "/line")
            )
        };
        items(policy, pointer).iter().map(rule).collect()
    };
    let mut fields = vec![
        ("directory", text(policy, "/directory")),
        ("digest", text(policy, "/digest")),
    ];
    fields.extend(under("grants", rules("/grants")));
    fields.extend(under("guardrails", rules("/guardrails")));
    for (name, pointer) in [("warnings", "/warnings"), ("errors", "/errors")] {
        let found: Vec<_> = items(policy, pointer).iter().map(words).collect();
        if !found.is_empty() {
            fields.extend(under(name, found));
        }
    }
    output.show(policy, View::Fields(fields))
}
