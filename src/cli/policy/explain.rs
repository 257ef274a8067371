//! `hallpass policy explain`: what a request would be answered.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::{
    api::policy::{ExplainRequest, Explanation},
    cli::{
        access::Operator,
        error::{CliError, Exit},
        output::{Output, View},
        rights::Rights,
        session::Session,
        task::{context_value, distinct},
        view::{decided_words, details_words, or_dash, reasons_words, under},
    },
};
use hallpass_core::base::ids::AgentId;

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
        let question = ExplainRequest {
            agent: self.agent,
            purpose: self.purpose,
            ttl_seconds: self.ttl.as_secs(),
            authorization_details: self.rights.resolved(session.client(), operator).await?,
            allow_partial: self.allow_partial,
            steward: None,
            context: distinct(self.context)?,
            subject_token: None,
            holder_key: None,
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

fn is_granted(explanation: &Explanation) -> bool {
    explanation.decision == "granted"
}

fn fields(explanation: Explanation) -> Vec<(&'static str, String)> {
    let granted = is_granted(&explanation);
    let mut fields = vec![("decision", explanation.decision.into_owned())];
    if granted {
        let rights = explanation.authorization_details.unwrap_or_default();
        let decided = explanation.decided_by.unwrap_or_default();
        fields.extend(under("would give", details_words(&rights)));
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
    fields
}
