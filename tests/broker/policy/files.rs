//! What is wrong in the policy directory is said with file, line and reason, and nothing of it is used.

use hallpass_broker::policy::{EXAMPLE_GRANTS, Grant, PolicySet, SCHEMA, grant_toml};

use crate::policy::{catalogue, errors, files, grant, set};

/// Asserts that one line of `errors` begins with `place` and holds `word`.
fn finds(text: &str, file: &str, place: &str, word: &str) {
    let found = errors(&[(file, text)]);
    let hit = found
        .lines()
        .any(|line| line.starts_with(&format!("policy/{file}:{place}: ")) && line.contains(word));
    assert!(hit, "expected {place} … {word} in:\n{found}\nof:\n{text}");
}

#[test]
fn wrong_grants_name_file_line_and_reason() {
    // Lines 1 to 5 are the head that `grant` writes; the body begins on line 6.
    for (body, line, word) in [
        ("tolls = [\"x\"]", "6", "tolls"),
        ("tools = [\"x\"]\nmask = {}", "7", "mask"),
        ("tools = [\"x\"]\nmax_calls = { x = 3 }", "7", "max_calls"),
        ("tools = [\"x\"]\nforbid_after = {}", "7", "forbid_after"),
        ("tools = [\"x\"]\napprovals = 1", "7", "approvals"),
        ("tools = [\"re ad\"]", "6", "name pattern"),
        ("tools = \"x\"", "6", "expected"),
        ("resources = [\"file:///srv/../etc\"]", "6", "subtree"),
        ("", "1", "gives nothing"),
        (
            "tools = [\"transfer\"]\n[grant.constraints.transfer]\n\"amount\" = { max = 1 }",
            "8",
            "pointer",
        ),
        (
            "tools = [\"transfer\"]\n[grant.constraints.transfer]\n\"/amount\" = { regex = \"1\" }",
            "8",
            "regex",
        ),
        (
            "tools = [\"transfer\"]\n[grant.constraints.transfer]\n\"/amount\" = { min = 2, max = 1 }",
            "8",
            "greater",
        ),
        (
            "tools = [\"transfer\"]\n[grant.constraints.transfer]\n\"/amuont\" = { max = 1 }",
            "8",
            "/amuont",
        ),
        (
            "tools = [\"transfer\"]\n[grant.constraints.transfer]\n\"/currency\" = { under = \"/srv\" }",
            "8",
            "path_arguments",
        ),
        (
            "tools = [\"export\"]\n[grant.constraints.export]\n\"/path\" = { prefix = \"/srv\" }",
            "8",
            "`under` instead",
        ),
        (
            "tools = [\"read_*\"]\n[grant.constraints.transfer]\n\"/amount\" = { max = 1 }",
            "7",
            "does not give it",
        ),
        (
            "tools = [\"trans*\"]\n[grant.constraints.transport]\n\"/amount\" = { max = 1 }",
            "7",
            "no such tool",
        ),
        (
            "tools = [\"trans*\"]\nclosed_arguments = [\"read_ledger\"]",
            "7",
            "does not give it",
        ),
        ("tools = [\"transfer\"]\npin = [\"/a/b\"]", "7", "top level"),
        (
            "tools = [\"transfer\"]\npin = [\"/patientid\"]",
            "7",
            "takes `/patientid`",
        ),
        (
            "prompts = [\"summary\"]\npin = [\"/customer_id\"]",
            "7",
            "without `tools`",
        ),
    ] {
        finds(&grant("g", body), "a.toml", line, word);
    }
    let whole = |from: &str, to: &str| grant("g", "tools = [\"transfer\"]").replace(from, to);
    finds(&whole("\"10m\"", "\"ten\""), "a.toml", "5", "duration");
    finds(&whole("\"10m\"", "\"0s\""), "a.toml", "5", "whole seconds");
    finds(
        &whole("\"10m\"", "\"1500ms\""),
        "a.toml",
        "5",
        "whole seconds",
    );
    finds(&whole("\"10m\"", "\"25h\""), "a.toml", "5", "whole seconds");
    finds(&whole("max_ttl = \"10m\"\n", ""), "a.toml", "1", "max_ttl");
    finds(&whole("\"g\"", "\"G G\""), "a.toml", "2", "grant id");
    finds(
        &whole("[\"*\"]", "[\"group:A B\"]"),
        "a.toml",
        "3",
        "group name",
    );
    finds(&whole("[\"*\"]", "[]"), "a.toml", "3", "empty");
    finds(
        &whole("\"ledger\"", "\"http://ledger.example/mcp\""),
        "a.toml",
        "4",
        "server URI",
    );
    finds(
        &whole("[[grant]]", "[grant]"),
        "a.toml",
        "1",
        "two brackets",
    );
    finds(
        &whole("[[grant]]", "version = 1\n[[grant]]"),
        "a.toml",
        "1",
        "unknown key `version`",
    );
    finds(&whole("id = ", "id = = "), "a.toml", "2", "");
}

