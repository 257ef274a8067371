//! The tree against the known answers of the Certificate Transparency projects.

use crate::ledger::tree::merkle::*;

/// The known answers of the Certificate Transparency projects (github.com/transparency-dev/merkle,
/// `testonly`): leaves, roots of the trees over the first of them, and proofs.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const INCLUSIONS: [(u64, u64, &[&str]); 7] = [
    (1, 1, &[]),
    (
        1,
        2,
        &["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"],
    ),
    (
        2,
        2,
        &["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"],
    ),
    (
        3,
        3,
        &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    ),
    (
        2,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];
const CONSISTENCIES: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
];

fn data(number: usize) -> Vec<u8> {
    hex::decode(LEAVES[number]).unwrap()
}

fn digests(texts: &[&str]) -> Vec<Digest> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn root(size: u64) -> Digest {
    ROOTS[usize::try_from(size).unwrap()].parse().unwrap()
}

/// The hash of the tree over `leaves`, as RFC 9162 section 2.1.1 defines it.
fn hash(leaves: Range<u64>) -> Digest {
    let count = leaves.end - leaves.start;
    if count == 1 {
        return leaf(&data(usize::try_from(leaves.start).unwrap()));
    }
    let split = leaves.start + (count.next_power_of_two() >> 1);
    parent(hash(leaves.start..split), hash(split..leaves.end))
}

#[test]
fn the_frontier_has_the_published_roots() {
    let mut frontier = Frontier::default();
    assert_eq!(frontier.root(), root(0));
    for size in 1..=8 {
        let number = usize::try_from(size - 1).unwrap();
        frontier.push_leaf(leaf(&data(number)), &mut |level, number, node| {
            assert_eq!(node, hash(number << level..(number + 1) << level));
        });
        assert_eq!((frontier.size(), frontier.root()), (size, root(size)));
        let json = serde_json::to_string(&frontier).unwrap();
        assert_eq!(serde_json::from_str::<Frontier>(&json).unwrap(), frontier);
    }
    assert!(serde_json::from_str::<Frontier>(r#"{"size":3,"peaks":[]}"#).is_err());
}

#[test]
fn inclusion_proofs_are_the_published_ones() {
    for (sequence, size, hashes) in INCLUSIONS {
        let nodes = Inclusion::nodes(sequence, size).unwrap();
        assert_eq!(
            nodes.into_iter().map(hash).collect::<Vec<_>>(),
            digests(hashes),
            "{sequence} of {size}"
        );
    }
    for (sequence, size) in
        (1..=8).flat_map(|size| (1..=size).map(move |sequence| (sequence, size)))
    {
        let hashes: Vec<_> = Inclusion::nodes(sequence, size)
            .unwrap()
            .into_iter()
            .map(hash)
            .collect();
        let proof = Inclusion {
            sequence,
            size,
            hashes,
        };
        let verify = |proof: &Inclusion, number: u64, size| {
            proof.verify_data(&data(usize::try_from(number - 1).unwrap()), root(size))
        };
        assert_eq!(verify(&proof, sequence, size), Ok(()));
        assert!((1..=8).all(|other| other == sequence || verify(&proof, other, size).is_err()));
        assert!((1..=8).all(|other| other == size || verify(&proof, sequence, other).is_err()));
        assert!(!(1..=9).any(|other| {
            other != sequence
                && verify(
                    &Inclusion {
                        sequence: other,
                        ..proof.clone()
                    },
                    sequence,
                    size,
                )
                .is_ok()
        }));
        for dropped in 0..proof.hashes.len() {
            let mut short = proof.clone();
            short.hashes.remove(dropped);
            assert_eq!(verify(&short, sequence, size), Err(ProofError::Wrong));
        }
    }
}

#[test]
fn consistency_proofs_are_the_published_ones() {
    for (from, to, hashes) in CONSISTENCIES {
        let nodes = Consistency::nodes(from, to).unwrap();
        assert_eq!(
            nodes.into_iter().map(hash).collect::<Vec<_>>(),
            digests(hashes),
            "{from} to {to}"
        );
    }
    for (from, to) in (1..=8).flat_map(|to| (1..=to).map(move |from| (from, to))) {
        let hashes: Vec<_> = Consistency::nodes(from, to)
            .unwrap()
            .into_iter()
            .map(hash)
            .collect();
        let proof = Consistency { from, to, hashes };
        assert_eq!(proof.verify(root(from), root(to)), Ok(()));
        assert!((1..=8).all(|other| other == from || proof.verify(root(other), root(to)).is_err()));
        assert!((1..=8).all(|other| other == to || proof.verify(root(from), root(other)).is_err()));
    }
}

#[test]
fn what_no_tree_has_is_refused_without_a_panic() {
    for (sequence, size) in [
        (0, 5),
        (6, 5),
        (1, 0),
        (1, u64::MAX),
        (u64::MAX, u64::MAX),
        (MAX_SIZE + 1, MAX_SIZE),
    ] {
        assert!(matches!(
            Inclusion::nodes(sequence, size),
            Err(ProofError::Range { .. })
        ));
        let proof = Inclusion {
            sequence,
            size,
            hashes: digests(&ROOTS),
        };
        assert!(matches!(
            proof.verify_data(b"", root(0)),
            Err(ProofError::Range { .. })
        ));
    }
    for (from, to) in [(0, 5), (6, 5), (1, u64::MAX), (u64::MAX, 1)] {
        let proof = Consistency {
            from,
            to,
            hashes: Vec::new(),
        };
        assert!(matches!(
            proof.verify(root(0), root(0)),
            Err(ProofError::Range { .. })
        ));
    }
}
