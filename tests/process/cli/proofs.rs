//! Heads, proofs, exports and reports: made by a broker, checked without one.

use std::fs;

use hallpass_broker::ledger::audit::{HeadEvidence, Signed, TreeHead};
use hallpass_core::{
    base::{digest::Digest, ids::IssuerUri, key::PrivateKey, time::Timestamp},
    wire::document::{KeyDocument, KeyLink},
};
use serde_json::Value;

use support::workspace::{Workspace, mode, text};

/// A broker with some history, and its checkpoint key's thumbprint.
fn fixture() -> (Workspace, String) {
    let home = Workspace::serving();
    home.register_all();
    home.pass();
    let key = text(&home.json(&["keys", "show-pin"]), "/checkpoint_key").to_owned();
    (home, key)
}

fn save(home: &Workspace, name: &str, arguments: &[&str]) {
    let document = home.json(arguments);
    home.write(name, &document.to_string());
}

#[test]
fn an_export_is_checked_with_the_file_and_the_key_alone() {
    let (mut home, key) = fixture();
    save(&home, "head.json", &["audit", "head"]);
    home.pass();
    let exported = home.json(&["audit", "export", "all.jsonl"]);
    let records = exported["records"].as_u64().unwrap();
    assert_eq!(mode(&home.path("all.jsonl")), 0o600);
    let again = home.run(&["audit", "export", "all.jsonl"]);
    assert!(
        again.code == 1 && again.err.contains("all.jsonl"),
        "{again:?}"
    );
    home.ok(&[
        "audit",
        "export",
        "page.jsonl",
        "--first",
        "3",
        "--last",
        "5",
    ]);
    let beyond = home.run(&["audit", "export", "none.jsonl", "--last", "100000"]);
    assert!(
        beyond.code == 1
            && !home.path("none.jsonl").exists()
            && !home.path("none.jsonl.part").exists()
    );
    home.stop();

    let verify =
        |file: &str, more: &[&str]| home.run(&[&["audit", "verify", file][..], more].concat());
    for more in [
        &["--key", &key][..],
        &["--key", &key, "--head", "head.json"],
        &[],
    ] {
        let sound = verify("all.jsonl", more);
        assert_eq!(sound.code, 0, "{sound:?}");
        assert!(
            sound
                .out
                .contains(&format!("records 1 to {records} of {records}")),
            "{}",
            sound.out
        );
    }
    assert!(verify("all.jsonl", &[]).out.contains("give --key"));
    assert!(
        verify("page.jsonl", &["--key", &key])
            .out
            .contains("records 3 to 5 of")
    );
    // The lines are the journal's own.
    let (all, journal) = (
        fs::read(home.path("all.jsonl")).unwrap(),
        home.path("hallpass-data/journal/000001.jsonl"),
    );
    let lines = all.split_inclusive(|byte| *byte == b'\n').count();
    let seal = all
        .split_inclusive(|byte| *byte == b'\n')
        .next_back()
        .unwrap()
        .len();
    assert_eq!(lines as u64, records + 1);
    assert!(
        fs::read(&journal)
            .unwrap()
            .starts_with(&all[..all.len() - seal])
    );

    let other = "A".repeat(43);
    let untrusted = verify("all.jsonl", &["--key", &other]);
    assert!(
        untrusted.code == 1 && untrusted.err.contains(&key),
        "{untrusted:?}"
    );
    assert_eq!(verify("all.jsonl", &["--key", "nonsense"]).code, 2);
    let unsealed = verify(journal.to_str().unwrap(), &["--key", &key]);
    assert!(
        unsealed.code == 1 && unsealed.err.contains("without a seal"),
        "{unsealed:?}"
    );
    let mut flipped = all.clone();
    let second = all.iter().position(|byte| *byte == b'\n').unwrap() + 40;
    flipped[second] ^= 1;
    fs::write(home.path("flipped.jsonl"), flipped).unwrap();
    let damaged = verify("flipped.jsonl", &["--key", &key]);
    assert!(
        damaged.code == 1 && damaged.err.contains("line 2, byte "),
        "{damaged:?}"
    );
    fs::write(home.path("cut.jsonl"), &all[..all.len() - seal]).unwrap();
    assert_eq!(verify("cut.jsonl", &["--key", &key]).code, 1);
}

