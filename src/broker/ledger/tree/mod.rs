//! The Merkle tree of a broker's journal: its right edge in memory, its nodes in files.
//!
//! The nodes of every eighth level are kept, the leaves among them, as 32 bytes each in files of
//! [`PIECE`] nodes; those between are hashed anew when a proof wants them. Only the leaves take room
//! worth naming, and [`Tree::forget`] drops those of records that the journal does not hold any more;
//! all that stands above them, a 255th of their size, stays.
//!
//! The files are derived: they are written anew from every record that the start reads, they are
//! not synced but by [`Tree::checkpoint`], and no proof leaves here that does not hold.

pub(crate) mod merkle;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use serde::{Deserialize, Serialize};

use crate::ledger::file::{Head, Record};
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::{digest::Digest, private_file};

use merkle::parent;
pub use merkle::{Consistency, Frontier, Inclusion, MAX_SIZE, ProofError};

/// The tree's directory inside the data directory.
pub const TREE_DIRECTORY: &str = "tree";

/// The tree of one journal; shared by reference.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    frontier: Frontier,
    head: Head,
    /// Where the start began to read the journal.
    base: Frontier,
    /// Nodes that are not in their files yet.
    pending: Vec<Node>,
    /// The file that is written, by level.
    open: BTreeMap<u32, (u64, File)>,
    /// With so many pending nodes they are written; more after a write that failed.
    write_at: usize,
    /// Why the files lack nodes, for good.
    fault: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    level: u32,
    number: u64,
    hash: Digest,
}

/// A tree as a snapshot holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedTree {
    frontier: Frontier,
    /// The last record's hash.
    hash: Digest,
}

impl Default for SavedTree {
    /// The tree of no records.
    fn default() -> Self {
        Self {
            frontier: Frontier::default(),
            hash: Head::GENESIS.hash,
        }
    }
}

/// The tree as it stands: what a signed head says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The last record; its sequence is the tree's size.
    pub head: Head,
    /// The root.
    pub root: Digest,
}

/// Why the tree did not give a proof.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is no such record or tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A record that the proof needs has left the journal, and its leaf with it.
    #[error(
        "record {sequence} is archived and this broker has no proof that needs it: verify the export that holds it"
    )]
    Archived {
        /// The first such record.
        sequence: u64,
    },
    /// The files hold something else than the records.
    #[error(
        "the files of the tree are damaged: stop hallpass, delete `{TREE_DIRECTORY}` in its data directory, start it"
    )]
    Damaged,
    /// They could not be written some time before.
    #[error("the files of the tree cannot be written: {0}: it is tried again with the next proof")]
    Stopped(String),
    /// They cannot be read or made.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
}

impl Tree {
    /// The tree of the journal in `data_dir` as a snapshot [saved](Self::checkpoint) it; an empty one by
    /// default. What follows is to be [appended](Self::append).
    #[must_use]
    pub fn new(data_dir: &Path, saved: SavedTree) -> Self {
        let SavedTree { frontier, hash } = saved;
        let head = Head {
            sequence: frontier.size(),
            hash,
        };
        let base = frontier.clone();
        let (pending, open) = (Vec::new(), BTreeMap::new());
        let state = State {
            frontier,
            head,
            base,
            pending,
            open,
            write_at: PENDING_NODES,
            fault: None,
        };
        Self {
            dir: data_dir.join(TREE_DIRECTORY),
            state: Mutex::new(state),
        }
    }

    /// Appends records that follow on those appended so far. Costs a few hashes each; the disk is
    /// written to once for thousands of them.
    ///
    /// # Errors
    ///
    /// When the files cannot be written. The root stays right; what was not written is tried again with the next proof
    /// or checkpoint, or when more waits, until too much does: then proofs are refused until the next start.
    pub fn append(&self, records: &[Record]) -> Result<(), TreeError> {
        let mut state = self.state();
        let State {
            frontier,
            head,
            pending,
            ..
        } = &mut *state;
        for record in records {
            frontier.push_seen(record.hash, |level, number, hash| {
                if level.is_multiple_of(KEPT_LEVELS) {
                    pending.push(Node {
                        level,
                        number,
                        hash,
                    });
                }
            });
            *head = record.head();
        }
        if state.pending.len() >= state.write_at {
            self.flush(&mut state)
        } else {
            Ok(())
        }
    }

