//! Secret files of a broker, as platforms leave them, and what a process shows of itself.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use support::process::{BrokerHome, setup::Setup};

#[tokio::test]
async fn files_that_a_volumes_group_may_write_are_taken_back_and_open_ones_stop_the_start() {
    let home = BrokerHome::new();
    let broker = home.serve().await;
    Setup::of(&broker).await;
    broker.stop().await;
    // As the kubelet leaves a volume with `fsGroup` at every mount.
    for file in files_below(&home.data()) {
        fs::set_permissions(&file, Permissions::from_mode(0o660)).unwrap();
    }
    home.serve().await.stop().await;
    let data = home.data();
    let mut secret = vec![data.join("operator.token"), data.join("stewards.json")];
    secret.extend(files_below(&data.join("keys")));
    assert!(secret.len() > 5, "{secret:?}");
    for file in &secret {
        let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    for file in &secret {
        fs::set_permissions(file, Permissions::from_mode(0o604)).unwrap();
        let refusal = home.refusal();
        assert!(refusal.contains(file.to_str().unwrap()), "{refusal}");
        fs::set_permissions(file, Permissions::from_mode(0o440)).unwrap();
    }
    home.serve().await.stop().await;
}

#[tokio::test]
async fn a_broker_is_in_no_core_dump() {
    let home = BrokerHome::new();
    let broker = home.serve().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", broker.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core:?}");
    broker.stop().await;
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}
