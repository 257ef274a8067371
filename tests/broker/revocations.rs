//! What a revocation reaches, whatever agents, clocks and configuration do meanwhile.

use hallpass::{
    base::ids::RevocationId,
    broker::NewOperator,
    journal::event::Role,
    token::{Narrowing, attenuate, manifest::Manifest},
};

use super::*;

const ARCHIVE: &str = "https://archive.example/mcp";

/// A broker that knows a second server, on which the agent may read too.
async fn with_archive(house: &House) -> Arc<Broker> {
    let broker = house.furnished().await;
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["server"] = json!(ARCHIVE);
    manifest["name"] = json!("archive");
    manifest["aliases"] = json!([]);
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    broker.set_server(&admin(), manifest).await.unwrap();
    let grant = GRANT.replace("research-reads", "archive-reads").replace("\"ledger\"", "\"archive\"");
    std::fs::write(house.directory.path().join("policy/archive.toml"), grant).unwrap();
    broker.reload_policy(&admin()).await.unwrap().unwrap();
    broker
}

fn at_archive() -> OpenTask {
    let detail = json!({"type": "mcp", "server": ARCHIVE, "tools": ["read_ledger"]});
    OpenTask { details: vec![serde_json::from_value(detail).unwrap()], ..wants(&[]) }
}

/// Reports `block` as appended to a pass of a new task at the archive.
async fn report_at_archive(broker: &Broker, block: RevocationId) {
    let (caller, agent) = bot();
    let other = broker.open_task(&caller, &agent, at_archive()).await.unwrap();
    let report = (&other.task.task, vec![other.record.revocation_id, block], None);
    broker.report_delegation(&caller, &agent, report).await.unwrap();
}

async fn reopened(house: &House, broker: Arc<Broker>) -> Arc<Broker> {
    broker.close().await.unwrap();
    drop(broker);
    house.open().await
}

#[tokio::test]
async fn a_reported_delegation_does_not_keep_an_operators_token_alive() {
    let house = House::new();
    let broker = with_archive(&house).await;
    let new = NewOperator {
        operator: "stolen".parse().unwrap(),
        roles: [Role::Auditor].into(),
        servers: [].into(),
        ttl: Duration::from_secs(3600),
    };
    let stolen = broker.add_operator(&admin(), new).await.unwrap();
    report_at_archive(&broker, stolen.revocation_id).await;
    broker.revoke(&admin(), revoke(Subject::RevocationId(stolen.revocation_id))).await.unwrap();
    assert!(broker.state().is_revoked_block(&stolen.revocation_id));
    let broker = reopened(&house, broker).await;
    assert!(broker.state().is_revoked_block(&stolen.revocation_id));
}

#[tokio::test]
async fn a_reported_delegation_does_not_keep_a_revocation_from_the_server_concerned() {
    let house = House::new();
    let broker = with_archive(&house).await;
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&issued.token, &narrowing).unwrap();
    let block = *narrowed.blocks.last().unwrap();
    report_at_archive(&broker, block).await;
    let verifier = house.verifier(&broker);
    broker.revoke(&admin(), revoke(Subject::RevocationId(block))).await.unwrap();
    house.tell(&broker, &verifier);
    assert_eq!(codes_of(&verifier, &narrowed.token), [ReasonCode::RevokedToken]);
    let broker = reopened(&house, broker).await;
    assert_eq!(codes_of(&house.verifier(&broker), &narrowed.token), [ReasonCode::RevokedToken]);
    assert_eq!(codes(&verifier, &issued), []);
}