#[test]
fn everything_wrong_is_found_at_once_and_in_order() {
    let first = grant("same", "tools = [\"x\"]\nmask = {}") + &grant("other", "tolls = []");
    let found = errors(&[
        ("b.cedar", "permit (principal, action, resource);"),
        ("a.toml", &first),
        ("c.toml", &grant("twice", "tools = [\"read_*\"]")),
        ("d.toml", &grant("twice", "tools = [\"read_*\"]")),
    ]);
    let places: Vec<_> = found
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "policy/a.toml:7",
            "policy/a.toml:13",
            "policy/b.cedar:1",
            "policy/d.toml:1"
        ]
    );
    assert!(found.contains("policy/c.toml:1"), "{found}");
}

#[test]
fn wrong_guardrails_name_file_line_and_reason() {
    for (text, line, word) in [
        (
            "\npermit (principal, action, resource);",
            "2",
            "only forbids",
        ),
        (
            "\nforbid (principal == ?principal, action, resource);",
            "2",
            "slots",
        ),
        (
            "\nforbid (principal, action, resource)\nwhen { resource.naem == \"x\" };",
            "3",
            "naem",
        ),
        (
            "\nforbid (principal, action, resource)\nwhen { resource.getTag(\"risk\") == \"high\" };",
            "3",
            "tag",
        ),
        (
            "\nforbid (principal, action, resource)\nwhen { context.secret };",
            "3",
            "secret",
        ),
        (
            "\nforbid (principal, action, resource)\nwhen { context.ttl_seconds == \"1\" };",
            "3",
            "",
        ),
        (
            "\nforbid (principal, action == Action::\"cal\", resource);",
            "2",
            "cal",
        ),
        (
            "\nforbid (principal, action, resource)\nwhen { resource is Toll };",
            "3",
            "Toll",
        ),
        ("\n\nforbid (principal, action, resource) when { ", "3", ""),
        (
            "\nforbid (principal, action, resource) when { false };",
            "2",
            "never apply",
        ),
        (
            "\nforbid (principal, action == Action::\"call\", resource is Prompt);",
            "2",
            "never apply",
        ),
        (
            "\n@id(\"a b\")\nforbid (principal, action, resource);",
            "2",
            "@id",
        ),
        (
            "@id(\"a\") forbid (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
            "2",
            "same",
        ),
        (
            "\nforbid (principal == Agent::\"Research Bot\", action, resource);",
            "2",
            "not an agent id",
        ),
        (
            "\nforbid (principal in Group::\"A\", action, resource);",
            "2",
            "not a group",
        ),
        (
            "\nforbid (principal, action, resource == Tool::\"transfer\");",
            "2",
            "a space and a name",
        ),
        (
            "\nforbid (principal, action, resource in Server::\"ledger\");",
            "2",
            "canonical URI",
        ),
        (
            "\nforbid (principal, action, resource in Server::\"https://ledger-alias.example/mcp\");",
            "2",
            "alias",
        ),
        (
            "\nforbid (principal, action, resource == ResourceTree::\"https://ledger.example/mcp file:///srv\");",
            "2",
            "root",
        ),
        (
            "\nforbid (principal, action, resource in GrantedTree::\"file:///srv\");",
            "2",
            "root",
        ),
    ] {
        finds(text, "b.cedar", line, word);
    }
}

#[test]
fn the_example_is_all_comment_and_holds_once_uncommented() {
    assert!(EXAMPLE_GRANTS.lines().all(|line| line.starts_with('#')));
    let uncommented: String = EXAMPLE_GRANTS
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .or_else(|| line.strip_prefix('#'))
                .unwrap()
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(set(&[("example.toml", EXAMPLE_GRANTS)]).grants().len(), 0);
    let set = PolicySet::from_files(files(&[("example.toml", &uncommented)]), &catalogue())
        .map(|(set, _)| set);
    assert_eq!(set.unwrap().grants().len(), 3);
}

