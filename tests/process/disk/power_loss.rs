//! Power loss under load: a machine that goes dark finds, when it starts again, everything that any
//! client was told before. What this models and what it does not: `process/disk.rs`.

use std::{sync::Arc, time::Duration};

use rustix::process::Signal;

use support::process::{
    BrokerHome, BrokerProcess,
    disk::Disk,
    faults::{Fault, stopped},
    load::{Answers, Load, missing, register_all},
};

#[tokio::test]
async fn every_answer_before_a_power_loss_at_any_moment_is_kept() {
    let Some(disk) = Disk::new(MEBIBYTES) else {
        return;
    };
    let mut home = BrokerHome::at(&disk.path());
    // The least that there is, so that cuts fall on the journal's going on to another segment too.
    home.set("HALLPASS_JOURNAL_SEGMENT_BYTES", "65536");
    let running = Arc::new(home.serve().await);
    let key = register_all(&running).await;
    let mut load = Load::on(&running, &key);
    for cut in 0..cuts() {
        // Every second one is the moment in which a client has its answer; the others come a little later.
        load.answered(1 + cut % 5).await;
        let later = if cut % 2 == 0 { 0 } else { cut * 7919 % 9000 };
        tokio::time::sleep(Duration::from_micros(later)).await;
        let told = load.told();
        running.signal(Signal::STOP);
        let dark = disk.after_power_loss();
        running.signal(Signal::CONT);
        assert_eq!(
            missing(&dark.path(), &told).await,
            Ok(Vec::new()),
            "cut {cut}"
        );
    }
    let told = load.end().await;
    assert!(
        told.minted.len() > 10 && !told.revoked.is_empty(),
        "too little load to show anything"
    );
    assert!(
        home.data().join("journal/000003.jsonl").exists(),
        "the journal has hardly been split"
    );
    eprintln!(
        "{} mints, {} revocations, {} cuts",
        told.minted.len(),
        told.revoked.len(),
        cuts()
    );
}

#[tokio::test]
async fn a_power_loss_between_any_two_steps_of_a_commit_keeps_every_answer() {
    for fault in ["write:stop", "fdatasync:stop"] {
        let Some(disk) = Disk::new(MEBIBYTES) else {
            return;
        };
        let mut home = BrokerHome::at(&disk.path());
        let fault = Fault::of(&mut home, fault);
        let running = Arc::new(home.serve().await);
        let key = register_all(&running).await;
        let mut load = Load::on(&running, &key);
        load.answered(10).await;
        fault.on();
        for _ in 0..4 {
            assert!(running.stopped().await);
            let told = load.told();
            let dark = disk.after_power_loss();
            assert_eq!(missing(&dark.path(), &told).await, Ok(Vec::new()));
            running.signal(Signal::CONT);
        }
        fault.off();
        // The next stop may have begun before the switch was off.
        running.signal(Signal::CONT);
        load.end().await;
    }
}

#[tokio::test]
async fn a_power_loss_between_any_two_steps_of_the_first_start_leaves_a_directory_that_opens() {
    let Some(disk) = Disk::new(MEBIBYTES) else {
        return;
    };
    let mut home = BrokerHome::at(&disk.path());
    let fault = Fault::of(&mut home, "any:stop");
    fault.on();
    let starting = home.start("127.0.0.1:0");
    let process = starting.id();
    let mut listening = tokio::spawn(starting.listening());
    let mut steps = 0;
    let running = loop {
        tokio::select! {
            running = &mut listening => break running.unwrap(),
            halted = stopped(process) => assert!(halted, "it ended"),
        }
        steps += 1;
        let dark = disk.after_power_loss();
        assert_eq!(
            missing(&dark.path(), &Answers::default()).await,
            Ok(Vec::new()),
            "step {steps}"
        );
        rustix::process::kill_process(process, Signal::CONT).unwrap();
    };
    eprintln!("{steps} steps");
    assert!(steps > 8, "{steps} steps");
    drop(running);
}

/// The test of the test: a broker whose commits do not sync, and that is otherwise the same.
#[tokio::test]
async fn a_broker_that_does_not_sync_is_found_out() {
    let Some(disk) = Disk::new(MEBIBYTES) else {
        return;
    };
    let mut home = BrokerHome::at(&disk.path());
    let fault = Fault::of(&mut home, "fdatasync:skip");
    let running: Arc<BrokerProcess> = Arc::new(home.serve().await);
    let key = register_all(&running).await;
    fault.on();
    let mut load = Load::on(&running, &key);
    load.answered(20).await;
    let told = load.told();
    running.signal(Signal::STOP);
    let dark = disk.after_power_loss();
    running.signal(Signal::CONT);
    match missing(&dark.path(), &told).await {
        Ok(missing) => assert!(missing.len() >= 20, "only {missing:?}"),
        Err(why) => eprintln!("it does not even open: {why}"),
    }
    load.end().await;
}

/// 10 in every test run; `HALLPASS_POWER_CUTS=200` for the long one.
fn cuts() -> u64 {
    std::env::var("HALLPASS_POWER_CUTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10)
}

const MEBIBYTES: u64 = 128;
