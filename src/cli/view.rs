//! The broker's answers as people read them.

use std::fmt::Display;

use crate::api::problem::ReasonBody;
use hallpass_broker::{SecretView, domain::event::RecordedGrant};
use hallpass_core::token::{GrantedDetail, rights::AuthorizationDetail};

/// A value in words; `-` when there is none.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Values with commas between them; `-` when there are none.
pub(super) fn listed(values: impl IntoIterator<Item = impl Display>) -> String {
    let mut values = values.into_iter().map(|value| value.to_string()).peekable();
    if values.peek().is_none() {
        return "-".to_owned();
    }
    values.collect::<Vec<_>>().join(", ")
}

/// `active` or `revoked`: in words, of what can be suspended.
pub(super) fn state(suspended: bool) -> String {
    if suspended { "revoked" } else { "active" }.to_owned()
}

/// Secrets, a line each: `0123456789abcdef since 2026-11-22T10:00:00Z`.
pub(super) fn secrets_words(secrets: &[SecretView]) -> Vec<String> {
    secrets
        .iter()
        .map(|secret| format!("{} since {}", secret.secret_id, secret.added_at))
        .collect()
}

/// Authorization details, a line each: `tools a, b on https://…, read-only, /amount of transfer {"max":100}`.
pub(super) fn details_words<N: Display>(details: &[AuthorizationDetail<N>]) -> Vec<String> {
    details.iter().map(detail_words).collect()
}

/// What a pass gives, a line each. What is said of a name in several details holds together, so that later ones begin with
/// `and`: they read like a choice otherwise.
pub(super) fn granted_words(details: &[GrantedDetail]) -> Vec<String> {
    let lines = details.iter().enumerate().map(|(at, detail)| {
        let mut before = details.iter().take(at);
        let is_more = before.any(|other| {
            other.server == detail.server
                && other.tools.iter().any(|tool| detail.tools.contains(tool))
        });
        let and = if is_more { "and " } else { "" };
        format!("{and}{}", detail_words(detail))
    });
    lines.collect()
}

fn detail_words<N: Display>(detail: &AuthorizationDetail<N>) -> String {
    let named = [
        ("tools", listed(&detail.tools)),
        ("resources", listed(&detail.resources)),
        ("prompts", listed(&detail.prompts)),
    ];
    let named = named.iter().filter(|(_, names)| names != "-");
    let named: Vec<_> = named
        .map(|(kind, names)| format!("{kind} {names}"))
        .collect();
    let mut line = format!("{} on {}", named.join("; "), detail.server);
    if detail.read_only {
        line.push_str("; read-only");
    }
    for (tool, arguments) in &detail.constraints {
        for (pointer, constraint) in arguments {
            // A constraint is plain JSON: there is nothing in it that cannot be written.
            let constraint = serde_json::to_value(constraint).unwrap_or_default();
            line.push_str(&format!("; {tool} {pointer} {constraint}"));
        }
    }
    if !detail.closed_arguments.is_empty() {
        let closed = listed(&detail.closed_arguments);
        line.push_str(&format!("; no other arguments for {closed}"));
    }
    line
}

/// What decided, a line each: `tool read_ledger by grant research-reads in policy/research.toml`.
pub(super) fn decided_words(decided: &[RecordedGrant]) -> Vec<String> {
    decided
        .iter()
        .map(|by| format!("{} by grant {} in {}", by.right, by.grant, by.file))
        .collect()
}

/// Reasons, a line each: `no_grant: nothing gives it (tool transfer; decided by x in policy/x.cedar)`.
pub(super) fn reasons_words(reasons: &[ReasonBody]) -> Vec<String> {
    reasons.iter().map(reason_words).collect()
}

fn reason_words(reason: &ReasonBody) -> String {
    let mut words = format!("{}: {}", reason.code, reason.detail);
    // The detail names the right as a rule.
    let right = reason
        .right
        .clone()
        .filter(|right| !words.contains(right.as_str()));
    let decided = reason
        .decided_by
        .as_ref()
        .map(|rule| format!("decided by {} in {}", rule.name, rule.file));
    let more: Vec<_> = [right, decided].into_iter().flatten().collect();
    if !more.is_empty() {
        words.push_str(&format!(" ({})", more.join("; ")));
    }
    words
}

/// `values` under one name: the first beside it, the others below.
pub(super) fn under(name: &'static str, values: Vec<String>) -> Vec<(&'static str, String)> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    if values.is_empty() {
        vec![(name, "-".to_owned())]
    } else {
        names.zip(values).collect()
    }
}
