//! `hallpass serve`: the broker, from configuration to the last answer.

use std::{collections::BTreeMap, fmt, sync::Arc};

use clap::Args;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zeroize::Zeroizing;

use crate::{
    cli::{
        access::{TOKEN_FILE_VARIABLE, TOKEN_VARIABLE},
        client::{BROKER_VARIABLE, CA_FILE_VARIABLE},
        config_file::{ConfigFile, KEY_VARIABLE, broker_options, load},
        error::CliError,
        first_start,
        output::{Output, View},
        server::IMPORT_TOKEN_VARIABLE,
    },
    server::{
        self, Listeners, OAuthOptions, Observer, Seen, ServeError, Server, Times, TlsFiles,
        config::{CONFIG_VARIABLE, Config, Overrides, process_environment, unknown_variables},
        outbound::{FetchOptions, Fetcher, Reach, Trust},
        telemetry::{self, Metrics, ReloadOutcome, TraceContext},
    },
};
use hallpass_broker::{
    Broker, BrokerError, Caller, MachineClock, Meters, Opened, Options, OtherIssuer,
    domain::event::Subject, ledger::file::Head,
};
use hallpass_core::base::{secret_file::read_secret, time::Clock};

/// Run the broker.
#[derive(Debug, Args)]
#[command(after_help = "\
The first start makes the data directory with keys and the operator's token, and a policy directory
with a commented example. Every setting: docs/configuration.md. SIGTERM and SIGINT drain and stop;
SIGHUP loads the policy and the TLS certificate anew; when they are bad, the old ones stay.

Examples:
  hallpass serve
  hallpass serve --config /etc/hallpass.toml --log-format json
  hallpass serve --check-config")]
pub(super) struct Serve {
    #[command(flatten)]
    config: ConfigFile,
    /// Address of the API; port 0 takes any free one. [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Address of health and metrics; never to be reached from outside. [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Serve plain http beyond loopback, behind a proxy that speaks TLS.
    #[arg(long)]
    dangerous_plain_http: bool,
    /// The certificate chain (PEM), leaf first.
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<String>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE")]
    tls_private_key: Option<String>,
    /// A head that this journal is known to have had, as `hallpass audit verify` prints it: the start is
    /// refused when the data directory is an older copy, which lacks revocations.
    #[arg(long, value_name = "SEQUENCE:HASH")]
    expect_head: Option<Head>,
    /// Start although the last record is more than 90 days older than the machine's clock, because the clock is right. What is
    /// recorded with a clock that is ahead cannot be taken back.
    #[arg(long)]
    accept_clock: bool,
    /// The form of the log: text or json. [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// What is logged: a level or directives. [default: info]
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
    /// Show the configuration in force, each value with its origin, and start nothing.
    #[arg(long)]
    check_config: bool,
}

impl Serve {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        // First of all: a signal that nothing waits for ends the process, and a hang-up that comes early is remembered.
        let signals = Signals::new()?;
        keep_out_of_dumps();
        let config = load(&self.overrides())?;
        if self.check_config {
            trust(&config, &clock())?;
            if let Some(files) = tls_files(&config) {
                files.check().await.map_err(CliError::failed)?;
            }
            return show(&config, output);
        }
        let mut telemetry =
            telemetry::init(&config.log, &process_environment).map_err(CliError::failed)?;
        for variable in unknown_variables(&OTHER_VARIABLES) {
            tracing::warn!(
                variable,
                "no setting has this environment variable, so it does nothing: is it misspelt?"
            );
        }
        let started = Start {
            config: &config,
            file: self.config.clone(),
            expected_head: self.expect_head,
            accept_clock: self.accept_clock,
            signals,
        };
        let served = serve(started, telemetry.metrics(), output).await;
        // Sends what is waiting, which may block.
        let sent = tokio::task::spawn_blocking(move || telemetry.shut_down()).await;
        served.and(sent.map_err(CliError::failed))
    }

    fn overrides(&self) -> Overrides {
        let plain_http = self.dangerous_plain_http.then_some("true");
        self.config
            .overrides()
            .flag("--listen", self.listen.as_deref())
            .flag("--admin-listen", self.admin_listen.as_deref())
            .flag("--dangerous-plain-http", plain_http)
            .flag("--tls-certificate", self.tls_certificate.as_deref())
            .flag("--tls-private-key", self.tls_private_key.as_deref())
            .flag("--log-format", self.log_format.as_deref())
            .flag("--log-filter", self.log_filter.as_deref())
    }
}

