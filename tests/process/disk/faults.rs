//! Writes and syncs that fail: nothing is acknowledged that might not last, the process says why and
//! ends, and the next one goes on with everything that was answered.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use hallpass_broker::ledger::audit;
use serde_json::Value;

use support::process::{
    BrokerHome, BrokerProcess,
    faults::Fault,
    load::{Answers, missing, register_all, wants},
};

#[tokio::test]
async fn a_failed_write_or_sync_ends_the_process_and_the_next_one_has_every_answer() {
    for fault in [
        "fdatasync:eio",
        "fdatasync:enospc",
        "write:eio",
        "write:enospc",
    ] {
        let mut home = BrokerHome::new();
        let fault_of = Fault::of(&mut home, fault);
        let running = home.serve().await;
        let key = register_all(&running).await;
        let mut told = Answers::default();
        for _ in 0..3 {
            told.minted.push(minted(
                &running.as_agent(&key, "/v1/tasks", wants()).await.unwrap(),
            ));
        }
        fault_of.on();
        let refused = running
            .as_agent(&key, "/v1/tasks", wants())
            .await
            .unwrap_err();
        assert!(
            refused.starts_with("503") && refused.contains(r#""code":"unavailable""#),
            "{fault}: {refused}"
        );
        // Whoever asks while it drains gets the same answer, or finds nobody there.
        let again = running
            .as_agent(&key, "/v1/tasks", wants())
            .await
            .unwrap_err();
        assert!(
            again.starts_with("503") || again.contains("error sending request"),
            "{fault}: {again}"
        );
        let (status, said) = running.ended().await;
        assert_eq!(status.code(), Some(1), "{fault}: {said}");
        let because = if fault.contains("eio") {
            "Input/output error"
        } else {
            "No space left on device"
        };
        let last: Vec<_> = said.lines().rev().take(2).collect();
        assert!(
            last[1].starts_with("error: the broker stopped: ") && last[1].contains(because),
            "{fault}: {said}"
        );
        assert!(
            last[0].starts_with("hint: whatever was answered is recorded"),
            "{fault}: {said}"
        );
        assert_eq!(missing(home.path(), &told).await, Ok(Vec::new()), "{fault}");

        fault_of.off();
        let running = home.serve().await;
        running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
        running.stop().await;
        audit::verify_file(&home.journal(), &audit::Claims::default()).unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_cannot_record_is_alive_and_not_ready_until_it_has_drained() {
    let mut home = BrokerHome::new();
    let fault = Fault::of(&mut home, "fdatasync:eio");
    let running = home.serve().await;
    let key = register_all(&running).await;
    assert_eq!(running.probe("/readyz").await, (200, "ready\n".to_owned()));
    // A request whose body has not come yet: the server says when it begins to wait for it.
    let address = running.url().trim_start_matches("http://").to_owned();
    let admin = running.admin().to_owned();
    let pending = tokio::task::spawn_blocking(move || begin_a_request(&address, &admin))
        .await
        .unwrap();
    fault.on();
    running
        .as_agent(&key, "/v1/tasks", wants())
        .await
        .unwrap_err();
    assert_eq!(
        running.probe("/readyz").await,
        (503, "the journal stopped: restart\n".to_owned())
    );
    assert_eq!(running.probe("/livez").await.0, 200);
    drop(pending);
    assert_eq!(running.wait().await.code(), Some(1));
}

#[tokio::test]
async fn short_writes_are_continued_and_a_slow_sync_is_waited_for() {
    let mut home = BrokerHome::new();
    let fault = Fault::of(&mut home, "write:short");
    let running = home.serve().await;
    let key = register_all(&running).await;
    fault.on();
    let issued = running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    let told = Answers {
        minted: vec![minted(&issued)],
        revoked: Vec::new(),
    };
    running.kill_9();
    running.wait().await;
    assert_eq!(missing(home.path(), &told).await, Ok(Vec::new()));

    let mut home = BrokerHome::new();
    let fault = Fault::of(&mut home, "fdatasync:slow");
    let running: BrokerProcess = home.serve().await;
    let key = register_all(&running).await;
    fault.on();
    let begun = Instant::now();
    running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "answered before the sync had returned"
    );
    running.stop().await;
}

/// Sends the head of a request and returns when the server waits for the body.
fn begin_a_request(address: &str, admin: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/revocations HTTP/1.1\r\nhost: broker\r\nauthorization: Bearer {admin}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    stream
}

fn minted(issued: &Value) -> (String, String) {
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    (text("task_id"), text("revocation_id"))
}
