//! Registering servers: asking a live one, and manifests from files.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::cli::ledger::{Answers, listen, listen_stateless};
use support::workspace::{MANIFEST, Workspace, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_live_server_is_asked_for_every_page_and_believed_in_nothing() {
    let home = Workspace::serving();
    for (name, answers) in [("events", Answers::Events), ("json", Answers::Json)] {
        let server = listen(answers, None).await;
        let ran = home.run(&[
            "server", "add", &server, "--name", name, "--import", "--json",
        ]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let view: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let manifest = &view["manifest"];
        let tools: Vec<_> = manifest["tools"].as_object().unwrap().keys().collect();
        assert_eq!(tools, ["read_file", "read_ledger", "transfer"]);
        assert!(
            manifest["tools"]
                .as_object()
                .unwrap()
                .values()
                .all(|tool| tool["read_only"] == false)
        );
        assert!(
            manifest["tools"]
                .as_object()
                .unwrap()
                .values()
                .all(|tool| tool["schema_digest"].is_string())
        );
        assert_eq!(text(manifest, "/tools/read_ledger/arguments/0"), "/year");
        assert!(manifest["prompts"]["summarise"].is_object());
        assert_eq!(text(manifest, "/resources/0/uri"), "file:///srv/books");
        assert!(
            ran.err.contains("--trust-annotations: read_ledger"),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("`/path` looks like a path"), "{}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_are_believed_when_the_operator_says_so() {
    let home = Workspace::serving();
    let server = listen(Answers::Json, None).await;
    let add = [
        "server",
        "add",
        &server,
        "--name",
        "ledger",
        "--import",
        "--trust-annotations",
    ];
    let view = home.json(&add);
    assert_eq!(view["manifest"]["tools"]["read_ledger"]["read_only"], true);
    assert_eq!(view["manifest"]["tools"]["transfer"]["read_only"], false);

    let again = home.run(&add);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("--replace"), "{}", again.err);
    home.ok(&[
        "server",
        "add",
        &server,
        "--name",
        "ledger",
        "--import",
        "--replace",
    ]);
    // What was decided stays.
    assert_eq!(
        home.json(&["server", "show", "ledger"])["manifest"]["tools"]["read_ledger"]["read_only"],
        true
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_anew_keeps_what_people_decided_and_drops_nothing_unasked() {
    let home = Workspace::serving();
    let server = listen(Answers::Json, None).await;
    let reviewed = format!(
        r#"server = "{server}"
name = "ledger"

[tools.transfer]
irreversible = true
labels = {{ risk = "high" }}

[tools.retired]
labels = {{ risk = "high" }}
"#
    );
    home.write("ledger.toml", &reviewed);
    home.ok(&["server", "add", "--manifest", "ledger.toml"]);
    let difference = home.json(&["server", "diff", "ledger"]);
    assert_eq!(
        difference["weakened"],
        serde_json::json!(["tool retired is not listed any more"])
    );
    assert!(
        difference["added"].to_string().contains("tool read_ledger"),
        "{difference}"
    );
    let refused = home.run(&["server", "refresh", "ledger"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("! tool retired") && refused.err.contains("--yes"),
        "{}",
        refused.err
    );
    assert!(home.json(&["server", "show", "ledger"])["manifest"]["tools"]["retired"].is_object());
    let uri = server.to_string();
    let anew = [
        "server",
        "add",
        &uri,
        "--name",
        "ledger",
        "--import",
        "--replace",
        "--dry-run",
    ];
    let shown = home.ok(&anew);
    assert!(
        shown.contains("irreversible = true") && shown.contains("risk = \"high\""),
        "{shown}"
    );
    let view = home.json(&["server", "refresh", "ledger", "--yes"]);
    let tools = &view["manifest"]["tools"];
    assert!(tools["retired"].is_null() && tools["read_ledger"].is_object());
    assert_eq!(
        (
            &tools["transfer"]["irreversible"],
            &tools["transfer"]["labels"]["risk"]
        ),
        (&serde_json::json!(true), &serde_json::json!("high"))
    );
    assert!(tools["transfer"]["schema_digest"].is_string());
    let again = home.json(&["server", "diff", "ledger"]);
    assert_eq!(
        again,
        serde_json::json!({"added": [], "changed": [], "weakened": []})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_token_wants_it() {
    let home = Workspace::serving();
    let server = listen(Answers::Events, Some("sesame")).await;
    let add = ["server", "add", &server, "--name", "ledger", "--import"];
    let refused = home.run(&add);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("401") && refused.err.contains("--token"),
        "{}",
        refused.err
    );
    let mut with_token = add.to_vec();
    with_token.extend(["--token", "-"]);
    let ran = home.run_with("sesame\n", &with_token);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(!ran.out.contains("sesame") && !ran.err.contains("sesame"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_sessions_and_with_a_credential_of_its_own_is_asked_in_its_way() {
    let home = Workspace::serving();
    let server = listen_stateless().await;
    let add = ["server", "add", &server, "--name", "notes", "--import"];
    let refused = home.run(&add);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("401") && refused.err.contains("a Notion-Token is wanted"),
        "{}",
        refused.err
    );
    assert!(!refused.err.contains('\u{1b}'));
    let mut with_header = add.to_vec();
    with_header.extend(["--header", "Notion-Token: -", "--json"]);
    let ran = home.run_with("sesame\n", &with_header);
    assert_eq!(ran.code, 0, "{ran:?}");
    let view: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert!(view["manifest"]["tools"]["sample"].is_object(), "{view}");
    assert_eq!(
        text(&view["manifest"], "/resources/0/uri"),
        "notion://pages"
    );
    let wrong = home.run(&[&add[..], &["--header", "Notion-Token"]].concat());
    assert_eq!(wrong.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_no_mcp_registers_nothing() {
    let mut home = Workspace::serving();
    let server = format!("{}/mcp", home.url());
    let ran = home.run(&["server", "add", &server, "--name", "ledger", "--import"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("streamable HTTP endpoint"), "{}", ran.err);
    assert_eq!(
        home.json(&["server", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    home.stop();
}

#[test]
fn a_manifest_makes_the_round_trip_through_a_file() {
    let home = Workspace::serving();
    home.write("ledger.toml", MANIFEST);
    let add = [
        "server",
        "add",
        "https://ledger.example/mcp",
        "--name",
        "ledger",
        "--manifest",
        "ledger.toml",
    ];
    let first = home.json(&add);
    home.write(
        "again.toml",
        &home.ok(&["server", "show", "ledger", "--toml"]),
    );
    let second = home.json(&["server", "add", "--manifest", "again.toml", "--replace"]);
    assert_eq!(first, second);
    for unused in [
        &["--trust-annotations"][..],
        &["--token", "secret"],
        &["--server-ca-file", "ca.pem"],
    ] {
        let mut command = vec!["server", "add", "--manifest", "again.toml", "--replace"];
        command.extend(unused);
        let ran = home.run(&command);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            ran.err.contains(unused[0]) && !ran.err.contains("secret"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn an_operator_who_may_not_read_servers_replaces_a_manifest_unseen_when_asked_to() {
    let home = Workspace::serving();
    home.write("ledger.toml", MANIFEST);
    let add = [
        "server",
        "add",
        "https://ledger.example/mcp",
        "--name",
        "ledger",
    ];
    let add = |more: &[&'static str]| [&add[..], &["--manifest", "ledger.toml"], more].concat();
    home.ok(&add(&[]));
    let narrowed = home.json(&["operator", "attenuate", "--operation", "servers:write"]);
    home.write("writer.token", narrowed["token"].as_str().unwrap());
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(home.path("writer.token"), private).unwrap();
    let as_writer = |more: &[&'static str]| {
        let mut command = add(&["--replace", "--operator-token-file", "writer.token"]);
        command.extend(more);
        home.run(&command)
    };
    let unasked = as_writer(&[]);
    assert_eq!(unasked.code, 3, "{unasked:?}");
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    let asked = as_writer(&["--yes"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    assert!(asked.err.contains("warning"), "{}", asked.err);
}

#[test]
fn a_bad_manifest_is_a_usage_error_that_names_the_file() {
    let home = Workspace::serving();
    for (name, text, words) in [
        (
            "a.toml",
            "server = \"https://a.example\"\nname = \"a\"\ntolls = 1\n",
            "tolls",
        ),
        ("b.toml", "name = \"a\"\n", "server"),
        (
            "c.json",
            r#"{"server":"https://a.example","name":"a","name":"b"}"#,
            "name",
        ),
        ("d.yaml", "", ".toml"),
        (
            "e.toml",
            "server = \"https://b.example\"\nname = \"a\"\n",
            "command line",
        ),
    ] {
        home.write(name, text);
        let mut arguments = vec!["server", "add", "--manifest", name];
        if name.starts_with('e') {
            arguments.insert(2, "https://a.example");
        }
        let ran = home.run(&arguments);
        assert_eq!(ran.code, 2, "{name}: {ran:?}");
        assert!(
            ran.err.contains(name) && ran.err.contains(words),
            "{name}: {}",
            ran.err
        );
    }
    assert_eq!(
        home.json(&["server", "list"])["items"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}
