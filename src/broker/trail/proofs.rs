//! Proofs of the audit trail: signed heads, inclusion, consistency, exports.

use crate::{
    BrokerError, History,
    error::{files, trail},
    ledger::{
        audit::{
            ConsistencyEvidence, Export, ExportStatement, HeadEvidence, InclusionEvidence, Seal,
            Signed, Statement, TreeHead,
        },
        file::{ReadError, Records},
        tree::{Root, TreeError},
    },
};
use hallpass_core::base::{digest::Digest, format::Format};

impl History {
    /// The tree as it stands, signed.
    ///
    /// # Errors
    ///
    /// When there is no key to sign with.
    pub fn signed_head(&self) -> Result<HeadEvidence, BrokerError> {
        let head = self.tree_head();
        let signed = self.sign(&head)?;
        Ok(HeadEvidence {
            sequence: head.size,
            hash: head.hash,
            root: head.root,
            at: head.at.to_string(),
            signed,
        })
    }

    /// Record `sequence` and the proof that it is in the tree: in that of `size` records, or the one that
    /// stands, whose signed head comes with it. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When there is no such record or tree (any more).
    pub fn prove_inclusion(
        &self,
        sequence: u64,
        size: Option<u64>,
    ) -> Result<InclusionEvidence, BrokerError> {
        let head = self.tree_head();
        let tree = size.unwrap_or(head.size);
        if !(1..=tree.min(head.size)).contains(&sequence) {
            return Err(BrokerError::invalid(
                "sequence",
                format!("1 to {}", tree.min(head.size)),
            ));
        }
        let mut records = self.records_from(sequence)?;
        let hash = next_hash(&mut records, sequence)?;
        let record = String::from_utf8(records.line().to_vec()).map_err(trail)?;
        let (inclusion, _) = self
            .tree
            .inclusion((sequence, hash), tree)
            .map_err(|error| unproven("size", error))?;
        let signed = size.is_none().then(|| self.sign(&head)).transpose()?;
        Ok(InclusionEvidence {
            record,
            inclusion,
            signed,
        })
    }

    /// The proof that the tree of `to` records, or the one that stands, whose signed head comes with it,
    /// begins with that of `from` records. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When there are no such trees, or what the proof needs is not kept.
    pub fn prove_consistency(
        &self,
        from: u64,
        to: Option<u64>,
    ) -> Result<ConsistencyEvidence, BrokerError> {
        let head = self.tree_head();
        let consistency = self.tree.consistency(from, to.unwrap_or(head.size));
        let consistency = consistency.map_err(|error| unproven("from", error))?;
        let signed = to.is_none().then(|| self.sign(&head)).transpose()?;
        Ok(ConsistencyEvidence {
            consistency,
            earlier: None,
            signed,
        })
    }

    /// The records from `from` (else the first that there is) to `to` (else the last), sealed. Blocks on
    /// the disk, as does reading it.
    ///
    /// # Errors
    ///
    /// When there are no such records (any more).
    pub fn export(&self, from: Option<u64>, to: Option<u64>) -> Result<Export, BrokerError> {
        let head = self.tree_head();
        let (from, to) = (
            from.unwrap_or_else(|| self.views.first()),
            to.unwrap_or(head.size),
        );
        if !(1..=head.size).contains(&to) {
            return Err(BrokerError::invalid("to", format!("1 to {}", head.size)));
        }
        if !(1..=to).contains(&from) {
            return Err(BrokerError::invalid("from", format!("1 to {to}")));
        }
        let hash = next_hash(&mut self.records_from(to)?, to)?;
        let (inclusion, _) = self
            .tree
            .inclusion((to, hash), head.size)
            .map_err(|error| unproven("to", error))?;
        let export = self.sign(&ExportStatement {
            v: Format::One,
            from,
            to,
            head,
        })?;
        let count = to.saturating_sub(from).saturating_add(1);
        Export::new(self.records_from(from)?, count, &Seal { export, inclusion }).map_err(trail)
    }

    fn tree_head(&self) -> TreeHead {
        let Root { head, root } = self.tree.root();
        TreeHead {
            v: Format::One,
            iss: self.issuer.clone(),
            at: self.changes.now(),
            size: head.sequence,
            root,
            hash: head.hash,
        }
    }

    fn sign(&self, statement: &impl Statement) -> Result<Signed, BrokerError> {
        let chain = self.changes.state().checkpoint_key_chain.clone();
        let keyring = self.keys.ring();
        let key = keyring.checkpoint().map_err(files)?;
        Signed::new(statement, key, &chain).map_err(files)
    }

    pub(crate) fn records_from(&self, sequence: u64) -> Result<Records, BrokerError> {
        let first = self.views.first();
        if sequence < first {
            let detail = format!(
                "record {sequence} is archived: this journal begins with record {first}; verify the export that holds it"
            );
            return Err(BrokerError::Archived(detail));
        }
        self.views.records_from(sequence).map_err(trail)
    }
}

fn next_hash(records: &mut Records, sequence: u64) -> Result<Digest, BrokerError> {
    let none = || BrokerError::Trail(format!("record {sequence} is not in the journal"));
    let record: Result<_, ReadError> = records.next().ok_or_else(none)?;
    Ok(record.map_err(trail)?.hash)
}

fn unproven(field: &'static str, error: TreeError) -> BrokerError {
    match error {
        TreeError::Proof(error) => BrokerError::invalid(field, error.to_string()),
        archived @ TreeError::Archived { .. } => BrokerError::Archived(archived.to_string()),
        other => trail(other),
    }
}
