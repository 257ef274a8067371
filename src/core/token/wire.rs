//! A token's wire form, decoded once: the only source of facts.
//!
//! Facts are never read from printed Datalog: biscuit-auth's printer does not escape strings, so a hostile
//! delegate's name could forge whole facts there.

use std::collections::{HashMap, HashSet};

use biscuit_auth::{
    PublicKey, builder,
    builder::Convert as _,
    datalog::SymbolTable,
    format::{convert::proto_check_to_token_check, schema},
};
use prost::Message as _;

use crate::base::ids::{KeyId, RevocationId};

/// A token that is inside the profile. Its signatures may not have been checked yet.
pub(super) struct Wire {
    token: schema::Biscuit,
    blocks: Vec<schema::Block>,
    /// The symbols of block 0 and of every first-party block.
    symbols: SymbolTable,
    /// The symbols of each third-party block.
    own_symbols: Vec<Option<SymbolTable>>,
    /// How many symbols each block declares.
    declared: Vec<usize>,
    cost: usize,
}

impl Wire {
    /// `None` when a block declares a symbol that exists already: two indices for one string.
    pub(super) fn new(token: schema::Biscuit, mut blocks: Vec<schema::Block>) -> Option<Self> {
        let mut symbols = SymbolTable::new();
        let mut own_symbols = Vec::with_capacity(blocks.len());
        let declared = blocks.iter().map(|block| block.symbols.len()).collect();
        let signed = std::iter::once(&token.authority).chain(&token.blocks);
        for (signed, block) in signed.zip(&mut blocks) {
            let symbols_of_block = std::mem::take(&mut block.symbols);
            // The library detects duplicates across blocks, but not within one.
            if symbols_of_block.iter().collect::<HashSet<_>>().len() != symbols_of_block.len() {
                return None;
            }
            let declared =
                SymbolTable::from_symbols_and_public_keys(symbols_of_block, scope_keys(block))
                    .ok()?;
            if signed.external_signature.is_some() {
                own_symbols.push(Some(declared));
            } else if own_symbols.is_empty() {
                symbols = declared;
                own_symbols.push(None);
            } else {
                symbols.extend(&declared).ok()?;
                own_symbols.push(None);
            }
        }
        Some(Self {
            token,
            blocks,
            symbols,
            own_symbols,
            declared,
            cost: 0,
        })
    }

    /// Stores the cost of the checks of the appended blocks.
    pub(super) fn with_cost(self, cost: usize) -> Self {
        Self { cost, ..self }
    }

    /// The cost of the checks of the appended blocks, in the profile's units.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    /// The symbols of block 0 and of every first-party block.
    pub(super) fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    /// The symbols of a third-party block.
    pub(super) fn own_symbols(&self, block: usize) -> Option<&SymbolTable> {
        self.own_symbols.get(block).and_then(Option::as_ref)
    }

    /// How many symbols the block declares.
    pub(super) fn declares(&self, block: usize) -> usize {
        self.declared.get(block).copied().unwrap_or(0)
    }

    /// The block's version of Datalog.
    pub(super) fn version(&self, block: usize) -> u32 {
        self.blocks
            .get(block)
            .and_then(|block| block.version)
            .unwrap_or(0)
    }

    /// For each key that a scope of block 0 can name: the blocks signed with it.
    pub(super) fn blocks_by_scope_key(&self) -> HashMap<usize, Vec<usize>> {
        let keys = self
            .blocks
            .first()
            .map_or(&[][..], |authority| authority.public_keys.as_slice());
        let signed_by = |key: &schema::PublicKey| {
            let external = self
                .token
                .blocks
                .iter()
                .map(|signed| signed.external_signature.as_ref());
            let is_by = |external: Option<&schema::ExternalSignature>| {
                external.is_some_and(|by| by.public_key == *key)
            };
            (1..)
                .zip(external)
                .filter(|(_, external)| is_by(*external))
                .map(|(block, _)| block)
                .collect()
        };
        keys.iter().map(signed_by).enumerate().collect()
    }

    /// The token as received: the profile admits no other encoding.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.token.encode_to_vec()
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Outside the signature: a hint for picking a key, nothing more.
    pub(super) fn key_hint(&self) -> Option<KeyId> {
        self.token.root_key_id.map(KeyId)
    }

    pub(super) fn facts(&self, block: usize) -> &[schema::Fact] {
        self.blocks
            .get(block)
            .map_or(&[], |block| block.facts.as_slice())
    }

    pub(super) fn checks(&self, block: usize) -> &[schema::Check] {
        self.blocks
            .get(block)
            .map_or(&[], |block| block.checks.as_slice())
    }

    /// Every check of every block, with its index.
    pub(super) fn every_check(&self) -> impl Iterator<Item = ((usize, usize), &schema::Check)> {
        (0..self.block_count()).flat_map(|block| {
            self.checks(block)
                .iter()
                .enumerate()
                .map(move |(index, check)| ((block, index), check))
        })
    }

