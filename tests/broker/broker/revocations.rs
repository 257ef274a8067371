//! What a revocation reaches, whatever agents, clocks and configuration do meanwhile.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hallpass_broker::{
    DelegationReport, MAX_AT_ONCE, Many, NewOperator, OperatorToken, RevokeMany, TaskFilter,
    domain::event::{Role, TaskRecord},
};
use hallpass_core::{
    base::ids::{RevocationId, TaskId},
    token::{Narrowing, attenuate, manifest::Manifest},
};

use super::*;

const ARCHIVE: &str = "https://archive.example/mcp";

/// A broker that knows a second server, on which the agent may read too.
async fn with_archive(fixture: &BrokerFiles) -> Arc<Broker> {
    let broker = fixture.with_registrations().await;
    let mut manifest = serde_json::to_value(support::manifest()).unwrap();
    manifest["server"] = json!(ARCHIVE);
    manifest["name"] = json!("archive");
    manifest["aliases"] = json!([]);
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    broker
        .registry
        .set_server(&admin(), manifest)
        .await
        .unwrap();
    let grant = GRANT
        .replace("research-reads", "archive-reads")
        .replace("\"ledger\"", "\"archive\"");
    std::fs::write(fixture.directory.path().join("policy/archive.toml"), grant).unwrap();
    broker
        .policy
        .reload_policy(&admin())
        .await
        .unwrap()
        .unwrap();
    broker
}

fn at_archive() -> OpenTask {
    let detail = json!({"type": "mcp", "server": ARCHIVE, "tools": ["read_ledger"]});
    OpenTask {
        details: vec![serde_json::from_value(detail).unwrap()],
        ..wants(&[])
    }
}

/// Reports `block` as appended to a pass of a new task at the archive.
async fn report_at_archive(broker: &Broker, block: RevocationId) {
    let (caller, agent) = bot();
    let other = broker
        .issuance
        .open_task(&caller, &agent, at_archive())
        .await
        .unwrap();
    let blocks = vec![other.record.revocation_id, block];
    let report = DelegationReport {
        blocks,
        delegate: None,
        delegate_key: None,
    };
    broker
        .tasks
        .report_delegation(&caller, &agent, (&other.task.task, report))
        .await
        .unwrap();
}

async fn reopened(fixture: &BrokerFiles, broker: Arc<Broker>) -> Arc<Broker> {
    broker.close().await.unwrap();
    drop(broker);
    fixture.open().await
}

#[tokio::test]
async fn a_reported_delegation_does_not_keep_an_operators_token_alive() {
    let fixture = BrokerFiles::new();
    let broker = with_archive(&fixture).await;
    let stolen = broker
        .operators
        .add_operator(&admin(), operator("stolen", Role::Auditor))
        .await
        .unwrap();
    report_at_archive(&broker, stolen.revocation_id).await;
    broker
        .revocations
        .revoke(
            &admin(),
            revoke(Subject::RevocationId(stolen.revocation_id)),
        )
        .await
        .unwrap();
    assert!(broker.state().is_revoked_block(&stolen.revocation_id));
    let broker = reopened(&fixture, broker).await;
    assert!(broker.state().is_revoked_block(&stolen.revocation_id));
}

#[tokio::test]
async fn a_reported_delegation_does_not_keep_a_revocation_from_the_server_concerned() {
    let fixture = BrokerFiles::new();
    let broker = with_archive(&fixture).await;
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&issued.token, &narrowing).unwrap();
    let block = *narrowed.blocks.last().unwrap();
    report_at_archive(&broker, block).await;
    let verifier = fixture.verifier(&broker);
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::RevocationId(block)))
        .await
        .unwrap();
    fixture.tell(&broker, &verifier);
    assert_eq!(
        codes_of(&verifier, &narrowed.token),
        [ReasonCode::RevokedToken]
    );
    let broker = reopened(&fixture, broker).await;
    assert_eq!(
        codes_of(&fixture.verifier(&broker), &narrowed.token),
        [ReasonCode::RevokedToken]
    );
    assert_eq!(codes(&verifier, &issued), []);
}