#[test]
fn proofs_and_heads_stand_for_themselves() {
    let (mut home, key) = fixture();
    save(&home, "head.json", &["audit", "head"]);
    home.pass();
    save(&home, "record.json", &["audit", "prove", "--sequence", "4"]);
    save(
        &home,
        "since.json",
        &["audit", "prove", "--since", "head.json"],
    );
    assert!(
        home.ok(&["audit", "prove", "--since", "head.json"])
            .contains("unchanged")
    );
    assert_eq!(
        home.run(&["audit", "prove", "--sequence", "100000"]).code,
        1
    );
    home.stop();
    for (file, word) in [
        ("head.json", "root"),
        ("record.json", "record 4 is"),
        ("since.json", "records 1 to "),
    ] {
        let checked = home.run(&["audit", "verify", file, "--key", &key]);
        assert!(
            checked.code == 0 && checked.out.contains(word),
            "{checked:?}"
        );
        let document = fs::read_to_string(home.path(file)).unwrap();
        for (from, to) in [
            ("\"jws\":\"e", "\"jws\":\"f"),
            ("\"hashes\":[\"", "\"hashes\":[\"0"),
            ("\"root\":\"", "\"root\":\"0"),
        ] {
            if document.contains(from) {
                home.write("bad.json", &document.replacen(from, to, 1));
                assert_eq!(
                    home.run(&["audit", "verify", "bad.json", "--key", &key])
                        .code,
                    1,
                    "{from}"
                );
            }
        }
    }
    let usage = home.run(&["audit", "prove"]);
    assert_eq!(usage.code, 2, "{usage:?}");
}

#[test]
fn a_kept_head_is_compared_or_the_check_fails() {
    let (mut home, key) = fixture();
    save(&home, "first.json", &["audit", "head"]);
    let first = home.json(&["audit", "head"])["sequence"].as_u64().unwrap();
    home.pass();
    save(&home, "second.json", &["audit", "head"]);
    save(&home, "again.json", &["audit", "head"]);
    save(
        &home,
        "since-first.json",
        &["audit", "prove", "--since", "first.json"],
    );
    save(
        &home,
        "since-second.json",
        &["audit", "prove", "--since", "second.json"],
    );
    save(&home, "record.json", &["audit", "prove", "--sequence", "4"]);
    for (name, from) in [("next.jsonl", first + 1), ("later.jsonl", first + 2)] {
        home.ok(&["audit", "export", name, "--first", &from.to_string()]);
    }
    home.stop();
    let verify = |file: &str, head: &str| {
        home.run(&["audit", "verify", file, "--key", &key, "--head", head])
    };
    let hash = text(
        &serde_json::from_str(&fs::read_to_string(home.path("first.json")).unwrap()).unwrap(),
        "/hash",
    )
    .to_owned();
    let [plain, forged] = [hash, "0".repeat(64)].map(|hash| format!("{first}:{hash}"));
    let agree = [
        ("again.json", "second.json"),
        ("record.json", "second.json"),
        ("since-first.json", "first.json"),
        ("since-second.json", "second.json"),
        ("next.jsonl", "first.json"),
        ("next.jsonl", "second.json"),
        ("next.jsonl", &plain),
        ("later.jsonl", "second.json"),
    ];
    for (file, head) in agree {
        let checked = verify(file, head);
        assert_eq!(checked.code, 0, "{file} {head}: {checked:?}");
    }
    let differ = [
        ("second.json", "first.json", "not comparable"),
        ("record.json", "first.json", "audit prove --since"),
        ("since-second.json", "first.json", "not comparable"),
        ("since-first.json", "second.json", "not comparable"),
        ("later.jsonl", "first.json", "consistency proof"),
        ("later.jsonl", &plain, "consistency proof"),
        ("next.jsonl", &forged, "another one"),
    ];
    for (file, head, word) in differ {
        let refused = verify(file, head);
        assert!(
            refused.code == 1 && refused.err.contains(word),
            "{file} {head}: {refused:?}"
        );
    }
}

