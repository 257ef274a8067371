//! `hallpass token inspect`: what a token says.

use std::time::Duration;

use serde_json::json;

use crate::cli::{
    access::token_argument,
    error::CliError,
    output::{Output, View},
    view::under,
};
use hallpass_core::{
    base::time::{Clock as _, SystemClock, Timestamp},
    token::{Left, Summary, UnverifiedPass},
};

/// Shows what a token says, and verifies nothing.
pub(super) fn inspect(given: &str, output: Output) -> Result<(), CliError> {
    let token = token_argument(given)?;
    let pass = UnverifiedPass::parse(&token)
        .map_err(|error| CliError::failed(format!("not a hallpass token: {error}")))?;
    let summary = pass.dangerous_unverified_summary();
    let mut document = serde_json::to_value(&summary).map_err(CliError::failed)?;
    if let Some(document) = document.as_object_mut() {
        document.insert("verified".to_owned(), json!(false));
    }
    output.note(
        "unverified: any program can write a token that says this; check it with `hallpass token verify`",
    );
    output.show(&document, View::Fields(summary_fields(&summary)))
}

fn summary_fields(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    match &summary.claims {
        Some(claims) => {
            fields.extend([
                ("issuer", claims.issuer.clone()),
                ("task", claims.task.clone()),
                ("agent", claims.agent.clone()),
                ("steward", claims.steward.clone()),
                ("issued", claims.issued_at.to_string()),
                ("expires", ends_words(claims.expires_at)),
                (
                    "bound to",
                    claims
                        .holder
                        .clone()
                        .unwrap_or_else(|| "no key: any holder can use it".to_owned()),
                ),
            ]);
            fields.extend(under("gives", claims.rights.clone()));
        }
        None => fields.push(("claims", "block 0 is not that of a pass".to_owned())),
    }
    fields.push((
        "root key",
        summary
            .key
            .map_or_else(|| "-".to_owned(), |key| format!("{key} (a hint)")),
    ));
    if let Some(left) = &summary.left {
        fields.extend(under("left", left_words(left)));
    }
    fields.push((
        "sealed",
        if summary.sealed {
            "yes: it cannot be narrowed"
        } else {
            "no"
        }
        .to_owned(),
    ));
    for (number, block) in summary.blocks.iter().enumerate() {
        fields.push(("", String::new()));
        let who = match &block.delegation {
            Some(hop) => format!(
                "delegated by {} to {} (asserted), key {}",
                hop.from, hop.to, hop.key
            ),
            None => format!("by {}", block.by),
        };
        fields.push(("block", format!("{number}, {who}")));
        fields.push(("revocation id", block.revocation_id.to_string()));
        fields.extend(under("requires", block.requires.clone()));
    }
    fields
}

fn left_words(left: &Left) -> Vec<String> {
    let mut words = if left.rights.is_empty() {
        vec!["nothing".to_owned()]
    } else {
        left.rights.clone()
    };
    words.extend(left.read_only.then(|| "read-only".to_owned()));
    words.push(format!("until {}", ends_words(left.expires_at)));
    words.extend(
        left.delegations
            .map(|times| format!("may be handed on {times} times more")),
    );
    if left.other_checks > 0 {
        words.push(format!(
            "and what {} checks that hallpass did not write leave of it",
            left.other_checks
        ));
    }
    words
}

fn ends_words(at: Timestamp) -> String {
    let now = SystemClock::default().now();
    if at <= now {
        return format!("{at} (over)");
    }
    let left = Duration::from_secs(at.since(now).as_secs());
    format!("{at} (in {})", humantime::format_duration(left))
}