#[test]
fn a_written_grant_reads_back_the_same() {
    let body = r#"tools = ["transfer", "read_*", "export"]
prompts = ["summary"]
resources = ["file:///srv/data/"]
closed_arguments = ["transfer"]
read_only = true
pin = ["/customer_id"]
[grant.constraints.transfer]
"/amount" = { min = -1, max = 100 }
"/currency" = { in = ["EUR", "C\"H\nF"] }
[grant.constraints."ex*"]
"/path" = { under = "/srv/data" }
"/url" = { host = ["api.example.com"] }
"#;
    let before = set(&[("a.toml", &grant("g", body))]);
    let (first, ..) = before.grants().next().unwrap();
    let mut second: Grant = first.clone();
    second.id = "h".parse().unwrap();
    second.agents = vec!["group:research".parse().unwrap(), "bot".parse().unwrap()];
    second.server = crate::policy::LEDGER.parse().unwrap();
    let text = grant_toml(first).unwrap() + "\n" + &grant_toml(&second).unwrap();
    let after = set(&[("a.toml", &text)]);
    let read: Vec<_> = after.grants().map(|(grant, ..)| grant.clone()).collect();
    assert_eq!(read, [first.clone(), second]);
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy");
    std::fs::create_dir(&policy).unwrap();
    let write = |name: &str, text: &str| std::fs::write(policy.join(name), text).unwrap();
    write("b.toml", &grant("second", "tools = [\"read_*\"]"));
    write("a.toml", &grant("first", "tools = [\"read_*\"]"));
    write(
        "risk.cedar",
        "@id(\"x\") forbid (principal, action, resource);",
    );
    write("hallpass.cedarschema", SCHEMA);
    let (set, warnings) = PolicySet::load(&policy, &catalogue()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let grants: Vec<_> = set
        .grants()
        .map(|(grant, file, line)| format!("{} {file}:{line}", grant.id))
        .collect();
    assert_eq!(grants, ["first policy/a.toml:1", "second policy/b.toml:1"]);
    assert_eq!(
        set.guardrails().collect::<Vec<_>>(),
        [("x", "policy/risk.cedar", 1)]
    );

    let digest = set.digest();
    write("risk.ceder", "");
    write("hallpass.cedarschema", "entity Agent;");
    let (set, warnings) = PolicySet::load(&policy, &catalogue()).unwrap();
    assert_eq!(set.digest(), digest);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    write("b.toml", &grant("third", "tools = [\"read_*\"]"));
    assert_ne!(
        PolicySet::load(&policy, &catalogue()).unwrap().0.digest(),
        digest
    );

    std::fs::write(policy.join("c.toml"), [0xff, 0xfe]).unwrap();
    assert!(
        PolicySet::load(&policy, &catalogue())
            .unwrap_err()
            .to_string()
            .starts_with("policy/c.toml: ")
    );
    assert!(PolicySet::load(&dir.path().join("gone"), &catalogue()).is_err());
}

#[test]
fn what_does_nothing_yet_is_a_warning_with_its_place() {
    let other = grant("other", "tools = [\"x\"]").replace("\"ledger\"", "\"later\"");
    let alias = grant("alias", "tools = [\"x\"]")
        .replace("\"ledger\"", "\"https://ledger-alias.example/mcp\"");
    let names = grant(
        "names",
        "tools = [\"gone_*\"]\nprompts = [\"gone\"]\nresources = [\"file:///etc\"]",
    );
    let guardrail = "forbid (principal, action, resource in Server::\"https://later.example/mcp\");\n\
                     forbid (principal, action, resource == Tool::\"https://ledger.example/mcp transferr\");";
    let (_, warnings) = PolicySet::from_files(
        files(&[
            ("a.toml", &other),
            ("b.toml", &alias),
            ("c.toml", &names),
            ("d.cedar", guardrail),
        ]),
        &catalogue(),
    )
    .unwrap();
    let places: Vec<_> = warnings.iter().map(|warning| warning.to_string()).collect();
    for (place, word) in [
        ("policy/a.toml:4", "not registered"),
        ("policy/b.toml:4", "alias"),
        ("policy/c.toml:1", "gone_*"),
        ("policy/c.toml:1", "prompt"),
        ("policy/c.toml:1", "file:///etc"),
        ("policy/d.cedar:1", "not registered"),
        ("policy/d.cedar:2", "manifest"),
    ] {
        assert!(
            places
                .iter()
                .any(|warning| warning.starts_with(place) && warning.contains(word)),
            "{place} {word} {places:?}"
        );
    }
    assert_eq!(places.len(), 7);
}
