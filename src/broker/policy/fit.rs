//! Whether obligations fit: the manifest they lean on, the context they pin, the key they want.

use crate::policy::{
    Question, Reason, Right, RightName, assemble::Covered, grant_file::PlacedGrant,
};
use hallpass_core::{
    base::{ReasonCode, ids::ToolName},
    token::{
        constraint::{Constraint, Scalar},
        manifest::{Manifest, Tool},
        path::Pointer,
    },
};

/// Whether a verifier with this manifest can tell if `constraint` holds for the argument.
///
/// # Errors
///
/// Says what does not fit: an argument that the tool does not take, `under` on what is not a path,
/// `host` on what is not a URL, `prefix` on either.
pub(super) fn constraint_fits(
    tool: &Tool,
    pointer: &Pointer,
    constraint: &Constraint,
) -> Result<(), String> {
    let top = pointer.with_ancestors().next().unwrap_or_default();
    if !tool.arguments.is_empty()
        && !tool
            .arguments
            .iter()
            .any(|argument| argument.as_str() == top)
    {
        return Err(format!("the manifest lists no argument `{top}`"));
    }
    let is_path = tool.path_arguments.contains(pointer);
    let is_url = tool.url_arguments.contains(pointer);
    match constraint {
        Constraint::Under(_) if !is_path => Err(format!(
            "`under` needs `{pointer}` among the manifest's `path_arguments`"
        )),
        Constraint::Host(_) if !is_url => Err(format!(
            "`host` needs `{pointer}` among the manifest's `url_arguments`"
        )),
        // SECURITY: `/srv/data/../../etc` begins with `/srv/data/`, and `https://good.example@evil` with its host.
        Constraint::Prefix(_) if is_path => Err(format!(
            "`{pointer}` is a path; use `under` instead of `prefix`"
        )),
        Constraint::Prefix(_) if is_url => Err(format!(
            "`{pointer}` is a URL; use `host` instead of `prefix`"
        )),
        _ => Ok(()),
    }
}

/// What `placed` demands of `right`, when all of it can be met; and a proof of each call where any
/// grant that gives `right` demands one.
///
/// # Errors
///
/// Every demand that cannot be met. A grant whose server's manifest has changed since the check is
/// found here.
pub(super) fn obligations_fit<'d>(
    placed: &'d PlacedGrant,
    question: &Question,
    (right, manifest): (&Right, &Manifest),
    require_call_proof: bool,
) -> Result<Covered<'d>, Vec<Reason>> {
    let grant = &placed.grant;
    let mut reasons = Vec::new();
    let mut refuse = |code, detail: String| {
        let detail = format!(
            "grant `{}` ({}) gives `{right}`, but {detail}",
            grant.id, placed.file
        );
        reasons.push(
            Reason::new(code, detail)
                .about(right)
                .decided_by(placed.source()),
        );
    };
    if (grant.require_proof || require_call_proof) && !question.holder_bound {
        refuse(
            ReasonCode::HolderKeyRequired,
            "only bound to a holder key; send `holder_key`".to_owned(),
        );
    }
    let mut pins = Vec::new();
    let mut call_proof = false;
    if let RightName::Tool(name) = &right.name
        && let Some(tool) = manifest.tools.get(name)
    {
        call_proof = require_call_proof && tool.irreversible;
        for (pointer, constraint) in grant.constraints_on(name) {
            if let Err(reason) = constraint_fits(tool, pointer, constraint) {
                refuse(
                    ReasonCode::ConstraintMismatch,
                    format!("its constraint does not fit the manifest: {reason}"),
                );
            }
        }
        if !grant.pin.is_empty() && arguments_are_unknown(tool) {
            let reason = format!(
                "the manifest does not list the arguments of `{name}`, so nothing can be pinned"
            );
            refuse(ReasonCode::ConstraintMismatch, reason);
        }
        for pointer in grant
            .pin
            .iter()
            .filter(|pointer| tool.arguments.contains(pointer))
        {
            match pinned_value(question, pointer) {
                Some(value) => pins.push((pointer.clone(), Constraint::Equal(value))),
                None => refuse(
                    ReasonCode::ContextMissing,
                    format!(
                        "pins `{pointer}` to the task's context, which has no such value; send it in `context`"
                    ),
                ),
            }
        }
    }
    if reasons.is_empty() {
        Ok(Covered {
            placed,
            pins,
            call_proof,
        })
    } else {
        Err(reasons)
    }
}

/// Whether the manifest was written without a schema, so that no listed argument means nothing.
pub(super) fn arguments_are_unknown(tool: &Tool) -> bool {
    tool.arguments.is_empty() && tool.schema_digest.is_none()
}

/// The tools that the grant gives on this server, as the manifest lists them.
pub(super) fn tools_given<'m>(
    placed: &'m PlacedGrant,
    manifest: &'m Manifest,
) -> impl Iterator<Item = (&'m ToolName, &'m Tool)> {
    manifest.tools.iter().filter(|(name, _)| {
        placed
            .grant
            .tools
            .iter()
            .any(|pattern| pattern.matches(name))
    })
}

fn pinned_value(question: &Question, pointer: &Pointer) -> Option<Scalar> {
    // A pin is one segment; its escapes are undone in the order of RFC 6901.
    let name = pointer
        .as_str()
        .strip_prefix('/')?
        .replace("~1", "/")
        .replace("~0", "~");
    question.context.get(&name).and_then(Scalar::from_json)
}