    /// The bytes of the key that a third-party block is signed with.
    pub(super) fn external_key_bytes(&self, block: usize) -> Option<&[u8]> {
        let signed = self.token.blocks.get(block.checked_sub(1)?)?;
        Some(
            signed
                .external_signature
                .as_ref()?
                .public_key
                .key
                .as_slice(),
        )
    }

    /// Whether a block carries an external signature at all, by whatever key.
    pub(super) fn is_third_party(&self, block: usize) -> bool {
        let signed = block
            .checked_sub(1)
            .and_then(|at| self.token.blocks.get(at));
        signed.is_some_and(|signed| signed.external_signature.is_some())
    }

    pub(super) fn is_sealed(&self) -> bool {
        matches!(
            self.token.proof.content,
            Some(schema::proof::Content::FinalSignature(_))
        )
    }

    /// Every block's revocation id, block 0 first.
    pub(super) fn revocation_ids(&self) -> Vec<RevocationId> {
        let signed = std::iter::once(&self.token.authority).chain(&self.token.blocks);
        // INVARIANT: the profile admits 64-byte signatures only, so none is left out.
        signed
            .filter_map(|block| {
                block
                    .signature
                    .as_slice()
                    .try_into()
                    .ok()
                    .map(RevocationId::from_bytes)
            })
            .collect()
    }

    pub(super) fn symbol(&self, block: usize, index: u64) -> Option<&str> {
        self.symbols_of(block).get_symbol(index)
    }

    /// Whether the first predicate of a check is about the time.
    pub(super) fn is_about_time(&self, block: usize, check: &schema::Check) -> bool {
        self.is_about(block, check, "time")
    }

    /// Whether the first predicate of a check has this name.
    pub(super) fn is_about(&self, block: usize, check: &schema::Check, name: &str) -> bool {
        let first = check.queries.first().and_then(|query| query.body.first());
        first.is_some_and(|predicate| self.symbol(block, predicate.name) == Some(name))
    }

    /// Whether a check uses the time and nothing else.
    pub(super) fn is_only_about_time(&self, block: usize, check: &schema::Check) -> bool {
        let mut asks = check.queries.iter().map(|query| query.body.as_slice());
        asks.all(|body| matches!(body, [one] if self.symbol(block, one.name) == Some("time")))
    }

    /// One check in the form of biscuit-auth's builders; `None` when it does not decode.
    pub(super) fn check(&self, block: usize, index: usize) -> Option<builder::Check> {
        let block_ref = self.blocks.get(block)?;
        let check =
            proto_check_to_token_check(block_ref.checks.get(index)?, self.version(block)).ok()?;
        let mut check = builder::Check::convert_from(&check, self.symbols_of(block)).ok()?;
        for query in &mut check.queries {
            // Decoding leaves these unset and building sets them to empty maps: equal for comparison.
            query.parameters = Some(HashMap::new());
            query.scope_parameters = Some(HashMap::new());
        }
        Some(check)
    }

    fn symbols_of(&self, block: usize) -> &SymbolTable {
        self.own_symbols(block).unwrap_or(&self.symbols)
    }
}

/// The keys that the scopes of a block can name, so that a refusal by such a check can be explained. When one
/// is not a key, none is returned: the check's result is the same, and its topic is not explained.
fn scope_keys(block: &schema::Block) -> Vec<PublicKey> {
    let keys = block.public_keys.iter().map(PublicKey::from_proto);
    keys.collect::<Result<_, _>>().unwrap_or_default()
}

/// The arguments of a fact, by type; `None` for any other type.
pub(super) struct Terms<'w> {
    wire: &'w Wire,
    block: usize,
    terms: &'w [schema::Term],
}

impl<'w> Terms<'w> {
    pub(super) fn of(wire: &'w Wire, block: usize, fact: &'w schema::Fact) -> Self {
        Self {
            wire,
            block,
            terms: &fact.predicate.terms,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.terms.len()
    }

    pub(super) fn text(&self, at: usize) -> Option<&'w str> {
        self.text_of(self.terms.get(at)?)
    }

    pub(super) fn integer(&self, at: usize) -> Option<i64> {
        match self.terms.get(at)?.content.as_ref()? {
            schema::term::Content::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn date(&self, at: usize) -> Option<u64> {
        match self.terms.get(at)?.content.as_ref()? {
            schema::term::Content::Date(seconds) => Some(*seconds),
            _ => None,
        }
    }

    pub(super) fn text_set(&self, at: usize) -> Option<Vec<&'w str>> {
        match self.terms.get(at)?.content.as_ref()? {
            schema::term::Content::Set(set) => {
                set.set.iter().map(|term| self.text_of(term)).collect()
            }
            _ => None,
        }
    }

    pub(super) fn text_array(&self, at: usize) -> Option<Vec<&'w str>> {
        match self.terms.get(at)?.content.as_ref()? {
            schema::term::Content::Array(array) => {
                array.array.iter().map(|term| self.text_of(term)).collect()
            }
            _ => None,
        }
    }

    fn text_of(&self, term: &'w schema::Term) -> Option<&'w str> {
        match term.content.as_ref()? {
            schema::term::Content::String(index) => self.wire.symbol(self.block, *index),
            _ => None,
        }
    }
}
