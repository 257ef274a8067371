//! No success reaches a socket before the sync that covers its record: seen from outside, in what the
//! process asks of the kernel.
//!
//! A record names its request (`"request":"req_…"`), and so does the answer (`x-request-id: req_…`).

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    sync::Arc,
};

use support::{
    process::{
        BrokerHome,
        faults::Fault,
        load::{Answers, Load, register_all},
    },
    skip::skipped,
};

#[tokio::test]
async fn no_success_leaves_before_the_sync_of_its_record_has_returned() {
    let Some((trace, told)) = traced(&BrokerHome::new()).await else {
        return;
    };
    let covered = check(&trace).unwrap();
    let answered = told.minted.len() + told.revoked.len();
    assert!(
        covered >= answered && answered as u64 > REQUESTS,
        "{covered} of {answered} answers were seen"
    );
    eprintln!("{covered} successes, each after the sync of its record");
}

/// The test of the test: the same process, with syncs that never reach the kernel.
#[tokio::test]
async fn a_process_that_does_not_sync_is_found_out() {
    let mut home = BrokerHome::new();
    let fault = Fault::of(&mut home, "fdatasync:skip");
    fault.on();
    let Some((trace, _)) = traced(&home).await else {
        return;
    };
    let found = check(&trace).unwrap_err();
    assert!(
        found.contains("was answered before its record was synced"),
        "{found}"
    );
}

/// What a broker under load asks of the kernel, and what its clients were told. `None`, said loudly,
/// where no process can be traced.
async fn traced(home: &BrokerHome) -> Option<(String, Answers)> {
    if let Err(why) = can_trace() {
        skipped(
            "the order of syncs and answers",
            format_args!("strace cannot trace here: {why}"),
        );
        return None;
    }
    let pipe = home.path().join("trace");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let reading = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    let mut strace = Command::new("strace");
    // The broker stays our child; the tracer is a process of its own.
    strace
        .args(["-D", "-f", "-q", "-y", "-s", "1000000", "-o"])
        .arg(&pipe);
    strace.args([
        "-e",
        "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendfile,fdatasync,fsync",
    ]);
    let starting = home.start_as(
        strace.arg(env!("CARGO_BIN_EXE_hallpass")).arg("serve"),
        "127.0.0.1:0",
    );
    let running = Arc::new(starting.listening().await);
    let key = register_all(&running).await;
    let mut load = Load::on(&running, &key);
    load.answered(REQUESTS).await;
    let told = load.end().await;
    Arc::into_inner(running).unwrap().stop().await;
    let trace = tokio::task::spawn_blocking(|| reading.join().unwrap())
        .await
        .unwrap();
    Some((String::from_utf8_lossy(&trace).into_owned(), told))
}

#[test]
fn a_trace_in_a_bad_order_is_found_out() {
    let write =
        r#"7  write(13</d/journal/000001.jsonl>, "{\"seq\":9,\"request\":\"req_a\"}\n", 30) = 30"#;
    let sync = "7  fdatasync(13</d/journal/000001.jsonl>) = 0";
    let failed = "7  fdatasync(13</d/journal/000001.jsonl>) = -1 EIO (Input/output error)";
    let other = "7  fdatasync(14</d/index/db>) = 0";
    let answer = r#"8  writev(15<socket:[1]>, [{iov_base="HTTP/1.1 201 Created\r\nx-request-id: req_a\r\n\r\n", iov_len=40}], 1) = 40"#;
    let refusal = answer.replace("201 Created", "503 Unavailable");
    let (sync_begins, sync_ends) = (
        "7  fdatasync(13</d/journal/000001.jsonl> <unfinished ...>",
        "7  <... fdatasync resumed>) = 0",
    );
    let (write_begins, write_ends) = (
        write.replace(", 30) = 30", ", 30 <unfinished ...>"),
        "7  <... write resumed>) = 30",
    );

    let good: [&[&str]; 5] = [
        &[write, sync, answer],
        &[write, sync_begins, sync_ends, answer],
        &[&write_begins, write_ends, sync, answer],
        &[write, failed, &refusal],
        &[answer],
    ];
    for (lines, covered) in good.into_iter().zip([1, 1, 1, 0, 0]) {
        assert_eq!(check(&lines.join("\n")), Ok(covered), "{lines:#?}");
    }
    let bad: [&[&str]; 8] = [
        &[write, answer, sync],
        &[write, answer],
        &[answer, write, sync],
        &[write, failed, answer],
        &[write, other, answer],
        &[sync, write, answer],
        &[write, sync_begins, answer, sync_ends],
        // A sync that had begun before the write had ended does not cover it.
        &[
            &write_begins,
            &sync_begins.replace("7  ", "9  "),
            write_ends,
            &sync_ends.replace("7  ", "9  "),
            answer,
        ],
    ];
    for lines in bad {
        assert!(check(&lines.join("\n")).is_err(), "{lines:#?}");
    }
}