fn verifier_at(fixture: &BrokerFiles, broker: &Broker, server: &str) -> Verifier {
    let document = broker.feed.key_document().unwrap();
    let manifest = broker.registry.server(server).unwrap().manifest;
    let uri = manifest.server.clone();
    let verifier = Verifier::builder(
        broker.issuer().clone(),
        document.feed_key.thumbprint(),
        manifest,
    )
    .clock(fixture.clock.clone())
    .build();
    verifier.accept_key_document(&document.into()).unwrap();
    verifier
        .accept_frame(&broker.feed.feed_frame(&uri, None).unwrap().text)
        .unwrap();
    verifier
}

#[tokio::test]
async fn no_pass_that_races_the_completion_of_its_task_outlives_it() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let long = OpenTask {
        ttl: Duration::from_secs(3600),
        ..wants(&["read_ledger"])
    };
    let task = broker
        .issuance
        .open_task(&caller, &agent, long)
        .await
        .unwrap()
        .task
        .task;
    fixture.clock.advance(Duration::from_secs(540));
    let again = async || {
        broker
            .issuance
            .issue_again(&caller, &agent, (&task, IssueAgain::default()))
            .await
    };
    // Each has decided and signed, and waits for its record, when the next begins. One is there when the task is
    // completed, the others are on their way.
    let mut early: FuturesUnordered<_> = (0..10).map(|_| again()).collect();
    let late = futures_util::future::join_all((0..10).map(|_| again()));
    let first = early.next().await.unwrap().unwrap();
    let completed = broker.tasks.complete_task(&caller, &agent, &task);
    let (early, completed, late) = tokio::join!(early.collect::<Vec<_>>(), completed, late);
    completed.unwrap();
    assert!(
        late.iter()
            .all(|answer| matches!(answer, Err(BrokerError::TaskEnded(_)))),
        "{late:?}"
    );
    // The first pass is over by now, those of the race are not.
    fixture.clock.advance(Duration::from_secs(120));
    let verifier = fixture.verifier(&broker);
    for issued in early.into_iter().flatten().chain([first]) {
        assert_eq!(codes(&verifier, &issued), [ReasonCode::RevokedTask]);
    }
}

#[tokio::test]
async fn a_task_that_is_revoked_while_it_gets_a_pass_for_another_server_is_dead_there_too() {
    let fixture = BrokerFiles::new();
    let broker = with_archive(&fixture).await;
    let (caller, agent) = bot();
    let first = open_task(&broker, &["read_ledger"]).await.unwrap();
    let wanted = IssueAgain {
        details: Some(at_archive().details),
    };
    let renewal = broker
        .issuance
        .issue_again(&caller, &agent, (&first.task.task, wanted));
    let admin = admin();
    let revoked = broker
        .revocations
        .revoke(&admin, revoke(Subject::Task(first.task.task.clone())));
    let (_, revoked) = tokio::join!(renewal, revoked);
    revoked.unwrap();
    assert_eq!(
        codes(&fixture.verifier(&broker), &first),
        [ReasonCode::RevokedTask]
    );
    let verifier = verifier_at(&fixture, &broker, ARCHIVE);
    assert_eq!(verifier.revocation_count(), 1);
}

#[tokio::test]
async fn no_pass_that_races_the_revocation_of_its_agent_leaves() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let subject = Subject::Agent("research-bot".parse().unwrap());
    let admin = admin();
    let revoked = broker.revocations.revoke(&admin, revoke(subject));
    let (revoked, opened) = tokio::join!(revoked, open_task(&broker, &["read_ledger"]));
    revoked.unwrap();
    assert_eq!(opened.unwrap_err().code(), ReasonCode::Suspended);
}

#[tokio::test]
async fn a_pass_dated_ahead_dies_with_the_next_revocation() {
    // The subject that is revoked at last, and the one whose reinstatement dated the pass ahead.
    for ahead in ["agent", "server"] {
        let fixture = BrokerFiles::new();
        let broker = fixture.with_registrations().await;
        let agent = Subject::Agent("research-bot".parse().unwrap());
        let first = if ahead == "agent" {
            agent.clone()
        } else {
            Subject::Server(support::server())
        };
        broker
            .revocations
            .revoke(&admin(), revoke(first.clone()))
            .await
            .unwrap();
        broker.revocations.reinstate(&admin(), first).await.unwrap();
        let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
        assert!(issued.record.issued_at > broker.now(), "{ahead}");
        broker
            .revocations
            .revoke(&admin(), revoke(agent.clone()))
            .await
            .unwrap();
        assert_eq!(
            codes(&fixture.verifier(&broker), &issued),
            [ReasonCode::RevokedAgent],
            "{ahead}"
        );
        broker.revocations.reinstate(&admin(), agent).await.unwrap();
        let next = open_task(&broker, &["read_ledger"]).await.unwrap();
        assert_eq!(codes(&fixture.verifier(&broker), &next), [], "{ahead}");
    }
}

