//! Inspection: the content of a token as text, for its holder. **Not** verified.

use serde::Serialize;

use crate::{
    base::{
        holder::HolderKey,
        ids::{KeyId, RevocationId},
        text::quote,
        time::Timestamp,
    },
    token::{
        HolderChain, Left, NamedRight, PassClaims, UnverifiedPass,
        shape::{Shape, show_uri},
        wire::Wire,
    },
};

/// The content of a token, block by block.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The root key's number: a hint.
    pub key: Option<KeyId>,
    /// The content of block 0; `None` when it is not the block 0 of a pass.
    pub claims: Option<ClaimsSummary>,
    /// Whether it can be narrowed further.
    pub sealed: bool,
    /// The rights that remain after every block, as text; `None` when block 0 is not that of a pass,
    /// or a delegation is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// Block 0 and every appended block.
    pub blocks: Vec<BlockSummary>,
}

/// Block 0 as text.
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
    /// The thumbprint (RFC 7638) of the key that the broker bound it to, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The rights, as text.
    pub rights: Vec<String>,
}

/// One block as text.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BlockSummary {
    /// The block's id. Revoking it ends the pass from this block on.
    pub revocation_id: RevocationId,
    /// Who wrote it: `broker`, `holder` (any holder of the token), `delegation` (the holder, signed)
    /// or `third party`.
    pub by: &'static str,
    /// The delegation in this block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegation: Option<DelegationSummary>,
    /// The requirements, as text.
    pub requires: Vec<String>,
}

/// One hop of a holder chain as text.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DelegationSummary {
    /// The delegator: the agent, or the delegate before.
    pub from: String,
    /// The delegate's name as asserted by `from`, unless the broker knows the key.
    pub to: String,
    /// The thumbprint of the delegate's key.
    pub key: String,
}

impl UnverifiedPass {
    /// The content of block 0 and the appended blocks, unverified: for display to the token's holder,
    /// never for decisions.
    #[must_use]
    pub fn dangerous_unverified_summary(&self) -> Summary {
        Summary::of(self.wire())
    }
}

impl Summary {
    fn of(wire: &Wire) -> Self {
        let claims = PassClaims::read(wire).ok();
        let chain = claims
            .as_ref()
            .map(|claims| HolderChain::read(wire, claims));
        let left = match (&claims, &chain) {
            (Some(claims), Some(Ok(chain))) => Some(Left::of(wire, claims, chain.as_ref())),
            _ => None,
        };
        let chain = chain.and_then(Result::ok).flatten();
        let delegation = |block: usize| {
            let (chain, claims) = (chain.as_ref()?, claims.as_ref()?);
            let (from, hop) = chain.hop_at(block, &claims.agent)?;
            Some(DelegationSummary {
                from: from.to_string(),
                to: hop.agent.to_string(),
                key: hop.key.thumbprint(),
            })
        };
        let blocks = wire
            .revocation_ids()
            .into_iter()
            .enumerate()
            .map(|(block, revocation_id)| {
                let delegation = delegation(block);
                let by = match block {
                    0 => "broker",
                    _ if delegation.is_some() => "delegation",
                    _ if wire.is_third_party(block) => "third party",
                    _ => "holder",
                };
                let checks =
                    (0..wire.checks(block).len()).filter_map(|check| wire.check(block, check));
                BlockSummary {
                    revocation_id,
                    by,
                    delegation,
                    requires: checks.map(|check| Shape::of(&check).to_string()).collect(),
                }
            });
        Self {
            key: wire.key_hint(),
            claims: claims.as_ref().map(ClaimsSummary::of),
            left,
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
            holder: claims.holder.as_ref().map(HolderKey::thumbprint),
            rights: claims.rights.iter().map(NamedRight::to_words).collect(),
        }
    }
}

impl NamedRight {
    /// `tool read_ledger, search_ledger on https://ledger.example/mcp`.
    pub(super) fn to_words(&self) -> String {
        match self {
            Self::Names {
                server,
                kind,
                names,
            } => {
                let names: Vec<_> = names.iter().map(|name| quote(name)).collect();
                format!("{kind} {} on {server}", names.join(", "))
            }
            Self::Subtree { server, segments } => {
                format!("resources under {} on {server}", show_uri(segments))
            }
        }
    }
}
