//! What is kept of the past, and that nothing that lives depends on what is not.

use std::{fs, path::Path};

use hallpass_broker::{
    Opened, UsedAssertion,
    ledger::{
        audit::{self, Claims},
        file::segment_number,
        views::Index,
    },
};
use hallpass_core::{base::digest::Digest, wire::report::Report};

use super::*;

fn few() -> Retention {
    Retention {
        segment_bytes: 16 * 1024,
        keep_bytes: Some(48 * 1024),
        ..Retention::default()
    }
}

/// What a state holds, but for the record of the start that came last.
fn dump(broker: &Broker) -> serde_json::Value {
    let mut state = serde_json::to_value(&*broker.state()).unwrap();
    for name in ["last_sequence", "last_at"] {
        state.as_object_mut().unwrap().remove(name);
    }
    state
}

fn segments(directory: &Path) -> Vec<u32> {
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut numbers: Vec<_> = files.filter_map(|path| segment_number(&path)).collect();
    numbers.sort_unstable();
    numbers
}

fn bytes_in(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap());
    let size = |file: fs::DirEntry| {
        if file.path().is_dir() {
            bytes_in(&file.path())
        } else {
            file.metadata().unwrap().len()
        }
    };
    files.map(size).sum()
}

fn all_events(broker: &Broker, order: Order) -> Vec<u64> {
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = broker
            .history
            .trail()
            .events(
                &Filter::default(),
                Window {
                    order,
                    after,
                    limit: 7,
                },
            )
            .unwrap();
        seen.extend(page.events.iter().map(|event| event.seq));
        after = page.next;
        if after.is_none() {
            return seen;
        }
    }
}

async fn reopened(fixture: &BrokerFiles, broker: Arc<Broker>, retention: Retention) -> Arc<Broker> {
    broker.close().await.unwrap();
    drop(broker);
    fixture.open_keeping(retention).await
}

/// A broker in whose past is a bit of everything, in many segments; and the pass of a task that lives on.
async fn with_a_past(fixture: &BrokerFiles, retention: Retention) -> (Arc<Broker>, Issued) {
    drop(fixture.with_registrations().await);
    let broker = fixture.open_keeping(retention).await;
    let (caller, agent) = bot();
    let long = OpenTask {
        ttl: Duration::from_secs(8 * 3600),
        ..wants(&["read_ledger"])
    };
    let jti = Digest::of(b"once");
    let expires_at = broker.now().plus(Duration::from_secs(11 * 3600));
    let used = UsedAssertion {
        agent: agent.clone(),
        jti,
        expires_at,
    };
    broker.use_assertion(&used).unwrap();
    let proven = Caller {
        assertion: Some(used),
        ..caller
    };
    let lives = broker
        .issuance
        .open_task(&proven, &agent, long)
        .await
        .unwrap();
    broker
        .registry
        .add_agent(&admin(), new_agent("suspended-bot"))
        .await
        .unwrap();
    broker
        .revocations
        .revoke(
            &admin(),
            revoke(Subject::Agent("suspended-bot".parse().unwrap())),
        )
        .await
        .unwrap();
    for _ in 0..60 {
        open_task(&broker, &["read_ledger"]).await.unwrap();
    }
    (broker, lives)
}

#[tokio::test]
async fn a_start_from_a_snapshot_ends_in_the_state_of_all_records() {
    let fixture = BrokerFiles::new();
    let (broker, _) = with_a_past(&fixture, few()).await;
    let before = dump(&broker);
    let journal = fixture.directory.path().join("data/journal");
    assert!(segments(&journal).len() > 2);
    let broker = reopened(&fixture, broker, few()).await;
    assert_eq!(dump(&broker), before);
    broker.close().await.unwrap();
    drop(broker);
    let journal = fixture.directory.path().join("data/journal");
    for file in fs::read_dir(&journal)
        .unwrap()
        .map(|file| file.unwrap().path())
    {
        if file
            .extension()
            .is_some_and(|extension| extension == "snapshot")
        {
            fs::remove_file(file).unwrap();
        }
    }
    let broker = fixture.open_keeping(few()).await;
    assert_eq!(dump(&broker), before);
    let start = Filter {
        from: Some(broker.now()),
        ..Filter::default()
    };
    let newest = Window {
        order: Order::NewestFirst,
        after: None,
        limit: 1,
    };
    let told = broker
        .history
        .trail()
        .events(&start, newest)
        .unwrap()
        .events;
    assert!(
        told[0].detail.contains("could not use the snapshot"),
        "{}",
        told[0].detail
    );
}

