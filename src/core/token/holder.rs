//! The holder chain: the delegates of a pass, each hop signed by the holder before it.

use crate::{
    base::{holder::HolderKey, ids::AgentId},
    token::{
        ChainError, PassClaims,
        datalog::DELEGATE,
        wire::{Terms, Wire},
    },
};

/// One signed delegation: a block in which the holder before names the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hop {
    /// The block of the delegation. Revoking its id ends this hop and all later ones.
    pub block: usize,
    /// The delegate's name, as asserted by the holder before.
    pub agent: AgentId,
    /// The key that the pass is bound to from here on.
    pub key: HolderKey,
}

/// The keys of a holder-bound pass, from `cnf` to the one that may use it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderChain {
    first: HolderKey,
    hops: Vec<Hop>,
}

impl HolderChain {
    /// The key that may use the pass: only its proofs are accepted.
    #[must_use]
    pub fn leaf(&self) -> &HolderKey {
        self.hops.last().map_or(&self.first, |hop| &hop.key)
    }

    /// The delegations, first to last.
    #[must_use]
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Every key of the chain, with the block that names it; `None` for the first.
    pub fn keys(&self) -> impl Iterator<Item = (Option<usize>, &HolderKey)> {
        std::iter::once((None, &self.first))
            .chain(self.hops.iter().map(|hop| (Some(hop.block), &hop.key)))
    }

    /// The delegation in `block`, and its delegator: the delegate before, or `agent`.
    #[must_use]
    pub fn hop_at<'c>(
        &'c self,
        block: usize,
        agent: &'c AgentId,
    ) -> Option<(&'c AgentId, &'c Hop)> {
        let before = std::iter::once(agent).chain(self.hops.iter().map(|hop| &hop.agent));
        before.zip(&self.hops).find(|(_, hop)| hop.block == block)
    }

    /// Walks from `cnf` through every delegation of a token; `None` for a pass that is not bound to a key.
    pub(super) fn read(wire: &Wire, claims: &PassClaims) -> Result<Option<Self>, ChainError> {
        let mut chain = claims.holder.clone().map(|first| Self {
            first,
            hops: Vec::new(),
        });
        for block in 1..wire.block_count() {
            let Some(terms) = delegation(wire, block) else {
                continue;
            };
            let chain = chain.as_mut().ok_or(ChainError::Unbound { block })?;
            let holder = chain.leaf().ed25519().map(|key| &key.as_bytes()[..]);
            if holder.is_none() || wire.external_key_bytes(block) != holder {
                return Err(ChainError::NotByHolder { block });
            }
            let named = |at: usize| terms.text(at).ok_or(ChainError::Malformed { block });
            let agent = named(0)?
                .parse()
                .map_err(|_| ChainError::Malformed { block })?;
            let key = named(1)?
                .parse()
                .map_err(|_| ChainError::Malformed { block })?;
            chain.hops.push(Hop { block, agent, key });
        }
        Ok(chain)
    }
}

/// The `delegate` fact of a block. The profile lets in at most one, in third-party blocks only.
fn delegation(wire: &Wire, block: usize) -> Option<Terms<'_>> {
    let mut facts = wire.facts(block).iter();
    let fact = facts.find(|fact| wire.symbol(block, fact.predicate.name) == Some(DELEGATE))?;
    Some(Terms::of(wire, block, fact))
}
