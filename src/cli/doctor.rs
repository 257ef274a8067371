//! `hallpass doctor`: what is wrong with this installation, and what to do about it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::{Value, json};

use crate::{
    cli::{
        access::Operator,
        client::{Bearer, Client, http_client},
        config_file::{ConfigFile, ConfigFlags},
        error::{CliError, Exit},
        output::{Output, View},
        session::Session,
    },
    server::config::Config,
};
use hallpass_broker::{
    OPERATOR_TOKEN_FILE, STEWARDS_FILE,
    policy::{Catalogue, PolicySet},
};
use hallpass_core::{
    base::{
        error::chain,
        secret_file::is_for_others,
        text,
        time::{Clock as _, SystemClock},
    },
    wire::{self, document::KeyDocument},
};

/// Look for what is wrong with this installation.
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the configuration, the data directory and the policy here, and at the broker at --broker.
Exit 1 when something is wrong. Changes nothing.")]
pub(super) struct Doctor {
    #[command(flatten)]
    flags: ConfigFlags,
    #[command(flatten)]
    operator: Operator,
}

/// One thing that was looked at.
struct Check {
    name: &'static str,
    state: State,
    detail: String,
    hint: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Check {
    fn new(name: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn from_error(name: &'static str, error: &CliError) -> Self {
        let check = Self::new(name, State::Failed, error.message());
        if error.hints().is_empty() {
            check
        } else {
            check.hint(error.hints().join("; "))
        }
    }
}

impl Doctor {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let mut checks = Vec::new();
        let file = self
            .operator
            .connection
            .config_file()
            .with_flags(self.flags.clone());
        let config = match file.load() {
            Ok(config) => {
                checks.push(Check::new(
                    "configuration",
                    State::Ok,
                    "every value is sound",
                ));
                Some(config)
            }
            Err(error) => {
                checks.push(Check::from_error("configuration", &error));
                None
            }
        };
        if let Some(config) = &config {
            checks.push(data_directory(&config.data_dir));
            checks.push(secrets(config));
            checks.push(policy(&config.policy_dir));
        }
        checks.extend(self.broker(&file, config.as_ref()).await);
        show(&checks, output)
    }

    async fn broker(&self, file: &ConfigFile, config: Option<&Config>) -> Vec<Check> {
        let client = match self.operator.connection.client_near(file) {
            Ok(client) => client,
            Err(error) => return vec![Check::from_error("broker", &error)],
        };
        let document = match client.get("/v1/keys.json", &[], &Bearer::NONE).await {
            Ok(document) => document,
            Err(error) => return vec![Check::from_error("broker", &error)],
        };
        let document = match wire::read::<KeyDocument>(document) {
            Ok(document) => document,
            Err(error) if error.is_newer() => {
                let detail = format!("{} is newer than this hallpass: {error}", client.base());
                let check = Check::new("broker", State::Failed, detail);
                return vec![check.hint("upgrade this hallpass")];
            }
            Err(_) => {
                let detail = format!("{} is no hallpass broker", client.base());
                return vec![Check::new("broker", State::Failed, detail)];
            }
        };
        let mut checks = vec![issuer(&client, &document), clock(&document)];
        checks.push(self.operator_token(&client, file).await);
        checks.extend(self.ready(&client, config).await);
        checks
    }

    async fn operator_token(&self, client: &Client, file: &ConfigFile) -> Check {
        let name = "operator token";
        let bearer = match self.operator.token_near(file).map(Bearer::new) {
            Ok(bearer) => bearer,
            Err(error) => {
                return Check {
                    state: State::Warning,
                    ..Check::from_error(name, &error)
                };
            }
        };
        match Session::new(client.clone(), bearer).policy().await {
            Ok(_) => Check::new(name, State::Ok, "the broker accepts it"),
            // A narrowed token is a sound one.
            Err(error) if error.exit() == Exit::Refused => Check::new(
                name,
                State::Ok,
                "the broker accepts it; it may not read the policy",
            ),
            Err(error) => Check::from_error(name, &error),
        }
    }

    async fn ready(&self, client: &Client, config: Option<&Config>) -> Option<Check> {
        let config = config?;
        let own = config.issuer(config.listen).ok()?;
        if !client.has_origin_of(&own) {
            return Some(Check::new(
                "readiness",
                State::Skipped,
                "the broker is not the one that is configured here",
            ));
        }
        let scheme = if config.admin_uses_tls() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}/readyz", config.admin_listen);
        let certificate = || config.tls.as_ref().map(|tls| tls.certificate.clone());
        let ca_file = self.operator.connection.ca_file().or_else(certificate);
        let http = http_client(
            &format!("{scheme}://{}", config.admin_listen),
            ca_file.as_ref(),
        )
        .ok()?;
        Some(match http.get(&url).timeout(TIMEOUT).send().await {
            Ok(answer) if answer.status().is_success() => {
                Check::new("readiness", State::Ok, "ready")
            }
            Ok(answer) => {
                let status = answer.status();
                let why = answer.text().await.unwrap_or_default();
                Check::new(
                    "readiness",
                    State::Failed,
                    format!("{url} answered {status}: {}", text::quote(why.trim())),
                )
            }
            .hint(
                "see the broker's log for the reason; after a journal failure, restart the broker",
            ),
            Err(error) => Check::new(
                "readiness",
                State::Failed,
                format!("{url}: {}", chain(&error)),
            ),
        })
    }
}

