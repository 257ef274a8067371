//! Configuration: layers, origins, and every way in which it is refused.

use std::{path::PathBuf, time::Duration};

use hallpass::server::config::{
    Config, ConfigError, LogFormat, Origin, Overrides, SETTINGS, reference,
};

fn load(file: &str) -> Result<Config, ConfigError> {
    load_with(file, &[], |overrides| overrides)
}

fn load_with(
    file: &str,
    environment: &[(&str, &str)],
    overrides: impl FnOnce(Overrides) -> Overrides,
) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hallpass.toml");
    std::fs::write(&path, file).unwrap();
    let overrides = overrides(Overrides::new(Some(path)));
    Config::load(&overrides, &|name| {
        environment
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

fn refusal(file: &str) -> String {
    let text = load(file).unwrap_err().to_string();
    // The name without its temporary directory.
    let directory = std::env::temp_dir();
    let words = text.split(' ').map(|word| {
        let bare = word.trim_start_matches('(');
        if bare.starts_with(directory.to_str().unwrap()) {
            word.replace(bare, "FILE")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn value_of(config: &Config, key: &str) -> (String, Origin) {
    let effective = config
        .effective()
        .iter()
        .find(|effective| effective.key == key)
        .unwrap();
    (effective.value.clone(), effective.origin.clone())
}

#[test]
fn nothing_configured_is_a_broker_on_loopback() {
    let config = Config::load(&Overrides::default(), &|_| None).unwrap();
    assert_eq!(config.listen, "127.0.0.1:7400".parse().unwrap());
    assert_eq!(config.admin_listen, "127.0.0.1:7401".parse().unwrap());
    assert_eq!(config.data_dir, PathBuf::from("./hallpass-data"));
    assert_eq!(config.policy_dir, PathBuf::from("./policy"));
    assert_eq!(
        config.issuer(config.listen).unwrap().as_str(),
        "http://127.0.0.1:7400"
    );
    assert_eq!(
        (config.tls.is_none(), config.admin_uses_tls()),
        (true, false)
    );
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.effective().len(), SETTINGS.len());
    assert!(
        config
            .effective()
            .iter()
            .all(|effective| effective.origin == Origin::Default)
    );
}

#[test]
fn the_nearer_layer_wins_and_each_value_knows_its_origin() {
    let file = "listen = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n\n[limits]\nbody_bytes = 2048\nburst = 7\n";
    let environment = [
        ("HALLPASS_LISTEN", "127.0.0.1:3"),
        ("HALLPASS_LIMITS_BURST", "8"),
        ("HALLPASS_ADMIN_LISTEN", ""),
    ];
    let overrides = |overrides: Overrides| overrides.flag("--listen", Some("127.0.0.1:4"));
    let config = load_with(file, &environment, overrides).unwrap();
    assert_eq!(config.listen.port(), 4);
    assert_eq!(value_of(&config, "listen").1, Origin::Flag("--listen"));
    assert_eq!(config.admin_listen.port(), 2);
    assert_eq!(config.limits.burst.get(), 8);
    assert_eq!(
        value_of(&config, "limits.burst").1,
        Origin::Environment("HALLPASS_LIMITS_BURST".into())
    );
    let (value, origin) = value_of(&config, "limits.body_bytes");
    assert_eq!(value, "2048");
    assert!(matches!(origin, Origin::File { line: 5, .. }), "{origin}");
    assert_eq!(
        value_of(&config, "issuer"),
        ("(the URL of `listen`)".into(), Origin::Default)
    );
}

#[test]
fn the_environment_names_another_file_which_must_exist() {
    let missing = Config::load(&Overrides::default(), &|name| {
        (name == "HALLPASS_CONFIG").then(|| "/nonexistent/hallpass.toml".to_owned())
    });
    assert!(matches!(missing, Err(ConfigError::Unreadable { .. })));
}

#[test]
fn what_is_not_understood_is_refused_with_file_line_and_key() {
    let cases = [
        ("\ncolour = 1", "FILE line 2: unknown field `colour`"),
        (
            "[limits]\nbody_byte = 1",
            "FILE line 2: unknown field `body_byte`",
        ),
        (
            "\"limits.body_bytes\" = 4096",
            "FILE line 1: unknown field `limits.body_bytes`",
        ),
        (
            "[limits]\n\"body.bytes\" = 4096",
            "FILE line 2: unknown field `body.bytes`",
        ),
        ("[colours]\n", "FILE line 1: unknown field `colours`"),
        (
            "listen = 7400",
            "`listen` = `7400` (FILE line 1): expected a text in quotes",
        ),
        (
            "[limits]\n\nbody_bytes = \"2048\"",
            "`limits.body_bytes` = `\"2048\"` (FILE line 3): expected a whole number",
        ),
        (
            "dangerous_plain_http = 1",
            "`dangerous_plain_http` = `1` (FILE line 1): expected true or false",
        ),
        (
            "drain_timeout = 10",
            "`drain_timeout` = `10` (FILE line 1): expected a duration in quotes",
        ),
        (
            "drain_timeout = \"soon\"",
            "`drain_timeout` = `soon` (FILE line 1): expected a duration of",
        ),
        (
            "listen = \"localhost:7400\"",
            "expected an IP address and a port",
        ),
        ("issuer = \"https://Broker.example/\"", "invalid issuer URI"),
        ("issuer = \"http://broker.example\"", "invalid issuer URI"),
        (
            "[limits]\nbody_bytes = 1023",
            "expected a whole number of 1024 to 67108864",
        ),
        (
            "[limits]\nbody_bytes = 67108865",
            "expected a whole number of 1024 to 67108864",
        ),
        (
            "[limits]\nburst = 0",
            "expected a whole number of 1 to 1000000",
        ),
        (
            "[limits]\nburst = -1",
            "expected a whole number of 1 to 1000000",
        ),
        (
            "[limits]\nmax_pass_ttl = \"25h\"",
            "expected a duration of 1s to 1day",
        ),
        (
            "[limits]\nmax_task_ttl = \"10m\"",
            "longer than `limits.max_task_ttl`",
        ),
        (
            "[keys]\nrotation_overlap = \"60s\"",
            "expected a duration of 1m 1s to 1day",
        ),
        (
            "[keys]\nrotate_after = \"1m\"",
            "expected a duration of 1m 1s to",
        ),
        (
            "[keys]\nrotate_after = \"soon\"",
            "`keys.rotate_after` = `soon`",
        ),
        (
            "[keys]\nrotate_after = \"2m\"",
            "not longer than `keys.rotation_overlap`",
        ),
        ("[keys]\npassphrase_file = \"\"", "expected a path"),
        (
            "[keys]\npassphrase = \"secret\"",
            "unknown field `passphrase`",
        ),
        ("[log]\nformat = \"xml\"", "expected text or json"),
        (
            "[log]\nfilter = \"hallpass=loud\"",
            "`log.filter` = `hallpass=loud`",
        ),
        ("data_dir = \"\"", "expected a path"),
        (
            "listen = \"127.0.0.1:7401\"",
            "the same address as `listen`",
        ),
        ("[tls]\ncertificate = \"a.pem\"", "go together"),
        ("[tls]\nprivate_key = \"a.key\"", "go together"),
        (
            "dangerous_plain_http = true\n[tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"",
            "contradicts `tls`",
        ),
        (
            "listen = \"0.0.0.0:7400\"\nissuer = \"https://broker.example\"",
            "plain http beyond loopback",
        ),
        (
            "admin_listen = \"0.0.0.0:7401\"",
            "plain http beyond loopback",
        ),
        (
            "listen = \"0.0.0.0:7400\"\ndangerous_plain_http = true",
            "set `issuer`",
        ),
        (
            "listen = \"10.0.0.1:7400\"\ndangerous_plain_http = true\nissuer = \"http://127.0.0.1:7400\"",
            "names this machine only",
        ),
        ("listen = 1\nlisten = 2", "FILE line 2"),
        ("listen", "FILE line 1"),
    ];
    for (file, expected) in cases {
        let refusal = refusal(file);
        assert!(
            refusal.contains(expected),
            "{file}\n{refusal}\nlacks: {expected}"
        );
    }
}

#[test]
fn every_problem_is_told_at_once() {
    let error = load("listen = \"here\"\n[limits]\nburst = 0\nbody_bytes = 0").unwrap_err();
    assert!(
        matches!(&error, ConfigError::Values(problems) if problems.len() == 3),
        "{error}"
    );
}

#[test]
fn a_public_broker_has_tls_or_says_that_it_has_none() {
    let tls = "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"";
    let config = load(&format!(
        "listen = \"192.0.2.1:443\"\nadmin_listen = \"0.0.0.0:9\"\n{tls}"
    ))
    .unwrap();
    assert_eq!(
        config.issuer(config.listen).unwrap().as_str(),
        "https://192.0.2.1"
    );
    assert!(config.admin_uses_tls());
    let config = load(
        "listen = \"[::]:7400\"\ndangerous_plain_http = true\nissuer = \"https://broker.example\"",
    )
    .unwrap();
    assert_eq!(
        config.issuer(config.listen).unwrap().as_str(),
        "https://broker.example"
    );
}

#[test]
fn the_issuer_of_a_free_port_is_known_once_it_is_bound() {
    let config = load("listen = \"[::1]:0\"").unwrap();
    assert_eq!(
        config
            .issuer("[::1]:5000".parse().unwrap())
            .unwrap()
            .as_str(),
        "http://[::1]:5000"
    );
    assert!(matches!(
        config.issuer("0.0.0.0:5000".parse().unwrap()),
        Err(ConfigError::NoIssuer(_))
    ));
    assert_eq!(config.limits.request_timeout, Duration::from_secs(10));
}

#[test]
fn the_reference_page_is_up_to_date_and_its_example_is_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == reference(),
        "docs/configuration.md has drifted: run UPDATE=1 cargo test --test server config"
    );
    let example = page
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let config = load(example).unwrap();
    assert_eq!(config.limits.max_pass_ttl, Duration::from_secs(900));
}

#[test]
fn the_lifetime_of_tokens_that_nobody_chose_gives_way_to_that_of_tasks() {
    let short = "[limits]\nmax_task_ttl = \"2m\"\nmax_pass_ttl = \"1m\"\n";
    assert_eq!(
        load(short).unwrap().oauth.token_ttl,
        Duration::from_secs(120)
    );
    assert_eq!(load("").unwrap().oauth.token_ttl, Duration::from_secs(300));
    let chosen = refusal(&format!("{short}[oauth]\ntoken_ttl = \"5m\"\n"));
    assert!(
        chosen.contains("oauth.token_ttl") && chosen.contains("limits.max_task_ttl"),
        "{chosen}"
    );
}

#[test]
fn trusted_issuers_are_read_from_the_file_with_their_lines() {
    let good = "[oauth]\ntoken_ttl = \"2m\"\n\n[[oauth.issuer]]\nissuer = \"https://idp.example\"\nkinds = [\"id_jag\"]\n\n\
                [[oauth.issuer]]\nissuer = \"https://ci.example/\"\nkinds = [\"workload\"]\nnetworks = [\"10.96.0.0/12\"]\n\n\
                [oauth.issuer.subjects]\n\"repo:acme/*:main\" = \"deploy-bot\"\n";
    let config = load(good).unwrap();
    assert_eq!(config.oauth.token_ttl, Duration::from_secs(120));
    let issuers: Vec<_> = config
        .oauth
        .issuers
        .iter()
        .map(|issuer| issuer.issuer())
        .collect();
    assert_eq!(issuers, ["https://idp.example", "https://ci.example/"]);
    let shown: Vec<_> = config
        .effective()
        .iter()
        .filter(|effective| effective.key == "oauth.issuer")
        .collect();
    assert_eq!(
        shown
            .iter()
            .map(|shown| shown.value.as_str())
            .collect::<Vec<_>>(),
        issuers
    );
    let with = |issuer: &str| format!("[[oauth.issuer]]\n{issuer}\n");
    for (bad, said) in [
        (
            with("issuer = \"https://idp.example\"\nkinds = []"),
            "`kinds`",
        ),
        (
            with("issuer = \"https://idp.example\"\nkinds = [\"saml\"]"),
            "saml",
        ),
        (
            with("issuer = \"https://idp.example\"\nkinds = [\"id_jag\"]\nsecret = \"x\""),
            "secret",
        ),
        (with("kinds = [\"id_jag\"]"), "issuer"),
        (
            with("issuer = \"https://idp.example\"\nkinds = [\"workload\"]"),
            "`subjects`",
        ),
        (
            with(
                "issuer = \"https://idp.example\"\nkinds = [\"workload\"]\n[oauth.issuer.subjects]\nx = \"Bad Agent\"",
            ),
            "Bad Agent",
        ),
        (
            with("issuer = \"https://idp.example\"\nkinds = [\"id_jag\"]").repeat(2),
            "given twice",
        ),
        (
            format!(
                "issuer = \"https://broker.example\"\n{}",
                with(
                    "issuer = \"https://idp.example\"\nkinds = [\"id_token\"]\nclient_ids = [\"https://broker.example/\"]"
                )
            ),
            "own issuer",
        ),
        (
            "oauth.issuer = \"https://idp.example\"".to_owned(),
            "line 1",
        ),
    ] {
        let text = refusal(&bad);
        assert!(
            text.contains(said) && text.contains("line"),
            "{bad}: {text}"
        );
    }
}
