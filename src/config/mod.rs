//! Configuration: flags over environment over file over defaults, parsed once, whole or not at all.
//!
//! Nothing downstream checks a value again. Unknown keys, values of another kind, values out of
//! range and contradictions are all refused, with file, line and key; each value remembers where
//! it came from. `docs/configuration.md` is made from [`SETTINGS`].

mod raw;
mod settings;

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use raw::RawConfig;
pub use raw::{CONFIG_VARIABLE, DEFAULT_FILE, Origin};
pub use settings::{ENVIRONMENT_PREFIX, Fallback, Kind, SETTINGS, Setting, reference};

use crate::base::ids::{IssuerUri, is_loopback_host, split_canonical_http_uri};

/// The configuration of a broker; if it exists, it holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// What is logged, and how.
    pub log: Log,
    issuer: Option<IssuerUri>,
    effective: Vec<Effective>,
}

/// Where TLS material lives; the files are read by whoever listens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// PEM chain, leaf first.
    pub certificate: PathBuf,
    /// PEM private key.
    pub private_key: PathBuf,
}

/// What requests may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest body, in bytes.
    pub body_bytes: usize,
    /// Requests a second, per principal.
    pub requests_per_second: NonZeroU32,
    /// Requests at once before the rate holds, per principal.
    pub burst: NonZeroU32,
    /// Requests worked on at once, over all.
    pub concurrent_requests: usize,
    /// Longest time for one request.
    pub request_timeout: Duration,
    /// Longest task.
    pub max_task_ttl: Duration,
    /// Longest pass; never longer than a task.
    pub max_pass_ttl: Duration,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// Directives that `tracing_subscriber::EnvFilter` accepts.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What the command line says, before anything of it is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the command line sets every one of these")]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--issuer`.
    pub issuer: Option<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--admin-listen`.
    pub admin_listen: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<String>,
    /// `--policy-dir`.
    pub policy_dir: Option<String>,
    /// `--dangerous-plain-http`.
    pub dangerous_plain_http: bool,
    /// `--tls-certificate`.
    pub tls_certificate: Option<String>,
    /// `--tls-private-key`.
    pub tls_private_key: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--log-filter`.
    pub log_filter: Option<String>,
}

impl Overrides {
    fn value(&self, key: &str) -> Option<String> {
        let value = match key {
            "issuer" => &self.issuer,
            "listen" => &self.listen,
            "admin_listen" => &self.admin_listen,
            "data_dir" => &self.data_dir,
            "policy_dir" => &self.policy_dir,
            "dangerous_plain_http" => return self.dangerous_plain_http.then(|| "true".to_owned()),
            "tls.certificate" => &self.tls_certificate,
            "tls.private_key" => &self.tls_private_key,
            "log.format" => &self.log_format,
            "log.filter" => &self.log_filter,
            _ => return None,
        };
        value.clone()
    }

    #[cfg(test)]
    fn all_set_to(text: &str) -> Self {
        let text = || Some(text.to_owned());
        Self {
            config: None,
            issuer: text(),
            listen: text(),
            admin_listen: text(),
            data_dir: text(),
            policy_dir: text(),
            dangerous_plain_http: true,
            tls_certificate: text(),
            tls_private_key: text(),
            log_format: text(),
            log_filter: text(),
        }
    }
}

/// One value in force, as `--check-config` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    pub fn load(overrides: &Overrides, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
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
        let (scheme, default_port) = if self.tls.is_some() { ("https", 443) } else { ("http", 80) };
        let url = if bound.port() == default_port {
            // Only the host of a socket address, in its URL form.
            let text = bound.to_string();
            let host = text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host);
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{bound}")
        };
        match url.parse() {
            Ok(issuer) if !bound.ip().is_unspecified() => Ok(issuer),
            _ => Err(ConfigError::NoIssuer(bound)),
        }
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

