//! The rights that remain of a pass after every narrowing that hallpass wrote: for display, never for decisions.

use serde::Serialize;

use crate::{
    base::time::Timestamp,
    token::{
        HolderChain, NamedRight, PassClaims, depth::delegations_left, narrowed::Narrowed,
        shape::Shape, wire::Wire,
    },
};

/// The remaining rights of a pass, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// The remaining rights. Constraints on arguments are shown with the blocks that require them.
    pub rights: Vec<String>,
    /// Whether only read-only calls remain.
    pub read_only: bool,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How often it may still be handed on; `None` for a pass that is not bound to a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegations: Option<usize>,
    /// The number of checks that hallpass did not write: they may allow less than is shown here.
    pub other_checks: usize,
}

impl Left {
    pub(super) fn of(wire: &Wire, claims: &PassClaims, chain: Option<&HolderChain>) -> Self {
        let narrowed = Narrowed::of(wire, claims);
        let mut left = Self {
            rights: narrowed.rights.iter().map(NamedRight::to_words).collect(),
            read_only: false,
            expires_at: claims.expires_at,
            delegations: chain.map(|chain| {
                if wire.is_sealed() {
                    0
                } else {
                    delegations_left(wire, chain.hops().len())
                }
            }),
            other_checks: narrowed.unread,
        };
        for (_, shape) in narrowed.demands {
            match shape {
                Shape::Time { until, .. } => left.expires_at = left.expires_at.min(until),
                Shape::ReadOnly { target: None } => left.read_only = true,
                Shape::Other { .. } => left.other_checks = left.other_checks.saturating_add(1),
                _ => {}
            }
        }
        left
    }
}