/// SECURITY: a dump of the process, or another process of its user that looks into it, would have the private keys. Where the
/// system does not know these limits, the start goes on without.
fn keep_out_of_dumps() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = setrlimit(Resource::Core, none);
}

/// The signals that a broker obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, CliError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// With what a broker starts.
struct Start<'c> {
    config: &'c Config,
    file: ConfigFile,
    expected_head: Option<Head>,
    accept_clock: bool,
    signals: Signals,
}

async fn serve(start: Start<'_>, metrics: &Arc<Metrics>, output: Output) -> Result<(), CliError> {
    let Start {
        config,
        file,
        expected_head,
        accept_clock,
        signals,
    } = start;
    let Signals {
        terminate,
        interrupt,
        hangup,
    } = signals;
    raise_descriptor_limit(config.limits.connections);
    let clock = clock();
    let trust = Arc::new(trust(config, &clock)?);
    let options = server::Options {
        trust,
        client_documents: client_documents(config)?,
        ..http_options(config)
    };
    let listeners = Listeners::bind(options).await.map_err(CliError::failed)?;
    let (address, admin) = (listeners.local_addr(), listeners.admin_addr());
    let options = Options {
        expected_head,
        other_issuer: other_issuer(config),
        accept_clock,
        ..broker_options(config, address)?
    };
    let issuer = options.issuer.clone();
    let opened = Broker::open(options, clock).await.map_err(start_failed)?;
    report(&opened);
    opened.broker.count_with(meters(metrics));
    let reloading = tokio::spawn(reload_on_hangup(
        hangup,
        Arc::clone(&opened.broker),
        Arc::clone(metrics),
    ));
    let server = Server::new(
        listeners,
        Arc::clone(&opened.broker),
        Arc::new(Counting::new(Arc::clone(metrics))),
    );
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    tracing::info!(url = %format_args!("{scheme}://{address}"), admin.address = %admin, issuer = %issuer, "listening");
    if opened.first_start {
        first_start::tell(config, &file, &issuer, output);
    }
    let served = server.serve(stopped(terminate, interrupt)).await;
    reloading.abort();
    served.map_err(|error| {
        let stopped = matches!(error, ServeError::Close(BrokerError::Journal(_)));
        let error = CliError::failed(error);
        if stopped { error.hint(STOPPED) } else { error }
    })
}

/// Port 0 is another port with each start: who asks for it wants no lasting issuer.
fn other_issuer(config: &Config) -> OtherIssuer {
    if config.configured_issuer().is_some() || config.listen.port() == 0 {
        OtherIssuer::Change
    } else {
        OtherIssuer::Refuse
    }
}

fn meters(metrics: &Arc<Metrics>) -> Meters {
    let (journal, feed) = (Arc::clone(metrics), Arc::clone(metrics));
    Meters {
        appended: Box::new(move |records, took| journal.journal_appended(records, took)),
        frame_signed: Box::new(move || feed.feed_frames(1)),
    }
}

fn http_options(config: &Config) -> server::Options {
    let mut options = server::Options::new(config.listen, config.admin_listen);
    options.tls = tls_files(config);
    options.rates.per_second = config.limits.requests_per_second;
    options.rates.burst = config.limits.burst;
    // One address, which has half of what all have, is never held to less than one of them may ask.
    let each = config.limits.requests_per_second;
    options.rates.global = options.rates.global.max(each.saturating_add(each.get()));
    options.max_body = config.limits.body_bytes;
    options.max_connections = config.limits.connections;
    options.max_requests = config.limits.concurrent_requests;
    options.times = Times {
        request: config.limits.request_timeout,
        drain: config.drain_timeout,
        ..options.times
    };
    options.oauth = OAuthOptions {
        token_ttl: config.oauth.token_ttl,
        dynamic_registration: config.oauth.dynamic_registration,
    };
    options
}

fn tls_files(config: &Config) -> Option<TlsFiles> {
    config.tls.as_ref().map(|tls| TlsFiles {
        certificate: tls.certificate.clone(),
        key: tls.private_key.clone(),
    })
}

