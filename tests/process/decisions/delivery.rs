//! From the call to the chain, with outages and restarts on both sides.

use std::process::Command;

use hallpass_core::token::{Narrowing, PassToken, attenuate};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::decisions::ledger::{BOUND, PATIENCE, ReportingServer, calls};
use support::process::BrokerHome;
use support::process::{load::SERVER, setup::Setup};

/// `decision tool` of each.
fn told(calls: &[Value]) -> Vec<String> {
    let of = |call: &Value| {
        let what = call["call"]["name"]
            .as_str()
            .or(call["reasons"][0].as_str())
            .unwrap_or("-")
            .to_owned();
        format!("{} {what}", call["decision"].as_str().unwrap())
    };
    calls.iter().map(of).collect()
}

#[tokio::test]
async fn a_call_is_traced_to_its_task_its_chain_its_grant_and_its_steward() {
    let (home, spool) = (BrokerHome::new(), tempfile::tempdir().unwrap());
    let broker = home.serve().await;
    let setup = Setup::of(&broker).await;
    let ledger = ReportingServer::start(&setup, broker.url(), spool.path()).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut narrowing = Narrowing::default();
    narrowing.read_only = true;
    let narrowed = attenuate(&PassToken::from_text(setup.pass().to_owned()), &narrowing).unwrap();

    assert_eq!(
        ledger
            .call_with(
                narrowed.token.expose(),
                "read_ledger",
                json!({"traceparent": trace})
            )
            .await,
        "cleared"
    );
    assert_eq!(
        ledger.call(setup.pass(), "delete_ledger").await,
        "not_granted"
    );
    assert_eq!(
        ledger.call("not-a-token", "read_ledger").await,
        "token_invalid"
    );
    broker
        .as_admin(
            "POST",
            "/v1/revocations",
            Some(json!({"task": setup.task()})),
        )
        .await
        .unwrap();
    let heard = ledger
        .feed
        .wait_for(|_| ledger.verifier.revocation_count() > 0);
    timeout(PATIENCE, heard).await.unwrap().unwrap();
    assert_eq!(
        ledger.call(setup.pass(), "read_ledger").await,
        "revoked_task"
    );
    ledger.until_delivered(3).await;

    let all = calls(&broker, &format!("&task={}", setup.task())).await;
    assert_eq!(
        told(&all),
        [
            "allowed read_ledger",
            "refused delete_ledger",
            "refused revoked_task"
        ]
    );
    let (read, delete, dead) = (&all[0], &all[1], &all[2]);
    for call in &all {
        assert_eq!(
            (&call["attributed"], &call["attribution"]),
            (&json!(true), &json!("confirmed"))
        );
        assert_eq!(
            (&call["agent"], &call["steward_name"]),
            (&json!("research-bot"), &json!("alice"))
        );
        assert_eq!(
            (&call["purpose"], &call["reported_by"]),
            (&json!("close the Q3 books"), &json!("ledger-verifier"))
        );
        assert_eq!(
            (&call["server"], &call["revocation_id"]),
            (&json!(SERVER), &setup.issued["revocation_id"])
        );
    }
    assert_eq!(read["chain"], json!(narrowed.blocks));
    assert_eq!(read["grant"], "reads");
    assert_eq!(
        (&read["trace"], &read["parent"]),
        (&json!(&trace[3..35]), &json!(&trace[36..52]))
    );
    let arguments = hallpass_core::base::json::canonical_digest(&json!({"year": 2026})).unwrap();
    assert_eq!(read["call"]["arguments"], json!(arguments));
    assert_eq!(
        (&delete["reasons"], &delete["grant"]),
        (&json!(["not_granted"]), &Value::Null)
    );
    assert_eq!(
        dead.get("call"),
        None,
        "it was refused before its body was read"
    );

    // Nothing that could be used, and nobody's name, is on the way or in the chain.
    let text = std::fs::read_to_string(home.data().join("decisions/journal/000001.jsonl")).unwrap();
    for secret in [
        "2026}",
        "alice",
        setup.pass(),
        &setup.verifier_token,
        narrowed.token.expose(),
    ] {
        assert!(!text.contains(secret), "{secret}");
    }

    let shown = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args([
            "audit",
            "calls",
            "--task",
            setup.task(),
            "--decision",
            "allowed",
        ])
        .env("HALLPASS_BROKER", broker.url())
        .env(
            "HALLPASS_OPERATOR_TOKEN",
            std::fs::read_to_string(home.data().join("operator.token"))
                .unwrap()
                .trim(),
        )
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for word in [
        "tool read_ledger",
        "allowed",
        "alice",
        "close the Q3 books",
        "reads",
    ] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    assert!(!shown.contains("delete_ledger"), "{shown}");
    broker.stop().await;
}