/// Where each request's records are.
#[derive(Default)]
struct Order {
    /// Being written, by which thread.
    writing: BTreeMap<String, BTreeSet<String>>,
    /// Written, and covered by no sync yet.
    written: BTreeSet<String>,
    /// What each sync under way covers if it succeeds.
    syncing: BTreeMap<String, BTreeSet<String>>,
    synced: BTreeSet<String>,
    answered: BTreeSet<String>,
}

/// How many successes came after the sync of their records; or the first that did not.
fn check(trace: &str) -> Result<usize, String> {
    let mut order = Order::default();
    for line in trace.lines() {
        let (thread, call) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let call = call.trim_start();
        let resumed = call.strip_prefix("<... ");
        if resumed.is_none() {
            order.begins(thread, call)?;
        }
        if !call.ends_with("<unfinished ...>") {
            let result = call.rsplit_once(" = ").map_or("", |(_, result)| result);
            order.ends(thread, !result.is_empty() && !result.starts_with('-'));
        }
    }
    Ok(order.answered.intersection(&order.synced).count())
}

impl Order {
    fn begins(&mut self, thread: &str, call: &str) -> Result<(), String> {
        let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
        let on = arguments.split(", ").next().unwrap_or_default();
        if name.ends_with("sync") && on.contains("/journal/") {
            self.syncing.insert(thread.to_owned(), self.written.clone());
        } else if on.contains("/journal/") {
            let requests: BTreeSet<_> = after(arguments, r#"\"request\":\""#).collect();
            if let Some(late) = requests.intersection(&self.answered).next() {
                return Err(format!("{late} was answered before its record was written"));
            }
            self.writing.insert(thread.to_owned(), requests);
        } else if on.contains("<socket:") || on.contains("<TCP") {
            for answer in arguments
                .split("HTTP/1.1 ")
                .skip(1)
                .filter(|answer| answer.starts_with('2'))
            {
                let Some(request) = after(answer, "x-request-id: ").next() else {
                    continue;
                };
                let unsynced = self
                    .writing
                    .values()
                    .chain([&self.written])
                    .any(|requests| requests.contains(&request));
                if unsynced {
                    return Err(format!(
                        "{request} was answered before its record was synced"
                    ));
                }
                self.answered.insert(request);
            }
        }
        Ok(())
    }

    fn ends(&mut self, thread: &str, succeeded: bool) {
        // Bytes that a failed call may have written count as written, and as covered by nothing.
        self.written
            .extend(self.writing.remove(thread).unwrap_or_default());
        let covered = self.syncing.remove(thread).unwrap_or_default();
        if succeeded {
            self.written.retain(|request| !covered.contains(request));
            self.synced.extend(covered);
        }
    }
}

/// The request ids that stand behind `marker`.
fn after<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(marker).skip(1).map(|rest| {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    })
}

fn can_trace() -> Result<(), String> {
    let output = Command::new("strace")
        .args(["-f", "-y", "-o", "/dev/null", "true"])
        .output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const REQUESTS: u64 = 150;
