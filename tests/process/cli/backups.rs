//! Backups as an operator makes and restores them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use support::workspace::{Workspace, mode, text};

/// What a start says before it ends.
fn refused_start(home: &Workspace, arguments: &[&str]) -> String {
    let serve = ["serve", "--admin-listen", "127.0.0.1:0"];
    let ran = home.run(&[&serve[..], arguments].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    ran.err
}

fn restored_to(directory: &str) -> Vec<String> {
    ["data", "policy"]
        .iter()
        .flat_map(|part| [format!("--{part}-dir"), format!("{directory}/{part}")])
        .collect()
}

#[test]
fn a_backup_of_a_running_broker_is_restored_and_goes_on_as_the_same_broker() {
    let mut home = Workspace::serving();
    home.register_all();
    let pass = home.pass();
    home.write("hallpass.toml", "# as configured\n");
    let made = home.json(&["backup", "copy"]);
    assert_eq!(text(&made, "/issuer"), home.url());
    assert_eq!(made["warnings"].as_array().unwrap().len(), 0);
    for private in ["copy", "copy/data/keys"] {
        assert_eq!(mode(&home.path(private)), 0o700, "{private}");
    }
    for private in [
        "copy/backup.json",
        "copy/data/keys/root-1.key",
        "copy/hallpass.toml",
    ] {
        assert_eq!(mode(&home.path(private)), 0o600, "{private}");
    }
    let shown = home.run(&["backup", "second"]);
    assert!(
        shown.err.contains("private keys in the clear") && shown.out.contains("in the clear"),
        "{shown:?}"
    );
    let again = home.run(&["backup", "copy"]);
    assert!(
        again.code == 1 && again.err.contains("nothing is overwritten"),
        "{again:?}"
    );

    // What came after the backup is not in it.
    home.ok(&["revoke", "--task", text(&pass, "/task_id")]);
    let issuer = home.url().to_owned();
    let newer = home.json(&["audit", "verify"]);
    let newest = format!(
        "{}:{}",
        newer["head"]["sequence"],
        text(&newer, "/head/hash")
    );
    home.stop();
    fs::rename(home.path("hallpass-data"), home.path("lost")).unwrap();
    fs::rename(home.path("policy"), home.path("lost-policy")).unwrap();
    let restored = home.run(&["restore", "copy"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    for words in [
        "--expect-head",
        "copy/hallpass.toml",
        "was revoked",
        "does not run any more",
    ] {
        assert!(restored.out.contains(words), "{words}: {}", restored.out);
    }
    assert_eq!(
        text(&home.json(&["audit", "verify", "--closed"]), "/head/hash"),
        text(&made, "/head").split_once(':').unwrap().1
    );
    let older = refused_start(
        &home,
        &["--listen", "127.0.0.1:0", "--expect-head", &newest],
    );
    assert!(older.contains("older"), "{older}");

    home.start_with(&["--issuer", &issuer]);
    assert!(
        home.ok(&["agent", "list"]).contains("alice"),
        "names are there again"
    );
    assert_eq!(
        home.json(&["revocations"])["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    home.pass_with(&["--issuer", &issuer]);
    let taken = home.run(&["restore", "copy"]);
    assert!(
        taken.code == 1 && taken.err.contains("hallpass-data/journal` exists"),
        "{taken:?}"
    );
}

#[test]
fn a_damaged_or_interrupted_backup_is_refused_with_its_place() {
    let mut home = Workspace::serving();
    home.stop();
    home.ok(&["backup", "copy"]);
    let to = restored_to("elsewhere");
    let restore: Vec<&str> = ["restore", "copy"]
        .into_iter()
        .chain(to.iter().map(String::as_str))
        .collect();
    let segment = home.path("copy/data/journal/000001.jsonl");
    let whole = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, whole.replacen("broker", "brokes", 1)).unwrap();
    let damaged = home.run(&restore);
    assert_eq!(damaged.code, 1);
    for words in [
        "data/journal/000001.jsonl",
        "line 1",
        "nothing was restored",
    ] {
        assert!(damaged.err.contains(words), "{words}: {}", damaged.err);
    }
    fs::write(&segment, whole).unwrap();
    fs::rename(home.path("copy/backup.json"), home.path("kept.json")).unwrap();
    let interrupted = home.run(&restore);
    assert!(
        interrupted.code == 1 && interrupted.err.contains("interrupted"),
        "{interrupted:?}"
    );
    assert!(!home.path("elsewhere").exists());
    fs::rename(home.path("kept.json"), home.path("copy/backup.json")).unwrap();
    assert_eq!(home.run(&restore).code, 0);
    let nothing = home.run(&["backup", "third", "--data-dir", "nowhere"]);
    assert!(
        nothing.code == 1
            && nothing.err.contains("no journal in `nowhere`")
            && !home.path("third").exists(),
        "{nothing:?}"
    );
}

#[test]
fn encrypted_keys_stay_encrypted_and_the_passphrase_is_asked_for() {
    let mut home = Workspace::serving();
    home.stop();
    let passphrase = home.path("passphrase");
    home.write("passphrase", "correct horse battery staple\n");
    fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600)).unwrap();
    let with_passphrase = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("HALLPASS_KEYS_PASSPHRASE_FILE", &passphrase);
        command.output().unwrap()
    };
    assert!(with_passphrase(&["keys", "encrypt"]).status.success());
    // Neither reads a key, so neither needs the passphrase.
    let made = home.json(&["backup", "copy"]);
    assert_eq!(made["keys_encrypted"], true);
    let to = restored_to("elsewhere");
    let restore: Vec<&str> = ["restore", "copy", "--json"]
        .into_iter()
        .chain(to.iter().map(String::as_str))
        .collect();
    let restored: serde_json::Value = serde_json::from_str(&home.ok(&restore)).unwrap();
    let next = restored["next"].to_string();
    assert!(next.contains("keys.passphrase_file"), "{next}");
    assert!(
        !fs::read_to_string(home.path("copy/data/keys/root-1.key"))
            .unwrap()
            .contains("\"d\"")
    );
    let start: Vec<&str> = ["--listen", "127.0.0.1:0"]
        .into_iter()
        .chain(to.iter().map(String::as_str))
        .collect();
    assert!(refused_start(&home, &start).contains("keys.passphrase_file"));
}

#[test]
fn a_start_does_not_become_another_issuer_unasked() {
    let mut home = Workspace::serving();
    let issuer = home.url().to_owned();
    home.stop();
    home.ok(&["backup", "copy"]);
    let refused = refused_start(&home, &["--listen", "127.0.0.1:7999"]);
    assert!(
        refused.contains(&format!("issuer = \"{issuer}\""))
            && refused.contains("http://127.0.0.1:7999"),
        "{refused}"
    );
    // The default address is another one: the restore says what the start will want.
    let to = restored_to("elsewhere");
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let other = home.run(
        &[
            &["restore", "copy", "--issuer", "https://other.example"][..],
            &to,
        ]
        .concat(),
    );
    assert!(
        other.code == 1
            && other.err.contains(&issuer)
            && other.err.contains("https://other.example"),
        "{other:?}"
    );
    let restored = home.ok(&[&["restore", "copy"][..], &to].concat());
    assert!(
        restored.contains(&format!("set `issuer = \"{issuer}\"`")),
        "{restored}"
    );
    assert!(Path::new(&home.path("elsewhere/data/journal")).is_dir());

    // Offline commands go on as the broker that wrote the journal.
    home.ok(&[
        "operator",
        "recover",
        "--data-dir",
        "elsewhere/data",
        "--policy-dir",
        "elsewhere/policy",
    ]);
    home.start_with(&["--issuer", "https://other.example"]);
    home.stop();
    let back = refused_start(&home, &["--listen", "127.0.0.1:7999"]);
    assert!(
        back.contains("issuer = \"https://other.example\""),
        "{back}"
    );
}
