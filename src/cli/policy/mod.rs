//! `hallpass policy`: write, check and try what may be given.

mod explain;
mod grant;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::{
    access::Operator,
    error::{CliError, Exit},
    output::{Output, View},
    policy::{explain::Explain, grant::NewGrant},
    server::read_manifest,
    view::under,
};
use hallpass_broker::{
    PolicyView, RuleView,
    policy::{Catalogue, Finding, PolicySet},
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
    /// Show how a request would be answered, without minting anything.
    #[command(after_help = "\
Examples:
  hallpass policy explain --agent research-bot --server ledger --tool read_ledger --ttl 5m
  hallpass policy explain --agent pay-bot --server ledger --tool transfer --bound
  hallpass policy explain --agent pay-bot --server ledger --tool transfer --steward alice \\
      --steward-verified --steward-group finance

Exit 0: it would be granted. Exit 3: refused, with every reason.")]
    Explain(Box<Explain>),
    /// Put the policy files into force; when anything is wrong in any of them, the old policy stays.
    Reload,
    /// Show the policy that is in force.
    Show,
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
        let session = self.operator.open()?;
        match self.command {
            Command::Grant(grant) => grant.run(&session, output).await,
            Command::Check { .. } => {
                let found = session.check_policy().await?.read()?;
                checked(found.errors, found.warnings, output)
            }
            Command::Explain(explain) => explain.run(&session, &self.operator, output).await,
            Command::Reload => output.answer(&session.reload_policy().await?, show),
            Command::Show => output.answer(&session.policy().await?, show),
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
        Ok((_, warnings)) => checked(Vec::new(), texts(&warnings), output),
        Err(errors) => checked(texts(errors.findings()), texts(errors.warnings()), output),
    }
}

fn texts(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
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

#[expect(
    clippy::needless_pass_by_value,
    reason = "an answer is given to its view"
)]
fn show(policy: PolicyView) -> View {
    let rules = |rules: &[RuleView]| -> Vec<String> {
        let rule = |rule: &RuleView| format!("{} ({}:{})", rule.id, rule.file, rule.line);
        rules.iter().map(rule).collect()
    };
    let mut fields = vec![
        ("directory", policy.directory.clone()),
        ("digest", policy.digest.to_string()),
    ];
    fields.extend(under("grants", rules(&policy.grants)));
    fields.extend(under("guardrails", rules(&policy.guardrails)));
    for (name, found) in [("warnings", &policy.warnings), ("errors", &policy.errors)] {
        if !found.is_empty() {
            fields.extend(under(name, found.clone()));
        }
    }
    View::Fields(fields)
}