#[test]
fn a_head_by_a_retired_key_is_believed_and_says_so() {
    let home = Workspace::new();
    let [old, new] = [1, 2].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let iss: IssuerUri = "https://broker.example".parse().unwrap();
    let link = KeyLink {
        v: hallpass_core::base::format::Format::One,
        iss: iss.clone(),
        old: old.public(),
        new: new.public(),
    };
    let chain = vec![link.sign(KeyLink::CHECKPOINT_TYP, &old).unwrap()];
    let document = KeyDocument {
        v: hallpass_core::base::format::Format::One,
        iss: iss.clone(),
        at: Timestamp::EPOCH,
        keys: Vec::new(),
        feed_key: old.public(),
        feed_key_chain: Vec::new(),
        checkpoint_key: Some(new.public()),
        checkpoint_key_chain: chain.clone(),
    };
    home.write("keys.json", &serde_json::to_string(&document).unwrap());
    let head = TreeHead {
        v: hallpass_core::base::format::Format::One,
        iss,
        at: Timestamp::EPOCH,
        size: 1,
        root: Digest::ZERO,
        hash: Digest::ZERO,
    };
    let (hash, root, at) = (head.hash, head.root, head.at.to_string());
    let words = [
        "signed by an earlier checkpoint key",
        "the current checkpoint key",
    ];
    for (key, standing, words) in [(&old, "earlier", words[0]), (&new, "current", words[1])] {
        let signed = Signed::new(&head, key, &chain).unwrap();
        let evidence = HeadEvidence {
            sequence: 1,
            hash,
            root,
            at: at.clone(),
            signed,
        };
        home.write("head.json", &serde_json::to_string(&evidence).unwrap());
        let shown = home.ok(&["audit", "verify", "head.json", "--key", "keys.json"]);
        assert!(shown.contains(words), "{shown}");
        let answer = home.json(&["audit", "verify", "head.json", "--key", "keys.json"]);
        let signer = (
            text(&answer, "/signer/key"),
            text(&answer, "/signer/standing"),
        );
        assert_eq!(signer, (key.public().thumbprint().as_str(), standing));
    }
    let shown = home.ok(&[
        "audit",
        "verify",
        "head.json",
        "--key",
        &old.public().thumbprint(),
    ]);
    assert!(shown.contains("a key document says"), "{shown}");
}

