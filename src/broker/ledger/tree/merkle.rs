//! The Merkle tree over the records (RFC 9162 section 2.1, the tree of Certificate Transparency).
//!
//! A leaf is a record's hash: the 32 bytes that stand in hex at the end of its line, SHA-256 over the
//! bytes of the line before `,"hash":"`. So a holder of a line can compute its leaf, and a proof about
//! a record can be shown without the record.
//!
//! Pure: what is hashed where, the frontier, and proofs with their verification. Which nodes a proof
//! needs and whether one holds is `ct-merkle`'s; where nodes are kept is [`Tree`](crate::ledger::tree::Tree)'s.

use std::ops::Range;

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use hallpass_core::base::digest::Digest;

/// A tree has at most this many records: what a JSON number holds exactly.
pub const MAX_SIZE: u64 = 1 << 53;

/// Why something about the tree is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such record or tree.
    #[error("records 1 to {size} can be proven, and {asked} is none of them")]
    Range {
        /// What was asked about.
        asked: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The hashes do not lead from the record, or from the older tree, to the root.
    #[error("the hashes do not lead to the root")]
    Wrong,
}

/// The hash of a leaf that holds `data`.
fn leaf(data: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], data])
}

/// The hash of the node above `left` and `right`.
pub(crate) fn parent(left: Digest, right: Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The right edge of a tree: enough to go on appending, and all that a tree of any size needs in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenFrontier", into = "WrittenFrontier")]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees, the largest first: one for each bit of the size.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// How many records.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends the record with this hash.
    pub fn push(&mut self, record: Digest) {
        self.push_seen(record, |_, _, _| {});
    }

    /// Appends the record with this hash, and calls `complete` with every node that is complete from
    /// now on: its level, its number in that level and its hash. The leaf comes first, at level 0.
    pub(crate) fn push_seen(&mut self, record: Digest, mut complete: impl FnMut(u32, u64, Digest)) {
        self.push_leaf(leaf(record.as_bytes()), &mut complete);
    }

    fn push_leaf(&mut self, leaf: Digest, complete: &mut impl FnMut(u32, u64, Digest)) {
        let (mut node, mut number) = (leaf, self.size);
        complete(0, number, node);
        let mut level = 0_u32;
        while number & 1 == 1 {
            let Some(left) = self.peaks.pop() else { break };
            (node, number, level) = (parent(left, node), number >> 1, level.saturating_add(1));
            complete(level, number, node);
        }
        self.peaks.push(node);
        // A tree of 2^64 records fits on no disk.
        self.size = self.size.saturating_add(1);
    }

    /// The root; of an empty tree the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Digest {
        let folded = self
            .peaks
            .iter()
            .rev()
            .copied()
            .reduce(|right, left| parent(left, right));
        folded.unwrap_or_else(|| Digest::of(&[]))
    }

    /// The root of the subtree over these leaves, when it is one of the complete ones at the edge.
    pub(crate) fn peak(&self, leaves: &Range<u64>) -> Option<Digest> {
        let mut begin = 0_u64;
        let mut peaks = self.peaks.iter();
        for level in (0..u64::BITS)
            .rev()
            .filter(|level| self.size >> level & 1 == 1)
        {
            let (peak, end) = (peaks.next()?, begin.saturating_add(1 << level));
            if *leaves == (begin..end) {
                return Some(*peak);
            }
            begin = end;
        }
        None
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFrontier {
    size: u64,
    peaks: Vec<Digest>,
}

impl TryFrom<WrittenFrontier> for Frontier {
    type Error = String;

    fn try_from(written: WrittenFrontier) -> Result<Self, String> {
        let expected = usize::try_from(written.size.count_ones()).unwrap_or(usize::MAX);
        if written.size > MAX_SIZE || written.peaks.len() != expected {
            return Err(format!(
                "a tree of {} records has {expected} peaks",
                written.size
            ));
        }
        Ok(Self {
            size: written.size,
            peaks: written.peaks,
        })
    }
}

impl From<Frontier> for WrittenFrontier {
    fn from(frontier: Frontier) -> Self {
        Self {
            size: frontier.size,
            peaks: frontier.peaks,
        }
    }
}

/// That a record is in a tree (RFC 9162 section 2.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Inclusion {
    /// The record's place in the chain, counted from 1.
    pub sequence: u64,
    /// The size of the tree.
    pub size: u64,
    /// The nodes beside the way from the leaf to the root.
    pub hashes: Vec<Digest>,
}

