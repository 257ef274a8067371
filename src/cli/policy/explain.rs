//! `hallpass policy explain`: what a request would be answered.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::Value;

use crate::{
    api::{
        policy::{ExplainRequest, Explanation},
        secret::Secret,
    },
    cli::{
        access::{LookUp, Operator, public_key, token_argument},
        error::{CliError, Exit},
        output::{Output, View},
        rights::Rights,
        session::Session,
        task::{context_value, distinct},
        view::{decided_words, granted_words, or_dash, reasons_words, under},
    },
};
use hallpass_core::base::{holder::HolderKey, ids::AgentId};

/// A request that is not made.
#[derive(Debug, Args)]
pub(super) struct Explain {
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
    /// As if the passes were bound to the agent's own key, as by `hallpass task open --bound`.
    #[arg(long, conflicts_with = "holder_key")]
    bound: bool,
    /// As if the passes were bound to this public key (JWK).
    #[arg(long, value_name = "JWKFILE")]
    holder_key: Option<PathBuf>,
    /// The steward on whose behalf the task would be, by name or id.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// As if the steward had proved who they are: `context.steward_verified` of guardrails.
    #[arg(long, requires = "steward", conflicts_with = "subject_token")]
    steward_verified: bool,
    /// As if the issuer had that person in this group, `context.steward_groups`; may be repeated.
    #[arg(
        long = "steward-group",
        value_name = "GROUP",
        requires = "steward_verified"
    )]
    steward_groups: Vec<String>,
    /// An ID token of the person on whose behalf the task would be, or `-` to read it from stdin.
    #[arg(long, value_name = "TOKEN")]
    subject_token: Option<String>,
    /// A value that grants may pin arguments to, such as patient_id=p-123; may be repeated.
    #[arg(long = "context", value_name = "NAME=VALUE", value_parser = context_value)]
    context: Vec<(String, Value)>,
}

impl Explain {
    pub(super) async fn run(
        self,
        session: &Session,
        operator: &Operator,
        output: Output,
    ) -> Result<(), CliError> {
        let holder_key = match &self.holder_key {
            Some(path) => Some(public_key(path)?),
            None if self.bound => Some(own_key(session, &self.agent).await?),
            None => None,
        };
        let subject_token = match &self.subject_token {
            Some(token) => Some(Secret::new(&token_argument(token)?)),
            None => None,
        };
        let question = ExplainRequest {
            agent: self.agent,
            purpose: self.purpose,
            ttl_seconds: self.ttl.as_secs(),
            authorization_details: self
                .rights
                .resolved(session.client(), LookUp::Operator(operator))
                .await?,
            allow_partial: self.allow_partial,
            steward: self.steward,
            steward_verified: self.steward_verified,
            steward_groups: self.steward_groups.into_iter().collect(),
            context: distinct(self.context)?,
            subject_token,
            holder_key,
            max_delegation_depth: None,
        };
        let answer = session.explain(&question).await?;
        let explanation = answer.read()?;
        let granted = is_granted(&explanation);
        output.show(answer.raw(), View::Fields(fields(explanation)))?;
        if granted {
            Ok(())
        } else {
            Err(CliError::answered(Exit::Refused))
        }
    }
}

/// The key that `hallpass task open --bound` would bind a pass of the agent to.
async fn own_key(session: &Session, agent: &AgentId) -> Result<HolderKey, CliError> {
    let keys = session.agent(agent).await?.read()?.keys;
    keys.iter().find_map(HolderKey::from_jwk).ok_or_else(|| {
        CliError::usage(format!(
            "agent {agent} has no key of Ed25519 or P-256 that a pass could be bound to"
        ))
        .hint("say --holder-key JWKFILE")
    })
}

fn is_granted(explanation: &Explanation) -> bool {
    explanation.decision == "granted"
}

fn fields(explanation: Explanation) -> Vec<(&'static str, String)> {
    let granted = is_granted(&explanation);
    let mut fields = vec![("decision", explanation.decision.into_owned())];
    if granted {
        let rights = explanation.authorization_details.unwrap_or_default();
        let decided = explanation.decided_by.unwrap_or_default();
        fields.extend(under("would give", granted_words(&rights)));
        fields.extend(under("decided by", decided_words(&decided)));
        let longest = or_dash(explanation.max_ttl_seconds);
        fields.push(("for at most", format!("{longest} seconds")));
    }
    for (name, reasons) in [
        ("left out", explanation.dropped),
        ("because", explanation.reasons),
    ] {
        let reasons = reasons_words(&reasons.unwrap_or_default());
        if !reasons.is_empty() {
            fields.extend(under(name, reasons));
        }
    }
    if explanation.granted_if_bound {
        fields.push(("but", "it would be granted with `--bound`".to_owned()));
    }
    fields
}
