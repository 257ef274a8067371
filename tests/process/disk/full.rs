//! A disk that fills up: passes are refused while there is still room, revocations go on to the last,
//! and neither a start nor anything that was answered needs more room than there is.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::json;

use support::process::{
    BrokerHome,
    disk::Disk,
    load::{Answers, Revoked, missing, register_all, revoke, wants},
};

#[tokio::test]
async fn minting_ends_first_and_revoking_last() {
    let Some(disk) = Disk::new(MEBIBYTES) else {
        return;
    };
    let home = BrokerHome::at(&disk.path());
    let reserve = home.data().join("reserve");
    let running = home.serve().await;
    let key = register_all(&running).await;
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 16 << 20);
    let mut told = Answers::default();
    for _ in 0..6 {
        let issued = running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
        let text = |name: &str| issued[name].as_str().unwrap().to_owned();
        told.minted.push((text("task_id"), text("revocation_id")));
    }
    let minted = told.minted.clone();
    let revoked = |at: usize, sequence| Revoked {
        id: minted[at].1.clone(),
        token: String::new(),
        sequence,
    };

    // Less than the reserve lies beside it.
    let filler = Filler::leave(&disk, 14 << 20);
    let refused = running
        .as_agent(&key, "/v1/tasks", wants())
        .await
        .unwrap_err();
    assert!(
        refused.starts_with("503") && refused.contains(r#""code":"storage_low""#),
        "{refused}"
    );
    let (status, told_probe) = running.probe("/readyz").await;
    assert_eq!(
        (status, told_probe.contains("no passes")),
        (200, true),
        "{told_probe}"
    );
    told.revoked
        .push(revoked(0, revoke(&running, &minted[0].1).await.unwrap()));
    let complete = format!("/v1/tasks/{}/complete", minted[1].0);
    running.as_agent(&key, &complete, json!({})).await.unwrap();
    assert!(reserve.exists());

    // Nothing is left beside it.
    filler.take_the_rest();
    told.revoked
        .push(revoked(2, revoke(&running, &minted[2].1).await.unwrap()));
    assert!(!reserve.exists(), "the reserve was not given up");
    assert!(
        running
            .as_agent(&key, "/v1/tasks", wants())
            .await
            .unwrap_err()
            .contains("storage_low")
    );
    // Nor does an agent use up by ending tasks what was given up for revoking.
    let complete = format!("/v1/tasks/{}/complete", minted[5].0);
    assert!(
        running
            .as_agent(&key, &complete, json!({}))
            .await
            .unwrap_err()
            .contains("storage_low")
    );
    running.kill_9();
    running.wait().await;

    // A start, and what a start is for.
    let running = home.serve().await;
    told.revoked
        .push(revoked(3, revoke(&running, &minted[3].1).await.unwrap()));
    running.stop().await;

    // Somebody takes the reserve's room as well: it ends, and says what to do.
    let running = home.serve().await;
    filler.take_the_rest();
    let refused = revoke_till_refused(&running, &minted[4].1).await;
    assert!(
        refused.starts_with("503") && refused.contains("unavailable"),
        "{refused}"
    );
    let (status, said) = running.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(
        said.contains("No space left on device") && said.contains("make room on it"),
        "{said}"
    );

    filler.give_back();
    assert_eq!(missing(home.path(), &told).await, Ok(Vec::new()));
    let running = home.serve().await;
    assert!(reserve.exists(), "the reserve was not laid in again");
    running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_disk_that_fills_up_at_once_loses_nothing_and_starts_again() {
    let Some(disk) = Disk::new(MEBIBYTES) else {
        return;
    };
    let home = BrokerHome::at(&disk.path());
    let running = home.serve().await;
    let key = register_all(&running).await;
    let issued = running.as_agent(&key, "/v1/tasks", wants()).await.unwrap();
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    let told = Answers {
        minted: vec![(text("task_id"), text("revocation_id"))],
        revoked: Vec::new(),
    };
    running.kill_9();
    running.wait().await;
    // It was not running while the disk filled up to the last byte; the reserve is all there is.
    let filler = Filler::leave(&disk, 1 << 20);
    filler.take_the_rest();
    let running = home.serve().await;
    let sequence = revoke(&running, &told.minted[0].1).await.unwrap();
    let revoked = Revoked {
        id: told.minted[0].1.clone(),
        token: String::new(),
        sequence,
    };
    running.stop().await;
    filler.give_back();
    assert_eq!(
        missing(
            home.path(),
            &Answers {
                revoked: vec![revoked],
                ..told
            }
        )
        .await,
        Ok(Vec::new())
    );
}

/// Every revocation is one record more, until there is no room for one.
async fn revoke_till_refused(running: &support::process::BrokerProcess, id: &str) -> String {
    for _ in 0..1000 {
        if let Err(refused) = revoke(running, id).await {
            return refused;
        }
    }
    panic!("a full disk takes a thousand records");
}

/// A file of somebody else's.
struct Filler {
    path: PathBuf,
}

impl Filler {
    fn leave(disk: &Disk, bytes: u64) -> Self {
        let filler = Self {
            path: disk.path().join("filler"),
        };
        let file = File::create(&filler.path).unwrap();
        fallocate(
            &file,
            FallocateFlags::empty(),
            0,
            free(&disk.path()) - bytes,
        )
        .unwrap();
        filler
    }

    fn take_the_rest(&self) {
        let mut file = OpenOptions::new().append(true).open(&self.path).unwrap();
        // What was deleted shortly before is given back once it is on the disk, so once is not enough.
        for _ in 0..3 {
            while file.write_all(&[1; 4096]).is_ok() {}
            let _ = file.sync_all();
        }
    }

    fn give_back(&self) {
        fs::remove_file(&self.path).unwrap();
    }
}

fn free(path: &Path) -> u64 {
    let told = statvfs(path).unwrap();
    told.f_bavail * told.f_frsize
}

const MEBIBYTES: u64 = 96;
