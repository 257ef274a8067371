//! What is left of a pass after every narrowing that hallpass wrote: for showing, never for deciding.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    base::{ids::ServerUri, time::Timestamp},
    token::{
        HolderChain, NamedRight, PassClaims, datalog::Target, depth::delegations_left,
        shape::Shape, wire::Wire,
    },
};

/// What is left of a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// What it still names, in words. Constraints on arguments stand with the blocks that require them.
    pub rights: Vec<String>,
    /// Whether only what changes nothing is left.
    pub read_only: bool,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How often it may still be handed on; `None` for a pass that is bound to no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegations: Option<usize>,
    /// How many checks there are that hallpass did not write: they may allow less than is said here.
    pub other_checks: usize,
}

impl Left {
    pub(super) fn of(wire: &Wire, claims: &PassClaims, chain: Option<&HolderChain>) -> Self {
        let mut rights: BTreeSet<NamedRight> = claims.rights.iter().cloned().collect();
        let mut left = Self {
            rights: Vec::new(),
            read_only: false,
            expires_at: claims.expires_at,
            delegations: chain.map(|chain| {
                if wire.is_sealed() {
                    0
                } else {
                    delegations_left(wire, chain.hops().len())
                }
            }),
            other_checks: 0,
        };
        let checks = wire
            .every_check()
            .filter_map(|((block, index), _)| wire.check(block, index));
        for shape in checks.map(|check| Shape::of(&check)) {
            match shape {
                Shape::Time { until, .. } => left.expires_at = left.expires_at.min(until),
                Shape::ReadOnly { target: None } => left.read_only = true,
                Shape::Only { targets, subtrees } => {
                    rights = narrowed(&rights, &targets, &subtrees);
                }
                Shape::Other { .. } => left.other_checks = left.other_checks.saturating_add(1),
                _ => {}
            }
        }
        left.rights = rights.iter().map(NamedRight::to_words).collect();
        left
    }
}

/// What of `rights` is also among `targets` and `subtrees`.
///
/// SECURITY: a set, so that however often a holder's checks name one subtree, there are never more than the rights
/// of block 0 and the subtrees of the checks together.
pub(super) fn narrowed(
    rights: &BTreeSet<NamedRight>,
    targets: &[Target],
    subtrees: &[(ServerUri, Vec<String>)],
) -> BTreeSet<NamedRight> {
    rights
        .iter()
        .flat_map(|right| intersection(right, targets, subtrees))
        .collect()
}

fn intersection(
    right: &NamedRight,
    targets: &[Target],
    subtrees: &[(ServerUri, Vec<String>)],
) -> Vec<NamedRight> {
    match right {
        NamedRight::Names {
            server,
            kind,
            names,
        } => {
            let allowed = |name: &String| {
                targets.iter().any(|target| {
                    target.server == *server && target.kind == *kind && target.names.contains(name)
                })
            };
            let names: BTreeSet<String> =
                names.iter().filter(|name| allowed(name)).cloned().collect();
            let kept = NamedRight::Names {
                server: server.clone(),
                kind: *kind,
                names,
            };
            if matches!(&kept, NamedRight::Names { names, .. } if names.is_empty()) {
                Vec::new()
            } else {
                vec![kept]
            }
        }
        NamedRight::Subtree { server, segments } => {
            let here = subtrees
                .iter()
                .filter(|(of, _)| of == server)
                .map(|(_, prefix)| prefix);
            let narrower = here.filter_map(|prefix| match () {
                () if segments.starts_with(prefix) => Some(segments.clone()),
                () if prefix.starts_with(segments) => Some(prefix.clone()),
                () => None,
            });
            narrower
                .map(|segments| NamedRight::Subtree {
                    server: server.clone(),
                    segments,
                })
                .collect()
        }
    }
}
