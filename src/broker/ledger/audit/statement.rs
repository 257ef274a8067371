//! What the broker states of its audit trail under its checkpoint key: heads and exports.
//!
//! A statement is a compact JWS and travels with the public key that signed it and the chain of
//! signed links that leads to that key, so that an auditor who noted one earlier key's thumbprint, and nothing
//! else, can recognise a genuine one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ledger::{file::Head, tree::merkle::MAX_SIZE};
use hallpass_core::{
    base::{
        digest::Digest,
        format::Format,
        ids::IssuerUri,
        jws::{self, JwsError},
        key::{PrivateKey, PublicKey},
        time::Timestamp,
    },
    wire::{
        self, Document, DocumentError, SignedError,
        document::{KeyDocument, KeyLink},
    },
};

/// The tree at some time: so many records, this root, this last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeHead {
    /// The format.
    pub v: Format,
    /// The broker.
    pub iss: IssuerUri,
    /// When the broker signed it.
    pub at: Timestamp,
    /// How many records; the last one's sequence number.
    pub size: u64,
    /// The root of the Merkle tree over them (RFC 9162 section 2.1).
    pub root: Digest,
    /// The last record's hash: the head of the chain.
    pub hash: Digest,
}

impl TreeHead {
    /// The head of the chain.
    #[must_use]
    pub const fn chain_head(&self) -> Head {
        Head {
            sequence: self.size,
            hash: self.hash,
        }
    }

    /// Holds it against a head that was kept: of the same broker and size it must be the same tree.
    /// When each was signed says nothing: a broker signs the same tree again for each request.
    ///
    /// # Errors
    ///
    /// When it is not, or the two have another size: then a consistency proof is needed.
    pub fn hold_against(&self, kept: &Self) -> Result<(), KeptError> {
        if self.iss != kept.iss {
            return Err(KeptError::Broker {
                kept: kept.iss.clone(),
                found: self.iss.clone(),
            });
        }
        if self.size != kept.size {
            return Err(KeptError::Size {
                kept: kept.size,
                found: self.size,
            });
        }
        if (self.root, self.hash) != (kept.root, kept.hash) {
            return Err(KeptError::History {
                size: self.size,
                kept: kept.root,
                found: self.root,
            });
        }
        Ok(())
    }
}

/// Why a head does not agree with one that was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// Two brokers.
    #[error("the head that was kept is of {kept}, and this one of {found}")]
    Broker {
        /// Whose head was kept.
        kept: IssuerUri,
        /// Whose this is.
        found: IssuerUri,
    },
    /// Two sizes.
    #[error(
        "not comparable: the head that was kept is of {kept} records, and this one of {found}: ask for a consistency \
         proof (`hallpass audit prove --since HEADFILE --json`)"
    )]
    Size {
        /// How many records the kept one has.
        kept: u64,
        /// How many this one has.
        found: u64,
    },
    /// Two histories of the same length.
    #[error(
        "another history than that of the head that was kept: of {size} records each, the root there is {kept} and here \
         {found}, or the last records differ"
    )]
    History {
        /// How many records both have.
        size: u64,
        /// The root of the kept one.
        kept: Digest,
        /// The root of this one.
        found: Digest,
    },
}

/// Which records an export holds, and the tree that they are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportStatement {
    /// The format.
    pub v: Format,
    /// The first record.
    pub from: u64,
    /// The last record.
    pub to: u64,
    /// The tree.
    pub head: TreeHead,
}

/// Something that is signed with the checkpoint key.
pub trait Statement: Serialize + Document {
    /// Its JWS `typ`.
    const TYP: &'static str;

    /// The head that it is or holds.
    fn head(&self) -> &TreeHead;

    /// Whether its numbers can belong together.
    fn holds_together(&self) -> bool;
}

impl Document for TreeHead {}

impl Document for ExportStatement {}

impl Statement for TreeHead {
    const TYP: &'static str = "hallpass-tree-head+jwt";

    fn head(&self) -> &TreeHead {
        self
    }

