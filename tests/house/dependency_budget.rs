//! What a server takes on that verifies passes: few crates, and none that opens a socket.

use std::{collections::BTreeSet, process::Command};

// 95 and `unicode-normalization`: a table of our own of what looks like a dot or a slash would be one that falls behind.
const BUDGET: usize = 96;

/// Crates that offline verification must not bring: run times, servers, stores, TLS, C cryptography.
const BANNED: [&str; 10] = [
    "tokio",
    "axum",
    "sled",
    "rustls",
    "ring",
    "aws-lc-",
    "jsonwebtoken",
    "hyper",
    "reqwest",
    "openssl",
];

fn tree(features: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .args(["-p", "hallpass-verify", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout).unwrap();
    // `name v1.2.3 (proc-macro) (*)`: name and version are the package.
    let package = |line: &str| {
        line.split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    listed
        .lines()
        .map(package)
        .filter(|line| !line.is_empty() && !line.starts_with("hallpass-"))
        .collect()
}

fn banned(packages: &BTreeSet<String>, except: &[&str]) -> Vec<String> {
    let is_banned = |package: &&String| {
        let name = package.split(' ').next().unwrap_or_default();
        let of =
            |banned: &&str| name == *banned || (banned.ends_with('-') && name.starts_with(banned));
        BANNED
            .iter()
            .any(|banned| of(banned) && !except.contains(banned))
    };
    packages.iter().filter(is_banned).cloned().collect()
}

#[test]
fn verification_stays_inside_its_budget() {
    let packages = tree("");
    let list = packages.iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(
        packages
            .iter()
            .any(|package| package.starts_with("biscuit-auth ")),
        "not a tree:\n{list}"
    );
    assert!(
        packages.len() <= BUDGET,
        "{} packages, {BUDGET} are allowed:\n{list}",
        packages.len()
    );
    assert_eq!(banned(&packages, &[]), Vec::<String>::new(), "in:\n{list}");
}

#[test]
fn the_layer_brings_no_server() {
    let packages = tree("tower");
    assert_eq!(banned(&packages, &[]), Vec::<String>::new());
}

#[test]
fn one_version_of_each_cryptographic_crate() {
    let packages = tree("");
    for name in [
        "ed25519-dalek",
        "curve25519-dalek",
        "biscuit-auth",
        "subtle",
        "zeroize",
        "prost",
    ] {
        let versions: Vec<_> = packages
            .iter()
            .filter(|package| package.starts_with(&format!("{name} ")))
            .collect();
        assert_eq!(versions.len(), 1, "{versions:?}");
    }
}
