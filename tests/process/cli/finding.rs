//! Commands find the broker: by flags, by variables, by its configuration file; and say what is wrong where they do not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use support::workspace::Workspace;

/// A broker, and what it had written when it served.
struct Broker {
    child: Child,
    said: Vec<String>,
}

impl Broker {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("it did not start: {said:?}"));
            let line = line.unwrap();
            if line.contains("serving") {
                break;
            }
            said.push(line);
        }
        // Read on, so that it never blocks.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, said }
    }

    fn said(&self, text: &str) -> bool {
        self.said.iter().any(|line| line.contains(text))
    }

    /// The `export` lines.
    fn exports(&self) -> Vec<(&str, &str)> {
        let lines = self.said.iter().map(|line| line.trim());
        let lines = lines.filter_map(|line| line.strip_prefix("export "));
        lines.map(|line| line.split_once('=').unwrap()).collect()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn secret(home: &Workspace, name: &str, text: &str) {
    home.write(name, text);
    fs::set_permissions(home.path(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A private authority and a leaf of it for this machine: `ca.pem`, `leaf.pem`, `chain.pem` (leaf and authority) and
/// `leaf.key`, in `directory`.
fn authority(home: &Workspace, directory: &str) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "authority");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertifiedIssuer::self_signed(ca, ca_key).unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&leaf_key, &ca).unwrap();
    let at = |name: &str| format!("{directory}/{name}");
    home.write(&at("ca.pem"), &ca.pem());
    secret(home, &at("ca.key"), &ca.key().serialize_pem());
    home.write(&at("leaf.pem"), &leaf.pem());
    home.write(&at("chain.pem"), &format!("{}{}", leaf.pem(), ca.pem()));
    secret(home, &at("leaf.key"), &leaf_key.serialize_pem());
}

#[test]
fn what_the_first_start_says_to_type_works_as_typed() {
    let tls = "[tls]\ncertificate = \"chain.pem\"\nprivate_key = \"leaf.key\"\n";
    let leaf = "[tls]\ncertificate = \"leaf.pem\"\nprivate_key = \"leaf.key\"\n";
    for (name, tls, flags, exported) in [
        ("hallpass.toml", "", &[][..], &[][..]),
        ("hallpass.toml", tls, &[], &[]),
        // Paths of certificates are relative to the file.
        (
            "etc/other.toml",
            tls,
            &["--config", "etc/other.toml"],
            &["HALLPASS_CONFIG"],
        ),
        (
            "hallpass.toml",
            tls,
            &["--data-dir", "./its data"],
            &["HALLPASS_OPERATOR_TOKEN_FILE"],
        ),
        (
            "hallpass.toml",
            leaf,
            &["--listen", "127.0.0.1:0"],
            &["HALLPASS_BROKER", "HALLPASS_CA_FILE"],
        ),
    ] {
        let home = Workspace::new();
        fs::create_dir(home.path("etc")).unwrap();
        authority(&home, if name.contains("etc") { "etc" } else { "." });
        let port = free_port();
        let top = format!(
            "listen = \"127.0.0.1:{port}\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"./elsewhere\"\n"
        );
        home.write(name, &format!("{top}{tls}"));
        let broker = Broker::start(&mut home.command(&[&["serve"][..], flags].concat()));
        let exports = broker.exports();
        let names: Vec<_> = exports.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, exported, "{:?}", broker.said);
        // As a shell reads it.
        let mut typed = Command::new("sh");
        let script = broker
            .said
            .iter()
            .filter(|line| line.trim().starts_with("export "))
            .map(|line| format!("{}\n", line.trim()))
            .collect::<String>();
        let hallpass = home.command(&[]);
        let script = match exports.iter().any(|(name, _)| *name == "HALLPASS_CA_FILE") {
            // Nothing tells the broker where its authority's certificate is.
            true => format!("{script}export HALLPASS_CA_FILE=ca.pem\n"),
            false => script,
        };
        typed
            .args([
                "-c",
                &format!(
                    "{script}exec {} agent list",
                    hallpass.get_program().to_str().unwrap()
                ),
            ])
            .current_dir(home.path("."))
            .env_clear();
        let ran = typed.output().unwrap();
        let err = String::from_utf8(ran.stderr).unwrap();
        assert!(
            ran.status.success() && err.contains("no agents"),
            "{exported:?}: {err}"
        );
    }
}

#[test]
fn a_configuration_that_merely_lies_there_names_no_broker_elsewhere() {
    let home = Workspace::new();
    home.write("hallpass.toml", "issuer = \"https://broker.invalid\"\n");
    let list = |more: &[&str]| {
        let ran = home
            .command(&[&["agent", "list"][..], more].concat())
            .env("HALLPASS_OPERATOR_TOKEN", "secret-token")
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(1));
        String::from_utf8(ran.stderr).unwrap()
    };
    let err = list(&[]);
    assert!(
        err.contains("is not this machine") && err.contains("--config hallpass.toml"),
        "{err}"
    );
    let err = list(&["--config", "hallpass.toml"]);
    assert!(
        err.contains("cannot reach the broker at https://broker.invalid"),
        "{err}"
    );
}

