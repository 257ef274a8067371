//! Agents with client secrets, as an operator keeps them.

use std::os::unix::fs::PermissionsExt as _;

use support::workspace::Workspace;

#[test]
fn a_client_gets_a_secret_rotates_it_and_keeps_its_default_rights() {
    let home = Workspace::serving();
    home.register_all();
    let rights = ["--server", "ledger", "--tool", "read_*"];
    let added = home.json(
        &[
            &["agent", "add", "ci-bot", "--steward", "bob", "--secret"][..],
            &rights,
        ]
        .concat(),
    );
    let first = added["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(first.len(), 43);
    assert_eq!(added["default_details"][0]["tools"][0], "read_*");

    let told = home.run(&[
        "agent",
        "secret",
        "add",
        "ci-bot",
        "--secret-out",
        "ci-bot.secret",
    ]);
    assert_eq!(told.code, 0, "{}", told.err);
    let second = std::fs::read_to_string(home.path("ci-bot.secret")).unwrap();
    assert_eq!(
        std::fs::metadata(home.path("ci-bot.secret"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert!(!told.out.contains(second.trim()) && !told.err.contains(second.trim()));
    // A name that cannot be had is refused before anything is made.
    for (arguments, name) in [
        (
            &[
                "agent",
                "secret",
                "add",
                "ci-bot",
                "--secret-out",
                "ci-bot.secret",
            ][..],
            "ci-bot.secret",
        ),
        (
            &[
                "agent",
                "add",
                "lost-bot",
                "--steward",
                "bob",
                "--secret-out",
                "nowhere/x.secret",
            ],
            "nowhere/x.secret",
        ),
        (
            &[
                "server",
                "secret",
                "add",
                "ledger",
                "--secret-out",
                "ci-bot.secret",
            ],
            "ci-bot.secret",
        ),
        (
            &[
                "operator",
                "add",
                "carol",
                "--role",
                "auditor",
                "--ttl",
                "1d",
                "--token-out",
                "ci-bot.secret",
            ],
            "ci-bot.secret",
        ),
    ] {
        let refused = home.run(arguments);
        assert!(
            refused.code == 1 && refused.err.contains(name),
            "{arguments:?}: {}",
            refused.err
        );
    }
    assert_eq!(
        std::fs::read_to_string(home.path("ci-bot.secret")).unwrap(),
        second
    );
    assert_eq!(home.run(&["agent", "show", "lost-bot"]).code, 1);
    assert!(
        home.json(&["server", "show", "ledger"])
            .get("secrets")
            .is_none_or(|made| made.as_array().unwrap().is_empty())
    );
    assert!(!home.ok(&["operator", "list"]).contains("carol"));
    let third = home.run(&["agent", "secret", "add", "ci-bot"]);
    assert!(
        third.code == 1 && third.err.contains("at most 2 secrets"),
        "{}",
        third.err
    );

    let changed = home.json(&["agent", "change", "ci-bot", "--group", "research"]);
    assert_eq!(changed["default_details"], added["default_details"]);
    let shown = home.ok(&["agent", "show", "ci-bot"]);
    assert!(
        shown.contains("secrets") && shown.contains("tools read_* on https://ledger.example/mcp"),
        "{shown}"
    );
    assert!(!shown.contains(&first));
    let id = changed["secrets"][0]["secret_id"].as_str().unwrap();
    assert_eq!(
        home.json(&["agent", "secret", "remove", "ci-bot", id])["secrets"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        home.run(&["agent", "secret", "remove", "ci-bot", "x"]).code,
        2
    );
    let lone = home.run(&["agent", "change", "ci-bot", "--read-only"]);
    assert!(
        lone.code == 2 && lone.err.contains("--server"),
        "{}",
        lone.err
    );
    home.ok(&[
        "agent",
        "change",
        "ci-bot",
        "--redirect-uri",
        "https://app.example/cb",
    ]);
    let shown = home.ok(&["agent", "show", "ci-bot"]);
    assert!(
        shown.contains("redirect URIs") && shown.contains("https://app.example/cb"),
        "{shown}"
    );
    let bare = home.run(&["agent", "add", "bare-bot", "--steward", "bob"]);
    assert!(
        bare.code == 2 && bare.err.contains("--secret"),
        "{}",
        bare.err
    );
}

#[test]
fn a_server_that_cannot_verify_passes_gets_a_secret() {
    let home = Workspace::serving();
    home.register_all();
    let made = home.json(&["server", "secret", "add", "ledger"]);
    let secret = made["client_secret"].as_str().unwrap();
    assert_eq!(
        (made["client_id"].as_str(), secret.len()),
        (Some("ledger"), 43)
    );
    let told = home.run(&[
        "server",
        "secret",
        "add",
        "ledger",
        "--secret-out",
        "ledger.secret",
    ]);
    let kept = std::fs::read_to_string(home.path("ledger.secret")).unwrap();
    assert!(
        told.code == 0 && !told.out.contains(kept.trim()),
        "{}",
        told.err
    );
    let shown = home.ok(&["server", "show", "ledger"]);
    let id = made["secrets"][0]["secret_id"].as_str().unwrap();
    assert!(shown.contains(id) && !shown.contains(secret), "{shown}");
    assert_eq!(
        home.json(&["server", "secret", "remove", "ledger", id])["secrets"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        home.run(&["server", "secret", "remove", "ledger", id]).code,
        1
    );
}

#[test]
fn a_task_can_be_opened_for_a_stock_client() {
    let home = Workspace::serving();
    home.register_all();
    let opened = home.pass_with(&["--credentials"]);
    assert_eq!(opened["client_id"], opened["task_id"]);
    assert!(opened.get("token").is_none() && opened["client_secret"].as_str().unwrap().len() == 43);
    assert!(
        opened["token_endpoint"]
            .as_str()
            .unwrap()
            .ends_with("/oauth/token")
    );
    let shown = home.ok(&["task", "show", opened["task_id"].as_str().unwrap()]);
    assert!(shown.contains("an OAuth client of its own"), "{shown}");
}