fn issuer(client: &Client, document: &KeyDocument) -> Check {
    let detail = format!("{} answers as {}", client.base(), document.iss);
    if client.has_origin_of(&document.iss) {
        return Check::new("broker", State::Ok, detail);
    }
    Check::new("broker", State::Warning, detail)
        .hint(format!("agents must say --issuer {}", document.iss))
}

fn clock(document: &KeyDocument) -> Check {
    let now = SystemClock::default().now();
    let apart = now.since(document.at).max(document.at.since(now));
    let detail = format!(
        "{} apart from the broker's",
        humantime::format_duration(apart)
    );
    let check = |state| Check::new("clock", state, detail.clone());
    match apart {
        apart if apart <= SOUND_DIFFERENCE => check(State::Ok),
        apart if apart <= TOLERABLE_DIFFERENCE => {
            check(State::Warning).hint("set both by NTP: short passes depend on it")
        }
        _ => check(State::Failed).hint("set both by NTP: assertions and passes will be refused"),
    }
}

fn data_directory(path: &Path) -> Check {
    let name = "data directory";
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Check::new(
            name,
            State::Failed,
            format!("`{}` is no directory", path.display()),
        ),
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            let detail = format!("`{}` has mode {mode:03o}", path.display());
            // A group of its own, as Kubernetes gives a volume with `fsGroup`, is let in.
            if !is_for_others(mode) {
                return Check::new(name, State::Ok, detail);
            }
            Check::new(name, State::Failed, detail)
                .hint(format!("run `chmod 700 {}`", path.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::new(
            name,
            State::Skipped,
            format!(
                "`{}` is not here: `hallpass serve` makes it",
                path.display()
            ),
        ),
        Err(error) => Check::new(
            name,
            State::Failed,
            format!("`{}`: {error}", path.display()),
        ),
    }
}

fn secrets(config: &Config) -> Check {
    let (name, data_dir) = ("secret files", &config.data_dir);
    let mut files = vec![
        data_dir.join(OPERATOR_TOKEN_FILE),
        data_dir.join(STEWARDS_FILE),
    ];
    let keys = fs::read_dir(data_dir.join("keys"))
        .into_iter()
        .flatten()
        .flatten();
    files.extend(keys.map(|entry| entry.path()));
    files.extend(config.tls.as_ref().map(|tls| tls.private_key.clone()));
    files.extend(config.passphrase_file.clone());
    files.retain(|path| path.exists());
    let mode_of =
        |path: &PathBuf| fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777);
    // What a start refuses; it takes what a group may write away from the group.
    let is_open = |path: &&PathBuf| mode_of(path).map_or(true, is_for_others);
    let open: Vec<String> = files
        .iter()
        .filter(is_open)
        .map(|path| path.display().to_string())
        .collect();
    if files.is_empty() {
        return Check::new(name, State::Skipped, "none here");
    }
    if open.is_empty() {
        return Check::new(
            name,
            State::Ok,
            format!("{} files, none open to others", files.len()),
        );
    }
    Check::new(
        name,
        State::Failed,
        format!("open to others: {}", open.join(", ")),
    )
    .hint("run `chmod 600` on them, and rotate what others may have seen")
}

fn policy(directory: &Path) -> Check {
    let name = "policy";
    if !directory.exists() {
        return Check::new(
            name,
            State::Skipped,
            format!(
                "`{}` is not here: `hallpass serve` makes it",
                directory.display()
            ),
        );
    }
    match PolicySet::load(directory, &Catalogue::default()) {
        Ok((set, _)) => {
            let (grants, guardrails) = (set.grants().len(), set.guardrails().len());
            Check::new(
                name,
                State::Ok,
                format!("{grants} grants, {guardrails} guardrails"),
            )
        }
        Err(errors) => {
            let found: Vec<_> = errors.findings().iter().map(ToString::to_string).collect();
            Check::new(name, State::Failed, found.join("; "))
                .hint("`hallpass policy check` shows them one by one")
        }
    }
}

fn show(checks: &[Check], output: Output) -> Result<(), CliError> {
    let document = |check: &Check| {
        let mut document =
            json!({"check": check.name, "state": check.state.word(), "detail": check.detail});
        if let (Some(document), Some(hint)) = (document.as_object_mut(), &check.hint) {
            document.insert("hint".to_owned(), Value::String(hint.clone()));
        }
        document
    };
    let is_ok = checks.iter().all(|check| check.state != State::Failed);
    let items: Vec<_> = checks.iter().map(document).collect();
    let row = |check: &Check| {
        let hint = check.hint.clone().unwrap_or_default();
        vec![
            check.name.to_owned(),
            check.state.word().to_owned(),
            check.detail.clone(),
            hint,
        ]
    };
    let rows = checks.iter().map(row).collect();
    let view = View::Table {
        columns: &["check", "state", "detail", "what to do"],
        rows,
        empty: "nothing to look at",
    };
    output.show(&json!({"ok": is_ok, "items": items}), view)?;
    if is_ok {
        Ok(())
    } else {
        Err(CliError::answered(Exit::Failed))
    }
}

const SOUND_DIFFERENCE: Duration = Duration::from_secs(2);
const TOLERABLE_DIFFERENCE: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);
