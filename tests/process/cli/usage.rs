//! How commands are asked for, what they say of themselves, and how they fail.

use support::workspace::{KEY, Workspace};

#[test]
fn help_teaches() {
    let home = Workspace::new();
    let help = |arguments: &[&str]| {
        let ran = home.run(&[arguments, &["--help"]].concat());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        ran.out
    };
    insta::assert_snapshot!("help", help(&[]));
    insta::assert_snapshot!("help_task_open", help(&["task", "open"]));
    insta::assert_snapshot!("help_revoke", help(&["revoke"]));
    insta::assert_snapshot!("help_server_add", help(&["server", "add"]));
    for command in [
        &["serve"][..],
        &["agent", "add"],
        &["agent", "change"],
        &["agent", "secret", "add"],
        &["steward", "add"],
        &["operator", "add"],
        &["operator", "recover"],
        &["operator", "attenuate"],
        &["task", "token"],
        &["task", "delegations", "report"],
        &["token", "inspect"],
        &["token", "attenuate"],
        &["token", "verify"],
        &["keys", "rotate"],
        &["policy", "grant"],
        &["policy", "check"],
        &["policy", "explain"],
        &["audit", "tail"],
        &["audit", "head"],
        &["audit", "prove"],
        &["audit", "export"],
        &["audit", "report"],
        &["audit", "verify"],
        &["backup"],
        &["restore"],
        &["completions"],
    ] {
        assert!(help(command).contains("Example"), "{command:?}");
    }
}

#[test]
fn bad_usage_ends_with_2_and_asks_nobody() {
    let home = Workspace::new();
    for arguments in [
        &["frobnicate"][..],
        &["gateway"],
        &[
            "agent",
            "add",
            "Research-Bot",
            "--steward",
            "alice",
            "--key-out",
            "k",
        ],
        &["agent", "add", "bot", "--steward", "alice"],
        &["server", "add", "https://ledger.example/mcp"],
        &[
            "server",
            "add",
            "https://ledger.example/mcp/",
            "--name",
            "x",
            "--import",
        ],
        &["server", "add", "https://ledger.example/mcp", "--import"],
        &["revoke"],
        &["revoke", "abcd"],
        &[
            "revoke",
            "--agent",
            "a",
            "--task",
            "tsk_00000000000000000000000000000001",
        ],
        &["revoke", "--agent", "a", "--only-token"],
        &[
            "task",
            "open",
            "--purpose",
            "x",
            "--ttl",
            "5m",
            "--server",
            "https://a.example",
            "--tool",
            "x",
        ],
        &[
            "task",
            "open",
            "--purpose",
            "x",
            "--ttl",
            "soon",
            "--as",
            KEY,
        ],
        &[
            "policy", "grant", "--id", "x", "--agents", "*", "--server", "ledger", "--tools", "*",
        ],
        &[
            "token",
            "verify",
            "x",
            "--server",
            "ledger",
            "--call",
            "read_ledger",
            "--feed-key",
            "x",
        ],
        &["audit", "verify", "--head", "17"],
        &["audit", "verify", "--key", "17"],
        &["audit", "prove"],
        &["audit", "prove", "--sequence", "1", "--since", "x"],
        &["audit", "report", "reach", "--tool", "x"],
        &["--broker", "ftp://x", "agent", "list"],
        &["agent", "list", "--broker", "http://broker.example"],
    ] {
        // A token is looked for before a broker, so that this is no other error.
        let ran = home
            .command(arguments)
            .env("HALLPASS_OPERATOR_TOKEN", "t")
            .output()
            .unwrap();
        let err = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(
            ran.stdout.is_empty() && err.to_lowercase().contains("error"),
            "{arguments:?}: {err}"
        );
    }
}

#[test]
fn a_group_of_commands_without_a_verb_prints_its_help() {
    let home = Workspace::new();
    for group in [
        "agent", "server", "steward", "operator", "task", "token", "keys", "policy", "audit",
    ] {
        let mut command = home.command(&[group]);
        let ran = command
            .env("HALLPASS_BROKER", "http://127.0.0.1:9")
            .output()
            .unwrap();
        let err = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(2), "{group}");
        assert!(
            err.contains("Commands:")
                && err.contains(&format!("hallpass {group} [OPTIONS] <COMMAND>")),
            "{err}"
        );
    }
    let mut command = home.command(&["agent", "add"]);
    let ran = command
        .env("HALLPASS_BROKER", "http://127.0.0.1:9")
        .output()
        .unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert!(
        err.contains("--steward") && !err.contains("--broker"),
        "{err}"
    );
}

#[test]
fn failures_say_what_to_do_next() {
    let home = Workspace::new();
    let ran = home.run(&["agent", "list"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("no operator token") && ran.err.contains("hallpass-data/operator.token"),
        "{}",
        ran.err
    );

    let away = ["agent", "list", "--broker", "http://127.0.0.1:9"];
    let ran = home
        .command(&away)
        .env("HALLPASS_OPERATOR_TOKEN", "secret-token")
        .output()
        .unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        err.contains("is `hallpass serve` running?") && !err.contains("secret-token"),
        "{err}"
    );

    home.write("open.token", "secret-token");
    let ran = home.run(&["agent", "list", "--operator-token-file", "open.token"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("chmod 600") && !ran.err.contains("secret-token"),
        "{}",
        ran.err
    );

    let json = home.run(&["agent", "list", "--json"]);
    let problem: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(problem["code"], "failed");
    assert!(problem["hints"][0].is_string());
}

#[test]
fn an_agent_does_not_sign_for_an_issuer_that_it_does_not_mean() {
    let mut home = Workspace::serving();
    home.register_all();
    home.stop();
    let foreign = "https://broker.example";
    home.write("hallpass.toml", &format!("issuer = \"{foreign}\"\n"));
    home.start();
    let list = ["task", "list", "--as", KEY];
    let ran = home.run(&list);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains(&format!("say --issuer {foreign}")),
        "{}",
        ran.err
    );
    home.ok(&[&list[..], &["--issuer", foreign]].concat());
    assert_eq!(
        home.run(&[&list[..], &["--issuer", "https://other.example"]].concat())
            .code,
        1
    );
}

#[test]
fn configuration_is_shown_with_its_origins_and_refused_with_its_place() {
    let home = Workspace::new();
    home.write("hallpass.toml", "data_dir = \"./elsewhere\"\n");
    let shown = home.ok(&["serve", "--check-config", "--listen", "127.0.0.1:9999"]);
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("data_dir") && line.contains("hallpass.toml line 1")),
        "{shown}"
    );
    assert!(
        shown
            .lines()
            .any(|line| line.starts_with("listen") && line.contains("flag --listen")),
        "{shown}"
    );
    assert!(!home.path("elsewhere").exists());
    home.write(
        "hallpass.toml",
        "data_dir = \"./elsewhere\"\nlissen = \"x\"\n",
    );
    let ran = home.run(&["serve", "--check-config"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.err.contains("hallpass.toml line 2") && ran.err.contains("lissen"),
        "{}",
        ran.err
    );
}

#[test]
fn completions_are_printed_for_every_shell() {
    let home = Workspace::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            home.ok(&["completions", shell]).contains("hallpass"),
            "{shell}"
        );
    }
}
