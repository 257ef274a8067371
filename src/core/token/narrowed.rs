//! The fold over the checks of a pass: the rights that it still has, and the other demands of its checks.
//!
//! [`Left`](crate::token::Left) formats the result as text, [`Remaining`](crate::token::Remaining) as rights.

use std::collections::BTreeSet;

use crate::{
    base::ids::ServerUri,
    token::{NamedRight, PassClaims, datalog::Target, shape::Shape, wire::Wire},
};

/// The rights of a pass after its checks.
pub(super) struct Narrowed {
    /// The remaining rights, after every list of targets.
    pub(super) rights: BTreeSet<NamedRight>,
    /// The demands of its other checks, in order, each with its block.
    pub(super) demands: Vec<(usize, Shape)>,
    /// The number of checks that cannot be read.
    pub(super) unread: usize,
}

impl Narrowed {
    pub(super) fn of(wire: &Wire, claims: &PassClaims) -> Self {
        let mut narrowed = Self {
            rights: claims.rights.iter().cloned().collect(),
            demands: Vec::new(),
            unread: 0,
        };
        for ((block, index), _) in wire.every_check() {
            match wire.check(block, index).map(|check| Shape::of(&check)) {
                Some(Shape::Only { targets, subtrees }) => {
                    narrowed.rights = intersections(&narrowed.rights, &targets, &subtrees);
                }
                Some(shape) => narrowed.demands.push((block, shape)),
                None => narrowed.unread = narrowed.unread.saturating_add(1),
            }
        }
        narrowed
    }
}

/// What of `rights` is also among `targets` and `subtrees`.
///
/// SECURITY: a set, so that however often a holder's checks name one subtree, there are never more than the rights
/// of block 0 and the subtrees of the checks together.
fn intersections(
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