impl Inclusion {
    /// The leaves below each node that the proof consists of.
    pub(crate) fn nodes(sequence: u64, size: u64) -> Result<Vec<Range<u64>>, ProofError> {
        let leaf = leaf_number(sequence, size)?;
        Ok(ct_merkle::indices_for_inclusion_proof(size, leaf)
            .into_iter()
            .map(|node| leaves(node, size))
            .collect())
    }

    /// Verifies that the record with the hash `record` is in the tree with the root `root`.
    ///
    /// # Errors
    ///
    /// When it is not, or this is not shown.
    pub fn verify(&self, record: Digest, root: Digest) -> Result<(), ProofError> {
        self.verify_data(record.as_bytes(), root)
    }

    fn verify_data(&self, data: &[u8], root: Digest) -> Result<(), ProofError> {
        let leaf = leaf_number(self.sequence, self.size)?;
        let proof =
            InclusionProof::from_digests(&self.hashes.iter().map(output).collect::<Vec<_>>());
        root_hash(root, self.size)
            .verify_inclusion(&data, leaf, &proof)
            .map_err(|_| ProofError::Wrong)
    }
}

/// That a tree begins with all the records of an older one, unchanged (RFC 9162 section 2.1.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// The size of the older tree.
    pub from: u64,
    /// The size of the tree.
    pub to: u64,
    /// The nodes from which both roots follow.
    pub hashes: Vec<Digest>,
}

impl Consistency {
    /// The leaves below each node that the proof consists of.
    pub(crate) fn nodes(from: u64, to: u64) -> Result<Vec<Range<u64>>, ProofError> {
        let added = additions(from, to)?;
        Ok(ct_merkle::indices_for_consistency_proof(from, added)
            .into_iter()
            .map(|node| leaves(node, to))
            .collect())
    }

    /// Verifies that the tree with the root `new` begins with the one with the root `old`.
    ///
    /// # Errors
    ///
    /// When it does not, or this is not shown.
    pub fn verify(&self, old: Digest, new: Digest) -> Result<(), ProofError> {
        additions(self.from, self.to)?;
        let proof =
            ConsistencyProof::from_digests(&self.hashes.iter().map(output).collect::<Vec<_>>());
        let (old, new) = (root_hash(old, self.from), root_hash(new, self.to));
        new.verify_consistency(&old, &proof)
            .map_err(|_| ProofError::Wrong)
    }
}

/// The number of the leaf of record `sequence` in a tree of `size`.
const fn leaf_number(sequence: u64, size: u64) -> Result<u64, ProofError> {
    match sequence.checked_sub(1) {
        Some(leaf) if leaf < size && size <= MAX_SIZE => Ok(leaf),
        _ => Err(ProofError::Range {
            asked: sequence,
            size,
        }),
    }
}

/// How many records came between the two sizes.
const fn additions(from: u64, to: u64) -> Result<u64, ProofError> {
    match to.checked_sub(from) {
        Some(added) if from > 0 && to <= MAX_SIZE => Ok(added),
        _ => Err(ProofError::Range {
            asked: from,
            size: to,
        }),
    }
}

/// The leaves below a node, by its number in the array that RFC 9420 (appendix C) lays a tree out in:
/// its level is the number of ones at its end.
fn leaves(node: u64, size: u64) -> Range<u64> {
    let level = node.trailing_ones();
    let begin = node >> level.saturating_add(1) << level;
    begin..begin.saturating_add(1 << level).min(size)
}

fn output(digest: &Digest) -> sha2::digest::Output<Sha256> {
    (*digest.as_bytes()).into()
}

fn root_hash(root: Digest, size: u64) -> RootHash<Sha256> {
    RootHash::new(output(&root), size)
}

#[cfg(test)]
mod tests;
