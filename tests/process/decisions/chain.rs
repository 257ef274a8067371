//! The chain of decisions is apart: in its own files, with its own quota, in nobody's way.

use std::{collections::BTreeSet, fs::OpenOptions, io::Write as _, path::Path, sync::Arc};

use hallpass_broker::{
    Broker, BrokerError, Caller, DecisionsError, Options, RecordedReports,
    domain::event::Actor,
    ledger::{
        audit::{self, Claims},
        views::{Filter, Order, Window},
    },
};
use hallpass_core::{base::time::SystemClock, wire::report::Report};
use serde_json::{Value, json};

use support::{ISSUER, SERVER};

const ALL: Window = Window {
    order: Order::OldestFirst,
    after: None,
    limit: 1000,
};

async fn open(directory: &Path, decisions_bytes: u64) -> Arc<Broker> {
    let policy_dir = directory.join("policy");
    std::fs::create_dir_all(&policy_dir).unwrap();
    let options = Options {
        decisions_bytes,
        ..Options::new(ISSUER.parse().unwrap(), directory.join("data"), policy_dir)
    };
    Broker::open(options, Arc::new(SystemClock::default()))
        .await
        .unwrap()
        .broker
}

fn reports(numbers: std::ops::Range<u32>) -> Vec<Report> {
    let report = |n: u32| -> Value {
        json!({"type": "call", "id": format!("rpt_{n:032x}"), "at": "2026-11-22T10:00:00Z", "server": SERVER,
            "decision": {"refused": ["not_granted"]}, "task": format!("tsk_{n:032x}"), "agent": "bot",
            "steward": format!("stw_{n:032x}"), "chain": ["ab".repeat(64)]})
    };
    numbers
        .map(|n| serde_json::from_value(report(n)).unwrap())
        .collect()
}

fn verifier() -> Caller {
    Caller {
        actor: Actor::Operator("ledger-verifier".parse().unwrap()),
        ..Caller::broker()
    }
}

async fn record(
    broker: &Arc<Broker>,
    numbers: std::ops::Range<u32>,
) -> Result<RecordedReports, BrokerError> {
    broker
        .decisions
        .record_reports(verifier(), reports(numbers))
        .await
}

#[tokio::test]
async fn reports_touch_neither_the_journal_nor_the_state() {
    let home = tempfile::tempdir().unwrap();
    let broker = open(home.path(), 64_000_000).await;
    let (head, sequence) = (broker.views().head(), broker.state().last_sequence());
    for batch in 0..4 {
        assert_eq!(
            record(&broker, batch * 500..batch * 500 + 500)
                .await
                .unwrap()
                .recorded,
            500
        );
    }
    assert_eq!(
        (broker.views().head(), broker.state().last_sequence()),
        (head, sequence)
    );
    // A use case of the broker goes through while batches wait for their turn, each for the other.
    let flood: Vec<_> = (0..16_u32)
        .map(|n| {
            let broker = Arc::clone(&broker);
            tokio::spawn(async move { record(&broker, 2000 + n * 100..2100 + n * 100).await })
        })
        .collect();
    broker
        .registry
        .add_steward(&verifier(), ("alice", None))
        .await
        .unwrap();
    assert_eq!(broker.views().head().sequence, head.sequence + 1);
    for batch in flood {
        assert_eq!(batch.await.unwrap().unwrap().recorded, 100);
    }
    broker.close().await.unwrap();
    let verified = |path: &str| {
        audit::verify_file(&home.path().join(path), &Claims::default())
            .unwrap()
            .records
    };
    assert_eq!(verified("data/decisions/journal/000001.jsonl"), 3600);
    assert_eq!(verified("data/journal/000001.jsonl"), head.sequence + 1);
}

#[tokio::test]
async fn more_batches_than_may_wait_are_sent_away() {
    let home = tempfile::tempdir().unwrap();
    let broker = open(home.path(), 64_000_000).await;
    let batches: Vec<_> = (0..200_u32)
        .map(|n| {
            let broker = Arc::clone(&broker);
            async move { record(&broker, n..n + 1).await }
        })
        .collect();
    // All are polled before any of them is done: the first record takes a sync.
    let answers = futures_util::future::join_all(batches).await;
    let taken = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((1..200).contains(&taken), "{taken}");
    let refused = answers.into_iter().filter_map(Result::err);
    assert!(
        refused
            .into_iter()
            .all(|error| matches!(error, BrokerError::Decisions(DecisionsError::Busy)))
    );
    assert_eq!(
        broker
            .history
            .calls(Filter::default(), ALL)
            .await
            .unwrap()
            .calls
            .len(),
        taken
    );
}

