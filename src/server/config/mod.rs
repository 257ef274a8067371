//! Configuration: flags over environment over file over defaults, parsed once, whole or not at all.
//!
//! Nothing downstream checks a value again. Unknown keys, values of another kind, values out of
//! range and contradictions are all refused, with file, line and key; each value remembers where
//! it came from. `docs/configuration.md` is made from [`SETTINGS`].

mod error;
mod origin;
mod overrides;
mod parse;
mod raw;
mod settings;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

pub use error::{ConfigError, Problem};
pub use origin::Origin;
pub use overrides::{CONFIG_VARIABLE, DEFAULT_FILE, Overrides};
use raw::RawConfig;
pub use settings::{ENVIRONMENT_PREFIX, Fallback, Kind, SETTINGS, Setting, reference};

use hallpass_broker::{Retention, identity::issuer::TrustedIssuer};
use hallpass_core::base::ids::IssuerUri;

/// The configuration of a broker; if it exists, it holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address of the API.
    pub listen: SocketAddr,
    /// Address of health and metrics.
    pub admin_listen: SocketAddr,
    /// Where journal, index and keys live.
    pub data_dir: PathBuf,
    /// Where grants and guardrails live.
    pub policy_dir: PathBuf,
    /// Certificate and key of the API.
    pub tls: Option<Tls>,
    /// How long a stopping broker waits for requests in flight.
    pub drain_timeout: Duration,
    /// What requests may cost.
    pub limits: Limits,
    /// A new key is published this long before it signs.
    pub rotation_overlap: Duration,
    /// A key that has signed this long is rotated; `None` leaves that to operators.
    pub rotate_keys_after: Option<Duration>,
    /// The file with the passphrase that private key files are encrypted under, if they are.
    pub passphrase_file: Option<PathBuf>,
    /// How the journal is split, and which of its past is kept.
    pub retention: Retention,
    /// The OAuth endpoints.
    pub oauth: OAuth,
    /// What is logged, and how.
    pub log: Log,
    issuer: Option<IssuerUri>,
    effective: Vec<Effective>,
}

/// Where TLS material lives; the listener reads the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
}

/// What requests may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body, in bytes.
    pub body_bytes: usize,
    /// Requests a second, per principal.
    pub requests_per_second: NonZeroU32,
    /// Requests at once before the rate holds, per principal.
    pub burst: NonZeroU32,
    /// Requests worked on at once, over all.
    pub concurrent_requests: usize,
    /// Connections at once.
    pub connections: usize,
    /// Longest time for one request.
    pub request_timeout: Duration,
    /// Longest task.
    pub max_task_ttl: Duration,
    /// Longest pass; never longer than a task.
    pub max_pass_ttl: Duration,
    /// Longest chain of decisions, in bytes.
    pub decisions_bytes: u64,
}

/// The OAuth endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// How long the task of a token request lasts.
    pub token_ttl: Duration,
    /// Whether clients may describe themselves in documents at their ids.
    pub client_documents: bool,
    /// Whether clients may register themselves.
    pub dynamic_registration: bool,
    /// Whether this machine itself may be asked for keys and documents, over plain http too.
    pub fetch_loopback: bool,
    /// The issuers of whose people and workloads something is believed.
    pub issuers: Vec<TrustedIssuer>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// Directives that `tracing_subscriber::EnvFilter` accepts.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// One value in force, as `--check-config` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key.
    pub key: &'static str,
    /// The value as text; in brackets, what holds for want of one. No setting holds a secret.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Config {
    /// Reads the configuration; `environment` looks up a variable, as [`process_environment`] does.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not TOML of the right shape, and for every value that is
    /// refused or contradicts another.
    pub fn load(
        overrides: &Overrides,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        RawConfig::gather(overrides, environment)?.try_into()
    }

    /// The issuer: the configured one, or the URL of `bound`, the address that the API got.
    ///
    /// # Errors
    ///
    /// When none is configured and `bound` has no URL that others could use: it stands for every
    /// address, or speaks plain http beyond loopback.
    pub fn issuer(&self, bound: SocketAddr) -> Result<IssuerUri, ConfigError> {
        if let Some(issuer) = &self.issuer {
            return Ok(issuer.clone());
        }
        let (scheme, default_port) = if self.tls.is_some() {
            ("https", 443)
        } else {
            ("http", 80)
        };
        let url = if bound.port() == default_port {
            // Only the host of a socket address, in its URL form.
            let text = bound.to_string();
            let host = text
                .rsplit_once(':')
                .map_or(text.as_str(), |(host, _)| host);
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{bound}")
        };
        match url.parse() {
            Ok(issuer) if !bound.ip().is_unspecified() => Ok(issuer),
            _ => Err(ConfigError::NoIssuer(bound)),
        }
    }

    /// The issuer that is configured; without one it follows the address.
    #[must_use]
    pub const fn configured_issuer(&self) -> Option<&IssuerUri> {
        self.issuer.as_ref()
    }

    /// Whether health and metrics are served with TLS: beyond loopback, when there is a certificate.
    #[must_use]
    pub const fn admin_uses_tls(&self) -> bool {
        self.tls.is_some() && !self.admin_listen.ip().is_loopback()
    }

    /// Every value in force with its origin, in the order of the reference page.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }
}

/// Variables of this process's environment that look like a setting's and are none, nor any of `others`.
///
/// Kubernetes makes variables of the same prefix for every service that is called `hallpass…`; these are left out.
#[must_use]
pub fn unknown_variables(others: &[&str]) -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let is_unknown = |name: &String| is_unknown(name, others);
    let mut unknown: Vec<String> = names.filter(is_unknown).collect();
    unknown.sort_unstable();
    unknown
}

fn is_unknown(name: &str, others: &[&str]) -> bool {
    let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else {
        return false;
    };
    // …_SERVICE_HOST, …_SERVICE_PORT, …_SERVICE_PORT_NAME, …_PORT, …_PORT_7400_TCP, …_PORT_7400_TCP_ADDR
    let mut words = rest.split('_');
    let is_of_a_service = words.any(|word| word == "PORT") || rest.ends_with("SERVICE_HOST");
    let is_a_setting = || SETTINGS.iter().any(|setting| setting.variable() == name);
    !is_of_a_service && !others.contains(&name) && !is_a_setting()
}

/// Looks up a variable in the environment of this process.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    // What is not UTF-8 is kept in a form that no setting accepts, so that it is refused and not skipped.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_found_and_those_of_a_service_are_not() {
        let others = [CONFIG_VARIABLE];
        for unknown in ["HALLPASS_LISSEN", "HALLPASS_LIMITS_BODYBYTES", "HALLPASS_"] {
            assert!(is_unknown(unknown, &others), "{unknown}");
        }
        for known in [
            "HALLPASS_LISTEN",
            "HALLPASS_CONFIG",
            "HALLPASS_PORT",
            "HALLPASS_SERVICE_HOST",
            "HALLPASS_SERVICE_PORT_HTTP",
            "HALLPASS_ADMIN_PORT_7401_TCP_ADDR",
            "PATH",
        ] {
            assert!(!is_unknown(known, &others), "{known}");
        }
    }
}