#[tokio::test]
async fn what_lives_outlives_the_records_that_told_of_it() {
    let fixture = BrokerFiles::new();
    let archive = fixture.directory.path().join("archive");
    let keeping = Retention {
        archive_dir: Some(archive.clone()),
        ..few()
    };
    let (broker, lives) = with_a_past(&fixture, keeping.clone()).await;
    let data = fixture.directory.path().join("data");
    let before = segments(&data.join("journal"));
    broker.retire().unwrap();
    assert_eq!(
        segments(&data.join("journal")),
        before,
        "nothing of the last hour goes"
    );

    // The short tasks are forgotten, the long one lives.
    fixture.clock.advance(Duration::from_secs(2 * 3600));
    open_task(&broker, &["read_ledger"]).await.unwrap();
    broker.maintain().await.unwrap();
    let before = segments(&data.join("journal"));
    broker.retire().unwrap();
    broker.retire().unwrap();
    let first = broker.views().first();
    assert!(first > 40, "{first}");
    let kept = segments(&data.join("journal"));
    assert_eq!([segments(&archive), kept.clone()].concat(), before);
    assert!(!kept.is_empty() && bytes_in(&data.join("journal")) < 200 * 1024);

    broker.close().await.unwrap();
    drop(broker);
    for rebuild in [false, true] {
        if rebuild {
            fs::remove_dir_all(data.join("index")).unwrap();
        }
        let broker = fixture.open_keeping(keeping.clone()).await;
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut seen = all_events(&broker, order);
            seen.sort_unstable();
            let last = broker.views().head().sequence;
            assert_eq!(
                seen,
                (first..=last).collect::<Vec<_>>(),
                "the past ends where it was archived"
            );
        }
        let view = broker.tasks.task(&lives.task.task, None).unwrap();
        assert_eq!(
            (&*view.state, view.passes.len()),
            ("open", 1 + usize::from(rebuild))
        );
        let verifier = fixture.verifier(&broker);
        let (caller, agent) = bot();
        let again = IssueAgain::default();
        let renewed = broker
            .issuance
            .issue_again(&caller, &agent, (&lives.task.task, again))
            .await
            .unwrap();
        assert_eq!(codes(&verifier, &renewed), []);
        assert!(
            broker
                .state()
                .is_suspended(&Subject::Agent("suspended-bot".parse().unwrap()))
        );
        let jti = Digest::of(b"once");
        let expires_at = broker.now().plus(Duration::from_secs(60));
        let replayed = broker.use_assertion(&UsedAssertion {
            agent,
            jti,
            expires_at,
        });
        assert!(
            matches!(replayed, Err(BrokerError::Replay)),
            "an assertion is remembered past its segment"
        );
        // The index still knows whose the old pass is.
        let id = lives.record.revocation_id;
        assert_eq!(
            broker.views().token(&id).unwrap().unwrap().0,
            lives.task.task
        );
        broker.close().await.unwrap();
    }
}

/// A report of a call that was let through with the pass.
fn called(n: u32, (issued, server): (&Issued, &str), at: &str) -> Report {
    let (task, record) = (&issued.task, &issued.record);
    let report = json!({"type": "call", "id": format!("rpt_{n:032x}"), "at": at, "server": server,
        "decision": "allowed", "task": task.task, "agent": task.agent, "steward": task.steward,
        "call": {"method": "tools/call", "kind": "tool", "name": "read_ledger", "arguments": "0".repeat(64)},
        "chain": [record.revocation_id]});
    serde_json::from_value(report).unwrap()
}

