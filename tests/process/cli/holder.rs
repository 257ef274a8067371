//! Bound passes from the command line: asked for, handed on, proven, and explained hop by hop.

use hallpass_broker::identity::AgentKey;
use hallpass_core::base::{holder::HolderKey, json as strict};
use serde_json::Value;

use support::workspace::{KEY, Workspace, mode, text};

const SERVER: &str = "https://ledger.example/mcp";

fn bound(home: &Workspace, more: &[&str]) -> Value {
    home.pass_with(&[&["--bound"], more].concat())
}

#[test]
fn a_bound_pass_is_handed_on_used_with_the_delegates_key_and_explained() {
    let home = Workspace::serving();
    home.register_all();
    let pass = bound(&home, &["--max-delegations", "1"]);
    assert_eq!(text(&pass, "/token_type"), "DPoP");
    let public = home.json(&["agent", "key", "summariser", "--key-out", "summariser.key"]);
    assert_eq!(mode(&home.path("summariser.key")), 0o600);
    home.write("summariser.jwk", &public.to_string());
    let handed = home.json(&[
        "token",
        "delegate",
        text(&pass, "/token"),
        "--key",
        KEY,
        "--to",
        "summariser",
        "--to-key",
        "summariser.jwk",
        "--server",
        SERVER,
        "--tool",
        "other_tool",
        "--ttl",
        "1m",
    ]);
    let token = text(&handed, "/token");

    let summary = home.json(&["token", "inspect", token]);
    assert_eq!(text(&summary, "/blocks/1/delegation/from"), "research-bot");
    assert_eq!(text(&summary, "/blocks/1/delegation/to"), "summariser");
    assert_eq!(
        text(&summary, "/blocks/1/delegation/key"),
        HolderKey::from_jwk(&public).unwrap().thumbprint()
    );
    assert_eq!(
        summary["left"]["rights"].as_array().unwrap().len(),
        0,
        "{summary}"
    );
    assert_eq!(summary["left"]["delegations"], 0);

    // Reported, it is told apart by its key: asserted before the agent is registered, known after.
    let report = [
        "task",
        "delegations",
        "report",
        text(&pass, "/task_id"),
        "--as",
        KEY,
        "--token",
        token,
    ];
    let asserted = home.json(&report);
    assert_eq!(text(&asserted, "/asserted_delegate"), "summariser");
    assert!(asserted.pointer("/registered_delegate").is_none());
    home.ok(&[
        "agent",
        "add",
        "summary-bot",
        "--steward",
        "bob",
        "--key",
        "summariser.jwk",
    ]);
    let known = home.json(&report);
    assert_eq!(text(&known, "/registered_delegate"), "summary-bot");

    let pin = home.json(&["keys", "show-pin"]);
    let feed_key = text(&pin, "/feed_key");
    let verify = |token: &str, more: &[&str]| {
        let mut arguments = vec![
            "token",
            "verify",
            token,
            "--server",
            "ledger",
            "--call",
            "tool:read_ledger",
            "--feed-key",
            feed_key,
        ];
        arguments.extend(more);
        home.run(&arguments)
    };
    let ran = verify(token, &["--key", "summariser.key", "--explain"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let sentence =
        "block 1 (delegated by `research-bot` to `summariser`) allows only tool `other_tool`";
    assert!(ran.out.contains(sentence), "{ran:?}");
    assert!(
        ran.err
            .contains("block 1, delegated by `research-bot` to `summariser`"),
        "{}",
        ran.err
    );
    let ran = verify(token, &["--key", "summariser.key", "--json"]);
    let refused: Value = strict::parse(ran.out.as_bytes(), 100_000).unwrap();
    assert_eq!(text(&refused, "/reasons/0/hop/to"), "summariser");
    assert_eq!(
        (
            text(&refused, "/reasons/0/code"),
            refused["reasons"][0]["block"].as_u64()
        ),
        ("not_granted", Some(1))
    );

    // The agent's own pass: with its key, with another's, with none.
    let own = text(&pass, "/token");
    assert_eq!(verify(own, &["--key", KEY]).code, 0);
    for (more, reason) in [
        (&["--key", "summariser.key"][..], "proof_key"),
        (&[][..], "proof_required"),
    ] {
        let ran = verify(own, more);
        assert!(ran.code == 3 && ran.out.contains(reason), "{ran:?}");
    }
}

#[test]
fn what_cannot_be_handed_on_says_why_and_what_to_do() {
    let home = Workspace::serving();
    home.register_all();
    let (pass, plain) = (bound(&home, &[]), home.pass());
    let public = home.json(&["agent", "key", "helper", "--key-out", "helper.key"]);
    home.write("helper.jwk", &public.to_string());
    home.write("broken.jwk", "{\"kty\":\"oct\",\"k\":\"AAAA\"}");
    let delegate = |token: &str, key: &str, to_key: &str, more: &[&str]| {
        let mut arguments = vec![
            "token", "delegate", token, "--key", key, "--to", "helper", "--to-key", to_key,
        ];
        arguments.extend(more);
        home.run(&arguments)
    };
    let bound = text(&pass, "/token");
    for (ran, words) in [
        (
            delegate(bound, KEY, "helper.jwk", &[]),
            "handed on 0 more times",
        ),
        (
            delegate(bound, "helper.key", "helper.jwk", &[]),
            "only its holder",
        ),
        (
            delegate(text(&plain, "/token"), KEY, "helper.jwk", &[]),
            "holder_key",
        ),
        (delegate(bound, KEY, "broken.jwk", &[]), "no public JWK"),
        (
            delegate(
                bound,
                KEY,
                "helper.jwk",
                &["--may-delegate", "1", "--use-only"],
            ),
            "cannot be used with",
        ),
    ] {
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    let ran = delegate("nonsense", KEY, "helper.jwk", &[]);
    assert!(
        ran.code == 3 && ran.err.contains("token_malformed"),
        "{ran:?}"
    );
    let open = [
        "task",
        "open",
        "--as",
        KEY,
        "--purpose",
        "x",
        "--server",
        "ledger",
        "--tool",
        "read_ledger",
        "--ttl",
        "5m",
    ];
    let ran = home.run(&[&open[..], &["--max-delegations", "1"]].concat());
    assert!(ran.code == 2 && ran.err.contains("--bound"), "{ran:?}");
    // A key file is never overwritten.
    assert_eq!(
        home.run(&["agent", "key", "helper", "--key-out", "helper.key"])
            .code,
        1
    );
}

#[test]
fn only_what_the_broker_signed_is_handed_on_and_a_saved_key_document_needs_no_network() {
    let mut home = Workspace::serving();
    home.register_all();
    let pass = bound(&home, &["--max-delegations", "1"]);
    let token = text(&pass, "/token");
    let public = home.json(&["agent", "key", "helper", "--key-out", "helper.key"]);
    home.write("helper.jwk", &public.to_string());
    let fetched = get(home.url(), "/v1/keys.json");
    home.write("keys.json", &fetched);
    let mut other: Value = strict::parse(fetched.as_bytes(), 100_000).unwrap();
    other["keys"][0]["key"] = other["feed_key"].clone();
    home.write("other.json", &other.to_string());
    let delegate = |home: &Workspace, token: &str, more: &[&str]| {
        let arguments = [
            "token",
            "delegate",
            token,
            "--key",
            KEY,
            "--to",
            "helper",
            "--to-key",
            "helper.jwk",
        ];
        home.run(&[&arguments[..], more].concat())
    };
    // A byte of block 0 changed: what its holder reads in it, and would sign over, is not what it is.
    let doctored = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
        let named = bytes
            .windows(11)
            .position(|bytes| bytes == b"read_ledger")
            .unwrap();
        bytes[named] = b'x';
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let saved = ["--key-document", "keys.json"];
    let refusals = [
        (delegate(&home, &doctored, &[]), "token_signature"),
        (delegate(&home, &doctored, &saved), "token_signature"),
        (
            delegate(&home, token, &["--key-document", "other.json"]),
            "token_signature",
        ),
    ];
    for (ran, reason) in refusals {
        assert!(
            ran.code == 3 && ran.err.contains(reason) && ran.out.is_empty(),
            "{reason}: {ran:?}"
        );
    }
    assert_eq!(
        delegate(&home, token, &["--key-document", "helper.jwk"]).code,
        1,
        "no key document"
    );
    let another = [&saved[..], &["--issuer", "https://other.example"]].concat();
    let ran = delegate(&home, token, &another);
    assert!(
        ran.code == 1 && ran.err.contains("is of the broker"),
        "{ran:?}"
    );
    assert_eq!(delegate(&home, token, &[]).code, 0);
    home.stop();
    assert_eq!(delegate(&home, token, &[]).code, 1, "nobody to ask");
    assert_eq!(delegate(&home, token, &saved).code, 0);
}

/// What a broker answers whoever asks without a credential.
fn get(url: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}

#[test]
fn a_proof_is_signed_for_one_request_and_names_the_call_when_told() {
    let home = Workspace::serving();
    home.register_all();
    let pass = bound(&home, &[]);
    let prove = [
        "token",
        "prove",
        text(&pass, "/token"),
        "--key",
        KEY,
        "--url",
        SERVER,
    ];
    let claims = |proof: &Value| -> Value {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let payload = text(proof, "/proof").split('.').nth(1).unwrap().to_owned();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };
    let plain = claims(&home.json(&prove));
    assert_eq!(
        (text(&plain, "/htm"), text(&plain, "/htu")),
        ("POST", SERVER)
    );
    assert!(plain.get("hallpass_call").is_none());
    let called = home.json(
        &[
            &prove[..],
            &["--call", "tool:transfer", "--arguments", "{\"amount\":10}"],
        ]
        .concat(),
    );
    assert_eq!(text(&claims(&called), "/hallpass_call").len(), 43);
    assert!(AgentKey::read(&home.path(KEY)).is_ok());
    let inexact = [
        &prove[..],
        &[
            "--call",
            "tool:transfer",
            "--arguments",
            "{\"amount\":9007199254740993}",
        ],
    ]
    .concat();
    let ran = home.run(&inexact);
    assert!(ran.code == 2 && ran.err.contains("not exact"), "{ran:?}");
}

#[test]
fn a_grant_that_requires_proof_is_written_by_a_flag_and_refuses_a_bearer() {
    let home = Workspace::serving();
    home.register_all();
    home.ok(&[
        "policy",
        "grant",
        "--id",
        "proven",
        "--agents",
        "*",
        "--server",
        "ledger",
        "--tools",
        "transfer",
        "--max-ttl",
        "1m",
        "--require-call-proof",
    ]);
    let open = [
        "task",
        "open",
        "--as",
        KEY,
        "--purpose",
        "x",
        "--server",
        "ledger",
        "--tool",
        "transfer",
        "--ttl",
        "1m",
    ];
    let ran = home.run(&open);
    assert!(ran.code == 3 && ran.err.contains("holder_key"), "{ran:?}");
    assert_eq!(
        text(
            &home.json(&[&open[..], &["--bound"]].concat()),
            "/token_type"
        ),
        "DPoP"
    );
}

#[test]
fn an_agent_names_its_servers_with_nothing_but_its_key() {
    let home = Workspace::serving();
    home.register_all();
    home.ok(&[
        "agent",
        "add",
        "stranger",
        "--steward",
        "alice",
        "--key-out",
        "stranger.key",
    ]);
    std::fs::remove_file(home.path("hallpass-data/operator.token")).unwrap();
    let pass = home.pass();
    home.ok(&[
        "task",
        "token",
        text(&pass, "/task_id"),
        "--as",
        KEY,
        "--server",
        "ledger",
        "--tool",
        "read_ledger",
    ]);
    let open = |key, server| {
        let wants = [
            "--purpose",
            "x",
            "--ttl",
            "5m",
            "--tool",
            "read_ledger",
            "--server",
            server,
        ];
        home.run(&[&["task", "open", "--as", key][..], &wants].concat())
    };
    // What no grant speaks of for it, an agent cannot tell from what there is not.
    let (unspoken, absent) = (
        open("stranger.key", "ledger"),
        open("stranger.key", "legder"),
    );
    for (ran, name) in [(&unspoken, "ledger"), (&absent, "legder")] {
        assert_eq!(ran.code, 1, "{ran:?}");
        let expected = format!("no grant speaks of this agent at a server with the name `{name}`");
        assert!(ran.err.contains(&expected), "{}", ran.err);
    }
}