#[test]
fn a_token_comes_from_one_place() {
    let home = Workspace::serving();
    let list = |variables: &[(&str, &str)]| {
        let mut command = home.command(&["agent", "list"]);
        let ran = command.envs(variables.iter().copied()).output().unwrap();
        (
            ran.status.code().unwrap(),
            String::from_utf8(ran.stderr).unwrap(),
        )
    };
    let file = ("HALLPASS_OPERATOR_TOKEN_FILE", "moved/operator.token");
    fs::create_dir(home.path("moved")).unwrap();
    fs::rename(home.path("hallpass-data/operator.token"), home.path(file.1)).unwrap();
    assert_eq!(list(&[]).0, 1);
    assert_eq!(list(&[file]).0, 0);
    let (code, err) = list(&[file, ("HALLPASS_OPERATOR_TOKEN", "other")]);
    assert!(code == 2 && err.contains("unset one of them"), "{err}");
}

#[test]
fn what_keeps_tls_from_working_is_said_with_a_way_out() {
    let mut home = Workspace::new();
    authority(&home, ".");
    let tls = |certificate, key| ["--tls-certificate", certificate, "--tls-private-key", key];
    home.start_with(&tls("leaf.pem", "leaf.key"));
    let list = ["agent", "list"];
    let ran = home.run(&list);
    assert!(
        ran.code == 1 && ran.err.contains("HALLPASS_CA_FILE"),
        "{}",
        ran.err
    );
    let trusting = home
        .command(&list)
        .env("HALLPASS_CA_FILE", "ca.pem")
        .output()
        .unwrap();
    assert!(trusting.status.success());
    let plain = home.url().replace("https://", "http://");
    let other_name = home.url().replace("127.0.0.1", "localhost");
    let ran = home.run(&[
        "agent",
        "list",
        "--ca-file",
        "ca.pem",
        "--broker",
        &other_name,
    ]);
    assert!(
        ran.code == 1 && ran.err.contains("subjectAltName"),
        "{}",
        ran.err
    );
    let ran = home.run(&["agent", "list", "--broker", &plain]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    home.stop();

    home.start_with(&tls("ca.pem", "ca.key"));
    let ran = home.run(&["agent", "list", "--ca-file", "ca.pem"]);
    assert!(
        ran.code == 1 && ran.err.contains("certificate of an authority"),
        "{}",
        ran.err
    );
    home.stop();

    home.start();
    let secure = home.url().replace("http://", "https://");
    let ran = home.run(&["agent", "list", "--broker", &secure]);
    assert!(
        ran.code == 1 && ran.err.contains("begins with http://"),
        "{}",
        ran.err
    );
}

#[test]
fn a_configuration_is_checked_with_its_certificate() {
    let home = Workspace::new();
    authority(&home, ".");
    let check = |certificate| {
        let tls = [
            "--tls-certificate",
            certificate,
            "--tls-private-key",
            "leaf.key",
        ];
        home.run(&[&["serve", "--check-config"][..], &tls].concat())
    };
    assert_eq!(check("leaf.pem").code, 0);
    for bad in ["absent.pem", "ca.pem"] {
        let ran = check(bad);
        assert!(ran.code == 1 && ran.err.contains(bad), "{bad}: {}", ran.err);
    }
}

#[test]
fn a_first_start_for_machines_is_one_event_more() {
    let home = Workspace::new();
    let any = [
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ];
    let serve = [&["serve"][..], &any].concat();
    let first = Broker::start(&mut home.command(&serve));
    let events: Vec<serde_json::Value> = first
        .said
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let event = events
        .iter()
        .find(|event| event.get("operator_token_file").is_some())
        .unwrap();
    assert_eq!(
        event["operator_token_file"],
        "./hallpass-data/operator.token"
    );
    assert_eq!(event["keys"], "./hallpass-data/keys");
    drop(first);
    assert!(!Broker::start(&mut home.command(&serve)).said("operator_token_file"));
}

#[test]
fn odd_variables_are_warned_about_and_stop_nothing() {
    let home = Workspace::new();
    let serve = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let mut command = home.command(&serve);
    command
        .env("HALLPASS_LIMITS_BODYBYTES", "not-to-be-logged")
        .env("HALLPASS_PORT", "tcp://10.0.0.1:7400")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let broker = Broker::start(&mut command);
    assert!(
        broker.said("HALLPASS_LIMITS_BODYBYTES"),
        "{:?}",
        broker.said
    );
    assert!(!broker.said("HALLPASS_PORT") && !broker.said("not-to-be-logged"));
    assert!(broker.said("telemetry is not sent") && broker.said("OTEL_EXPORTER_OTLP_PROTOCOL"));
}

#[test]
fn a_hang_up_before_anything_is_read_does_not_end_the_broker() {
    let home = Workspace::new();
    // Whoever opens it for writing waits until it is opened for reading.
    let (name, listen) = (
        "late.toml",
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n",
    );
    let made = Command::new("mkfifo")
        .arg(home.path(name))
        .status()
        .unwrap();
    assert!(made.success());
    let mut serve = home.command(&["serve", "--config", name]);
    let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
    let mut config = fs::OpenOptions::new()
        .write(true)
        .open(home.path(name))
        .unwrap();
    let hang_up = Command::new("kill")
        .args(["-HUP", &child.id().to_string()])
        .status();
    assert!(hang_up.unwrap().success());
    config.write_all(listen.as_bytes()).unwrap();
    drop(config);
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(
        lines.any(|line| line.contains("serving")),
        "it ended before it served"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