#[tokio::test]
async fn calls_with_a_pass_whose_record_is_archived_are_attributed_and_read() {
    let fixture = BrokerFiles::new();
    let (broker, lives) = with_a_past(&fixture, few()).await;
    let ended = open_task(&broker, &["read_ledger"]).await.unwrap();
    let early = [called(1, (&ended, support::SERVER), "2026-11-22T10:00:00Z")];
    broker
        .decisions
        .record_reports(admin(), early.into())
        .await
        .unwrap();
    for _ in 0..60 {
        open_task(&broker, &["read_ledger"]).await.unwrap();
    }
    fixture.clock.advance(Duration::from_secs(2 * 3600));
    open_task(&broker, &["read_ledger"]).await.unwrap();
    broker.maintain().await.unwrap();
    broker.retire().unwrap();
    broker.close().await.unwrap();
    drop(broker);
    let index = fixture.directory.path().join("data/index");
    for round in 0..2 {
        if round == 1 {
            fs::remove_dir_all(&index).unwrap();
        }
        let broker = fixture.open_keeping(few()).await;
        assert!(broker.views().first() > 100, "{}", broker.views().first());
        let here = called(
            10 + round,
            (&lives, support::SERVER),
            "2026-11-22T11:00:00Z",
        );
        let elsewhere = called(
            20 + round,
            (&lives, "https://other.example/mcp"),
            "2026-11-22T11:59:00Z",
        );
        broker
            .decisions
            .record_reports(admin(), vec![here, elsewhere])
            .await
            .unwrap();
        let window = Window {
            order: Order::NewestFirst,
            after: None,
            limit: 2,
        };
        let calls = broker
            .history
            .calls(Filter::default(), window)
            .await
            .unwrap()
            .calls;
        let told = |n: usize| {
            let whose = serde_json::to_value(calls[n].whose.as_ref().unwrap()).unwrap();
            (
                whose["attribution"].clone(),
                whose["purpose"].is_string(),
                whose["grant"].is_string(),
            )
        };
        assert_eq!(told(1), (json!("confirmed"), true, true), "round {round}");
        assert_eq!(
            told(0),
            (json!("other_server"), true, false),
            "round {round}"
        );
        let all = Window {
            order: Order::NewestFirst,
            after: None,
            limit: 100,
        };
        let calls = broker
            .history
            .calls(Filter::default(), all)
            .await
            .unwrap()
            .calls;
        assert!(
            calls.last().unwrap().whose.as_ref().unwrap().attributed,
            "it was, then"
        );
        let last = broker
            .views()
            .task(&lives.task.task)
            .unwrap()
            .unwrap()
            .tokens;
        assert_eq!(last.len(), 1);
        broker.close().await.unwrap();
    }
}

#[tokio::test]
async fn only_confirmed_calls_count_as_use_and_none_later_than_it_was_told() {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    let last_used = async || broker.history.live(None, (None, 10)).await.unwrap()[0].last_used;
    let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
    let elsewhere = called(
        1,
        (&issued, "https://other.example/mcp"),
        "2026-11-22T09:59:00Z",
    );
    broker
        .decisions
        .record_reports(admin(), vec![elsewhere])
        .await
        .unwrap();
    assert_eq!(last_used().await, None);
    let here = called(2, (&issued, support::SERVER), "2026-11-22T09:59:30Z");
    let elsewhere = called(
        3,
        (&issued, "https://other.example/mcp"),
        "2026-11-22T09:59:59Z",
    );
    broker
        .decisions
        .record_reports(admin(), vec![here, elsewhere])
        .await
        .unwrap();
    assert_eq!(
        last_used().await,
        Some("2026-11-22T09:59:30Z".parse().unwrap())
    );
    let ahead = called(4, (&issued, support::SERVER), "2036-11-22T10:00:00Z");
    broker
        .decisions
        .record_reports(admin(), vec![ahead])
        .await
        .unwrap();
    let now = broker.now();
    assert_eq!(last_used().await, Some(now));
}