/// Looks up a variable in the environment of this process.
#[must_use]
pub fn process_environment(name: &str) -> Option<String> {
    // What is not UTF-8 is kept in a form that no setting accepts, so that it is refused and not skipped.
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A configuration that was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration `{}`: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or with a key that there is not.
    #[error("{} line {line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// Values that are refused, all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Values(Vec<Problem>),
    /// The listener's address is no URL for others.
    #[error("`issuer` must be set: others cannot reach the broker at `{0}` by a URL that is safe")]
    NoIssuer(SocketAddr),
}

/// One value that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` = `{given}` ({origin}): {detail}")]
#[non_exhaustive]
pub struct Problem {
    /// The key.
    pub key: &'static str,
    /// The value, as text.
    pub given: String,
    /// Where it was given.
    pub origin: Origin,
    /// What was expected.
    pub detail: String,
}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let mut parser = Parser { raw: &raw, problems: Vec::new() };
        let config = parser.config();
        if let Some(config) = &config {
            parser.contradictions(config);
        }
        match config {
            Some(config) if parser.problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Values(parser.problems)),
        }
    }
}

struct Parser<'a> {
    raw: &'a RawConfig,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    /// `None` when a value was refused; the problems tell which.
    fn config(&mut self) -> Option<Config> {
        let issuer = self.optional("issuer", |text| text.parse::<IssuerUri>().map_err(|error| error.to_string()));
        let (listen, admin_listen) = (self.address("listen"), self.address("admin_listen"));
        let (data_dir, policy_dir) = (self.required("data_dir", path), self.required("policy_dir", path));
        let certificate = self.optional("tls.certificate", path);
        let private_key = self.optional("tls.private_key", path);
        let drain_timeout = self.duration("drain_timeout", 0, HOUR);
        let rotation_overlap = self.duration("keys.rotation_overlap", SHORTEST_OVERLAP, 24 * HOUR);
        let (limits, log) = (self.limits(), self.log());
        Some(Config {
            listen: listen?,
            admin_listen: admin_listen?,
            data_dir: data_dir?,
            policy_dir: policy_dir?,
            tls: match (certificate?, private_key?) {
                (Some(certificate), Some(private_key)) => Some(Tls { certificate, private_key }),
                _ => None,
            },
            drain_timeout: drain_timeout?,
            limits: limits?,
            rotation_overlap: rotation_overlap?,
            log: log?,
            issuer: issuer?,
            effective: SETTINGS.iter().map(|setting| self.effective(setting)).collect(),
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        let body_bytes = self.integer("limits.body_bytes", 1024, 64 * 1024 * 1024);
        let requests_per_second = self.integer("limits.requests_per_second", 1, 1_000_000);
        let burst = self.integer("limits.burst", 1, 1_000_000);
        let concurrent_requests = self.integer("limits.concurrent_requests", 1, 100_000);
        let request_timeout = self.duration("limits.request_timeout", 1, HOUR);
        let max_task_ttl = self.duration("limits.max_task_ttl", 1, 30 * 24 * HOUR);
        let max_pass_ttl = self.duration("limits.max_pass_ttl", 1, 24 * HOUR);
        let rate = |number: u64| u32::try_from(number).ok().and_then(NonZeroU32::new);
        Some(Limits {
            body_bytes: usize::try_from(body_bytes?).ok()?,
            requests_per_second: rate(requests_per_second?)?,
            burst: rate(burst?)?,
            concurrent_requests: usize::try_from(concurrent_requests?).ok()?,
            request_timeout: request_timeout?,
            max_task_ttl: max_task_ttl?,
            max_pass_ttl: max_pass_ttl?,
        })
    }

    fn log(&mut self) -> Option<Log> {
        let format = self.required("log.format", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json".to_owned()),
        });
        let filter = self.required("log.filter", |text| {
            let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
            parsed.map(|_| text.to_owned()).map_err(|error| format!("expected a level or directives: {error}"))
        });
        Some(Log { format: format?, filter: filter? })
    }

    /// What no value is wrong about alone.
    fn contradictions(&mut self, config: &Config) {
        let is_set = |key: &str| self.raw.get(key).is_some();
        let plain_http_is_meant = self.raw.get("dangerous_plain_http").is_some_and(|(text, _)| text == "true");
        if is_set("tls.certificate") != is_set("tls.private_key") {
            let given = if is_set("tls.certificate") { "tls.certificate" } else { "tls.private_key" };
            self.refuse(given, "`tls.certificate` and `tls.private_key` go together");
        }
        if config.tls.is_some() && plain_http_is_meant {
            self.refuse("dangerous_plain_http", "contradicts `tls`: leave one of them out");
        }
        for (key, address) in [("listen", config.listen), ("admin_listen", config.admin_listen)] {
            if !address.ip().is_loopback() && config.tls.is_none() && !plain_http_is_meant {
                self.refuse(
                    key,
                    "plain http beyond loopback: set `tls`, or `dangerous_plain_http` behind a proxy that speaks TLS",
                );
            }
        }
        if config.listen == config.admin_listen && config.listen.port() != 0 {
            self.refuse("admin_listen", "the same address as `listen`");
        }
        if config.limits.max_pass_ttl > config.limits.max_task_ttl {
            self.refuse("limits.max_pass_ttl", "longer than `limits.max_task_ttl`");
        }
        if config.listen.port() != 0 && config.issuer(config.listen).is_err() {
            self.refuse("listen", "others cannot reach the broker by the URL of this address: set `issuer`");
        }
        let beyond_loopback = !config.listen.ip().is_loopback();
        let issuer_host = config.issuer.as_ref().and_then(|issuer| split_canonical_http_uri(issuer.as_str()));
        if beyond_loopback && issuer_host.is_some_and(|(_, host, _, _)| is_loopback_host(host)) {
            self.refuse("issuer", "names this machine only, while `listen` is for others");
        }
    }

    fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        self.required(key, |text| {
            text.parse().map_err(|_| "expected an IP address and a port, such as 127.0.0.1:7400".to_owned())
        })
    }

    fn integer(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        self.required(key, |text| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| format!("expected a whole number of {least} to {most}"))
        })
    }

    fn duration(&mut self, key: &'static str, least: u64, most: u64) -> Option<Duration> {
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
        self.required(key, |text| {
            let duration = humantime::parse_duration(text).ok();
            let duration = duration.filter(|duration| (least..=most).contains(duration));
            let show = humantime::format_duration;
            duration.ok_or_else(|| {
                format!("expected a duration of {} to {}, such as 90s or 1h 30m", show(least), show(most))
            })
        })
    }

    fn required<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let (_, ()) = (self.raw.get(key)?, ());
        self.optional(key, parse).flatten()
    }

    /// `None` when the value was refused, `Some(None)` when there is none.
    #[expect(clippy::option_option, reason = "refused and absent are two things")]
    fn optional<T>(&mut self, key: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<Option<T>> {
        let Some((text, origin)) = self.raw.get(key) else { return Some(None) };
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(detail) => {
                self.problems.push(Problem { key, given: shorten(text), origin: origin.clone(), detail });
                None
            }
        }
    }

    fn refuse(&mut self, key: &'static str, detail: &str) {
        let (given, origin) = self.raw.get(key).cloned().unwrap_or_else(|| (String::new(), Origin::Default));
        self.problems.push(Problem { key, given: shorten(&given), origin, detail: detail.to_owned() });
    }

    fn effective(&self, setting: &Setting) -> Effective {
        let (value, origin) = match (self.raw.get(setting.key), setting.default) {
            (Some((text, origin)), _) => (text.clone(), origin.clone()),
            (None, Fallback::Value(words) | Fallback::Unset(words)) => (format!("({words})"), Origin::Default),
        };
        Effective { key: setting.key, value, origin }
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') { Err("expected a path".to_owned()) } else { Ok(text.into()) }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// One second more than the staleness bound of a verifier that was built with the default.
const SHORTEST_OVERLAP: u64 = 61;

const HOUR: u64 = 3600;
