//! kill -9 under load: whatever a client was told is there after the restart, the chain verifies,
//! verifiers refuse what was revoked, and an index deleted by hand comes back with the same answers.

use std::{collections::BTreeMap, sync::Arc};

use hallpass_broker::{identity::AgentKey, ledger::audit};
use hallpass_core::{base::ReasonCode, token::manifest::Manifest, wire::document::KeyDocument};
use hallpass_verify::Verifier;
use serde_json::{Value, json};
use support::process::{
    BrokerHome, BrokerProcess, ISSUER,
    load::{Answers, Load, Revoked, SERVER, manifest, register_all},
};

#[tokio::test]
async fn every_answered_mint_and_revocation_survives_kill_9() {
    let (mut minted, mut revoked) = (0, 0);
    let mut left = cycles();
    while left > 0 {
        let round = left.min(CYCLES_OF_ONE_HOME);
        let told = survive(round).await;
        (minted, revoked) = (minted + told.minted.len(), revoked + told.revoked.len());
        left -= round;
        eprintln!(
            "{minted} mints and {revoked} revocations were answered in {} cycles",
            cycles() - left
        );
    }
    assert!(
        minted > 100 && revoked > 20,
        "too little load to show anything"
    );
}

/// Kills one home's broker so many times; whatever was answered is there, with the index and without.
async fn survive(cycles: u64) -> Answers {
    let home = BrokerHome::new();
    let mut running = home.serve().await;
    let key = register_all(&running).await;
    let mut told = Answers::default();
    for cycle in 0..cycles {
        // The moment of the kill differs from cycle to cycle; the answers decide what must be there.
        let answers = load_and_kill(running, &key, 4 + 3 * (cycle % 7)).await;
        told.minted.extend(answers.minted);
        told.revoked.extend(answers.revoked);
        let summary = audit::verify_file(&home.journal(), &audit::Claims::default()).unwrap();
        assert!(summary.records > 0);
        running = home.serve().await;
    }
    everything_is_there(&running, &told).await;

    let before = whole_trail(&running).await;
    running.stop().await;
    std::fs::remove_dir_all(home.data().join("index")).unwrap();
    let running = home.serve().await;
    everything_is_there(&running, &told).await;
    let after = whole_trail(&running).await;
    // The restart itself is one more page of the story.
    assert_eq!(after[..before.len()], before[..]);
    running.stop().await;
    audit::verify_file(&home.journal(), &audit::Claims::default()).unwrap();
    told
}

/// 30 in every test run; `HALLPASS_CRASH_CYCLES=1000` for the long one.
fn cycles() -> u64 {
    std::env::var("HALLPASS_CRASH_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(30)
}

/// Every start checks everything that went before.
const CYCLES_OF_ONE_HOME: u64 = 100;

/// Clients mint and revoke until so many mints were answered, and the broker is killed in the middle of the next ones.
async fn load_and_kill(running: BrokerProcess, key: &Arc<AgentKey>, mints: u64) -> Answers {
    let running = Arc::new(running);
    let mut load = Load::on(&running, key);
    load.answered(mints).await;
    running.kill_9();
    let told = load.end().await;
    Arc::into_inner(running).unwrap().wait().await;
    told
}

async fn everything_is_there(running: &BrokerProcess, told: &Answers) {
    for (task, id) in &told.minted {
        let view = running
            .as_admin("GET", &format!("/v1/tasks/{task}"), None)
            .await
            .unwrap();
        assert_eq!(view["passes"][0]["revocation_id"], **id, "task {task}");
        let revoked = told.revoked.iter().any(|revoked| revoked.id == *id);
        // More may be revoked than was answered; less may not.
        assert!(
            !revoked || view["passes"][0]["revoked"] == true,
            "task {task}"
        );
    }
    let listed = all_of(running, "/v1/revocations?limit=200").await;
    let listed: BTreeMap<_, _> = listed
        .iter()
        .map(|entry| (entry["sequence"].as_u64(), &entry["subject"]))
        .collect();
    let verifier = verifier(running).await;
    for Revoked {
        id,
        token,
        sequence,
    } in &told.revoked
    {
        assert_eq!(
            listed.get(&Some(*sequence)),
            Some(&&json!({"revocation_id": id})),
            "sequence {sequence}"
        );
        let refused = verifier.verify(token).unwrap_err();
        assert!(
            refused.codes().contains(&ReasonCode::RevokedToken),
            "sequence {sequence}: {refused}"
        );
    }
}

/// A verifier that has heard from this broker.
async fn verifier(running: &BrokerProcess) -> Verifier {
    let keys = running
        .as_admin("GET", "/v1/keys.json", None)
        .await
        .unwrap();
    let keys: KeyDocument = hallpass_core::wire::read(keys).unwrap();
    let manifest: Manifest = serde_json::from_value(manifest()).unwrap();
    let verifier = Verifier::builder(
        ISSUER.parse().unwrap(),
        keys.feed_key.thumbprint(),
        manifest,
    )
    .build();
    verifier.accept_key_document(&keys.into()).unwrap();
    verifier
        .accept_frame(&running.feed_frame(SERVER).await)
        .unwrap();
    verifier
}

async fn whole_trail(running: &BrokerProcess) -> Vec<Value> {
    all_of(running, "/v1/audit?order=oldest&limit=200").await
}

/// Every page of a list.
async fn all_of(running: &BrokerProcess, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = running
            .as_admin("GET", &format!("{path}{cursor}"), None)
            .await
            .unwrap();
        all.append(page["items"].as_array_mut().unwrap());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}
