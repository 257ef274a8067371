//! Tasks and passes as people read them.

use crate::{
    api::tasks::{Issued, Opened},
    cli::{
        names::Names,
        output::View,
        view::{decided_words, granted_words, listed, or_dash, reasons_words, under},
    },
};
use hallpass_broker::{DelegationView, PassView, TaskView};

/// Another pass that was handed out: the commands that end here are there to give one.
pub(super) fn issued(issued: Issued) -> View {
    opened(Opened::from(issued))
}

/// A pass, or credentials, that were handed out.
pub(super) fn opened(opened: Opened) -> View {
    let exposed = |secret: Option<crate::api::secret::Secret>| {
        secret.map(|secret| secret.expose().to_owned())
    };
    let resources = (!opened.resources.is_empty()).then(|| listed(&opened.resources));
    let members = [
        ("token", exposed(opened.token)),
        (
            "revocation id",
            opened.revocation_id.map(|id| id.to_string()),
        ),
        ("client id", opened.client_id.map(|id| id.to_string())),
        ("client secret", exposed(opened.client_secret)),
        ("issuer", opened.issuer.map(|issuer| issuer.to_string())),
        ("token endpoint", opened.token_endpoint),
        ("resource", resources),
        ("scope", opened.scope),
        ("task", Some(opened.task_id.to_string())),
        ("type", opened.token_type),
        ("expires", opened.expires_at.map(|at| at.to_string())),
        ("task ends", Some(opened.task_ends_at.to_string())),
    ];
    let given = members
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let mut fields: Vec<_> = given.collect();
    fields.extend(under(
        "granted",
        granted_words(&opened.authorization_details),
    ));
    fields.extend(under("decided by", decided_words(&opened.decided_by)));
    if !opened.dropped.is_empty() {
        fields.extend(under("left out", reasons_words(&opened.dropped)));
    }
    View::Fields(fields)
}

/// One task.
pub(super) fn show(task: TaskView, names: &Names) -> View {
    let mut fields = vec![
        ("task", task.task_id.to_string()),
        ("agent", task.agent.to_string()),
        ("steward", names.of(&task.steward)),
        ("purpose", task.purpose),
        ("state", task.state.into_owned()),
        ("opened", task.opened_at.to_string()),
        ("ends", task.ends_at.to_string()),
    ];
    fields.extend(
        task.steward_verified_by
            .map(|issuer| ("steward verified by", issuer)),
    );
    if task.has_client {
        let words = "an OAuth client of its own gets its passes";
        fields.push(("client", words.to_owned()));
    }
    fields.extend(task.parent.map(|parent| {
        let (agent, parent) = (parent.agent, parent.task_id);
        let words = format!("agent {agent}, by a pass of {parent}; it ends with that pass");
        ("acts for", words)
    }));
    let children = task.children.iter().map(ToString::to_string);
    fields.extend(under("exchanged", children.collect()));
    fields.push(("passes", task.pass_count.to_string()));
    fields.extend(task.passes.iter().flat_map(pass_fields));
    fields.extend(task.delegations.into_iter().flat_map(delegation_fields));
    View::Fields(fields)
}

/// What was reported to be handed on.
pub(super) fn delegation(delegation: DelegationView) -> View {
    View::Fields(delegation_fields(delegation))
}

fn pass_fields(pass: &PassView) -> Vec<(&'static str, String)> {
    let (issued, expires) = (pass.issued_at, pass.expires_at);
    let life = format!(
        "issued {issued}, expires {expires}{}",
        revoked(pass.revoked)
    );
    let mut fields = vec![("pass", pass.revocation_id.to_string()), ("", life)];
    let rights = granted_words(&pass.authorization_details);
    fields.extend(rights.into_iter().map(|line| ("", line)));
    fields
}

fn delegation_fields(delegation: DelegationView) -> Vec<(&'static str, String)> {
    let last = delegation.blocks.last().map(ToString::to_string);
    let to = match delegation.registered_delegate {
        Some(agent) => format!("to a key that is registered to agent {agent} (reported)"),
        None => {
            let name = or_dash(delegation.asserted_delegate.as_ref());
            format!("to {name} (asserted)")
        }
    };
    vec![
        ("handed on", last.unwrap_or_default()),
        ("", format!("{to}{}", revoked(delegation.revoked))),
    ]
}

const fn revoked(revoked: bool) -> &'static str {
    if revoked { ", revoked" } else { "" }
}
