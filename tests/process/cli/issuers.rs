//! Trusted issuers as an operator sets them up: in the settings, with people and workloads.

use hallpass_core::base::time::{Clock as _, SystemClock};
use serde_json::{Value, json};

use support::idp::{Idp, SigningKey};
use support::workspace::{KEY, Workspace};

#[tokio::test(flavor = "multi_thread")]
async fn what_the_settings_trust_opens_tasks_for_people_and_workloads() {
    let key = SigningKey::p256("one");
    let idp = Idp::start(&[&key]).await;
    let mut home = Workspace::new();
    home.write("hallpass.toml", &settings(idp.issuer()));
    let effective = home.ok(&["serve", "--check-config"]);
    assert!(
        effective.contains("oauth.issuer") && effective.contains(idp.issuer()),
        "{effective}"
    );
    tokio::task::block_in_place(|| {
        home.start();
        home.register_all();
        home.ok(&[
            "agent",
            "add",
            "deploy-bot",
            "--steward",
            "bob",
            "--group",
            "research",
            "--workload",
        ]);
        let keyless = home.run(&[
            "agent",
            "add",
            "other-bot",
            "--steward",
            "bob",
            "--workload",
        ]);
        assert!(
            keyless.code == 1 && keyless.err.contains("[[oauth.issuer]]"),
            "{}",
            keyless.err
        );
        let carol = home.json(&[
            "steward",
            "add",
            "Carol",
            "--identity",
            idp.issuer(),
            "00u1",
        ]);
        assert_eq!(carol["identified_by"], json!([idp.issuer()]));
        let token = key.sign(
            Some("JWT"),
            &claims(idp.issuer(), json!({"sub": "00u1", "aud": "web-app"})),
        );
        let open = [
            "task",
            "open",
            "--as",
            KEY,
            "--purpose",
            "p",
            "--ttl",
            "1m",
            "--server",
            "ledger",
        ];
        let open = [
            &open[..],
            &["--tool", "read_ledger", "--subject-token", "-", "--json"],
        ]
        .concat();
        let opened = home.run_with(&token, &open);
        assert_eq!(opened.code, 0, "{}", opened.err);
        let opened: Value = serde_json::from_str(&opened.out).unwrap();
        let task = home.json(&["task", "show", opened["task_id"].as_str().unwrap()]);
        assert_eq!(
            (&task["steward"], &task["steward_verified_by"]),
            (&carol["steward"], &json!(idp.issuer()))
        );
        home.ok(&["steward", "unlink", "Carol"]);
        assert_eq!(home.run_with(&token, &open).code, 3);
    });
    let proof = key.sign(
        None,
        &claims(
            idp.issuer(),
            json!({"sub": "ns:prod:deploy", "aud": home.url()}),
        ),
    );
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &proof),
        ("resource", "https://ledger.example/mcp"),
        ("scope", "tool:read_ledger"),
    ];
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .post(format!("{}/oauth/token", home.url()))
        .form(&form)
        .send()
        .await
        .unwrap();
    assert_eq!(
        answer.status().as_u16(),
        200,
        "{}",
        answer.text().await.unwrap()
    );
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["scope"], "tool:read_ledger");
    tokio::task::block_in_place(|| home.stop());
}

/// Otherwise nobody could write the pattern.
#[tokio::test(flavor = "multi_thread")]
async fn the_subject_of_a_genuine_token_that_fits_no_pattern_is_logged() {
    let (key, forger) = (SigningKey::p256("one"), SigningKey::p256("one"));
    let idp = Idp::start(&[&key]).await;
    let mut home = Workspace::new();
    home.write("hallpass.toml", &settings(idp.issuer()));
    let log = tokio::task::block_in_place(|| home.start_logging());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (signer, subject) in [
        (&forger, "ns:forged:deploy:x"),
        (&key, "ns:prod@42:deploy:x"),
    ] {
        let more = json!({"sub": subject, "aud": home.url()});
        let proof = signer.sign(None, &claims(idp.issuer(), more));
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &proof),
            ("resource", "https://ledger.example/mcp"),
        ];
        let token = format!("{}/oauth/token", home.url());
        let answer = client.post(token).form(&form).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 400);
    }
    tokio::task::block_in_place(|| home.stop());
    let lines: Vec<String> = log.into_iter().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("ns:prod@42:deploy:x"))
    );
    assert!(
        !lines.iter().any(|line| line.contains("ns:forged")),
        "{lines:?}"
    );
}

fn settings(issuer: &str) -> String {
    format!(
        "[oauth]\ndangerous_fetch_loopback = true\n\n\
         [[oauth.issuer]]\nissuer = \"{issuer}\"\nkinds = [\"id_token\", \"workload\"]\nclient_ids = [\"web-app\"]\n\n\
         [oauth.issuer.subjects]\n\"ns:*:deploy\" = \"deploy-bot\"\n"
    )
}

fn claims(issuer: &str, more: Value) -> Value {
    let now = SystemClock::default().now().unix_seconds();
    let mut claims = json!({"iss": issuer, "iat": now, "exp": now + 300});
    claims
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    claims
}
