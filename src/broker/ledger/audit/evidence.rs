//! Files of proof that stand for themselves: a head, an inclusion, a consistency.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::ledger::{
    audit::{Anchor, KeptError, Signed, StatementError, TreeHead, offline::record_hash},
    file::Flaw,
    tree::merkle::{Consistency, Inclusion, ProofError},
};
use hallpass_core::base::{digest::Digest, json};

/// A signed head, with what it says readable beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = AuditHead))]
#[serde(deny_unknown_fields)]
pub struct HeadEvidence {
    /// The last record, and so the size of the tree.
    pub sequence: u64,
    /// The last record's hash.
    pub hash: Digest,
    /// The root of the tree.
    pub root: Digest,
    /// When it was signed, as the statement spells it.
    pub at: String,
    /// The signed [`TreeHead`].
    pub signed: Signed,
}

/// A record, and the proof that it is in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InclusionEvidence {
    /// The record's line, without its newline.
    pub record: String,
    /// The proof.
    pub inclusion: Inclusion,
    /// The signed head of the tree; absent when the tree of an earlier head was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// The proof that nothing was changed between two heads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ConsistencyEvidence {
    /// The proof.
    pub consistency: Consistency,
    /// The signed older head; the auditor has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Signed>,
    /// The signed head of the newer tree; absent when the tree of an earlier head was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A head.
    Head(HeadEvidence),
    /// An inclusion.
    Inclusion(InclusionEvidence),
    /// A consistency.
    Consistency(ConsistencyEvidence),
}

