//! Backups of a broker that goes on, and what is restored from them.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use hallpass_broker::{
    OtherIssuer, StartError,
    backup::{
        BackedUp, Backup, BackupError, BackupSource, MANIFEST, Progress, RestoreError, RestoreTo,
        back_up,
    },
    ledger::audit::{self, Claims, FileState},
};

use super::*;

impl BrokerFiles {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn source(&self) -> BackupSource {
        BackupSource {
            data_dir: self.path("data"),
            policy_dir: self.path("policy"),
            configuration: None,
            issuer: None,
        }
    }

    fn back_up(&self, to: &str) -> Result<BackedUp, BackupError> {
        back_up(&self.source(), &self.path(to), &*self.clock, &|_| ())
    }

    fn place(&self, name: &str) -> RestoreTo {
        RestoreTo {
            data_dir: self.path(name).join("data"),
            policy_dir: self.path(name).join("policy"),
            issuer: None,
        }
    }

    fn restore(&self, from: &str, to: &RestoreTo) -> Result<Vec<String>, RestoreError> {
        Backup::open(&self.path(from))?.restore(to, &|_| ())
    }

    /// Starts a broker with what was restored, with a clock of its own.
    async fn start(&self, place: &RestoreTo) -> Arc<Broker> {
        let clock = Arc::new(ManualClock::new(self.clock.now()));
        let options = Options {
            data_dir: place.data_dir.clone(),
            policy_dir: place.policy_dir.clone(),
            ..self.options()
        };
        Broker::open(options, clock).await.unwrap().broker
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

fn closed() -> Claims {
    Claims {
        file: FileState::Closed,
        ..Claims::default()
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The journal in `data` as a crash right after record `sequence` would have left it.
fn cut_after(data: &Path, sequence: u64) {
    for path in files_below(&data.join("journal")) {
        if path.extension().is_none_or(|ending| ending != "jsonl") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let number = |line: &str| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            record["seq"].as_u64().unwrap()
        };
        let kept: String = text
            .split_inclusive('\n')
            .filter(|line| number(line) <= sequence)
            .collect();
        if kept.is_empty() {
            fs::remove_file(path).unwrap();
        } else {
            fs::write(path, kept).unwrap();
        }
    }
    for derived in ["index", "tree", "lock"] {
        let path = data.join(derived);
        let _ = fs::remove_dir_all(&path);
        let _ = fs::remove_file(&path);
    }
}

/// Small, so that segments begin and go while backups are made.
fn segments(keep_bytes: Option<u64>) -> Retention {
    Retention {
        segment_bytes: 16 * 1024,
        keep_bytes,
        ..Retention::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_broker_that_records_is_what_a_crash_would_have_left() {
    let fixture = Arc::new(BrokerFiles::new());
    drop(fixture.with_registrations().await);
    let broker = fixture.open_keeping(segments(None)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let recording = tokio::spawn({
        let (broker, stop) = (Arc::clone(&broker), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                let issued = open_task(&broker, &["read_ledger"]).await.unwrap();
                let subject = Subject::Task(issued.task.task);
                broker
                    .revocations
                    .revoke(&admin(), revoke(subject))
                    .await
                    .unwrap();
            }
        }
    });
    let mut heads = Vec::new();
    for number in 0..4 {
        let copying = Arc::clone(&fixture);
        let made =
            tokio::task::spawn_blocking(move || copying.back_up(&format!("backup-{number}")));
        let made = made.await.unwrap().unwrap();
        assert_eq!(made.warnings, [""; 0]);
        heads.push(made.manifest.journal.head());
    }
    stop.store(true, Ordering::SeqCst);
    recording.await.unwrap();
    broker.close().await.unwrap();
    drop(broker);
    assert!(heads.first().unwrap().sequence < heads.last().unwrap().sequence);

    for (number, head) in heads.into_iter().enumerate() {
        let place = fixture.place(&format!("restored-{number}"));
        let odd = fixture
            .restore(&format!("backup-{number}"), &place)
            .unwrap();
        assert_eq!(odd, [""; 0]);
        let known = Claims {
            head: Some(head),
            ..closed()
        };
        let sound = audit::verify_file(&place.data_dir.join("journal"), &known).unwrap();
        assert_eq!(sound.head, head, "nothing follows");
        let crashed = fixture.place(&format!("crashed-{number}"));
        copy_all(&fixture.path("data"), &crashed.data_dir);
        copy_all(&fixture.path("policy"), &crashed.policy_dir);
        cut_after(&crashed.data_dir, head.sequence);
        let (restored, crashed) = (fixture.start(&place).await, fixture.start(&crashed).await);
        assert_eq!(dump(&restored), dump(&crashed));
        open_task(&restored, &["read_ledger"]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_hold_while_keys_are_rotated_names_are_erased_and_segments_go() {
    let fixture = Arc::new(BrokerFiles::new());
    drop(fixture.with_registrations().await);
    let broker = fixture.open_keeping(segments(Some(48 * 1024))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let erased = Arc::new(Mutex::new(BTreeSet::new()));
    let changing = tokio::spawn({
        let (broker, stop, erased) = (Arc::clone(&broker), Arc::clone(&stop), Arc::clone(&erased));
        let clock = Arc::clone(&fixture.clock);
        async move {
            let mut number = 0_u32;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let name = format!("person-{number}");
                let added = broker
                    .registry
                    .add_steward(&admin(), (&name, None))
                    .await
                    .unwrap();
                open_task(&broker, &["read_ledger"]).await.unwrap();
                broker
                    .keys
                    .rotate_key(&admin(), KeyPurpose::Root)
                    .await
                    .unwrap();
                clock.advance(Duration::from_secs(91));
                broker.maintain().await.unwrap();
                // Keys that retired long enough are revoked, and their files destroyed.
                clock.advance(Duration::from_secs(3600));
                broker.maintain().await.unwrap();
                broker
                    .registry
                    .erase_steward(&admin(), &added.steward)
                    .await
                    .unwrap();
                erased.lock().unwrap().insert(name);
                broker.retire().unwrap();
            }
            number
        }
    });
    for number in 0..6 {
        let before = erased.lock().unwrap().clone();
        let copying = Arc::clone(&fixture);
        let backup = format!("backup-{number}");
        let made = tokio::task::spawn_blocking(move || copying.back_up(&backup));
        made.await.unwrap().unwrap();
        let place = fixture.place(&format!("restored-{number}"));
        fixture
            .restore(&format!("backup-{number}"), &place)
            .unwrap();
        let names = fs::read_to_string(place.data_dir.join("stewards.json")).unwrap();
        for name in before {
            assert!(
                !names.contains(&format!("\"{name}\"")),
                "{name} was erased before the backup"
            );
        }
        audit::verify_file(&place.data_dir.join("journal"), &closed()).unwrap();
        // It starts: the files of the keys that its journal lets live are there.
        let restored = fixture.start(&place).await;
        open_task(&restored, &["read_ledger"]).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    assert!(changing.await.unwrap() > 1);
    let first = fixture.path("data/journal/000001.jsonl");
    assert!(!first.exists(), "the oldest segment was removed meanwhile");
}

/// A stopped broker with a backup of it, in `backup`.
async fn with_backup() -> BrokerFiles {
    let fixture = BrokerFiles::new();
    let broker = fixture.with_registrations().await;
    open_task(&broker, &["read_ledger"]).await.unwrap();
    fixture.back_up("backup").unwrap();
    broker.close().await.unwrap();
    fixture
}

#[tokio::test]
async fn a_backup_that_was_interrupted_is_refused() {
    let fixture = with_backup().await;
    fs::remove_file(fixture.path("backup").join(MANIFEST)).unwrap();
    let refused = fixture
        .restore("backup", &fixture.place("restored"))
        .unwrap_err();
    assert!(matches!(refused, RestoreError::NotWhole(_)), "{refused}");
    assert!(!fixture.path("restored").exists());
}

#[tokio::test]
async fn a_backup_in_which_any_file_was_changed_is_refused_by_its_name() {
    let fixture = with_backup().await;
    let backup = fixture.path("backup");
    let files = files_below(&backup);
    let mut held = 0;
    for path in files.iter().filter(|path| !path.ends_with(MANIFEST)) {
        let whole = fs::read(path).unwrap();
        let name = path.strip_prefix(&backup).unwrap().display().to_string();
        for change in ["flip", "longer", "remove", "link"] {
            let mut bytes = whole.clone();
            match change {
                "flip" if bytes.is_empty() => continue,
                "flip" => bytes[0] ^= 1,
                "longer" => bytes.push(b'\n'),
                _ => fs::remove_file(path).unwrap(),
            }
            match change {
                "remove" => {}
                "link" => {
                    // Even to the same bytes.
                    let other = fixture.path("elsewhere");
                    fs::write(&other, &whole).unwrap();
                    std::os::unix::fs::symlink(other, path).unwrap();
                }
                _ => fs::write(path, bytes).unwrap(),
            }
            let refused = fixture
                .restore("backup", &fixture.place("restored"))
                .unwrap_err();
            let RestoreError::Damaged { files, .. } = &refused else {
                panic!("{name}: {change}: {refused}");
            };
            assert!(
                files.iter().any(|file| file.contains(&name)),
                "{name}: {change}: {files:?}"
            );
            assert!(!fixture.path("restored").exists());
            fs::remove_file(path).ok();
            fs::write(path, &whole).unwrap();
            held += 1;
        }
    }
    assert!(held >= 28, "journal, keys, names, token and policy: {held}");
    fixture
        .restore("backup", &fixture.place("restored"))
        .unwrap();
}

#[tokio::test]
async fn a_manifest_that_leads_elsewhere_or_leaves_records_out_is_refused() {
    let fixture = with_backup().await;
    let path = fixture.path("backup").join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    let outside = text.replacen("\"data/stewards.json\"", "\"data/../../stewards.json\"", 1);
    let newer = text.replacen("\"v\": 1", "\"v\": 2", 1);
    for changed in [&outside, &newer] {
        assert_ne!(*changed, text);
    }
    fs::write(&path, outside).unwrap();
    let refused = fixture
        .restore("backup", &fixture.place("restored"))
        .unwrap_err();
    assert!(matches!(refused, RestoreError::Damaged { .. }), "{refused}");
    fs::write(&path, newer).unwrap();
    let refused = fixture
        .restore("backup", &fixture.place("restored"))
        .unwrap_err();
    assert!(
        matches!(refused, RestoreError::Newer { format: 2, .. }),
        "{refused}"
    );

    // Cut consistently: the head that the manifest names is not there any more.
    let segment = fixture.path("backup/data/journal/000001.jsonl");
    let journal = fs::read_to_string(&segment).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cut = &journal[..journal.trim_end().rfind('\n').unwrap() + 1];
    fs::write(&segment, cut).unwrap();
    document["files"]["data/journal/000001.jsonl"] = json!({"bytes": cut.len(), "sha256": hallpass_core::base::digest::Digest::of(cut.as_bytes())});
    fs::write(&path, document.to_string()).unwrap();
    let refused = fixture
        .restore("backup", &fixture.place("restored"))
        .unwrap_err();
    assert!(matches!(refused, RestoreError::Journal { .. }), "{refused}");
    assert!(!fixture.path("restored").exists());
}

#[tokio::test]
async fn without_the_file_of_a_key_that_lives_there_is_no_backup() {
    let fixture = with_backup().await;
    fs::remove_file(fixture.path("data/keys/feed-1.key")).unwrap();
    let refused = fixture.back_up("second").unwrap_err();
    assert!(refused.to_string().contains("keys/feed-1.key"), "{refused}");
    assert!(
        !fixture.path("second").exists(),
        "what was copied is removed: it holds keys"
    );
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_backup_or_a_restore() {
    let fixture = with_backup().await;
    let again = fixture.back_up("backup").unwrap_err();
    assert!(matches!(again, BackupError::Exists(_)), "{again}");
    let live = RestoreTo {
        data_dir: fixture.path("data"),
        policy_dir: fixture.path("policy"),
        issuer: None,
    };
    let taken = fixture.restore("backup", &live).unwrap_err();
    assert!(matches!(taken, RestoreError::Taken(_)), "{taken}");
    // A volume of its own is never quite empty.
    let place = fixture.place("restored");
    fs::create_dir_all(place.data_dir.join("lost+found")).unwrap();

    fs::create_dir_all(&place.policy_dir).unwrap();
    fs::write(place.policy_dir.join("other.toml"), "# later\n").unwrap();
    let other = fixture.restore("backup", &place).unwrap_err();
    assert!(other.to_string().contains("other.toml"), "{other}");
    fs::remove_file(place.policy_dir.join("other.toml")).unwrap();
    fs::copy(
        fixture.path("policy/reads.toml"),
        place.policy_dir.join("reads.toml"),
    )
    .unwrap();

    let elsewhere = RestoreTo {
        issuer: Some("https://other.example".parse().unwrap()),
        ..place.clone()
    };
    let other = fixture.restore("backup", &elsewhere).unwrap_err();
    assert!(matches!(other, RestoreError::OtherIssuer { .. }), "{other}");
    let same = RestoreTo {
        issuer: Some(support::ISSUER.parse().unwrap()),
        ..place.clone()
    };
    fixture.restore("backup", &same).unwrap();
    let broker = fixture.start(&place).await;
    open_task(&broker, &["read_ledger"]).await.unwrap();
}

#[tokio::test]
async fn a_restore_that_was_interrupted_does_not_start_as_a_new_broker() {
    let fixture = with_backup().await;
    let place = fixture.place("restored");
    fixture.restore("backup", &place).unwrap();
    // The journal is put in place last.
    fs::rename(
        place.data_dir.join("journal"),
        place.data_dir.join("journal.restoring"),
    )
    .unwrap();
    let options = Options {
        data_dir: place.data_dir.clone(),
        policy_dir: place.policy_dir.clone(),
        ..fixture.options()
    };
    Broker::open(options, fixture.clock.clone())
        .await
        .unwrap_err();
    let again = fixture.restore("backup", &place).unwrap_err();
    assert!(matches!(again, RestoreError::Taken(_)), "{again}");
}

#[tokio::test]
async fn progress_ends_where_it_said() {
    let fixture = with_backup().await;
    let last = Cell::new(Progress { done: 0, total: 1 });
    let report = |progress: Progress| {
        assert!(progress.done >= last.get().done && progress.done <= progress.total);
        last.set(progress);
    };
    back_up(
        &fixture.source(),
        &fixture.path("second"),
        &*fixture.clock,
        &report,
    )
    .unwrap();
    assert_eq!(last.get().done, last.get().total);
    last.set(Progress { done: 0, total: 1 });
    let backup = Backup::open(&fixture.path("second")).unwrap();
    backup.restore(&fixture.place("restored"), &report).unwrap();
    assert_eq!(last.get().done, last.get().total);
}

#[tokio::test]
async fn a_journal_of_another_issuer_is_taken_as_the_start_says() {
    let fixture = with_backup().await;
    let other = |other_issuer| Options {
        issuer: "https://other.example".parse().unwrap(),
        other_issuer,
        ..fixture.options()
    };
    let open = |options| Broker::open(options, fixture.clock.clone());
    let refused = open(other(OtherIssuer::Refuse)).await.unwrap_err();
    assert!(
        matches!(refused, StartError::OtherIssuer { .. }),
        "{refused}"
    );
    let kept = open(other(OtherIssuer::Keep)).await.unwrap();
    assert_eq!(kept.broker.issuer().as_str(), support::ISSUER);
    assert_eq!(kept.issuer_before, None);
    kept.broker.close().await.unwrap();
    drop(kept);
    let changed = open(other(OtherIssuer::Change)).await.unwrap();
    assert_eq!(changed.issuer_before.as_deref(), Some(support::ISSUER));
    changed.broker.close().await.unwrap();
    drop(changed);
    // From then on it is that one.
    let again = open(other(OtherIssuer::Refuse)).await.unwrap();
    assert_eq!(again.issuer_before, None);
}