/// Where anything may be fetched from.
fn reach(config: &Config) -> Reach {
    if config.oauth.fetch_loopback {
        Reach::with_loopback()
    } else {
        Reach::public()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(MachineClock::default())
}

/// Who fetches clients' metadata documents.
fn client_documents(config: &Config) -> Result<Option<Arc<Fetcher>>, CliError> {
    if !config.oauth.client_documents {
        return Ok(None);
    }
    let fetcher = Fetcher::new(FetchOptions::new(reach(config))).map_err(CliError::failed)?;
    Ok(Some(Arc::new(fetcher)))
}

/// The issuers that the settings trust, each with the client that asks for its keys.
fn trust(config: &Config, clock: &Arc<dyn Clock>) -> Result<Trust, CliError> {
    let here = reach(config);
    let mut issuers = Vec::new();
    let mut secrets = BTreeMap::new();
    for trusted in &config.oauth.issuers {
        let mut options = FetchOptions::new(here.clone().and(trusted.networks().iter().copied()));
        let failed = |error: &dyn fmt::Display| {
            CliError::failed(format!("issuer `{}`: {error}", trusted.issuer()))
        };
        if let Some(path) = trusted.root_certificates() {
            let unreadable = |error| {
                failed(&format_args!(
                    "`root_certificates`: `{}`: {error}",
                    path.display()
                ))
            };
            options.root_certificates = Some(std::fs::read(path).map_err(unreadable)?);
        }
        if let Some(path) = trusted
            .sign_in()
            .and_then(|client| client.secret_file.as_ref())
        {
            let secret = read_secret(path).map_err(|error| failed(&error))?;
            let secret = Zeroizing::new(secret.trim().to_owned());
            secrets.insert(trusted.issuer().to_owned(), secret);
        }
        issuers.push((
            trusted.clone(),
            Fetcher::new(options).map_err(|error| failed(&error))?,
        ));
    }
    Ok(Trust::new(issuers, secrets, clock))
}

fn start_failed(error: impl fmt::Display) -> CliError {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    match lines.as_slice() {
        [one] => CliError::failed(one),
        many => CliError::failed("the broker does not start").because(many),
    }
}

fn report(opened: &Opened) {
    for found in &opened.recovery {
        tracing::warn!(recovery = %found, "recovered");
    }
    if let Some(before) = &opened.issuer_before {
        tracing::warn!(
            issuer.before = %before,
            issuer = %opened.broker.issuer(),
            "the journal was written under another issuer: verifiers refuse the passes that are out, and need the new issuer; if that is not intended, stop and set `issuer` to the one before"
        );
    }
    for warning in &opened.policy_warnings {
        tracing::warn!(finding = %warning, "the policy is odd");
    }
}

/// Ready on the first SIGTERM or SIGINT. Later ones change nothing: the drain has a time limit of its own.
async fn stopped(mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
    }
}

async fn reload_on_hangup(mut hangups: Signal, broker: Arc<Broker>, metrics: Arc<Metrics>) {
    while hangups.recv().await.is_some() {
        match broker.policy.reload_policy(&Caller::broker()).await {
            Ok(Ok(policy)) => {
                metrics.policy_reloaded(ReloadOutcome::Loaded);
                tracing::info!(policy.digest = %policy.digest, grants = policy.grants.len(), "the policy was loaded anew");
            }
            Ok(Err(errors)) => {
                metrics.policy_reloaded(ReloadOutcome::Refused);
                for finding in errors.findings() {
                    tracing::error!(finding = %finding, "the old policy stays");
                }
            }
            Err(error) => {
                metrics.policy_reloaded(ReloadOutcome::Refused);
                tracing::error!(error = %error, "the old policy stays");
            }
        }
    }
}

/// Raises the soft limit of open files to the hard one, and warns when that is too low still.
fn raise_descriptor_limit(connections: usize) {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        maximum: limits.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limits.maximum,
        Err(error) => {
            tracing::warn!(error = %error, "the limit of open files cannot be raised");
            limits.current
        }
    };
    let wanted = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_DESCRIPTORS);
    if current.is_some_and(|current| current < wanted) {
        tracing::warn!(
            limit = current,
            wanted,
            "the limit of open files is lower than the connections need: raise it (LimitNOFILE, ulimit -n), or lower `limits.connections`"
        );
    }
}

fn show(config: &Config, output: Output) -> Result<(), CliError> {
    let effective = config.effective();
    let values = effective.iter().map(
        |value| json!({"key": value.key, "value": value.value, "origin": value.origin.to_string()}),
    );
    let document = json!({"items": values.collect::<Vec<_>>()});
    let row = |value: &server::config::Effective| {
        vec![
            value.key.to_owned(),
            value.value.clone(),
            value.origin.to_string(),
        ]
    };
    let rows = effective.iter().map(row).collect();
    output.show(
        &document,
        View::Table {
            columns: &["key", "value", "origin"],
            rows,
            empty: "no settings",
        },
    )
}