/// Why evidence shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// It is no evidence.
    #[error("neither a journal, an export, a head nor a proof: {0}")]
    Form(String),
    /// A statement in it is not believed.
    #[error("{member}: {source}")]
    Statement {
        /// Which.
        member: &'static str,
        /// Why not.
        source: StatementError,
    },
    /// A head that it needs is not in it.
    #[error(
        "{0}: the signed head is missing: ask for the proof without a size, or add the head that it is for"
    )]
    NoHead(&'static str),
    /// What stands beside the signed head is not what was signed.
    #[error("what stands beside `signed` is not what was signed")]
    Unlike,
    /// A signed head in it does not agree with the one that was kept.
    #[error("{member}: {source}")]
    Kept {
        /// Which.
        member: &'static str,
        /// How it differs.
        source: KeptError,
    },
    /// The record is not as it was written.
    #[error("record: {0}")]
    Record(Flaw),
    /// The proof is about another record or another tree than what came with it.
    #[error("the proof is about {0}")]
    Other(String),
    /// The proof does not hold.
    #[error("the proof: {0}")]
    Proof(#[from] ProofError),
}

impl Evidence {
    /// Reads evidence.
    ///
    /// # Errors
    ///
    /// When `bytes` are none.
    pub fn read(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let form = |error: String| EvidenceError::Form(error);
        let value =
            json::parse(bytes, MAX_EVIDENCE_BYTES).map_err(|error| form(error.to_string()))?;
        if value.get("inclusion").is_some() {
            shaped(value).map(Self::Inclusion)
        } else if value.get("consistency").is_some() {
            shaped(value).map(Self::Consistency)
        } else {
            shaped(value).map(Self::Head)
        }
    }

    /// The signed head that it is or leads to; `None` when the auditor has it.
    #[must_use]
    pub const fn signed(&self) -> Option<&Signed> {
        match self {
            Self::Head(head) => Some(&head.signed),
            Self::Inclusion(inclusion) => inclusion.signed.as_ref(),
            Self::Consistency(consistency) => consistency.signed.as_ref(),
        }
    }
}

impl HeadEvidence {
    /// The head, when it is signed by a key that `anchor` leads to; without an anchor by any key.
    /// `known` is a head that was kept: it must be of the same tree.
    ///
    /// # Errors
    ///
    /// When it is not, or something else stands beside it.
    pub fn verify(
        &self,
        anchor: Option<&Anchor>,
        known: Option<&TreeHead>,
    ) -> Result<TreeHead, EvidenceError> {
        let head = given("signed", Some(&self.signed), anchor, known)?;
        let beside = (self.sequence, self.hash, self.root, self.at.as_str());
        if beside
            == (
                head.size,
                head.hash,
                head.root,
                head.at.to_string().as_str(),
            )
        {
            Ok(head)
        } else {
            Err(EvidenceError::Unlike)
        }
    }
}

impl InclusionEvidence {
    /// Verifies that the record is in the tree of the signed head, which it returns; `known` is that
    /// head when it is not in the evidence, and must be of the same tree when it is.
    ///
    /// # Errors
    ///
    /// When the record is damaged, a signature or the proof does not hold, or the head is not that of `known`.
    pub fn verify(
        &self,
        anchor: Option<&Anchor>,
        known: Option<&TreeHead>,
    ) -> Result<TreeHead, EvidenceError> {
        let head = given("signed", self.signed.as_ref(), anchor, known)?;
        let (sequence, hash) =
            record_hash(self.record.as_bytes()).map_err(EvidenceError::Record)?;
        if self.inclusion.sequence != sequence {
            return Err(EvidenceError::Other(format!(
                "record {}, not {sequence}",
                self.inclusion.sequence
            )));
        }
        is_about(self.inclusion.size, &head)?;
        self.inclusion.verify(hash, head.root)?;
        Ok(head)
    }
}

impl ConsistencyEvidence {
    /// Verifies that the tree of the signed head begins with that of the earlier one; returns both,
    /// the earlier first. `known` is the earlier head when it is not in the evidence, and must be of the
    /// same tree when it is: a proof since another head shows nothing about the one that was kept.
    ///
    /// # Errors
    ///
    /// When a signature or the proof does not hold, two brokers signed, or the earlier head is not that of `known`.
    pub fn verify(
        &self,
        anchor: Option<&Anchor>,
        known: Option<&TreeHead>,
    ) -> Result<(TreeHead, TreeHead), EvidenceError> {
        let earlier = given("earlier", self.earlier.as_ref(), anchor, known)?;
        let later = given("signed", self.signed.as_ref(), anchor, None)?;
        if earlier.iss != later.iss {
            return Err(EvidenceError::Other(format!(
                "two brokers, {} and {}",
                earlier.iss, later.iss
            )));
        }
        is_about(self.consistency.from, &earlier)?;
        is_about(self.consistency.to, &later)?;
        self.consistency.verify(earlier.root, later.root)?;
        if earlier.size == later.size && earlier.hash != later.hash {
            return Err(ProofError::Wrong.into());
        }
        Ok((earlier, later))
    }
}

/// The head in the evidence, held against the one that is known; else the one that is known.
fn given(
    member: &'static str,
    signed: Option<&Signed>,
    anchor: Option<&Anchor>,
    known: Option<&TreeHead>,
) -> Result<TreeHead, EvidenceError> {
    match (signed, known) {
        (Some(signed), known) => {
            let head = head(member, signed, anchor)?;
            let held = known.map_or(Ok(()), |known| head.hold_against(known));
            held.map_err(|source| EvidenceError::Kept { member, source })?;
            Ok(head)
        }
        (None, Some(known)) => Ok(known.clone()),
        (None, None) => Err(EvidenceError::NoHead(member)),
    }
}

fn head(
    member: &'static str,
    signed: &Signed,
    anchor: Option<&Anchor>,
) -> Result<TreeHead, EvidenceError> {
    let head = anchor.map_or_else(|| signed.without_trust(), |anchor| signed.verify(anchor));
    head.map_err(|source| EvidenceError::Statement { member, source })
}

fn is_about(size: u64, head: &TreeHead) -> Result<(), EvidenceError> {
    if size == head.size {
        return Ok(());
    }
    Err(EvidenceError::Other(format!(
        "a tree of {size} records, and the head is of {}",
        head.size
    )))
}

fn shaped<T: DeserializeOwned>(value: Value) -> Result<T, EvidenceError> {
    T::deserialize(value).map_err(|error| EvidenceError::Form(error.to_string()))
}

/// A record of the greatest length, escaped as a JSON string, and a proof.
const MAX_EVIDENCE_BYTES: usize = 32 * 1024 * 1024;
