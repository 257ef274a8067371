//! The audit trail as somebody sees it who has files and a public key, and nothing else.

mod damage;
mod reports;
mod statements;
mod tree;

use std::{fs, path::Path, slice};

use hallpass_broker::{
    domain::event::Entry,
    ledger::{
        audit::{
            ConsistencyEvidence, Export, ExportStatement, HeadEvidence, InclusionEvidence, Seal,
            Signed, TreeHead,
        },
        file::{Journal, Options, Reader, Record},
        tree::{SavedTree, Tree},
    },
};
use hallpass_core::base::key::PrivateKey;
use support::records;
use support::records::AppendBlocking as _;
use tempfile::TempDir;

const ISSUER: &str = "https://broker.example";

/// A journal with its tree, and the key that signs for it.
struct Log {
    dir: TempDir,
    reader: Reader,
    records: Vec<Record>,
    tree: Tree,
    key: PrivateKey,
    chain: Vec<String>,
}

impl Log {
    fn of(entries: Vec<Entry>) -> Self {
        let dir = TempDir::new().unwrap();
        let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
        let journal = recovered.start(Box::new(|_| {})).unwrap();
        journal.append_blocking(entries).unwrap();
        let reader = journal.reader();
        let records: Vec<_> = reader
            .read_from(1, None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let tree = Tree::new(dir.path(), SavedTree::default());
        records
            .iter()
            .for_each(|record| tree.append(slice::from_ref(record)).unwrap());
        Self {
            dir,
            reader,
            records,
            tree,
            key: PrivateKey::from_seed(&[5; 32]),
            chain: Vec::new(),
        }
    }

    /// The lines of the journal.
    fn lines(&self) -> Vec<String> {
        lines(&fs::read_to_string(segment(self.dir.path())).unwrap())
    }

    fn head(&self, size: u64) -> TreeHead {
        let record = &self.records[size as usize - 1];
        let (_, root) = self.tree.inclusion((size, record.hash), size).unwrap();
        TreeHead {
            v: hallpass_core::base::format::Format::One,
            iss: ISSUER.parse().unwrap(),
            at: records::at(size),
            size,
            root,
            hash: record.hash,
        }
    }

    fn signed<S: hallpass_broker::ledger::audit::Statement>(&self, statement: &S) -> Signed {
        Signed::new(statement, &self.key, &self.chain).unwrap()
    }

    fn head_evidence(&self, size: u64) -> HeadEvidence {
        let head = self.head(size);
        let signed = self.signed(&head);
        HeadEvidence {
            sequence: size,
            hash: head.hash,
            root: head.root,
            at: head.at.to_string(),
            signed,
        }
    }

    fn inclusion(&self, sequence: u64, size: u64) -> InclusionEvidence {
        let record = &self.records[sequence as usize - 1];
        let (inclusion, _) = self.tree.inclusion((sequence, record.hash), size).unwrap();
        let record = self.lines()[sequence as usize - 1].trim_end().to_owned();
        InclusionEvidence {
            record,
            inclusion,
            signed: Some(self.signed(&self.head(size))),
        }
    }

    fn consistency(&self, from: u64, to: u64) -> ConsistencyEvidence {
        let [earlier, signed] = [from, to].map(|size| Some(self.signed(&self.head(size))));
        ConsistencyEvidence {
            consistency: self.tree.consistency(from, to).unwrap(),
            earlier,
            signed,
        }
    }

    fn export(&self, from: u64, to: u64, size: u64) -> Vec<u8> {
        let record = &self.records[to as usize - 1];
        let (inclusion, _) = self.tree.inclusion((to, record.hash), size).unwrap();
        let export = self.signed(&ExportStatement {
            v: hallpass_core::base::format::Format::One,
            from,
            to,
            head: self.head(size),
        });
        let records = self
            .reader
            .read_from(from, Some(self.records[from as usize - 1].place))
            .unwrap();
        let mut export = Export::new(records, to - from + 1, &Seal { export, inclusion }).unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = export.next_piece().unwrap() {
            bytes.extend(piece);
        }
        bytes
    }
}

fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(str::to_owned).collect()
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("journal/000001.jsonl")
}
