//! Requests for rights: what they say, and what they may look like.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{BrokerError, VerifiedSteward};
use hallpass_core::token::{Holding, MAX_APPENDED_BLOCKS, RequestedDetail};

/// A request for a task and its first pass.
#[derive(Debug, Clone)]
pub struct OpenTask {
    /// What for, in the agent's words.
    pub purpose: String,
    /// How long the task lasts.
    pub ttl: Duration,
    /// What is asked for.
    pub details: Vec<RequestedDetail>,
    /// Whether `details` also limit every further pass of the task, because another party than the agent set them: the
    /// scope of an identity assertion, say.
    pub fixed_rights: bool,
    /// Whether less is good enough.
    pub allow_partial: bool,
    /// For whom, as the agent says: its steward, by id or name; `None` says the same.
    pub steward: Option<String>,
    /// On whose behalf, as that person proved; `None`: the agent's steward.
    pub verified: Option<VerifiedSteward>,
    /// Values that grants may pin arguments to.
    pub context: BTreeMap<String, Value>,
    /// The key that its passes are bound to, and how often they may be handed on.
    pub holder: Option<Holding>,
}

/// A request for another pass in a task.
#[derive(Debug, Clone, Default)]
pub struct IssueAgain {
    /// What is asked for; `None`: what was asked when the task was opened.
    pub details: Option<Vec<RequestedDetail>>,
}

/// Refuses a request that is not worth deciding about, before anything of it is recorded.
pub(crate) fn refuse_bad_request(request: &OpenTask, max_ttl: Duration) -> Result<(), BrokerError> {
    if request.purpose.trim().is_empty() || request.purpose.len() > MAX_PURPOSE_BYTES {
        return Err(BrokerError::invalid(
            "purpose",
            format!("say in 1 to {MAX_PURPOSE_BYTES} bytes what the task is for"),
        ));
    }
    if request.ttl.is_zero() || request.ttl > max_ttl {
        return Err(BrokerError::invalid(
            "ttl_seconds",
            format!("a task lasts 1 to {} seconds", max_ttl.as_secs()),
        ));
    }
    let scalar = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64();
    if request.context.len() > MAX_CONTEXT || !request.context.values().all(scalar) {
        let detail =
            format!("at most {MAX_CONTEXT} values, each a string, a 64-bit integer or a boolean");
        return Err(BrokerError::invalid("context", detail));
    }
    let too_long = |(name, value): (&String, &Value)| {
        name.len() > 64 || value.as_str().is_some_and(|text| text.len() > 256)
    };
    if request.context.iter().any(too_long) {
        return Err(BrokerError::invalid(
            "context",
            "names have at most 64 bytes and strings at most 256",
        ));
    }
    refuse_bad_holder(request.holder.as_ref())?;
    refuse_bad_details(&request.details)
}

fn refuse_bad_holder(holder: Option<&Holding>) -> Result<(), BrokerError> {
    let field = "max_delegation_depth";
    match holder {
        Some(holding) if usize::from(holding.max_delegations) > MAX_APPENDED_BLOCKS => {
            Err(BrokerError::invalid(
                field,
                format!("at most {MAX_APPENDED_BLOCKS}, as many as a pass has room for"),
            ))
        }
        Some(holding) if holding.max_delegations > 0 && holding.key.ed25519().is_none() => {
            Err(BrokerError::invalid(
                field,
                "must be 0 for this `holder_key`: only Ed25519 keys sign delegations",
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses details that are too many, too long or about nothing.
pub(crate) fn refuse_bad_details(details: &[RequestedDetail]) -> Result<(), BrokerError> {
    if details.is_empty() || details.len() > MAX_DETAILS {
        return Err(BrokerError::invalid(
            "authorization_details",
            format!("give 1 to {MAX_DETAILS} of them"),
        ));
    }
    if details.iter().any(RequestedDetail::names_nothing) {
        return Err(BrokerError::invalid(
            "authorization_details",
            "each names at least one tool, resource or prompt",
        ));
    }
    // SECURITY: what is asked is recorded even when it is refused, name by name, by agents that no
    // grant speaks of; so it is bounded before it is read.
    let names: usize = details.iter().map(names_in).sum();
    let bytes = serde_json::to_vec(details).map_or(usize::MAX, |text| text.len());
    if names > MAX_NAMES || bytes > MAX_DETAILS_BYTES {
        let detail = format!("at most {MAX_NAMES} names and {MAX_DETAILS_BYTES} bytes in all");
        return Err(BrokerError::invalid("authorization_details", detail));
    }
    Ok(())
}

fn names_in(detail: &RequestedDetail) -> usize {
    let constraints: usize = detail.constraints.values().map(BTreeMap::len).sum();
    let named = [
        detail.tools.len(),
        detail.prompts.len(),
        detail.resources.len(),
    ];
    let demanded = [
        constraints,
        detail.closed_arguments.len(),
        detail.call_proof.len(),
    ];
    named.into_iter().chain(demanded).sum()
}

const MAX_PURPOSE_BYTES: usize = 500;
const MAX_CONTEXT: usize = 16;
const MAX_DETAILS: usize = 32;
const MAX_NAMES: usize = 400;
const MAX_DETAILS_BYTES: usize = 32 * 1024;
