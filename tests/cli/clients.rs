//! Agents with client secrets, as an operator keeps them.

use std::os::unix::fs::PermissionsExt as _;

use crate::home::Home;

#[test]
fn a_client_gets_a_secret_rotates_it_and_keeps_its_default_rights() {
    let home = Home::serving();
    home.write(
        "ledger.json",
        r#"{"server": "https://ledger.example/mcp", "name": "ledger", "tools": {"read_ledger": {}}}"#,
    );
    home.ok(&["server", "add", "https://ledger.example/mcp", "--name", "ledger", "--manifest", "ledger.json"]);
    let rights = ["--server", "ledger", "--tool", "read_*"];
    let added = home.json(&[&["agent", "add", "ci-bot", "--steward", "bob", "--secret"][..], &rights].concat());
    let first = added["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(first.len(), 43);
    assert_eq!(added["default_details"][0]["tools"][0], "read_*");

    let told = home.run(&["agent", "secret", "add", "ci-bot", "--secret-out", "ci-bot.secret"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let second = std::fs::read_to_string(home.path("ci-bot.secret")).unwrap();
    assert_eq!(std::fs::metadata(home.path("ci-bot.secret")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!told.out.contains(second.trim()) && !told.err.contains(second.trim()));
    let third = home.run(&["agent", "secret", "add", "ci-bot"]);
    assert!(third.code == 1 && third.err.contains("at most 2 secrets"), "{}", third.err);

    let changed = home.json(&["agent", "change", "ci-bot", "--group", "research"]);
    assert_eq!(changed["default_details"], added["default_details"]);
    let shown = home.ok(&["agent", "show", "ci-bot"]);
    assert!(shown.contains("secrets") && shown.contains("tools read_* on https://ledger.example/mcp"), "{shown}");
    assert!(!shown.contains(&first));
    let id = changed["secrets"][0]["secret_id"].as_str().unwrap();
    assert_eq!(home.json(&["agent", "secret", "remove", "ci-bot", id])["secrets"].as_array().unwrap().len(), 1);
    assert_eq!(home.run(&["agent", "secret", "remove", "ci-bot", "x"]).code, 2);
    let bare = home.run(&["agent", "add", "bare-bot", "--steward", "bob"]);
    assert!(bare.code == 2 && bare.err.contains("--secret"), "{}", bare.err);
}