#[tokio::test]
async fn a_shortened_journal_is_checked_from_its_first_segment_and_joined_to_the_archive() {
    let fixture = BrokerFiles::new();
    let archive = fixture.directory.path().join("archive");
    let keeping = Retention {
        archive_dir: Some(archive.clone()),
        ..few()
    };
    let (broker, _) = with_a_past(&fixture, keeping).await;
    let noted = broker.views().head();
    fixture.clock.advance(Duration::from_secs(2 * 3600));
    open_task(&broker, &["read_ledger"]).await.unwrap();
    broker.retire().unwrap();
    let journal = fixture.directory.path().join("data/journal");
    let archived = audit::verify_file(&archive, &Claims::default()).unwrap();
    assert_eq!(archived.from, 1);
    let claims = Claims {
        follows: Some(archived.head),
        head: Some(noted),
        ..Claims::default()
    };
    let left = audit::verify_file(&journal, &claims).unwrap();
    assert_eq!(
        (left.from, left.head),
        (archived.head.sequence + 1, broker.views().head())
    );
    assert_eq!(archived.records + left.records, left.head.sequence);
    let wrong = Claims {
        follows: Some(noted),
        ..Claims::default()
    };
    assert!(audit::verify_file(&journal, &wrong).is_err());
    let too_early = Claims {
        head: Some(archived.head),
        ..Claims::default()
    };
    assert!(
        audit::verify_file(&journal, &too_early)
            .unwrap_err()
            .to_string()
            .contains("archived")
    );
    // Without its snapshots nothing can be restored, and the start says so.
    broker.close().await.unwrap();
    drop(broker);
    for file in fs::read_dir(&journal)
        .unwrap()
        .map(|file| file.unwrap().path())
    {
        if file
            .extension()
            .is_some_and(|extension| extension == "snapshot")
        {
            fs::write(file, b"{}").unwrap();
        }
    }
    let options = Options {
        retention: few(),
        ..fixture.options()
    };
    let refused: Result<Opened, _> = Broker::open(options, fixture.clock.clone()).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("nothing can be restored")
    );
}

#[tokio::test]
async fn the_disk_holds_what_is_kept_and_what_lives_and_little_more() {
    let fixture = BrokerFiles::new();
    drop(fixture.with_registrations().await);
    let keeping = Retention {
        segment_bytes: 64 * 1024,
        keep_bytes: Some(256 * 1024),
        ..Retention::default()
    };
    let broker = fixture.open_keeping(keeping.clone()).await;
    let data = fixture.directory.path().join("data");
    let mut most = 0;
    for _ in 0..5 {
        for _ in 0..100 {
            open_task(&broker, &["read_ledger"]).await.unwrap();
        }
        fixture.clock.advance(Duration::from_secs(2 * 3600));
        broker.maintain().await.unwrap();
        open_task(&broker, &["read_ledger"]).await.unwrap();
        broker.retire().unwrap();
        most = most.max(bytes_in(&data.join("journal")));
    }
    let written = broker.views().head().sequence;
    let snapshot = serde_json::to_vec(&*broker.state()).unwrap().len() as u64;
    assert!(
        written > 1000 && broker.views().first() > written / 4,
        "{written}"
    );
    // What is kept, the segment that is written, and two snapshots of a hundred living tasks.
    assert!(
        most < 256 * 1024 + 2 * 64 * 1024 + 2 * (snapshot + 300 * 1024),
        "{most}"
    );
    assert!(bytes_in(&data.join("index")) < 64 * 1024 * 1024);
    broker.close().await.unwrap();
    let (first, pruned) = (
        broker.views().first(),
        broker.views().index().dump().unwrap(),
    );
    // What lists records by chunks lists none of those that are gone.
    let chunks = pruned
        .iter()
        .filter(|(key, _)| b"scawtvd".contains(&key[0]));
    let chunks: Vec<u64> = chunks
        .map(|(key, _)| u64::from_be_bytes(*key.last_chunk().unwrap()))
        .collect();
    assert!(
        chunks.len() > 7 && chunks.iter().all(|chunk| *chunk >= first),
        "{first}: {chunks:?}"
    );
    let pruned = pruned.len();
    drop(broker);
    // An index that is built anew from what is left holds no less and no more.
    let recovered = <hallpass_broker::ledger::file::Journal>::open(
        &data,
        hallpass_broker::ledger::file::Options::default(),
        |_| {},
    )
    .unwrap()
    .0;
    fs::remove_dir_all(data.join("index")).unwrap();
    let (index, _) = Index::open(&data, &recovered.reader()).unwrap();
    let rebuilt = index.dump().unwrap().len();
    assert!(pruned.abs_diff(rebuilt) < 20, "{pruned} and {rebuilt}");
}