    fn holds_together(&self) -> bool {
        (1..=MAX_SIZE).contains(&self.size)
    }
}

impl Statement for ExportStatement {
    const TYP: &'static str = "hallpass-export+jwt";

    fn head(&self) -> &TreeHead {
        &self.head
    }

    fn holds_together(&self) -> bool {
        self.head.holds_together()
            && (1..=self.to).contains(&self.from)
            && self.to <= self.head.size
    }
}

/// A statement under the checkpoint key, and what leads to that key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The compact JWS (EdDSA): of type `hallpass-tree-head+jwt` or `hallpass-export+jwt`.
    pub jws: String,
    /// The key that signed it.
    pub checkpoint_key: PublicKey,
    /// Every change of that key, oldest first, each signed by the key before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoint_key_chain: Vec<String>,
}

/// Why a statement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The signature, or the form.
    #[error("the signed statement: {0}")]
    Jws(#[from] JwsError),
    /// It is signed, and this build cannot read it.
    #[error("the signed statement cannot be read: {problem}{}", advice(problem))]
    Document {
        /// Why not.
        problem: DocumentError,
    },
    /// Numbers that no broker signs.
    #[error("the signed statement is about records that cannot be")]
    Nonsense,
    /// The chain of keys does not lead to the key.
    #[error("the chain of checkpoint keys is broken at its link {0}")]
    Chain(usize),
    /// The key is none that is trusted.
    #[error(
        "it is signed with the key {thumbprint}, to which no key that you trust leads: if that is the broker's \
         (`hallpass keys show-pin`), give this one"
    )]
    Untrusted {
        /// The thumbprint of the key.
        thumbprint: String,
    },
}

impl From<SignedError> for StatementError {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::Jws(error) => Self::Jws(error),
            SignedError::Document(problem) => Self::Document { problem },
        }
    }
}

const fn advice(error: &DocumentError) -> &'static str {
    if error.is_newer() {
        "; upgrade this program"
    } else {
        ""
    }
}

impl Signed {
    /// Signs `statement`; of `chain` it takes what leads to `key`, since a next key may be announced already.
    ///
    /// # Errors
    ///
    /// Only when it cannot be written as JSON.
    pub fn new(
        statement: &impl Statement,
        key: &PrivateKey,
        chain: &[String],
    ) -> Result<Self, JwsError> {
        let checkpoint_key = key.public();
        let leads_here = |text: &String| {
            KeyLink::read(KeyLink::CHECKPOINT_TYP, text)
                .is_ok_and(|link| link.new == checkpoint_key)
        };
        let links = chain
            .iter()
            .rposition(leads_here)
            .map_or(0, |last| last.saturating_add(1));
        let checkpoint_key_chain = chain.iter().take(links).cloned().collect();
        let jws = sign(statement, key)?;
        Ok(Self {
            jws,
            checkpoint_key,
            checkpoint_key_chain,
        })
    }

    /// The statement, when a key that `anchor` trusts, or one that was vouched for by it, signed it.
    ///
    /// # Errors
    ///
    /// When it did not, or the statement is none.
    pub fn verify<S: Statement>(&self, anchor: &Anchor) -> Result<S, StatementError> {
        let statement = self.without_trust::<S>()?;
        let vouchers = self.chain(&statement.head().iss)?;
        let thumbprint = self.checkpoint_key.thumbprint();
        let mut keys = vouchers
            .iter()
            .map(PublicKey::thumbprint)
            .chain([thumbprint.clone()]);
        if keys.any(|key| anchor.thumbprints.contains(&key)) {
            return Ok(statement);
        }
        Err(StatementError::Untrusted { thumbprint })
    }

    /// Which key signs it, and what that key is as far as `anchor` knows. Whether it did sign, and is the
    /// broker's, [`Self::verify`] says.
    #[must_use]
    pub fn signer(&self, anchor: Option<&Anchor>) -> Signer {
        let key = self.checkpoint_key.thumbprint();
        let standing = anchor.map_or(Standing::Unknown, |anchor| anchor.standing(&key));
        Signer { key, standing }
    }

