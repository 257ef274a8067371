//! The tree on disk: proofs over its files, starts in the middle, files that are gone or wrong.

use std::{collections::BTreeMap, fs, os::unix::fs::FileExt as _};

use hallpass_broker::ledger::{
    file::{Head, LinePlace, Record},
    tree::{Frontier, PIECE, ProofError, SavedTree, TREE_DIRECTORY, Tree, TreeError},
};
use hallpass_core::base::digest::Digest;
use tempfile::TempDir;

use support::records::note;

/// Records that nobody wrote: the tree looks at their hashes only.
fn records(numbers: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    let entry = note(1);
    let record = |sequence: u64| Record {
        sequence,
        prev: Digest::ZERO,
        hash: hash(sequence),
        place: LinePlace {
            segment: 1,
            offset: 0,
        },
        entry: entry.clone(),
    };
    numbers.map(record).collect()
}

fn hash(sequence: u64) -> Digest {
    Digest::of(&sequence.to_be_bytes())
}

fn head(sequence: u64) -> Head {
    Head {
        sequence,
        hash: hash(sequence),
    }
}

/// The roots of the trees of these sizes, of which the last is the greatest.
fn roots(sizes: &[u64]) -> BTreeMap<u64, Digest> {
    let mut frontier = Frontier::default();
    let mut roots = BTreeMap::new();
    for sequence in 1..=*sizes.last().unwrap() {
        frontier.push(hash(sequence));
        if sizes.contains(&sequence) {
            roots.insert(sequence, frontier.root());
        }
    }
    roots
}

fn root(size: u64) -> Digest {
    roots(&[size])[&size]
}

fn new(dir: &TempDir) -> Tree {
    Tree::new(dir.path(), SavedTree::default())
}

/// Records around the places where files and subtrees begin.
const BORDERS: [u64; 12] = [
    1, 2, 255, 256, 257, 511, 513, 4096, 65_535, 65_536, 65_537, 70_000,
];

#[test]
fn proofs_hold_across_every_border_of_the_files() {
    let dir = TempDir::new().unwrap();
    let tree = new(&dir);
    for batch in records(1..=70_000).chunks(997) {
        tree.append(batch).unwrap();
    }
    let roots = roots(&BORDERS);
    assert_eq!(
        (tree.root().head, tree.root().root),
        (head(70_000), roots[&70_000])
    );
    for size in BORDERS {
        for sequence in BORDERS.into_iter().filter(|sequence| *sequence <= size) {
            let (proof, found) = tree.inclusion((sequence, hash(sequence)), size).unwrap();
            assert_eq!(found, roots[&size]);
            proof.verify(hash(sequence), roots[&size]).unwrap();
            tree.consistency(sequence, size)
                .unwrap()
                .verify(roots[&sequence], roots[&size])
                .unwrap();
        }
    }
    let beyond = tree.inclusion((1, hash(1)), 70_001).unwrap_err();
    assert!(
        matches!(
            beyond,
            TreeError::Proof(ProofError::Range {
                asked: 70_001,
                size: 70_000
            })
        ),
        "{beyond}"
    );
    assert!(matches!(tree.consistency(0, 5), Err(TreeError::Proof(_))));
    // All of it: 70,000 leaves, 273 of the nodes above, one above those.
    let sizes: Vec<_> = fs::read_dir(dir.path().join(TREE_DIRECTORY))
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.iter().sum::<u64>(), 32 * (70_000 + 273 + 1));
}

#[test]
fn what_is_forgotten_is_archived_and_everything_else_is_still_proven() {
    let dir = TempDir::new().unwrap();
    let tree = new(&dir);
    let last = PIECE + 1000;
    tree.append(&records(1..=last)).unwrap();
    let olds = [
        256,
        512,
        1024,
        PIECE - 256,
        PIECE,
        PIECE + 1,
        PIECE + 499,
        PIECE + 500,
        last,
    ];
    let roots = roots(&olds);
    tree.checkpoint().unwrap();
    tree.forget(PIECE).unwrap();
    tree.inclusion((5, hash(5)), last).unwrap();
    tree.forget(PIECE + 500).unwrap();
    let gone = tree.inclusion((5, hash(5)), last).unwrap_err();
    assert!(
        matches!(gone, TreeError::Archived { .. }) && gone.to_string().contains("archived"),
        "{gone}"
    );
    for sequence in [PIECE + 1, PIECE + 499, PIECE + 500, last] {
        for size in [sequence, last] {
            tree.inclusion((sequence, hash(sequence)), size)
                .unwrap()
                .0
                .verify(hash(sequence), roots[&size])
                .unwrap();
        }
    }
    // Nodes above the leaves stay for ever: where the older tree ends with one of them it is proven still.
    for from in [256, 512, 1024, PIECE - 256, PIECE, PIECE + 1, last] {
        tree.consistency(from, last)
            .unwrap()
            .verify(roots[&from], roots[&last])
            .unwrap();
    }
    assert!(matches!(
        tree.consistency(257, last),
        Err(TreeError::Archived { .. })
    ));
}