#[tokio::test]
async fn a_chain_that_is_as_long_as_it_may_be_loses_its_oldest_and_is_found_whole_from_there() {
    let home = tempfile::tempdir().unwrap();
    let broker = open(home.path(), 200_000).await;
    for batch in 0..12 {
        assert_eq!(
            counts(&broker, batch * 100..batch * 100 + 100).await,
            (100, 0)
        );
    }
    let files = home.path().join("data/decisions/journal");
    let bytes = || {
        std::fs::read_dir(&files)
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum::<u64>()
    };
    assert!((100_000..400_000).contains(&bytes()), "{}", bytes());
    let told = calls(&broker).await;
    let kept = told.len();
    assert!(
        (50..800).contains(&kept) && told[kept - 1].id.as_str().ends_with("4af"),
        "{kept}"
    );
    // A gap is nowhere but at the beginning, and everything that is kept is known when it comes again.
    let first = 1200 - u32::try_from(kept).unwrap();
    assert_eq!(told[0].id.as_str(), format!("rpt_{first:032x}"));
    assert_eq!(counts(&broker, 1150..1200).await, (0, 50));
    // Room is made before a batch is recorded, so that there was more to remove.
    let told = calls(&broker).await;
    assert!(told.len() <= kept);
    let of_first = Filter {
        task: Some(format!("tsk_{:032x}", 0).parse().unwrap()),
        ..Filter::default()
    };
    assert_eq!(
        broker
            .history
            .calls(of_first, ALL)
            .await
            .unwrap()
            .calls
            .len(),
        0
    );
    broker.close().await.unwrap();
    drop(broker);
    for rebuilt in [false, true] {
        if rebuilt {
            std::fs::remove_dir_all(home.path().join("data/decisions/index")).unwrap();
        }
        let broker = open(home.path(), 200_000).await;
        let ids = |calls: Vec<hallpass_broker::CallView>| {
            calls.into_iter().map(|call| call.id).collect::<Vec<_>>()
        };
        assert_eq!(
            ids(calls(&broker).await),
            ids(told.clone()),
            "rebuilt: {rebuilt}"
        );
        broker.close().await.unwrap();
    }
}

/// Everything that is kept, the oldest first.
async fn calls(broker: &Arc<Broker>) -> Vec<hallpass_broker::CallView> {
    broker
        .history
        .calls(Filter::default(), ALL)
        .await
        .unwrap()
        .calls
}

/// How many were recorded and how many were known.
async fn counts(broker: &Arc<Broker>, numbers: std::ops::Range<u32>) -> (usize, usize) {
    let done = record(broker, numbers).await.unwrap();
    (done.recorded, done.known)
}

#[tokio::test]
async fn a_damaged_chain_stops_reports_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let broker = open(home.path(), 64_000_000).await;
    record(&broker, 0..3).await.unwrap();
    broker.close().await.unwrap();
    drop(broker);
    let file = home.path().join("data/decisions/journal/000001.jsonl");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(
        &file,
        String::from_utf8(whole.clone())
            .unwrap()
            .replace("not_granted", "not_grantex"),
    )
    .unwrap();
    let broker = open(home.path(), 64_000_000).await;
    let error = record(&broker, 3..4).await.unwrap_err();
    assert!(
        matches!(&error, BrokerError::Decisions(DecisionsError::Unusable(why)) if why.contains("damaged")),
        "{error}"
    );
    assert!(broker.history.calls(Filter::default(), ALL).await.is_err());
    broker
        .registry
        .add_steward(&verifier(), ("alice", None))
        .await
        .unwrap();
    broker.close().await.unwrap();
    drop(broker);
    // A torn end is no damage: nobody was told that it was recorded.
    std::fs::write(&file, &whole).unwrap();
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b"{\"seq\":4,")
        .unwrap();
    let broker = open(home.path(), 64_000_000).await;
    assert_eq!(counts(&broker, 2..5).await, (2, 1));
    // What the index held is derived: without it, the same is found.
    let told = |page: hallpass_broker::CallPage| {
        page.calls
            .into_iter()
            .map(|call| call.id)
            .collect::<BTreeSet<_>>()
    };
    let before = told(broker.history.calls(Filter::default(), ALL).await.unwrap());
    broker.close().await.unwrap();
    drop(broker);
    std::fs::remove_dir_all(home.path().join("data/decisions/index")).unwrap();
    let broker = open(home.path(), 64_000_000).await;
    assert_eq!(
        told(broker.history.calls(Filter::default(), ALL).await.unwrap()),
        before
    );
}
