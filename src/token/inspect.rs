//! Inspection: what a token says, for the people who hold it. Verified by nobody.

use serde::Serialize;

use super::{
    claims::{NamedRight, PassClaims},
    shape::{Shape, show_uri},
    wire::Wire,
};
use crate::base::{
    ids::{KeyId, RevocationId},
    time::Timestamp,
};

/// What a token says, block by block.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The root key's number: a hint.
    pub key: Option<KeyId>,
    /// Who issued it, for what and whom; `None` when block 0 is not that of a pass.
    pub claims: Option<ClaimsSummary>,
    /// Whether it can be narrowed further.
    pub sealed: bool,
    /// Block 0 and every appended block.
    pub blocks: Vec<BlockSummary>,
}

/// Block 0 in words.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ClaimsSummary {
    /// The issuer.
    pub issuer: String,
    /// The task.
    pub task: String,
    /// The agent.
    pub agent: String,
    /// The steward.
    pub steward: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What it names, in words.
    pub rights: Vec<String>,
}

/// One block in words.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BlockSummary {
    /// Revoke this to end the pass from this block on.
    pub revocation_id: RevocationId,
    /// Who wrote it: `broker`, `holder` (anybody who held the token) or `third party`.
    pub by: &'static str,
    /// What it requires, in words.
    pub requires: Vec<String>,
}

impl Summary {
    pub(super) fn of(wire: &Wire) -> Self {
        let blocks = wire.revocation_ids().into_iter().enumerate().map(|(block, revocation_id)| {
            let by = match block {
                0 => "broker",
                _ if wire.is_third_party(block) => "third party",
                _ => "holder",
            };
            let checks = (0..wire.check_count(block)).filter_map(|check| wire.check(block, check));
            BlockSummary { revocation_id, by, requires: checks.map(|check| Shape::of(&check).to_string()).collect() }
        });
        Self {
            key: wire.key_hint(),
            claims: PassClaims::read(wire).ok().map(|claims| ClaimsSummary::of(&claims)),
            sealed: wire.is_sealed(),
            blocks: blocks.collect(),
        }
    }
}

impl ClaimsSummary {
    fn of(claims: &PassClaims) -> Self {
        Self {
            issuer: claims.issuer.to_string(),
            task: claims.task.to_string(),
            agent: claims.agent.to_string(),
            steward: claims.steward.to_string(),
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            rights: claims.rights.iter().map(show).collect(),
        }
    }
}

fn show(right: &NamedRight) -> String {
    match right {
        NamedRight::Names { server, kind, names } => {
            let names: Vec<_> = names.iter().map(|name| name.escape_debug().to_string()).collect();
            format!("{kind} {} on {server}", names.join(", "))
        }
        NamedRight::Subtree { server, segments } => format!("resources under {} on {server}", show_uri(segments)),
    }
}