#[test]
fn reports_answer_in_a_table_in_json_and_in_csv() {
    let home = Workspace::serving();
    home.register_all();
    let hostile = "=HYPERLINK(\"x\")\u{1b}[31m\u{2028}red";
    let ask = [
        "--server",
        "ledger",
        "--tool",
        "read_ledger",
        "--ttl",
        "5m",
        "--as",
        support::workspace::KEY,
    ];
    home.ok(&[&["task", "open", "--purpose", hostile][..], &ask].concat());
    let refused = [
        "--server",
        "ledger",
        "--tool",
        "transfer",
        "--ttl",
        "5m",
        "--as",
        support::workspace::KEY,
    ];
    assert_eq!(
        home.run(&[&["task", "open", "--purpose", "pay"][..], &refused].concat())
            .code,
        3
    );

    let report = |question: &[&str]| home.json(&[&["audit", "report"][..], question].concat());
    let activity = report(&["activity", "--agent", "research-bot", "--steward", "alice"]);
    let rows: Vec<&Value> = activity.as_array().unwrap().iter().collect();
    let row = |event: &str| {
        *rows
            .iter()
            .find(|row| row["event"] == event)
            .unwrap_or_else(|| panic!("{activity:#}"))
    };
    assert_eq!(
        (
            text(row("token_issued"), "/grant"),
            text(row("token_issued"), "/right")
        ),
        ("research-reads", "tool read_ledger")
    );
    assert!(text(row("task_opened"), "/detail").starts_with(hostile));
    assert!(text(row("request_refused"), "/detail").starts_with("no_grant"));
    let none = report(&[
        "activity",
        "--agent",
        "research-bot",
        "--to",
        "2020-01-01T00:00:00Z",
    ]);
    assert_eq!(none, Value::Array(Vec::new()));

    let reach = report(&["reach", "--server", "ledger", "--tool", "read_ledger"]);
    assert_eq!(
        (reach.as_array().unwrap().len(), text(&reach, "/0/agent")),
        (1, "research-bot")
    );
    assert_eq!(
        report(&["reach", "--server", "ledger", "--tool", "transfer"]),
        Value::Array(Vec::new())
    );
    let live = report(&["live", "--steward", "alice"]);
    assert_eq!(
        (&live[0]["live_passes"], text(&live, "/0/steward_name")),
        (&Value::from(1), "alice")
    );
    assert_eq!(text(&live, "/0/grants/0"), "research-reads");
    let refusals = report(&["refusals"]);
    assert_eq!(
        (text(&refusals, "/0/code"), &refusals[0]["count"]),
        ("no_grant", &Value::from(1))
    );

    home.ok(&["revoke", "--agent", "research-bot"]);
    assert_eq!(
        report(&["reach", "--server", "ledger", "--tool", "read_ledger"]),
        Value::Array(Vec::new())
    );
    let live = report(&["live"]);
    assert_eq!(
        (&live[0]["live_passes"], &live[0]["suspended"]),
        (&Value::from(0), &Value::Bool(true))
    );
    assert!(live[0]["last_issued"].is_string() && live[0]["last_used"].is_null());
    // What is empty is an empty cell, and no dash that a spreadsheet has to be kept from.
    let sheet = home.ok(&["audit", "report", "live", "--csv"]);
    assert!(sheet.trim_end().ends_with(",,,"), "{sheet}");
    assert!(!sheet.contains('\''), "{sheet}");

    let sheet = home.ok(&["audit", "report", "activity", "--csv"]);
    assert!(sheet.starts_with("at,seq,event,"), "{sheet}");
    let line = sheet
        .lines()
        .find(|line| line.contains("task_opened"))
        .unwrap();
    assert!(
        line.contains("\"'=HYPERLINK(\"\"x\"\")\\u001b[31m\\u2028red"),
        "{line}"
    );
    let table = home.ok(&["audit", "report", "activity", "-n", "3"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(!table.contains('\u{1b}') && !table.contains('\u{2028}'));
}

#[test]
fn entitlements_are_listed_without_a_pass_that_lives() {
    let home = Workspace::serving();
    home.register_all();
    home.ok(&[
        "policy",
        "grant",
        "--id",
        "pays",
        "--agents",
        "research-bot",
        "--server",
        "ledger",
        "--tools",
        "transfer",
        "--max-ttl",
        "5m",
        "--constraint",
        "transfer:/amount={\"max\":100}",
    ]);
    home.write(
        "policy/no.cedar",
        "@id(\"no-transfers\")\nforbid (principal, action == Action::\"call\", resource) when { resource.irreversible };\n",
    );
    home.ok(&["policy", "reload"]);
    let ask = ["audit", "report", "entitlements"];
    let rows = home.json(&[&ask[..], &["--agent", "research-bot"]].concat());
    let rights: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| text(row, "/right"))
        .collect();
    assert_eq!(rights, ["tool read_ledger", "tool transfer"]);
    assert_eq!(
        (text(&rows, "/0/answer"), text(&rows, "/0/grant")),
        ("given", "research-reads")
    );
    assert_eq!(
        (text(&rows, "/1/answer"), text(&rows, "/1/limits/0")),
        ("forbidden", "/amount at most 100")
    );
    assert_eq!(
        text(&rows, "/1/guardrails/0"),
        "no-transfers (policy/no.cedar)"
    );

    home.pass();
    let sheet = home.ok(&[&ask[..], &["--csv"]].concat());
    let lines: Vec<&str> = sheet.lines().collect();
    assert!(
        lines[0]
            .starts_with("steward,steward_name,agent,groups,suspended,server,right,answer,grant,"),
        "{sheet}"
    );
    assert!(
        lines[1].ends_with(
            ",alice,research-bot,research,no,https://ledger.example/mcp,tool read_ledger,given,research-reads,,10m,,none,,,1"
        ),
        "{sheet}"
    );
    assert!(lines[2].ends_with(",0") && lines.len() == 3, "{sheet}");
    let table = home.ok(&[&ask[..], &["--server", "ledger", "-n", "1"]].concat());
    assert!(
        table.starts_with("STEWARD ") && table.lines().count() == 2,
        "{table}"
    );
    assert_eq!(
        home.json(&[&ask[..], &["--steward", "alice"]].concat()),
        home.json(&ask)
    );
    let nobody = home.run(&[&ask[..], &["--steward", "nobody"]].concat());
    assert_eq!(nobody.code, 1, "{nobody:?}");
}
