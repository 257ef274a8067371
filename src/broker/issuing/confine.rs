//! Confining: a pass that was exchanged for another one allows no more than was left of that one. Pure.

use crate::{BrokerError, domain::event::TaskRecord, policy::Reason};
use hallpass_core::{
    base::{ReasonCode, ids::ToolName},
    token::{GrantedDetail, path::ResourceTree},
};

/// What was granted to a task that came of a pass, with every restriction of that pass.
pub(crate) fn confined(
    task: &TaskRecord,
    granted: Vec<GrantedDetail>,
) -> Result<Vec<GrantedDetail>, BrokerError> {
    let Some(parent) = &task.parent else {
        return Ok(granted);
    };
    if let Some(detail) = granted
        .iter()
        .find(|detail| !is_within(detail, &parent.limits))
    {
        let reason = format!(
            "not everything granted on `{}` is left of the pass that was exchanged",
            detail.server
        );
        return Err(BrokerError::Refused(vec![Reason::new(
            ReasonCode::NotGranted,
            reason,
        )]));
    }
    let mut all = granted.clone();
    all.extend(
        parent
            .limits
            .iter()
            .filter_map(|limit| restriction(limit, &granted)),
    );
    Ok(all)
}

/// Whether `limits` name all that `detail` does.
fn is_within(detail: &GrantedDetail, limits: &[GrantedDetail]) -> bool {
    let here = || limits.iter().filter(|limit| limit.server == detail.server);
    let under = |tree: &ResourceTree| {
        here().any(|limit| limit.resources.iter().any(|outer| outer.contains(tree)))
    };
    detail
        .tools
        .iter()
        .all(|tool| here().any(|limit| limit.tools.contains(tool)))
        && detail
            .prompts
            .iter()
            .all(|prompt| here().any(|limit| limit.prompts.contains(prompt)))
        && detail.resources.iter().all(under)
}

/// What `limit` demands of the tools that were granted; `None` when that is nothing.
fn restriction(limit: &GrantedDetail, granted: &[GrantedDetail]) -> Option<GrantedDetail> {
    let is_granted = |tool: &ToolName| {
        granted
            .iter()
            .any(|detail| detail.server == limit.server && detail.tools.contains(tool))
    };
    let mut kept = limit.clone();
    (kept.prompts, kept.resources) = (Vec::new(), Vec::new());
    kept.tools.retain(is_granted);
    kept.retain_demands(is_granted);
    let demands = kept.read_only
        || !(kept.constraints.is_empty()
            && kept.closed_arguments.is_empty()
            && kept.call_proof.is_empty());
    (demands && !kept.tools.is_empty()).then_some(kept)
}