#[test]
fn a_start_goes_on_from_a_checkpoint_with_and_without_the_files() {
    let dir = TempDir::new().unwrap();
    let before = new(&dir);
    before.append(&records(1..=3000)).unwrap();
    let saved = before.checkpoint().unwrap();
    drop(before);
    let json = serde_json::to_string(&saved).unwrap();
    assert!(json.len() < 1000, "{json}");
    let start = || {
        let tree = Tree::new(dir.path(), serde_json::from_str(&json).unwrap());
        tree.append(&records(3001..=5000)).unwrap();
        tree
    };
    let sizes: Vec<_> = (2999..=5000).collect();
    let roots = roots(&sizes);
    let restored = Tree::new(dir.path(), serde_json::from_str(&json).unwrap());
    assert_eq!(
        (restored.root().head, restored.root().root),
        (head(3000), roots[&3000])
    );
    let tree = start();
    assert_eq!(tree.root().root, roots[&5000]);
    for sequence in [1, 2999, 3000, 3001, 5000] {
        tree.inclusion((sequence, hash(sequence)), 5000)
            .unwrap()
            .0
            .verify(hash(sequence), roots[&5000])
            .unwrap();
    }
    drop(tree);
    fs::remove_dir_all(dir.path().join(TREE_DIRECTORY)).unwrap();
    let tree = start();
    for sequence in 3001..=3100 {
        for size in [sequence, 4000, 5000] {
            tree.inclusion((sequence, hash(sequence)), size)
                .unwrap()
                .0
                .verify(hash(sequence), roots[&size])
                .unwrap();
        }
    }
    for from in [3000, 3001, 4999] {
        tree.consistency(from, 5000)
            .unwrap()
            .verify(roots[&from], roots[&5000])
            .unwrap();
    }
    for lost in [1, 2999, 3000] {
        assert!(
            matches!(
                tree.inclusion((lost, hash(lost)), 5000),
                Err(TreeError::Archived { .. })
            ),
            "{lost}"
        );
    }
}

#[test]
fn a_tree_that_is_begun_anew_writes_over_what_was_there() {
    let dir = TempDir::new().unwrap();
    let longer = new(&dir);
    longer.append(&records(1..=1000)).unwrap();
    longer.checkpoint().unwrap();
    // The journal was cut since, and went on otherwise.
    let tree = new(&dir);
    tree.append(&records(1..=400)).unwrap();
    let mut others = records(401..=600);
    others
        .iter_mut()
        .for_each(|record| record.hash = hash(record.sequence + 1_000_000));
    tree.append(&others).unwrap();
    let mut frontier = Frontier::default();
    (1..=400)
        .chain(1_000_401..=1_000_600)
        .for_each(|n| frontier.push(hash(n)));
    assert_eq!(tree.root().root, frontier.root());
    let (proof, root) = tree.inclusion((450, hash(1_000_450)), 600).unwrap();
    assert_eq!(root, frontier.root());
    proof.verify(hash(1_000_450), root).unwrap();
    assert!(matches!(
        tree.inclusion((450, hash(450)), 600),
        Err(TreeError::Damaged)
    ));
}

#[test]
fn damaged_files_give_no_proof_that_does_not_hold() {
    let dir = TempDir::new().unwrap();
    let tree = new(&dir);
    tree.append(&records(1..=1000)).unwrap();
    tree.checkpoint().unwrap();
    let roots = roots(&[513, 999, 1000]);
    let files = fs::read_dir(dir.path().join(TREE_DIRECTORY)).unwrap();
    for path in files.map(|entry| entry.unwrap().path()) {
        let file = fs::OpenOptions::new()
            .write(true)
            .read(true)
            .open(&path)
            .unwrap();
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(97) {
            file.write_all_at(&[whole[at] ^ 0x10], at as u64).unwrap();
            for (sequence, size) in [(1, 1000), (300, 513), (513, 1000), (999, 999)] {
                match tree.inclusion((sequence, hash(sequence)), size) {
                    Ok((proof, _)) => proof.verify(hash(sequence), roots[&size]).unwrap(),
                    Err(error) => assert!(matches!(error, TreeError::Damaged), "{error}"),
                }
            }
            file.write_all_at(&[whole[at]], at as u64).unwrap();
        }
    }
}

#[test]
fn a_disk_that_cannot_be_written_stops_proofs_until_it_can_and_never_the_root() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(TREE_DIRECTORY), "in the way").unwrap();
    let tree = new(&dir);
    tree.append(&records(1..=10)).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            tree.inclusion((1, hash(1)), 10),
            Err(TreeError::Stopped(_))
        ));
    }
    assert!(tree.append(&records(11..=9000)).is_err());
    assert_eq!(tree.root().root, root(9000));
    assert!(tree.checkpoint().is_err());
    fs::remove_file(dir.path().join(TREE_DIRECTORY)).unwrap();
    let (proof, root) = tree.inclusion((1, hash(1)), 9000).unwrap();
    proof.verify(hash(1), root).unwrap();
    tree.checkpoint().unwrap();
}
