//! Everyday operations against a broker, in text and in JSON.

use std::fs;

use serde_json::{Value, json};

use support::workspace::{KEY, Workspace, mode, text};

#[test]
fn agents_are_listed_shown_changed_revoked_and_removed() {
    let home = Workspace::serving();
    home.register_all();
    let list = home.ok(&["agent", "list"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(
        lines[0].starts_with("AGENT ") && !list.contains(['|', '─', '\u{1b}', '\t']),
        "{list}"
    );
    assert!(lines[1].starts_with("research-bot "), "{list}");

    home.ok(&[
        "agent",
        "change",
        "research-bot",
        "--group",
        "research",
        "--group",
        "night",
        "--key-out",
        "second.key",
        "--keep-keys",
    ]);
    let agent = home.json(&["agent", "show", "research-bot"]);
    assert_eq!(agent["groups"], serde_json::json!(["night", "research"]));
    assert_eq!(agent["keys"].as_array().unwrap().len(), 2);
    home.ok(&["task", "list", "--as", "second.key"]);
    home.ok(&[
        "agent",
        "change",
        "research-bot",
        "--steward",
        "bob",
        "--no-groups",
    ]);
    let agent = home.json(&["agent", "show", "research-bot"]);
    assert_eq!(
        (
            text(&agent, "/steward_name"),
            agent["groups"].as_array().unwrap().len()
        ),
        ("bob", 0)
    );

    home.ok(&["revoke", "--agent", "research-bot"]);
    assert!(
        home.ok(&["agent", "show", "research-bot"])
            .contains("revoked")
    );
    home.ok(&["agent", "reinstate", "research-bot"]);
    assert!(
        home.ok(&["agent", "show", "research-bot"])
            .contains("active")
    );
    home.ok(&["agent", "remove", "research-bot"]);
    assert_eq!(home.run(&["agent", "show", "research-bot"]).code, 1);
}

#[test]
fn a_refused_registration_leaves_no_key_behind() {
    let home = Workspace::serving();
    home.register_all();
    let taken = home.run(&[
        "agent",
        "add",
        "research-bot",
        "--steward",
        "alice",
        "--key-out",
        "new.key",
    ]);
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(!home.path("new.key").exists());
    let before = fs::read(home.path(KEY)).unwrap();
    let exists = home.run(&[
        "agent",
        "add",
        "other-bot",
        "--steward",
        "alice",
        "--key-out",
        KEY,
    ]);
    assert_eq!(exists.code, 1);
    assert_eq!(fs::read(home.path(KEY)).unwrap(), before);
    assert_eq!(
        home.json(&["agent", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // The private half is no public key.
    let private = home.run(&[
        "agent",
        "add",
        "other-bot",
        "--steward",
        "alice",
        "--key",
        KEY,
    ]);
    assert_eq!(private.code, 2);
    assert!(private.err.contains("private"), "{}", private.err);
}

#[test]
fn a_task_is_opened_renewed_reported_shown_and_completed() {
    let home = Workspace::serving();
    home.register_all();
    let pass = home.pass();
    let task = text(&pass, "/task_id");
    let again = home.json(&["task", "token", task, "--as", KEY]);
    assert_eq!(text(&again, "/task_id"), task);
    assert_ne!(again["token"], pass["token"]);

    let narrowed = home.json(&["token", "attenuate", text(&pass, "/token"), "--read-only"]);
    let reported = home.ok(&[
        "task",
        "delegations",
        "report",
        task,
        "--as",
        KEY,
        "--token",
        text(&narrowed, "/token"),
        "--delegate",
        "helper",
    ]);
    assert!(reported.contains("to helper (asserted)"), "{reported}");

    let as_agent = home.ok(&["task", "show", task, "--as", KEY]);
    assert_eq!(as_agent, home.ok(&["task", "show", task]));
    assert!(
        as_agent.contains("close the Q3 books")
            && as_agent.contains("tools read_ledger on https://ledger.example/mcp"),
        "{as_agent}"
    );
    assert_eq!(
        home.json(&["task", "list", "--as", KEY])["items"][0]["task_id"],
        task
    );
    assert_eq!(
        home.json(&["task", "list", "--agent", "research-bot"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    assert!(
        home.ok(&["task", "complete", task, "--as", KEY])
            .contains("completed")
    );
    let over = home.run(&["task", "token", task, "--as", KEY]);
    assert_eq!(over.code, 1, "{over:?}");
    // Whoever only looks on sees no pass.
    for arguments in [
        &["task", "show", task][..],
        &["task", "list"],
        &["audit", "tail", "-n", "200"],
        &["agent", "list"],
    ] {
        let shown = home.ok(arguments);
        for issued in [&pass, &again, &narrowed] {
            assert!(!shown.contains(text(issued, "/token")), "{arguments:?}");
        }
    }
}

#[test]
fn a_refusal_ends_with_3_and_every_reason() {
    let home = Workspace::serving();
    home.register_all();
    let ask = [
        "--server",
        "ledger",
        "--tool",
        "transfer",
        "--tool",
        "read_ledger",
        "--ttl",
        "5m",
    ];
    let open = [&["task", "open", "--as", KEY, "--purpose", "pay"][..], &ask].concat();
    let refused = home.run(&open);
    assert_eq!((refused.code, refused.out.as_str()), (3, ""));
    assert!(
        refused.err.starts_with("refused: ")
            && refused.err.contains("no_grant")
            && refused.err.contains("transfer"),
        "{}",
        refused.err
    );
    let refused = home.run(&[&open[..], &["--json"]].concat());
    let problem: Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((refused.code, text(&problem, "/code")), (3, "no_grant"));

    let explain = [&["policy", "explain", "--agent", "research-bot"][..], &ask].concat();
    let explained = home.run(&explain);
    assert_eq!((explained.code, explained.err.as_str()), (3, ""));
    assert!(explained.out.contains("no_grant"), "{}", explained.out);
    let partial = home.json(&[&explain[..], &["--allow-partial"]].concat());
    assert_eq!(
        (
            text(&partial, "/decision"),
            text(&partial, "/authorization_details/0/tools/0")
        ),
        ("granted", "read_ledger")
    );
    let partial = home.run(&[&open[..], &["--allow-partial"]].concat());
    assert_eq!(partial.code, 0);
    assert!(
        partial.out.contains("left out") && partial.out.contains("no_grant"),
        "{}",
        partial.out
    );
}

#[test]
fn servers_stewards_and_keys_have_their_say() {
    let home = Workspace::serving();
    home.register_all();
    assert!(
        home.ok(&["server", "list"])
            .contains("https://ledger.example/mcp")
    );
    home.ok(&["revoke", "--server", "ledger", "--reason", "compromised"]);
    assert_eq!(
        home.json(&["server", "show", "https://ledger.example/mcp"])["suspended"],
        true
    );
    home.ok(&["server", "reinstate", "ledger"]);
    let revocations = home.json(&["revocations"]);
    assert_eq!(
        text(&revocations, "/items/0/subject/server"),
        "https://ledger.example/mcp"
    );
    assert!(
        home.ok(&["revocations"])
            .contains("server https://ledger.example/mcp")
    );

    home.ok(&["revoke", "--steward", "alice"]);
    home.ok(&["steward", "reinstate", "alice"]);
    home.ok(&["steward", "add", "bob"]);
    assert!(home.ok(&["steward", "list"]).contains("bob"));
    home.ok(&["steward", "erase", "bob"]);
    assert!(!home.ok(&["steward", "list"]).contains("bob"));
    assert!(home.run(&["steward", "erase", "bob"]).err.contains("bob"));

    let keys = home.json(&["keys", "list"]);
    assert_eq!(keys["items"].as_array().unwrap().len(), 4);
    let key = home.json(&["keys", "rotate", "root"]);
    assert_eq!(text(&key, "/purpose"), "root");
    assert!(home.ok(&["keys", "list"]).contains("pending"));
    home.ok(&["server", "remove", "ledger"]);
    assert_eq!(home.run(&["server", "show", "ledger"]).code, 1);
}

#[test]
fn operators_are_made_listed_and_removed() {
    let home = Workspace::serving();
    home.register_all();
    let made = home.json(&[
        "operator", "add", "carol", "--role", "auditor", "--ttl", "1d",
    ]);
    let as_carol = |arguments: &[&str]| {
        home.command(arguments)
            .env("HALLPASS_OPERATOR_TOKEN", text(&made, "/token"))
            .output()
            .unwrap()
    };
    assert!(as_carol(&["audit", "tail"]).status.success());
    assert_eq!(
        as_carol(&["revoke", "--agent", "research-bot"])
            .status
            .code(),
        Some(3)
    );

    let shown = home.ok(&[
        "operator",
        "add",
        "ledger-verifier",
        "--role",
        "verifier",
        "--server",
        "ledger",
        "--ttl",
        "1d",
        "--token-out",
        "v.token",
    ]);
    let token = fs::read_to_string(home.path("v.token")).unwrap();
    assert_eq!(mode(&home.path("v.token")), 0o600);
    assert!(!shown.contains(token.trim()));
    let list = home.ok(&["operator", "list"]);
    assert!(
        list.contains("carol") && list.contains("ledger-verifier") && !list.contains(token.trim()),
        "{list}"
    );
    home.ok(&["operator", "remove", "carol"]);
    assert_eq!(as_carol(&["audit", "tail"]).status.code(), Some(1));
}

#[test]
fn policy_is_shown_checked_and_reloaded_and_a_bad_one_changes_nothing() {
    let home = Workspace::serving();
    home.register_all();
    assert!(
        home.ok(&["policy", "show"])
            .contains("research-reads (policy/research-reads.toml:1)")
    );
    assert_eq!(home.json(&["policy", "check"])["ok"], true);
    home.write("policy/bad.toml", "[[grant]]\nid = \"bad\"\nbudget = 1\n");
    let checked = home.run(&["policy", "check"]);
    assert_eq!(checked.code, 1);
    assert!(checked.out.contains("policy/bad.toml:"), "{}", checked.out);
    let reloaded = home.run(&["policy", "reload"]);
    assert_eq!(reloaded.code, 1);
    assert!(
        reloaded.err.contains("policy/bad.toml:"),
        "{}",
        reloaded.err
    );
    home.pass();
    fs::remove_file(home.path("policy/bad.toml")).unwrap();
    home.ok(&["policy", "reload"]);
    let twice = home.run(&support::workspace::GRANT);
    assert_eq!(twice.code, 1, "{twice:?}");
    assert!(twice.err.contains("exists"), "{}", twice.err);
}

#[test]
fn a_hang_up_reloads_the_policy_and_following_shows_it() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };
    let home = Workspace::serving();
    home.register_all();
    let mut tail = home
        .command(&["audit", "tail", "-f", "-n", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let first = lines.next().unwrap();
    assert_eq!(text(&first, "/type"), "policy_loaded");
    home.hang_up();
    let second = lines.next().unwrap();
    assert_eq!(
        (text(&second, "/type"), text(&second, "/actor")),
        ("policy_loaded", "broker")
    );
    assert_eq!(
        second["seq"].as_u64().unwrap(),
        first["seq"].as_u64().unwrap() + 1
    );
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn doctor_finds_what_is_wrong() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Workspace::serving();
    let sound = home.run(&["doctor", "--json"]);
    assert_eq!(sound.code, 0, "{sound:?}");
    let token = home.path("hallpass-data/operator.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    home.write("policy/bad.toml", "x = 1\n");
    let sick = home.run(&["doctor"]);
    assert_eq!(sick.code, 1);
    let state = |name: &str| {
        sick.out
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        state("secret files").contains("failed")
            && state("secret files").contains("operator.token"),
        "{}",
        sick.out
    );
    assert!(
        state("policy").contains("failed") && state("policy").contains("bad.toml"),
        "{}",
        sick.out
    );
    assert!(
        state("broker").contains("ok") && state("clock").contains("ok"),
        "{}",
        sick.out
    );
}

#[test]
fn many_passes_are_revoked_at_once_from_a_list_and_by_a_filter() {
    let home = Workspace::serving();
    home.register_all();
    let (first, second) = (home.pass(), home.pass());
    let unknown = "0c".repeat(64);
    let leaked = format!(
        "{}\n\n{}\n{unknown}\n",
        text(&first, "/task_id"),
        text(&second, "/revocation_id")
    );
    let revoke = ["revoke-many", "--from", "-", "--reason", "leaked"];
    let dry = home.run_with(&leaked, &[&revoke[..], &["--dry-run"]].concat());
    assert!(
        dry.code == 0 && dry.out.contains("would revoke"),
        "{}",
        dry.out
    );
    let done = home.run_with(&leaked, &[&revoke[..], &["--json"]].concat());
    let done: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&done["revoked"], &done["more"]),
        (&json!(3), &json!(false))
    );
    assert_eq!(done["unknown_revocation_ids"], json!([unknown]));

    let third = home.pass();
    let by_agent = home.json(&["revoke-many", "--agent", "research-bot"]);
    assert_eq!(by_agent["revoked"], 1, "those before are over: {by_agent}");
    let task = home.json(&["task", "show", text(&third, "/task_id")]);
    assert_eq!(text(&task, "/state"), "revoked");

    let bad = home.run_with("tsk_1\n", &revoke);
    assert!(bad.code == 2 && bad.err.contains("line 1"), "{}", bad.err);
    for refused in [
        &["revoke-many"][..],
        &["revoke-many", "--from", "-", "--agent", "research-bot"],
    ] {
        assert_eq!(home.run(refused).code, 2);
    }
}