    /// Whether there are any files of it.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.dir.exists()
    }

    /// The root, and the record that it ends with.
    #[must_use]
    pub fn root(&self) -> Root {
        let state = self.state();
        Root {
            head: state.head,
            root: state.frontier.root(),
        }
    }

    /// The tree for a snapshot of the broker's state, from which a later start goes on. What proofs about
    /// earlier records need is on disk by then.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn checkpoint(&self) -> Result<SavedTree, TreeError> {
        let saved = {
            let mut state = self.state();
            self.flush(&mut state)?;
            SavedTree {
                frontier: state.frontier.clone(),
                hash: state.head.hash,
            }
        };
        // Every file may have been written since the last time, and not all are open.
        for path in self.files()? {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|source| TreeError::Io {
                action: "sync",
                path,
                source,
            })?;
        }
        if !self.dir.exists() {
            return Ok(saved);
        }
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| TreeError::Io {
            action: "sync",
            path: self.dir.clone(),
            source,
        })?;
        Ok(saved)
    }

    /// Drops the leaves of records before `sequence`, as far as whole files of them are meant.
    ///
    /// # Errors
    ///
    /// When a file cannot be removed.
    pub fn forget(&self, sequence: u64) -> Result<(), TreeError> {
        let first_kept = sequence.saturating_sub(1) / PIECE;
        for path in self.files()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let piece = name
                .strip_prefix("00-")
                .and_then(|piece| piece.parse::<u64>().ok());
            if piece.is_some_and(|piece| piece < first_kept) {
                fs::remove_file(&path).map_err(|source| TreeError::Io {
                    action: "remove",
                    path,
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// The proof that the record with the hash `record` is number `sequence` of the tree of `size`
    /// records, and that tree's root. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When there is no such record or tree, or what the proof needs is not there.
    pub fn inclusion(
        &self,
        (sequence, record): (u64, Digest),
        size: u64,
    ) -> Result<(Inclusion, Digest), TreeError> {
        let mut nodes = self.nodes(size)?;
        let hashes = Inclusion::nodes(sequence, size)?
            .into_iter()
            .map(|leaves| nodes.hash(leaves));
        let proof = Inclusion {
            sequence,
            size,
            hashes: hashes.collect::<Result<_, _>>()?,
        };
        let root = nodes.root(size)?;
        proof.verify(record, root).map_err(|_| TreeError::Damaged)?;
        Ok((proof, root))
    }

    /// The proof that the tree of `to` records begins with that of `from` records. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// As [`inclusion`](Self::inclusion).
    pub fn consistency(&self, from: u64, to: u64) -> Result<Consistency, TreeError> {
        let mut nodes = self.nodes(to)?;
        let hashes = Consistency::nodes(from, to)?
            .into_iter()
            .map(|leaves| nodes.hash(leaves));
        let proof = Consistency {
            from,
            to,
            hashes: hashes.collect::<Result<_, _>>()?,
        };
        let (old, new) = (nodes.root(from)?, nodes.root(to)?);
        proof.verify(old, new).map_err(|_| TreeError::Damaged)?;
        Ok(proof)
    }

    /// The nodes of the tree over the first `size` records.
    fn nodes(&self, size: u64) -> Result<Nodes<'_>, TreeError> {
        let mut state = self.state();
        let known = state.frontier.size();
        if size > known {
            return Err(ProofError::Range {
                asked: size,
                size: known,
            }
            .into());
        }
        self.flush(&mut state)?;
        let edges = [state.frontier.clone(), state.base.clone()];
        Ok(Nodes {
            dir: &self.dir,
            edges,
            open: HashMap::new(),
        })
    }

    /// Writes what is pending to the files.
    fn flush(&self, state: &mut State) -> Result<(), TreeError> {
        if let Some(fault) = &state.fault {
            state.pending.clear();
            return Err(TreeError::Stopped(fault.clone()));
        }
        let mut pending = std::mem::take(&mut state.pending);
        pending.sort_unstable_by_key(|node| (node.level, node.number));
        let place = |node: &Node| (node.level, node.number / PIECE);
        for run in pending.chunk_by(|one, next| place(one) == place(next)) {
            let Some(first) = run.first() else { continue };
            let (level, piece) = place(first);
            let path = path(&self.dir, level, piece);
            let bytes: Vec<u8> = run.iter().flat_map(|node| *node.hash.as_bytes()).collect();
            let written = writable(&mut state.open, (level, piece), &path)
                .and_then(|file| file.write_all_at(&bytes, offset(first.number)));
            if let Err(error) = written {
                let why = format!("`{}`: {error}", path.display());
                state.open.clear();
                if pending.len() >= MAX_PENDING_NODES {
                    state.fault = Some(why.clone());
                } else {
                    state.write_at = pending.len().saturating_add(PENDING_NODES);
                    state.pending = pending;
                }
                return Err(TreeError::Stopped(why));
            }
        }
        pending.clear();
        (state.pending, state.write_at) = (pending, PENDING_NODES);
        Ok(())
    }

    fn files(&self) -> Result<Vec<PathBuf>, TreeError> {
        let failed = |source| TreeError::Io {
            action: "read",
            path: self.dir.clone(),
            source,
        };
        if !self.dir.exists() {
            return Ok(Vec::new());
        }
        fs::read_dir(&self.dir)
            .map_err(failed)?
            .map(|entry| entry.map(|entry| entry.path()).map_err(failed))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }
}

/// Nodes as one proof reads them.
struct Nodes<'t> {
    dir: &'t Path,
    /// Edges whose complete subtrees are known without a file.
    edges: [Frontier; 2],
    open: HashMap<(u32, u64), Option<File>>,
}

impl Nodes<'_> {
    /// The root of the tree over the first `size` records, which the tree that stands begins with.
    fn root(&mut self, size: u64) -> Result<Digest, TreeError> {
        let [whole, _] = &self.edges;
        let (known, known_root) = (whole.size(), whole.root());
        if size == known {
            return Ok(known_root);
        }
        let root = self.hash(0..size)?;
        // What was read from files is held against what is not.
        let hashes = Consistency::nodes(size, known)?
            .into_iter()
            .map(|leaves| self.hash(leaves));
        let proof = Consistency {
            from: size,
            to: known,
            hashes: hashes.collect::<Result<_, _>>()?,
        };
        proof
            .verify(root, known_root)
            .map_err(|_| TreeError::Damaged)?;
        Ok(root)
    }

    /// The hash of the subtree over `leaves`, which begins where a complete one would.
    fn hash(&mut self, leaves: Range<u64>) -> Result<Digest, TreeError> {
        if let Some(peak) = self.edges.iter().find_map(|edge| edge.peak(&leaves)) {
            return Ok(peak);
        }
        let count = leaves.end.saturating_sub(leaves.start);
        if count.is_power_of_two() {
            let level = count.trailing_zeros();
            let kept = if level.is_multiple_of(KEPT_LEVELS) {
                self.kept(level, leaves.start >> level)?
            } else {
                None
            };
            if let Some(hash) = kept {
                return Ok(hash);
            }
        }
        if count <= 1 {
            return Err(TreeError::Archived {
                sequence: leaves.start.saturating_add(1),
            });
        }
        let middle = leaves.start.saturating_add(count.next_power_of_two() >> 1);
        let left = self.hash(leaves.start..middle)?;
        Ok(parent(left, self.hash(middle..leaves.end)?))
    }

    /// The node in its file; `None` when the file, or this part of it, is not there.
    fn kept(&mut self, level: u32, number: u64) -> Result<Option<Digest>, TreeError> {
        let piece = number / PIECE;
        let path = path(self.dir, level, piece);
        let failed = |source| TreeError::Io {
            action: "read",
            path: path.clone(),
            source,
        };
        let file = match self.open.entry((level, piece)) {
            std::collections::hash_map::Entry::Occupied(file) => file.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(match File::open(&path) {
                    Ok(file) => Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => return Err(failed(error)),
                })
            }
        };
        let Some(file) = file else { return Ok(None) };
        let mut bytes = [0; HASH_BYTES];
        match file.read_exact_at(&mut bytes, offset(number)) {
            // A file that was begun in the middle has a hole before that.
            Ok(()) => Ok(Some(Digest::from_bytes(bytes)).filter(|hash| *hash != Digest::ZERO)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

fn writable<'o>(
    open: &'o mut BTreeMap<u32, (u64, File)>,
    (level, piece): (u32, u64),
    path: &Path,
) -> io::Result<&'o File> {
    if open.get(&level).is_none_or(|(other, _)| *other != piece) {
        if let Some(dir) = path.parent() {
            private_file::create_dir(dir)?;
        }
        let file = private_file::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        open.insert(level, (piece, file));
    }
    open.get(&level)
        .map(|(_, file)| file)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// `00-00000003`: the fourth file of leaves.
fn path(dir: &Path, level: u32, piece: u64) -> PathBuf {
    dir.join(format!("{level:02}-{piece:08}"))
}

/// Where a node stands in its file, in bytes.
const fn offset(number: u64) -> u64 {
    // A remainder of PIECE, so the product is small.
    (number % PIECE).saturating_mul(32)
}

/// Nodes of every so many levels are kept.
const KEPT_LEVELS: u32 = 8;

/// So many nodes stand in one file: 2 MiB.
pub const PIECE: u64 = 1 << 16;

const HASH_BYTES: usize = 32;

/// So many nodes wait in memory before they are written: 160 KiB.
const PENDING_NODES: usize = 4096;

/// So many nodes wait for a disk that cannot be written: some 50 MB.
const MAX_PENDING_NODES: usize = 1 << 20;
