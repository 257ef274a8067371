//! The corpus: real tokens, proofs, frames, journals and policies, one file each.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// Every file of one target with its name, in the order of the names.
pub fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = directory(target);
    let mut files: Vec<_> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds for {target}");
    files
}

pub fn contents(target: &str) -> Vec<Vec<u8>> {
    files(target).into_iter().map(|(_, bytes)| bytes).collect()
}

pub fn json(target: &str) -> Vec<Value> {
    contents(target)
        .iter()
        .map(|bytes| serde_json::from_slice(bytes).unwrap())
        .collect()
}

/// Whether the seeds of tokens, frames and journals are to be written anew, before they are looked at:
/// `UPDATE_CORPUS=1 cargo test --test core the_seeds_are_good`.
pub fn is_to_be_written() -> bool {
    std::env::var_os("UPDATE_CORPUS").is_some()
}

/// Where the seeds of a target lie.
pub fn directory(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}
