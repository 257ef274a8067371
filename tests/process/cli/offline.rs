//! What needs no broker: reading tokens, narrowing them, checking journals and policies.

use std::fs;

use support::workspace::{Workspace, text};

#[test]
fn a_pass_is_narrowed_and_inspected_without_a_broker() {
    let mut home = Workspace::serving();
    home.register_all();
    let pass = home.pass();
    let pin = home.json(&["keys", "show-pin"]);
    home.stop();
    let token = text(&pass, "/token");

    let narrowed = home.json(&[
        "token",
        "attenuate",
        token,
        "--ttl",
        "1m",
        "--server",
        "https://ledger.example/mcp",
        "--tool",
        "read_ledger",
        "--read-only",
    ]);
    let ids = narrowed["revocation_ids"].as_array().unwrap();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], pass["revocation_id"]);

    let ran = home.run_with(
        text(&narrowed, "/token"),
        &["token", "inspect", "-", "--json"],
    );
    let summary: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["verified"], false);
    assert_eq!(summary["blocks"].as_array().unwrap().len(), 2);
    assert_eq!(text(&summary, "/blocks/1/by"), "holder");

    for (arguments, words) in [
        (vec!["token", "attenuate", token], "changes nothing"),
        (
            vec![
                "token",
                "attenuate",
                token,
                "--server",
                "https://ledger.example/mcp",
                "--tool",
                "read_*",
            ],
            "exact names",
        ),
        (
            vec![
                "token",
                "attenuate",
                token,
                "--server",
                "ledger",
                "--tool",
                "read_ledger",
            ],
            "server URI",
        ),
        (
            vec!["token", "attenuate", "nonsense", "--read-only"],
            "token",
        ),
    ] {
        let ran = home.run(&arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }

    let verify = [
        "token",
        "verify",
        token,
        "--server",
        "https://ledger.example/mcp",
        "--call",
        "tool:read_ledger",
        "--feed-key",
        text(&pin, "/feed_key"),
    ];
    let ran = home.run(&verify);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("is `hallpass serve` running?"),
        "{}",
        ran.err
    );
}

