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
    // Operators are told the steward's name beside the id.
    let as_operator = home.ok(&["task", "show", task]);
    let steward = text(&home.json(&["task", "show", task]), "/steward").to_owned();
    assert_eq!(
        as_agent,
        as_operator.replace(&format!("alice ({steward})"), &steward)
    );
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
    let unasked = home.run(&["steward", "erase", "bob"]);
    assert!(
        unasked.code == 2 && unasked.err.contains("--yes"),
        "{unasked:?}"
    );
    home.ok(&["steward", "erase", "bob", "--yes"]);
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

#[test]
fn a_mistyped_steward_is_asked_about_and_one_name_is_one_person() {
    let home = Workspace::serving();
    let add = |agent: &str, steward: &str, more: &[&str]| {
        let key = format!("{agent}.key");
        let command = [
            "agent",
            "add",
            agent,
            "--steward",
            steward,
            "--key-out",
            &key,
        ];
        home.run(&[&command[..], more].concat())
    };
    let first = add("one", "Jos\u{e9} M\u{fc}ller", &[]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.err.contains("is new here"), "{}", first.err);
    let decomposed = add("two", "Jose\u{301} Mu\u{308}ller", &[]);
    assert_eq!(decomposed.code, 0, "{decomposed:?}");
    assert!(
        !decomposed.err.contains("is new here"),
        "{}",
        decomposed.err
    );
    assert_eq!(
        home.json(&["steward", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let mistyped = add("three", "jos\u{e9} muller", &[]);
    assert_eq!(mistyped.code, 2, "{mistyped:?}");
    assert!(mistyped.err.contains("--new-steward"), "{}", mistyped.err);
    assert!(!home.path("three.key").exists());
    assert_eq!(add("three", "jos\u{e9} muller", &["--new-steward"]).code, 0);
    let unseen = add("four", "al\u{200b}ice", &[]);
    assert!(
        unseen.code == 1 && unseen.err.contains("U+200B"),
        "{unseen:?}"
    );
    home.ok(&["revoke", "--steward", "Jose\u{301} Mu\u{308}ller"]);
    let stewards = home.json(&["steward", "list"]);
    let suspended = stewards["items"].as_array().unwrap().iter();
    assert_eq!(
        suspended
            .filter(|steward| steward["suspended"] == true)
            .count(),
        1
    );
}

#[test]
fn a_pass_is_revoked_by_what_an_operator_holds_of_it() {
    let home = Workspace::serving();
    home.register_all();
    let (first, second) = (home.pass(), home.pass());
    let state = |pass: &Value| {
        let task = home.json(&["task", "show", text(pass, "/task_id")]);
        text(&task, "/state").to_owned()
    };
    let id = |pass: &Value| text(pass, "/revocation_id").to_owned();

    // One digit is wrong.
    let right = id(&first);
    let last = if right.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", &right[..127]);
    let missed = home.run(&["revoke", &wrong, "--json"]);
    let answer: Value = serde_json::from_str(&missed.out).unwrap();
    assert_eq!((missed.code, &answer["known"]), (0, &json!(false)));
    assert!(
        missed.err.contains("warning") && missed.err.contains("nothing was ended"),
        "{}",
        missed.err
    );
    assert_eq!(state(&first), "open");

    // By its first digits.
    for (digits, code) in [(11, 2), (12, 0), (12, 0)] {
        let ran = home.run(&["revoke", &id(&first)[..digits]]);
        assert_eq!(ran.code, code, "{digits}: {ran:?}");
        assert!(!ran.err.contains("warning"), "{}", ran.err);
    }
    assert_eq!(state(&first), "revoked");
    let ran = home.run(&["revoke", "000000000000"]);
    assert!(
        ran.code == 1 && ran.err.contains("there is no such pass"),
        "{}",
        ran.err
    );

    // By the token itself: that very token, and no more than that.
    let narrow = [
        "token",
        "attenuate",
        "-",
        "--server",
        "https://ledger.example/mcp",
        "--tool",
        "read_ledger",
    ];
    let narrowed = home.run_with(
        text(&second, "/token"),
        &[&narrow[..], &["--json"]].concat(),
    );
    let narrowed: Value = serde_json::from_str(&narrowed.out).unwrap();
    let revoke = ["revoke", "--token", "-"];
    let ran = home.run_with(text(&narrowed, "/token"), &revoke);
    assert!(
        ran.code == 0 && ran.err.contains("lives on") && !ran.err.contains("warning"),
        "{ran:?}"
    );
    assert_eq!(state(&second), "open");
    let ran = home.run_with(
        text(&second, "/token"),
        &[&revoke[..], &["--json"]].concat(),
    );
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&answer["known"], state(&second).as_str()),
        (&json!(true), "revoked")
    );
    assert!(!ran.out.contains(text(&second, "/token")));
    assert_eq!(home.run_with("no token", &revoke).code, 2);
}

#[test]
fn an_explanation_says_what_would_make_the_difference() {
    let home = Workspace::serving();
    home.register_all();
    home.write(
        "policy/guard.cedar",
        "@id(\"bound\") forbid (principal, action, resource) unless { context.holder_bound };\n",
    );
    home.ok(&["policy", "reload"]);
    let explain = |more: &[&str]| {
        let asked = [
            "--agent",
            "research-bot",
            "--server",
            "ledger",
            "--tool",
            "read_ledger",
        ];
        home.run(&[&["policy", "explain"][..], &asked, more].concat())
    };
    let refused = explain(&[]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(
        refused.out.contains("it would be granted with `--bound`"),
        "{}",
        refused.out
    );
    assert_eq!(explain(&["--bound"]).code, 0);
    let limit = |year: &str| format!("read_ledger:/year={year}");
    let (grants, asks) = (limit(r#"{"min":2025}"#), limit(r#"{"max":2030}"#));
    let narrow = [
        "--tools",
        "read_ledger",
        "--max-ttl",
        "5m",
        "--constraint",
        &grants,
    ];
    let narrow = [
        &["--id", "a-narrow", "--agents", "*", "--server", "ledger"][..],
        &narrow,
    ]
    .concat();
    home.ok(&[&["policy", "grant"][..], &narrow].concat());
    let both = explain(&["--bound", "--constraint", &asks]);
    assert!(
        both.out.contains(r#"; read_ledger /year {"max":2030}"#)
            && both.out.contains("and tools read_ledger on"),
        "{}",
        both.out
    );
    let jwk = home.json(&["agent", "key", "other", "--key-out", "other.key"]);
    home.write("other.jwk", &jwk.to_string());
    assert_eq!(explain(&["--holder-key", "other.jwk"]).code, 0);
    assert_eq!(explain(&["--bound", "--holder-key", "other.jwk"]).code, 2);

    home.write(
        "policy/guard.cedar",
        "@id(\"finance\") forbid (principal, action, resource) unless { context.steward_groups.contains(\"finance\") };\n",
    );
    home.ok(&["policy", "reload"]);
    let refused = explain(&[]);
    assert!(
        refused.code == 3 && !refused.out.contains("--bound"),
        "{refused:?}"
    );
    let alice = [
        "--steward",
        "alice",
        "--steward-verified",
        "--steward-group",
    ];
    assert_eq!(explain(&[&alice[..], &["finance"]].concat()).code, 0);
    assert_eq!(explain(&[&alice[..], &["sales"]].concat()).code, 3);
    assert_eq!(explain(&["--steward", "alice"]).code, 3);
    assert_eq!(explain(&["--steward", "nobody"]).code, 3);
    assert_eq!(explain(&["--subject-token", "no-jwt"]).code, 1);
    assert!(
        home.json(&["task", "list"])["items"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_agents_of_a_revoked_steward_are_not_shown_as_active() {
    let home = Workspace::serving();
    home.register_all();
    let state = || {
        let shown = home.ok(&["agent", "show", "research-bot"]);
        let line = shown.lines().find(|line| line.starts_with("state"));
        line.unwrap().trim_start_matches("state").trim().to_owned()
    };
    assert_eq!(state(), "active");
    home.ok(&["revoke", "--steward", "alice"]);
    assert_eq!(state(), "steward revoked");
    assert!(home.ok(&["agent", "list"]).contains("steward revoked"));
    let agent = home.json(&["agent", "show", "research-bot"]);
    assert_eq!(
        (&agent["suspended"], &agent["steward_suspended"]),
        (&json!(false), &json!(true))
    );
    home.ok(&["revoke", "--agent", "research-bot"]);
    assert_eq!(state(), "revoked");
    home.ok(&["steward", "reinstate", "alice"]);
    home.ok(&["agent", "reinstate", "research-bot"]);
    assert_eq!(state(), "active");
}

#[test]
fn the_trail_says_whom_and_is_asked_by_request() {
    let home = Workspace::serving();
    home.register_all();
    home.ok(&["steward", "add", "bob"]);
    home.ok(&["steward", "code", "bob"]);
    let tail = home.ok(&["audit", "tail", "-n", "50"]);
    let line = |event: &str| {
        tail.lines()
            .rfind(|line| line.contains(event))
            .unwrap()
            .to_owned()
    };
    for event in ["steward_added", "sign_in_code_made"] {
        assert!(line(event).contains("bob (stw_"), "{}", line(event));
    }
    let open = ["task", "open", "--as", KEY, "--purpose", "x", "--ttl", "5m"];
    let refused = home.run(&[&open[..], &["--server", "ledger", "--tool", "transfer"]].concat());
    let request = refused
        .err
        .lines()
        .find_map(|line| line.strip_prefix("request id: "))
        .unwrap();
    let of = home.ok(&["audit", "tail", "--request", request]);
    assert!(of.lines().all(|line| line.contains(request)), "{of}");
    assert!(
        of.contains("request_refused") && of.contains(request),
        "{of}"
    );
    let none = home.run(&[
        "audit",
        "tail",
        "--request",
        "req_00000000000000000000000000000001",
    ]);
    assert!(
        none.code == 0 && none.out.is_empty() && none.err.contains("nothing was recorded"),
        "{none:?}"
    );
    let task = text(&home.pass(), "/task_id").to_owned();
    assert!(home.ok(&["task", "show", &task]).contains("alice (stw_"));
    assert!(
        !home
            .ok(&["task", "show", &task, "--as", KEY])
            .contains("alice")
    );
}

#[test]
fn what_is_odd_about_a_grant_is_said_when_it_is_written() {
    let home = Workspace::serving();
    home.register_all();
    let grant = |more: &[&str]| {
        let asked = [
            "policy",
            "grant",
            "--id",
            "odd",
            "--tools",
            "read_*",
            "--max-ttl",
            "5m",
        ];
        home.run(&[&asked[..], more].concat())
    };
    let two = grant(&["--agents", "*", "--server", "ledger", "--server", "crm"]);
    assert!(
        two.code == 2 && two.err.contains("one grant for each server"),
        "{}",
        two.err
    );
    let odd = grant(&[
        "--agents",
        "group:suport,ghost,group:research",
        "--server",
        "ledger",
    ]);
    assert_eq!(odd.code, 0);
    for warning in [
        "no agent is in the group `suport`",
        "no agent `ghost` is registered",
    ] {
        assert!(odd.err.contains(warning), "{}", odd.err);
    }
    assert!(!odd.err.contains("`research`"), "{}", odd.err);
    let checked = home.run(&["policy", "check"]);
    assert!(
        checked.code == 0 && checked.out.contains("suport"),
        "{checked:?}"
    );
}

#[test]
fn a_rotation_says_from_when_the_new_key_signs() {
    let home = Workspace::serving();
    let rotated = home.ok(&["keys", "rotate", "root"]);
    assert!(rotated.contains("signs from"), "{rotated}");
    let keys = home.json(&["keys", "list"]);
    let pending = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["state"] == "pending");
    assert!(pending.unwrap()["signs_from"].as_str() > pending.unwrap()["since"].as_str());
    assert!(
        !home
            .ok(&["keys", "rotate", "operator"])
            .contains("signs from")
    );
}

#[test]
fn a_secret_that_cannot_be_shown_is_taken_back() {
    let home = Workspace::serving();
    home.register_all();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = home.command(&["agent", "secret", "add", "research-bot"]);
    let ran = command.stdout(full).output().unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert!(
        ran.status.code() == Some(1) && err.contains("removed again"),
        "{err}"
    );
    let agent = home.json(&["agent", "show", "research-bot"]);
    assert!(agent.get("secrets").is_none(), "{agent}");
}
