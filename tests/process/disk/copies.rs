//! One process on one directory, and a directory that is an older copy of itself.

use std::{fs, path::Path};

use hallpass_broker::ledger::audit;

use support::process::{
    BrokerHome,
    load::{register_all, revoke, wants},
};

#[tokio::test]
async fn a_second_broker_on_a_directory_is_refused_and_the_first_goes_on() {
    let home = BrokerHome::new();
    let running = home.serve().await;
    let key = register_all(&running).await;
    let said = home.refusal();
    let owner = running.id().as_raw_nonzero();
    assert!(
        said.contains("is in use by another hallpass") && said.contains(&owner.to_string()),
        "{said}"
    );
    running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    running.stop().await;
    home.serve().await.stop().await;
}

#[tokio::test]
async fn an_older_copy_is_refused_against_the_last_head_that_was_noted() {
    let mut home = BrokerHome::new();
    let running = home.serve().await;
    let key = register_all(&running).await;
    let issued = running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    running.stop().await;
    let old = tempfile::tempdir().unwrap();
    copy(&home.data(), &old.path().join("data"));
    copy(&home.path().join("policy"), &old.path().join("policy"));

    let running = home.serve().await;
    revoke(&running, issued["revocation_id"].as_str().unwrap())
        .await
        .unwrap();
    let head = running
        .as_admin("GET", "/v1/audit/head", None)
        .await
        .unwrap();
    let head = format!("{}:{}", head["sequence"], head["hash"].as_str().unwrap());
    running.stop().await;

    // The copy is sound, so only who knows the head can tell.
    let mut restored = BrokerHome::at(old.path());
    audit::verify_file(&restored.journal(), &audit::Claims::default()).unwrap();
    restored.arguments(&["--expect-head", &head]);
    let journal = fs::read(restored.journal()).unwrap();
    let said = restored.refusal();
    assert!(
        said.contains("this is an older copy")
            && said.contains("revoke again what was revoked since"),
        "{said}"
    );
    assert_eq!(
        fs::read(restored.journal()).unwrap(),
        journal,
        "a refused start changed the journal"
    );

    // One that went its own way from there on has as many records, and others.
    restored.arguments(&[]);
    let running = restored.serve().await;
    for _ in 0..4 {
        running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    }
    running.stop().await;
    restored.arguments(&["--expect-head", &head]);
    let said = restored.refusal();
    assert!(said.contains("another record where it once had"), "{said}");

    home.arguments(&["--expect-head", &head]);
    home.serve().await.stop().await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