#[tokio::test]
async fn calls_go_on_without_the_broker_and_their_reports_arrive_once_each_when_it_is_back() {
    let (home, spool) = (BrokerHome::new(), tempfile::tempdir().unwrap());
    let broker = home.serve().await;
    let setup = Setup::of(&broker).await;
    let ledger = ReportingServer::start(&setup, broker.url(), spool.path()).await;
    assert_eq!(ledger.call(setup.pass(), "read_ledger").await, "cleared");
    ledger.until_delivered(1).await;

    let address = broker.url().trim_start_matches("http://").to_owned();
    broker.kill_9();
    broker.wait().await;
    timeout(PATIENCE, ledger.feed.wait_for(|status| !status.connected))
        .await
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        assert_eq!(ledger.call(setup.pass(), "read_ledger").await, "cleared");
    }
    ledger.clock.advance(BOUND);
    assert_eq!(ledger.call(setup.pass(), "read_ledger").await, "cleared");
    ledger.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(ledger.call(setup.pass(), "read_ledger").await, "feed_stale");
    let status = ledger
        .until(|status| status.waiting_bytes > 0 && status.failures > 0)
        .await;
    assert_eq!((status.delivered, status.lost), (1, 0), "{status:?}");

    // A verifier that is stopped and started meanwhile sends what it had written down.
    ledger.reports.shutdown().await;
    ledger.feed.shutdown().await;
    let second = ReportingServer::start_blind(
        &setup,
        (&format!("http://{address}"), spool.path()),
        1_000_000,
    );
    assert!(second.reports.status().waiting_bytes > 0);
    let broker = home.serve_at(&address).await;
    second.until_delivered(5).await;
    second.until(|status| status.waiting_bytes == 0).await;
    let all = calls(&broker, &format!("&task={}", setup.task())).await;
    let mut expected = vec!["allowed read_ledger"; 5];
    expected.push("refused feed_stale");
    assert_eq!(told(&all), expected);
    let ids: std::collections::BTreeSet<_> =
        all.iter().map(|call| call["id"].to_string()).collect();
    assert_eq!(ids.len(), 6);
    assert_eq!(calls(&broker, "&decision=lost").await, [Value::Null; 0]);
    assert_eq!(
        std::fs::read_dir(spool.path()).unwrap().count(),
        1,
        "only the lock is left"
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_full_spool_and_a_verifier_that_crashes_leave_gaps_that_can_be_seen() {
    let (home, spool) = (BrokerHome::new(), tempfile::tempdir().unwrap());
    let broker = home.serve().await;
    let setup = Setup::of(&broker).await;
    let address = broker.url().trim_start_matches("http://").to_owned();
    let ledger = ReportingServer::start_with(&setup, (broker.url(), spool.path()), 1_200).await;
    broker.kill_9();
    broker.wait().await;
    assert_eq!(ledger.call(setup.pass(), "read_ledger").await, "cleared");
    ledger.until(|status| status.waiting_bytes > 0).await;
    for _ in 0..5 {
        assert_eq!(ledger.call(setup.pass(), "read_ledger").await, "cleared");
    }
    let status = ledger.until(|status| status.lost == 5).await;
    assert!(status.spool_error.is_some(), "{status:?}");

    let broker = home.serve_at(&address).await;
    ledger.until_delivered(2).await;
    let gaps = calls(&broker, &format!("&decision=lost&server={SERVER}")).await;
    assert_eq!((gaps.len(), &gaps[0]["lost"]["count"]), (1, &json!(5)));
    assert_eq!(gaps[0]["lost"]["from"], gaps[0]["at"]);
    assert_eq!(
        told(&calls(&broker, &format!("&task={}", setup.task())).await),
        ["allowed read_ledger"]
    );

    ledger.reports.shutdown().await;

    // A crash: what was not written down yet is gone, and nobody knows how much that was.
    let crashing = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (url, path) = (format!("http://{address}"), spool.path().to_owned());
    let setup = std::sync::Arc::new(setup);
    let of_crash = std::sync::Arc::clone(&setup);
    let crashed = async move { ReportingServer::start(&of_crash, &url, &path).await };
    let crashed = crashing.spawn(crashed).await.unwrap();
    tokio::task::spawn_blocking(move || crashing.shutdown_timeout(PATIENCE))
        .await
        .unwrap();
    drop(crashed);
    let ledger = ReportingServer::start(&setup, &format!("http://{address}"), spool.path()).await;
    ledger.until_delivered(1).await;
    let gaps = calls(&broker, "&decision=lost").await;
    assert_eq!(
        (gaps.len(), gaps[1]["lost"].get("count")),
        (2, None),
        "{gaps:?}"
    );
    broker.stop().await;
}