/// Counts what the server reports.
struct Counting {
    metrics: Arc<Metrics>,
    /// Every route that there is: the closed set that labels come from.
    routes: Vec<&'static str>,
}

impl Counting {
    fn new(metrics: Arc<Metrics>) -> Self {
        let document =
            hallpass_core::base::json::parse(server::openapi().as_bytes(), MAX_OPENAPI_BYTES)
                .unwrap_or_default();
        let paths = document.get("paths").and_then(serde_json::Value::as_object);
        let names = paths
            .into_iter()
            .flatten()
            .map(|(path, _)| path.clone())
            .chain(ADMIN_ROUTES.map(str::to_owned));
        // As many as there are routes, once in the life of a process.
        let routes = names
            .map(|name| &*Box::leak(name.into_boxed_str()))
            .collect();
        Self { metrics, routes }
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting")
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}

impl Observer for Counting {
    fn began(&self, headers: &::http::HeaderMap, span: &tracing::Span) {
        if let Some(parent) = TraceContext::from_headers(headers) {
            parent.attach_to(span);
        }
    }

    fn minted(&self) {
        self.metrics.pass_minted();
    }

    fn revoked(&self, subject: &Subject) {
        self.metrics.revoked(subject);
    }

    fn policy_loaded(&self, in_force: bool) {
        self.metrics.policy_reloaded(if in_force {
            ReloadOutcome::Loaded
        } else {
            ReloadOutcome::Refused
        });
    }

    fn followers(&self, followers: usize) {
        self.metrics.feed_subscribers(followers);
    }

    fn connections(&self, connections: usize) {
        self.metrics.connections(connections);
    }

    fn connection_refused(&self) {
        self.metrics.connection_refused();
    }

    fn answered(&self, seen: &Seen<'_>) {
        let route = self
            .routes
            .iter()
            .copied()
            .find(|route| *route == seen.route)
            .unwrap_or("unmatched");
        self.metrics.request_answered(route, seen.status, seen.took);
        if let Some(code) = seen.code {
            self.metrics.request_refused(code);
        }
    }

    fn panicked(&self) {
        self.metrics.panicked();
    }

    fn render(&self) -> String {
        self.metrics.encode()
    }
}

/// Files, the other listener and what the broker fetches, beside the connections.
const OTHER_DESCRIPTORS: u64 = 512;

const STOPPED: &str = "whatever was answered is recorded, and whatever was not may or may not be; mend the disk, or make \
                       room on it, and start hallpass again";
const ADMIN_ROUTES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Variables that are no setting's.
const OTHER_VARIABLES: [&str; 7] = [
    CONFIG_VARIABLE,
    BROKER_VARIABLE,
    CA_FILE_VARIABLE,
    TOKEN_VARIABLE,
    TOKEN_FILE_VARIABLE,
    KEY_VARIABLE,
    IMPORT_TOKEN_VARIABLE,
];
const MAX_OPENAPI_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::server::config::{Kind, SETTINGS};

    #[test]
    fn every_flag_of_the_table_reaches_the_configuration() {
        for setting in SETTINGS {
            let Some(flag) = setting.flag else { continue };
            let is_switch = setting.kind == Kind::Boolean;
            let line = ["serve", flag, "x"];
            let line = line.iter().take(if is_switch { 2 } else { 3 });
            let command = Serve::augment_args(clap::Command::new("serve"));
            let matches = command.try_get_matches_from(line).unwrap();
            let serve = Serve::from_arg_matches(&matches).unwrap();
            let value = if is_switch { "true" } else { "x" };
            let expected = Overrides::default().flag(flag, Some(value));
            assert_eq!(serve.overrides(), expected, "{flag}");
        }
    }

    #[test]
    fn a_server_without_settings_has_the_defaults_of_the_configuration() {
        let config = Config::load(&Overrides::default(), &|_| None).unwrap();
        let usual = server::Options::new(config.listen, config.admin_listen);
        assert_eq!(format!("{:?}", http_options(&config)), format!("{usual:?}"));
        let options = broker_options(&config, config.listen).unwrap();
        let usual = Options::new(
            options.issuer.clone(),
            options.data_dir.clone(),
            options.policy_dir.clone(),
        );
        assert_eq!(format!("{options:?}"), format!("{usual:?}"));
    }
}
