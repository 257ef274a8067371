//! The report of what agents could be given, as it is paged, filtered and put beside what lives.

use hallpass_broker::{
    EntitlementAnswer, EntitlementFilter, EntitlementPlace, EntitlementProof, EntitlementRow,
};

use super::*;

const POLICY: &str = r#"
[[grant]]
id = "deletes"
agents = ["*"]
server = "ledger"
tools = ["delete_*", "transfer"]
prompts = ["*"]
max_ttl = "1h"
require_call_proof = true

[[grant]]
id = "files"
agents = ["group:research"]
server = "https://ledger.example/mcp"
resources = ["file:///srv/data/"]
max_ttl = "20m"
"#;

const GUARDRAIL: &str = r#"
@id("no-deletes")
forbid (principal, action == Action::"call", resource) when { resource.name like "delete_*" };
"#;

/// Three agents, of which one is in no group and one has another steward; agents without grants are beside them.
async fn with_agents(fixture: &BrokerFiles) -> Arc<Broker> {
    let policy = fixture.directory.path().join("policy");
    std::fs::write(policy.join("more.toml"), POLICY).unwrap();
    std::fs::write(policy.join("no.cedar"), GUARDRAIL).unwrap();
    let broker = fixture.with_registrations().await;
    let plain = NewAgent {
        groups: BTreeSet::new(),
        ..new_agent("plain-bot")
    };
    let bobs = NewAgent {
        steward: "bob".to_owned(),
        ..new_agent("search-bot")
    };
    for agent in [plain, bobs] {
        broker.registry.add_agent(&admin(), agent).await.unwrap();
    }
    broker
}

fn all(broker: &Broker, filter: &EntitlementFilter, limit: usize) -> Vec<EntitlementRow> {
    let (mut rows, mut after) = (Vec::new(), None::<EntitlementPlace>);
    loop {
        let (page, next) = broker.history.entitlements(filter, after, limit).unwrap();
        assert!(page.len() <= limit && (next.is_none() || !page.is_empty()));
        rows.extend(page);
        match next {
            // As a cursor holds it.
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => return rows,
        }
    }
}

#[tokio::test]
async fn every_page_size_gives_the_same_rows_in_order() {
    let fixture = BrokerFiles::new();
    let broker = with_agents(&fixture).await;
    let none = EntitlementFilter::default();
    let whole = all(&broker, &none, 1000);
    let place = |row: &EntitlementRow| (row.agent.clone(), row.server.clone(), row.right.clone());
    let places: Vec<_> = whole.iter().map(place).collect();
    assert!(places.is_sorted() && places.windows(2).all(|pair| pair[0] != pair[1]));
    // delete_ledger, transfer and summary for all; read_ledger, search_ledger and a tree for two of three.
    assert_eq!(whole.len(), 3 * 3 + 2 * 3);
    for limit in 1..=whole.len() {
        assert_eq!(all(&broker, &none, limit), whole, "{limit}");
    }
}

#[tokio::test]
async fn a_row_says_grant_limits_guardrail_proof_and_what_lives() {
    let fixture = BrokerFiles::new();
    let broker = with_agents(&fixture).await;
    open_task(&broker, &["read_ledger"]).await.unwrap();
    let revoked = open_task(&broker, &["read_*"]).await.unwrap();
    let subject = Subject::Task(revoked.task.task);
    broker
        .revocations
        .revoke(&admin(), revoke(subject))
        .await
        .unwrap();
    let of_bot = EntitlementFilter {
        agent: Some("research-bot".parse().unwrap()),
        ..EntitlementFilter::default()
    };
    let rows = all(&broker, &of_bot, 100);
    let row = |right: &str| rows.iter().find(|row| row.right == right).unwrap();
    let reads = row("tool read_ledger");
    assert_eq!(reads.answer, EntitlementAnswer::Given);
    assert_eq!(
        (reads.grant.as_str(), reads.file.as_str()),
        ("research-reads", "policy/reads.toml")
    );
    assert_eq!(
        (reads.proof, reads.live_passes, reads.max_ttl_seconds),
        (EntitlementProof::None, 1, 600)
    );
    assert_eq!(reads.steward_name.as_deref(), Some("alice"));
    let deletes = row("tool delete_ledger");
    assert_eq!(deletes.answer, EntitlementAnswer::Forbidden);
    assert_eq!(deletes.guardrails, ["no-deletes (policy/no.cedar)"]);
    let transfers = row("tool transfer");
    assert_eq!(
        (transfers.answer, transfers.proof),
        (EntitlementAnswer::Given, EntitlementProof::Call)
    );
    assert_eq!(row("prompt summary").proof, EntitlementProof::HolderKey);
    assert_eq!(row("resource file:///srv/data").grant.as_str(), "files");
}

#[tokio::test]
async fn rows_are_filtered_and_revoked_agents_and_servers_are_marked() {
    let fixture = BrokerFiles::new();
    let broker = with_agents(&fixture).await;
    let bob = broker.registry.find_steward("bob").unwrap();
    let of_bob = EntitlementFilter {
        steward: Some(bob.clone()),
        ..EntitlementFilter::default()
    };
    let rows = all(&broker, &of_bob, 2);
    assert_eq!(rows.len(), 6);
    assert!(
        rows.iter()
            .all(|row| row.agent.as_str() == "search-bot" && !row.suspended)
    );
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Steward(bob)))
        .await
        .unwrap();
    assert!(all(&broker, &of_bob, 2).iter().all(|row| row.suspended));
    let everything = EntitlementFilter::default();
    assert!(
        all(&broker, &everything, 100)
            .iter()
            .any(|row| !row.suspended)
    );
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Server(support::server())))
        .await
        .unwrap();
    assert!(
        all(&broker, &everything, 100)
            .iter()
            .all(|row| row.suspended)
    );
    for nothing in [
        EntitlementFilter {
            server: Some("https://other.example/mcp".parse().unwrap()),
            ..EntitlementFilter::default()
        },
        EntitlementFilter {
            agent: Some("nobody".parse().unwrap()),
            ..EntitlementFilter::default()
        },
    ] {
        assert_eq!(all(&broker, &nothing, 100), []);
    }
}