    /// The statement, when the key that came with it signed it; that key is not trusted yet.
    ///
    /// # Errors
    ///
    /// When it did not, or the statement is none.
    pub fn without_trust<S: Statement>(&self) -> Result<S, StatementError> {
        let statement: S = wire::verify(&self.checkpoint_key, S::TYP, &self.jws)?;
        self.chain(&statement.head().iss)?;
        if statement.holds_together() {
            Ok(statement)
        } else {
            Err(StatementError::Nonsense)
        }
    }

    /// The keys that vouched for the one that signed, oldest first. Strict: each link is looked at,
    /// needed or not, so that nothing in a file goes unchecked.
    fn chain(&self, issuer: &IssuerUri) -> Result<Vec<PublicKey>, StatementError> {
        let mut keys: Vec<PublicKey> = Vec::new();
        let mut leads_to = None;
        for (number, text) in self.checkpoint_key_chain.iter().enumerate() {
            let link = match KeyLink::read(KeyLink::CHECKPOINT_TYP, text) {
                Ok(link) => Some(link),
                Err(SignedError::Document(error)) if error.is_newer() => {
                    return Err(SignedError::Document(error).into());
                }
                Err(_) => None,
            };
            let link = link
                .filter(|link| link.iss == *issuer && leads_to.is_none_or(|key| key == link.old));
            let link = link.ok_or(StatementError::Chain(number.saturating_add(1)))?;
            keys.push(link.old);
            leads_to = Some(link.new);
        }
        match leads_to {
            Some(key) if key != self.checkpoint_key => Err(StatementError::Chain(keys.len())),
            _ => Ok(keys),
        }
    }
}

fn sign<S: Statement>(statement: &S, key: &PrivateKey) -> Result<String, JwsError> {
    jws::sign(key, S::TYP, Some(&key.public().thumbprint()), statement)
}

/// Which key signed a statement. A retired key stays believed, since what it signed in its time must
/// stay verifiable; so a thief of the key can still sign, and only this list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// The thumbprint of the key.
    pub key: String,
    /// What it is today.
    pub standing: Standing,
}

/// What a checkpoint key is by the key document that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The key that signs now.
    Current,
    /// One that signed before.
    Earlier,
    /// None in the document, and a key in it leads there: the document is older, or that key vouched falsely.
    Unlisted,
    /// There is no document.
    Unknown,
}

/// The keys that an auditor trusts, by their thumbprints (RFC 7638).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    thumbprints: BTreeSet<String>,
    /// Of those the one that signs now, when a key document says so.
    current: Option<String>,
}

impl Anchor {
    /// One key.
    #[must_use]
    pub fn key(key: &PublicKey) -> Self {
        Self {
            thumbprints: BTreeSet::from([key.thumbprint()]),
            current: None,
        }
    }

    /// One key, by its thumbprint; `None` when `text` is none.
    #[must_use]
    pub fn thumbprint(text: &str) -> Option<Self> {
        let digest = Digest::from_base64url(text)?;
        Some(Self {
            thumbprints: BTreeSet::from([digest.to_base64url()]),
            current: None,
        })
    }

    /// The checkpoint key of a key document that is believed, and those before it; `None` when it has none.
    #[must_use]
    pub fn document(document: &KeyDocument) -> Option<Self> {
        let now = document.checkpoint_key?;
        let before = document.checkpoint_key_chain.iter();
        let before = before
            .filter_map(|text| KeyLink::read(KeyLink::CHECKPOINT_TYP, text).ok())
            .map(|link| link.old);
        let thumbprints = before.chain([now]).map(|key| key.thumbprint()).collect();
        Some(Self {
            thumbprints,
            current: Some(now.thumbprint()),
        })
    }

    fn standing(&self, thumbprint: &str) -> Standing {
        match &self.current {
            None => Standing::Unknown,
            Some(current) if current == thumbprint => Standing::Current,
            Some(_) if self.thumbprints.contains(thumbprint) => Standing::Earlier,
            Some(_) => Standing::Unlisted,
        }
    }
}