#[test]
fn a_narrowed_pass_can_do_less_and_every_reason_is_told() {
    let home = Workspace::serving();
    home.register_all();
    let pass = home.pass();
    let pin = home.json(&["keys", "show-pin"]);
    let narrowed = home.json(&[
        "token",
        "attenuate",
        text(&pass, "/token"),
        "--server",
        "https://ledger.example/mcp",
        "--tool",
        "read_ledger",
        "--constraint",
        "read_ledger:/year={\"in\":[2026]}",
    ]);
    let verify = |token: &str, call: &str, arguments: &str, key: &str| {
        home.run(&[
            "token",
            "verify",
            token,
            "--server",
            "ledger",
            "--call",
            call,
            "--arguments",
            arguments,
            "--feed-key",
            key,
            "--json",
        ])
    };
    let (token, key) = (text(&narrowed, "/token"), text(&pin, "/feed_key"));
    assert_eq!(
        verify(token, "tool:read_ledger", "{\"year\":2026}", key).code,
        0
    );
    let refused = verify(token, "tool:read_ledger", "{\"year\":2025}", key);
    assert_eq!(refused.code, 3, "{refused:?}");
    let answer: serde_json::Value = serde_json::from_str(&refused.out).unwrap();
    assert_eq!(text(&answer, "/decision"), "refused");
    assert_eq!(text(&answer, "/reasons/0/code"), "argument_constraint");
    assert_eq!(answer["reasons"][0]["block"], 1);
    assert_eq!(verify(token, "tool:transfer", "{}", key).code, 3);
    assert_eq!(verify(token, "tool:unheard_of", "{}", key).code, 3);

    let foreign = verify(
        token,
        "tool:read_ledger",
        "{}",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    assert_eq!(foreign.code, 1, "{foreign:?}");
    assert!(foreign.err.contains("show-pin"), "{}", foreign.err);
}

#[test]
fn a_journal_is_verified_while_the_broker_runs_and_damage_is_placed() {
    let mut home = Workspace::serving();
    home.register_all();
    let sound = home.json(&["audit", "verify"]);
    assert_eq!(sound["ok"], true);
    let head = format!(
        "{}:{}",
        sound["head"]["sequence"],
        text(&sound, "/head/hash")
    );
    home.pass();
    let shown = home.ok(&["audit", "verify", "hallpass-data", "--head", &head]);
    assert!(shown.contains("sound"), "{shown}");
    home.stop();
    home.ok(&[
        "audit",
        "verify",
        "hallpass-data/journal/000001.jsonl",
        "--closed",
    ]);

    let mut bytes = fs::read(home.path("hallpass-data/journal/000001.jsonl")).unwrap();
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 40;
    bytes[at] ^= 1;
    fs::write(home.path("copy.jsonl"), &bytes).unwrap();
    let damaged = home.run(&["audit", "verify", "copy.jsonl"]);
    assert_eq!((damaged.code, damaged.out.as_str()), (1, ""));
    assert!(damaged.err.contains("line 2, byte "), "{}", damaged.err);

    let cut: Vec<u8> = fs::read(home.path("hallpass-data/journal/000001.jsonl"))
        .unwrap()
        .split_inclusive(|byte| *byte == b'\n')
        .take(2)
        .flatten()
        .copied()
        .collect();
    fs::write(home.path("copy.jsonl"), cut).unwrap();
    home.ok(&["audit", "verify", "copy.jsonl"]);
    let cut = home.run(&["audit", "verify", "copy.jsonl", "--head", &head]);
    assert_eq!(cut.code, 1, "{cut:?}");
    assert!(
        home.run(&["audit", "verify", "nowhere"])
            .err
            .contains("nowhere")
    );
}

#[test]
fn a_policy_directory_is_checked_with_file_and_line() {
    let home = Workspace::new();
    fs::create_dir(home.path("rules")).unwrap();
    home.write(
        "rules/a.toml",
        "[[grant]]\nid = \"a\"\nagents = [\"*\"]\nserver = \"ledger\"\ntools = [\"*\"]\nmax_ttl = \"1m\"\n",
    );
    let sound = home.json(&["policy", "check", "rules"]);
    assert_eq!(sound["ok"], true);
    assert_eq!(sound["warnings"].as_array().unwrap().len(), 1);
    home.write(
        "ledger.json",
        r#"{"server":"https://ledger.example/mcp","name":"ledger","tools":{"read":{}}}"#,
    );
    let sound = home.json(&["policy", "check", "rules", "--manifest", "ledger.json"]);
    assert_eq!(sound["warnings"].as_array().unwrap().len(), 0);
    home.write("rules/b.toml", "[[grant]]\nid = \"b\"\nbudget = 3\n");
    let bad = home.run(&["policy", "check", "rules"]);
    assert_eq!(bad.code, 1);
    assert!(bad.out.contains("rules/b.toml:"), "{}", bad.out);
}

#[test]
fn a_lost_operator_token_is_recovered_while_the_broker_is_stopped() {
    let mut home = Workspace::serving();
    let old = fs::read_to_string(home.path("hallpass-data/operator.token")).unwrap();
    let locked = home.run(&["operator", "recover"]);
    assert_eq!(locked.code, 1, "{locked:?}");
    assert_eq!(
        fs::read_to_string(home.path("hallpass-data/operator.token")).unwrap(),
        old
    );
    home.stop();
    let recovered = home.run(&["operator", "recover"]);
    assert_eq!(recovered.code, 0, "{recovered:?}");
    let new = fs::read_to_string(home.path("hallpass-data/operator.token")).unwrap();
    assert_ne!(old, new);
    assert!(!recovered.out.contains(new.trim()));
    home.start();
    home.ok(&["agent", "list"]);
    let refused = home
        .command(&["agent", "list"])
        .env("HALLPASS_OPERATOR_TOKEN", old.trim())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn an_operator_token_is_narrowed_without_a_broker() {
    let home = Workspace::serving();
    home.register_all();
    let narrowed = home.json(&[
        "operator",
        "attenuate",
        "--operation",
        "revocations:create",
        "--ttl",
        "1h",
    ]);
    let as_narrowed = |arguments: &[&str]| {
        home.command(arguments)
            .env("HALLPASS_OPERATOR_TOKEN", text(&narrowed, "/token"))
            .output()
            .unwrap()
    };
    assert_eq!(as_narrowed(&["agent", "list"]).status.code(), Some(3));
    assert_eq!(
        as_narrowed(&["revoke", "--agent", "research-bot"])
            .status
            .code(),
        Some(0)
    );
    assert_eq!(home.run(&["operator", "attenuate"]).code, 2);
    assert_eq!(
        home.run(&["operator", "attenuate", "--operation", "everything"])
            .code,
        2
    );
}
