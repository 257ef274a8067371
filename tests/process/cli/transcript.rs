//! The first minutes at a terminal, as the documentation has them.

use crate::cli::ledger::{Answers, listen};
use support::workspace::{GRANT, KEY, Workspace, mode, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_minutes_work_as_written() {
    let server = listen(Answers::Events, None).await;
    let home = Workspace::serving();
    assert_eq!(mode(&home.path("hallpass-data/operator.token")), 0o600);
    assert!(home.path("policy/example.toml").exists());

    let shown = home.ok(&["server", "add", &server, "--name", "ledger", "--import"]);
    assert!(shown.contains("read_ledger (/year)"), "{shown}");

    let shown = home.ok(&[
        "agent",
        "add",
        "research-bot",
        "--steward",
        "alice",
        "--group",
        "research",
        "--key-out",
        KEY,
    ]);
    assert!(shown.contains("alice (stw_"), "{shown}");
    assert_eq!(mode(&home.path(KEY)), 0o600);

    let shown = home.ok(&GRANT);
    assert!(shown.contains("research-reads"), "{shown}");
    assert!(home.path("policy/research-reads.toml").exists());

    let pass = home.pass();
    let (token, revocation_id) = (text(&pass, "/token"), text(&pass, "/revocation_id"));
    assert_eq!(text(&pass, "/decided_by/0/grant"), "research-reads");

    let inspected = home.run(&["token", "inspect", token]);
    assert_eq!(inspected.code, 0);
    assert!(
        inspected.out.contains("research-bot") && inspected.out.contains("read_ledger"),
        "{}",
        inspected.out
    );
    assert!(inspected.out.contains(revocation_id));
    assert!(inspected.err.contains("unverified"), "{}", inspected.err);

    let pin = home.json(&["keys", "show-pin"]);
    let verify = [
        "token",
        "verify",
        token,
        "--server",
        "ledger",
        "--call",
        "tool:read_ledger",
        "--feed-key",
        text(&pin, "/feed_key"),
    ];
    let permitted = home.run(&verify);
    assert_eq!(permitted.code, 0, "{permitted:?}");
    assert!(permitted.out.contains("permitted"), "{}", permitted.out);

    let revoked = home.ok(&["revoke", revocation_id, "--reason", "laptop lost"]);
    assert!(revoked.contains("laptop lost"), "{revoked}");
    let refused = home.run(&verify);
    assert_eq!((refused.code, refused.err.as_str()), (3, ""));
    assert!(refused.out.contains("revoked_token"), "{}", refused.out);

    let tail = home.ok(&["audit", "tail"]);
    for word in [
        "server_set",
        "agent_set",
        "policy_loaded",
        "task_opened",
        "token_issued",
        "revoked",
        "laptop lost",
    ] {
        assert!(tail.contains(word), "no {word} in {tail}");
    }
    assert!(!tail.contains(token));
}

#[test]
fn a_first_start_says_what_to_type_next_and_a_second_does_not() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };
    let home = Workspace::new();
    let first_words = || {
        let serve = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ];
        let mut child = home
            .command(&serve)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // It serves, and has said what it had to say before.
        let said: Vec<String> = stderr
            .lines()
            .map(Result::unwrap)
            .take_while(|line| !line.contains(" serving"))
            .collect();
        child.kill().unwrap();
        assert!(child.wait_with_output().unwrap().stdout.is_empty());
        said.join("\n")
    };
    let said = first_words();
    assert!(
        said.contains("hallpass server add https://ledger.example/mcp --name ledger --import"),
        "{said}"
    );
    assert!(
        said.contains("export HALLPASS_BROKER=http://127.0.0.1:"),
        "{said}"
    );
    let token = std::fs::read_to_string(home.path("hallpass-data/operator.token")).unwrap();
    assert!(!said.contains(token.trim()), "{said}");
    let said = first_words();
    assert!(!said.contains("hallpass server add"), "{said}");
}