fn operator(name: &str, role: Role) -> NewOperator {
    let ttl = Duration::from_secs(3600);
    NewOperator {
        operator: name.parse().unwrap(),
        roles: [role].into(),
        servers: [].into(),
        ttl,
    }
}

#[tokio::test]
async fn an_operator_that_was_removed_and_made_again_is_listed_and_can_be_removed_at_once() {
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let issued_at = |token: &OperatorToken| token.expires_at.minus(Duration::from_secs(3600));
    let backup = "backup".parse().unwrap();
    let listed = |broker: &Broker| {
        broker
            .operators
            .operators()
            .iter()
            .any(|(operator, ..)| *operator == backup)
    };
    broker
        .operators
        .add_operator(&admin(), operator("backup", Role::Auditor))
        .await
        .unwrap();
    broker
        .operators
        .remove_operator(&admin(), &backup)
        .await
        .unwrap();
    assert!(!listed(&broker));
    let again = broker
        .operators
        .add_operator(&admin(), operator("backup", Role::Auditor))
        .await
        .unwrap();
    assert!(broker.state().accepts_operator(&backup, issued_at(&again)));
    assert!(listed(&broker));
    broker
        .operators
        .remove_operator(&admin(), &backup)
        .await
        .unwrap();
    assert!(!broker.state().accepts_operator(&backup, issued_at(&again)));
    assert!(!listed(&broker));
}

#[tokio::test]
async fn a_second_token_of_an_operator_hides_nothing_of_the_first() {
    let fixture = BrokerFiles::new();
    let broker = fixture.open().await;
    let first = broker
        .operators
        .add_operator(&admin(), operator("backup", Role::Admin))
        .await
        .unwrap();
    let short = NewOperator {
        ttl: Duration::from_secs(60),
        ..operator("backup", Role::Auditor)
    };
    broker
        .operators
        .add_operator(&admin(), short)
        .await
        .unwrap();
    let (_, roles, expires_at) = broker
        .operators
        .operators()
        .into_iter()
        .find(|(name, ..)| name.as_str() == "backup")
        .unwrap();
    assert_eq!(
        (roles, expires_at),
        ([Role::Admin, Role::Auditor].into(), first.expires_at)
    );
}

#[tokio::test]
async fn a_revocation_outlives_passes_that_were_minted_when_they_might_live_longer() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let (caller, agent) = bot();
    let long = OpenTask {
        ttl: Duration::from_secs(3600),
        ..wants(&["read_ledger"])
    };
    let issued = broker
        .issuance
        .open_task(&caller, &agent, long)
        .await
        .unwrap();
    let options = Options {
        max_pass_ttl: Duration::from_secs(1),
        ..broker.options().clone()
    };
    broker.close().await.unwrap();
    drop(broker);
    let broker = Broker::open(options, fixture.clock.clone())
        .await
        .unwrap()
        .broker;
    broker
        .revocations
        .revoke(&admin(), revoke(Subject::Agent(agent)))
        .await
        .unwrap();
    let verifier = fixture.verifier(&broker);
    fixture.clock.advance(Duration::from_secs(599));
    fixture.tell(&broker, &verifier);
    assert_eq!(codes(&verifier, &issued), [ReasonCode::RevokedAgent]);
}

fn many(what: Many) -> RevokeMany {
    let (reason, dry_run) = (Some("key leaked".to_owned()), false);
    RevokeMany {
        what,
        reason,
        dry_run,
    }
}

