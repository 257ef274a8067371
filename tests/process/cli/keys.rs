//! Key files at rest, as an operator keeps them.

use std::os::unix::fs::PermissionsExt as _;

use support::workspace::Workspace;

#[test]
fn key_files_are_encrypted_and_decrypted_while_the_broker_is_stopped() {
    let mut home = Workspace::serving();
    home.stop();
    let passphrase = home.path("passphrase");
    home.write("passphrase", "correct horse battery staple\n");
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o600)).unwrap();
    let key = || std::fs::read_to_string(home.path("hallpass-data/keys/root-1.key")).unwrap();
    let run = |arguments: &[&str]| {
        home.command(arguments)
            .env("HALLPASS_KEYS_PASSPHRASE_FILE", &passphrase)
            .output()
    };
    let text = |output: &[u8]| String::from_utf8_lossy(output).into_owned();

    let nothing = home.run(&["keys", "encrypt"]);
    assert_eq!(nothing.code, 1);
    assert!(
        nothing.err.contains("HALLPASS_KEY_ENCRYPTION_KEY"),
        "{}",
        nothing.err
    );
    let done = run(&["keys", "encrypt"]).unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        text(&done.stdout).contains("encrypted"),
        "{}",
        text(&done.stdout)
    );
    assert!(!key().contains("\"d\""));

    let refused = home.run(&["operator", "recover"]);
    assert!(
        refused.code != 0 && refused.err.contains("keys.passphrase_file"),
        "{}",
        refused.err
    );
    assert!(run(&["operator", "recover"]).unwrap().status.success());
    let both = home
        .command(&["operator", "recover"])
        .env("HALLPASS_KEYS_PASSPHRASE_FILE", &passphrase)
        .env("HALLPASS_KEY_ENCRYPTION_KEY", "A".repeat(43))
        .output()
        .unwrap();
    assert!(
        text(&both.stderr).contains("leave one of them out"),
        "{}",
        text(&both.stderr)
    );
    let no_key = home
        .command(&["operator", "recover"])
        .env("HALLPASS_KEY_ENCRYPTION_KEY", "SECRET")
        .output()
        .unwrap();
    assert!(text(&no_key.stderr).contains("32 bytes") && !text(&no_key.stderr).contains("SECRET"));

    assert!(run(&["keys", "decrypt"]).unwrap().status.success());
    assert!(key().contains("\"d\""));
    home.start();
}

#[test]
fn an_operator_key_is_revoked_by_whoever_has_a_token_by_the_next_one() {
    let mut home = Workspace::serving();
    home.json(&["keys", "rotate", "operator"]);
    let own = home.run(&["keys", "revoke-operator", "1"]);
    assert!(
        own.code != 0 && own.err.contains("your own token"),
        "{}",
        own.err
    );
    home.stop();
    assert_eq!(home.run(&["operator", "recover"]).code, 0);
    home.start();
    let revoked = home.json(&["keys", "revoke-operator", "1"]);
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(home.run(&["keys", "revoke-operator", "one"]).code, 2);
    assert!(home.ok(&["keys", "list"]).contains("revoked"));
}
