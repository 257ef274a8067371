//! The journal's group commit beside what the disk allows: a bare loop that appends lines of the
//! same length and calls `fdatasync`, in the same run and on the same file system.
//!
//! The bare loop syncs once for as many lines as there are writers: the best that any group commit
//! could do. `HALLPASS_BENCH_DIR` names a directory on the disk to be measured; a memory file
//! system measures nothing.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hallpass_broker::{
    domain::event::{Actor, Entry, LedgerEvent, TaskRecord},
    ledger::file::{Journal, Options},
};
use hallpass_core::base::time::Timestamp;
use tempfile::TempDir;
use tokio::runtime::Runtime;

fn entry() -> Entry {
    let now = Timestamp::from_unix_seconds(1_795_000_000);
    let task = TaskRecord {
        task: format!("tsk_{:032x}", 1).parse().unwrap(),
        agent: "invoice-bot".parse().unwrap(),
        steward: format!("stw_{:032x}", 2).parse().unwrap(),
        answered_for_by: None,
        purpose: "pay invoice 4711 ".repeat(8),
        opened_at: now,
        ends_at: now,
        context: std::iter::once(("ticket".to_owned(), "FIN-4711".into())).collect(),
        asked: Vec::new(),
        fixed_rights: false,
        allow_partial: false,
        holder: None,
        verified: None,
        client_secret: None,
        parent: None,
        consented: false,
    };
    let event = LedgerEvent::TaskOpened { task };
    Entry {
        at: now,
        actor: Actor::Agent("invoice-bot".parse().unwrap()),
        request: None,
        trace: None,
        idempotency: None,
        event,
    }
}

fn directory() -> TempDir {
    let parent = std::env::var_os("HALLPASS_BENCH_DIR")
        .map_or_else(|| PathBuf::from("target"), PathBuf::from);
    std::fs::create_dir_all(&parent).unwrap();
    TempDir::new_in(parent).unwrap()
}

/// The length of one record of [`entry`].
fn line_length() -> usize {
    let dir = directory();
    let (recovered, _) = <Journal>::open(dir.path(), Options::default(), |_| {}).unwrap();
    let journal = recovered.start(Box::new(|_| {})).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime
        .build()
        .unwrap()
        .block_on(journal.append(vec![entry()]))
        .unwrap();
    drop(journal);
    usize::try_from(
        std::fs::metadata(dir.path().join("journal/000001.jsonl"))
            .unwrap()
            .len(),
    )
    .unwrap()
}

/// Appends `lines` lines, syncing after every `together` of them.
fn bare(file: &mut File, line: &[u8], lines: u64, together: u64) -> Duration {
    let batch = line.repeat(usize::try_from(together).unwrap());
    let started = Instant::now();
    for _ in 0..lines.div_ceil(together) {
        file.write_all(&batch).unwrap();
        file.sync_data().unwrap();
    }
    started.elapsed()
}

/// Appends `records` records through the journal from `writers` tasks at once.
async fn grouped(journal: &Arc<Journal>, records: u64, writers: u64) -> Duration {
    let left = Arc::new(AtomicU64::new(records));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let (journal, left) = (Arc::clone(journal), Arc::clone(&left));
        tasks.spawn(async move {
            let take = |left: u64| left.checked_sub(1);
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
            {
                journal.append(vec![entry()]).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    started.elapsed()
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let line = vec![b'x'; line_length()];
    let mut group = criterion.benchmark_group("journal_append");
    group.throughput(Throughput::Elements(1));
    for writers in [1, 16, 256] {
        let dir = directory();
        let mut file = File::options()
            .append(true)
            .create_new(true)
            .open(dir.path().join("bare"))
            .unwrap();
        group.bench_function(BenchmarkId::new("bare_fdatasync", writers), |bencher| {
            bencher.iter_custom(|records| {
                // Whole batches only, so a part of one is counted as such.
                let whole = records.div_ceil(writers) * writers;
                bare(&mut file, &line, records, writers).mul_f64(
                    f64::from(u32::try_from(records).unwrap())
                        / f64::from(u32::try_from(whole).unwrap()),
                )
            });
        });
        let (recovered, _) =
            <Journal>::open(&dir.path().join("data"), Options::default(), |_| {}).unwrap();
        let journal = Arc::new(recovered.start(Box::new(|_| {})).unwrap());
        group.bench_function(BenchmarkId::new("group_commit", writers), |bencher| {
            bencher.iter_custom(|records| runtime.block_on(grouped(&journal, records, writers)));
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