#[tokio::test]
async fn a_list_is_revoked_at_once_and_says_what_of_it_is_unknown() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let passes = [
        open_task(&broker, &["read_ledger"]).await.unwrap(),
        open_task(&broker, &["read_ledger"]).await.unwrap(),
        open_task(&broker, &["read_ledger"]).await.unwrap(),
    ];
    let unknown_id: RevocationId = "ab".repeat(64).parse().unwrap();
    let unknown_task: TaskId = "tsk_00000000000000000000000000000009".parse().unwrap();
    let listed = Many::Listed {
        revocation_ids: [passes[0].record.revocation_id, unknown_id].into(),
        tasks: [passes[1].task.task.clone(), unknown_task.clone()].into(),
    };
    let counted = RevokeMany {
        dry_run: true,
        ..many(listed.clone())
    };
    let before = broker.state().last_sequence();
    let (counted, _) = broker
        .revocations
        .revoke_many(&admin(), counted)
        .await
        .unwrap();
    assert_eq!((counted.revoked, counted.sequence), (3, None));
    assert_eq!(broker.state().last_sequence(), before);
    let (revoked, subjects) = broker
        .revocations
        .revoke_many(&admin(), many(listed))
        .await
        .unwrap();
    assert_eq!((revoked.revoked, subjects.len()), (3, 3));
    assert_eq!(revoked.sequence, Some(before + 3));
    assert_eq!(revoked.unknown_revocation_ids, [unknown_id]);
    assert_eq!(revoked.unknown_tasks, [unknown_task]);
    let verifier = fixture.verifier(&broker);
    assert_ne!(codes(&verifier, &passes[0]), []);
    assert_ne!(codes(&verifier, &passes[1]), []);
    assert_eq!(codes(&verifier, &passes[2]), []);
}

#[tokio::test]
async fn every_open_task_that_fits_a_filter_is_revoked_and_no_other() {
    let fixture = BrokerFiles::new();
    let broker = with_archive(&fixture).await;
    let (caller, agent) = bot();
    let early = open_task(&broker, &["read_ledger"]).await.unwrap();
    let there = broker
        .issuance
        .open_task(&caller, &agent, at_archive())
        .await
        .unwrap();
    fixture.clock.advance(Duration::from_secs(10));
    let late = open_task(&broker, &["read_ledger"]).await.unwrap();
    let by_time = |task: &TaskRecord| task.opened_at;
    let cases = [
        (
            TaskFilter {
                grant: Some("archive-reads".parse().unwrap()),
                ..TaskFilter::default()
            },
            1,
        ),
        (
            TaskFilter {
                server: Some(support::server()),
                ..TaskFilter::default()
            },
            2,
        ),
        (
            TaskFilter {
                agent: Some(agent.clone()),
                opened_from: Some(by_time(&late.task)),
                ..TaskFilter::default()
            },
            1,
        ),
        (
            TaskFilter {
                opened_before: Some(by_time(&late.task)),
                ..TaskFilter::default()
            },
            2,
        ),
        (
            TaskFilter {
                agent: Some("other-bot".parse().unwrap()),
                ..TaskFilter::default()
            },
            0,
        ),
    ];
    for (filter, count) in cases {
        let counting = RevokeMany {
            dry_run: true,
            ..many(Many::Fitting(filter.clone()))
        };
        let (counted, _) = broker
            .revocations
            .revoke_many(&admin(), counting)
            .await
            .unwrap();
        assert_eq!(counted.revoked, count, "{filter:?}");
    }
    let filter = TaskFilter {
        opened_before: Some(by_time(&late.task)),
        ..TaskFilter::default()
    };
    let revoke = || many(Many::Fitting(filter.clone()));
    let (revoked, _) = broker
        .revocations
        .revoke_many(&admin(), revoke())
        .await
        .unwrap();
    assert_eq!((revoked.revoked, revoked.more), (2, false));
    let verifier = fixture.verifier(&broker);
    assert_eq!(codes(&verifier, &early), [ReasonCode::RevokedTask]);
    assert_eq!(codes(&verifier, &late), []);
    assert!(broker.state().task(&there.task.task).unwrap().end.is_some());
    let (again, _) = broker
        .revocations
        .revoke_many(&admin(), revoke())
        .await
        .unwrap();
    assert_eq!((again.revoked, again.sequence), (0, None));
}

#[tokio::test]
async fn a_filter_without_a_condition_and_an_empty_or_endless_list_are_refused() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let none = Many::Listed {
        revocation_ids: [].into(),
        tasks: [].into(),
    };
    let ids = (0..=MAX_AT_ONCE).map(|at| format!("{at:0128x}").parse().unwrap());
    let endless = Many::Listed {
        revocation_ids: ids.collect(),
        tasks: [].into(),
    };
    for what in [none, endless, Many::Fitting(TaskFilter::default())] {
        let refused = broker
            .revocations
            .revoke_many(&admin(), many(what))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), ReasonCode::InvalidRequest);
    }
}
