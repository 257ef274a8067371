//! Depth: how often a pass may be handed on, limited by its checks and its length.

use crate::token::{limits::MAX_APPENDED_BLOCKS, shape::Shape, wire::Wire};

/// How often a token at `depth` may still be handed on, by its checks and by its length.
pub(super) fn delegations_left(wire: &Wire, depth: usize) -> usize {
    let by_checks = max_delegations(wire)
        .unwrap_or(usize::MAX)
        .saturating_sub(depth);
    by_checks.min((MAX_APPENDED_BLOCKS.saturating_add(1)).saturating_sub(wire.block_count()))
}

/// How often a token may be handed on altogether, by the strictest of its checks.
pub(super) fn max_delegations(wire: &Wire) -> Option<usize> {
    let about_depth = wire
        .every_check()
        .filter(|((block, _), check)| wire.is_about(*block, check, "depth"));
    let limits =
        about_depth.filter_map(
            |((block, index), _)| match Shape::of(&wire.check(block, index)?) {
                Shape::Depth { at_most } => Some(usize::from(at_most)),
                _ => None,
            },
        );
    limits.min()
}
