//! From layered texts to a [`Config`]: every value parsed in one place, all problems reported at once.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use crate::server::config::{
    Config, ConfigError, Effective, Fallback, Kind, Limits, Log, LogFormat, OAuth, Origin, Problem,
    SETTINGS, Setting, Tls, raw::RawConfig, settings::TRUSTED_ISSUERS,
};
use hallpass_broker::{
    Retention,
    identity::issuer::{IssuerSettings, TrustedIssuer},
};
use hallpass_core::base::{ids::IssuerUri, text::excerpt, uri::is_loopback_host};

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let mut parser = Parser {
            raw: &raw,
            problems: Vec::new(),
        };
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
    /// `None` when a value was refused; the problems say which.
    fn config(&mut self) -> Option<Config> {
        let issuer = self.optional("issuer", |text| {
            text.parse::<IssuerUri>().map_err(|error| error.to_string())
        });
        let (listen, admin_listen) = (self.address("listen"), self.address("admin_listen"));
        let (data_dir, policy_dir) = (
            self.required("data_dir", path),
            self.required("policy_dir", path),
        );
        let certificate = self.optional("tls.certificate", path);
        let private_key = self.optional("tls.private_key", path);
        let drain_timeout = self.duration("drain_timeout");
        let rotation_overlap = self.duration("keys.rotation_overlap");
        let rotate_keys_after = self.optional_duration("keys.rotate_after");
        let passphrase_file = self.optional("keys.passphrase_file", path);
        let token_ttl = self.duration("oauth.token_ttl");
        let client_documents = self.required("oauth.client_documents", boolean);
        let dynamic_registration = self.required("oauth.dynamic_registration", boolean);
        let fetch_loopback = self.required("oauth.dangerous_fetch_loopback", boolean);
        let issuers = self.issuers(issuer.as_ref().and_then(Option::as_ref));
        let (limits, retention, log) = (self.limits(), self.retention(), self.log());
        let (limits, token_ttl) = (limits?, token_ttl?);
        // A default that contradicts what was chosen gives way.
        let is_chosen = self
            .raw
            .get("oauth.token_ttl")
            .is_some_and(|(_, origin)| *origin != Origin::Default);
        let token_ttl = if is_chosen {
            token_ttl
        } else {
            token_ttl.min(limits.max_task_ttl)
        };
        Some(Config {
            listen: listen?,
            admin_listen: admin_listen?,
            data_dir: data_dir?,
            policy_dir: policy_dir?,
            tls: match (certificate?, private_key?) {
                (Some(certificate), Some(private_key)) => Some(Tls {
                    certificate,
                    private_key,
                }),
                _ => None,
            },
            drain_timeout: drain_timeout?,
            limits,
            rotation_overlap: rotation_overlap?,
            rotate_keys_after: rotate_keys_after?,
            passphrase_file: passphrase_file?,
            retention: retention?,
            oauth: OAuth {
                token_ttl,
                client_documents: client_documents?,
                dynamic_registration: dynamic_registration?,
                fetch_loopback: fetch_loopback?,
                issuers: issuers?,
            },
            log: log?,
            issuer: issuer?,
            effective: SETTINGS
                .iter()
                .map(|setting| self.effective(setting))
                .chain(self.effective_issuers())
                .collect(),
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        let body_bytes = self.integer("limits.body_bytes");
        let requests_per_second = self.integer("limits.requests_per_second");
        let burst = self.integer("limits.burst");
        let concurrent_requests = self.integer("limits.concurrent_requests");
        let connections = self.integer("limits.connections");
        let request_timeout = self.duration("limits.request_timeout");
        let max_task_ttl = self.duration("limits.max_task_ttl");
        let max_pass_ttl = self.duration("limits.max_pass_ttl");
        let decisions_bytes = self.integer("limits.decisions_bytes");
        let rate = |number: u64| u32::try_from(number).ok().and_then(NonZeroU32::new);
        Some(Limits {
            body_bytes: usize::try_from(body_bytes?).ok()?,
            requests_per_second: rate(requests_per_second?)?,
            burst: rate(burst?)?,
            concurrent_requests: usize::try_from(concurrent_requests?).ok()?,
            connections: usize::try_from(connections?).ok()?,
            request_timeout: request_timeout?,
            max_task_ttl: max_task_ttl?,
            max_pass_ttl: max_pass_ttl?,
            decisions_bytes: decisions_bytes?,
        })
    }

    fn retention(&mut self) -> Option<Retention> {
        let segment_bytes = self.integer("journal.segment_bytes");
        let keep_for = self.optional_duration("journal.keep_for");
        let keep_bytes = self.optional_integer("journal.keep_bytes");
        let archive_dir = self.optional("journal.archive_dir", path);
        Some(Retention {
            segment_bytes: segment_bytes?,
            keep_for: keep_for?,
            keep_bytes: keep_bytes?,
            archive_dir: archive_dir?,
        })
    }

    fn issuers(&mut self, own: Option<&IssuerUri>) -> Option<Vec<TrustedIssuer>> {
        let mut trusted: Vec<TrustedIssuer> = Vec::new();
        let raw = self.raw;
        for (settings, origin) in raw.issuers() {
            let known = trusted
                .iter()
                .any(|other| other.issuer() == settings.issuer);
            // SECURITY: workloads' tokens and ID-JAGs are for the broker, people's ID tokens for clients of theirs.
            let is_for_both = own.is_some_and(|own| {
                settings
                    .client_ids
                    .iter()
                    .any(|client| own.is_spelled(client))
            });
            let checked = match (known, is_for_both) {
                (true, _) => Err("given twice".to_owned()),
                (_, true) => Err("`client_ids` names the broker's own issuer".to_owned()),
                _ => TrustedIssuer::new(settings.clone()),
            };
            match checked {
                Ok(issuer) => trusted.push(issuer),
                Err(detail) => self.problems.push(Problem {
                    key: TRUSTED_ISSUERS,
                    given: shorten(&settings.issuer),
                    origin: origin.clone(),
                    detail,
                }),
            }
        }
        (trusted.len() == raw.issuers().len()).then_some(trusted)
    }

    fn effective_issuers(&self) -> impl Iterator<Item = Effective> {
        let effective = |(settings, origin): &(IssuerSettings, Origin)| Effective {
            key: TRUSTED_ISSUERS,
            value: settings.issuer.clone(),
            origin: origin.clone(),
        };
        self.raw.issuers().iter().map(effective)
    }

    fn log(&mut self) -> Option<Log> {
        let format = self.required("log.format", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("expected text or json".to_owned()),
        });
        let filter = self.required("log.filter", |text| {
            let parsed = tracing_subscriber::EnvFilter::builder().parse(text);
            parsed
                .map(|_| text.to_owned())
                .map_err(|error| format!("expected a level or directives: {error}"))
        });
        Some(Log {
            format: format?,
            filter: filter?,
        })
    }

    /// What no value is wrong about alone.
    fn contradictions(&mut self, config: &Config) {
        let is_set = |key: &str| self.raw.get(key).is_some();
        let plain_http_is_meant = self
            .raw
            .get("dangerous_plain_http")
            .is_some_and(|(text, _)| text == "true");
        if is_set("tls.certificate") != is_set("tls.private_key") {
            let given = if is_set("tls.certificate") {
                "tls.certificate"
            } else {
                "tls.private_key"
            };
            self.refuse(given, "`tls.certificate` and `tls.private_key` go together");
        }
        if config.tls.is_some() && plain_http_is_meant {
            self.refuse(
                "dangerous_plain_http",
                "contradicts `tls`: leave one of them out",
            );
        }
        for (key, address) in [
            ("listen", config.listen),
            ("admin_listen", config.admin_listen),
        ] {
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
        if config.oauth.token_ttl > config.limits.max_task_ttl {
            self.refuse("oauth.token_ttl", "longer than `limits.max_task_ttl`");
        }
        if config
            .rotate_keys_after
            .is_some_and(|after| after <= config.rotation_overlap)
        {
            self.refuse(
                "keys.rotate_after",
                "not longer than `keys.rotation_overlap`",
            );
        }
        let Retention {
            keep_for,
            keep_bytes,
            archive_dir,
            ..
        } = &config.retention;
        if archive_dir.is_some() && keep_for.is_none() && keep_bytes.is_none() {
            self.refuse(
                "journal.archive_dir",
                "nothing is archived without `journal.keep_for` or `journal.keep_bytes`",
            );
        }
        if config.listen.port() != 0 && config.issuer(config.listen).is_err() {
            self.refuse(
                "listen",
                "others cannot reach the broker by the URL of this address: set `issuer`",
            );
        }
        let beyond_loopback = !config.listen.ip().is_loopback();
        let issuer_host = config.issuer.as_ref().map(|issuer| issuer.parts().host);
        if beyond_loopback && issuer_host.is_some_and(is_loopback_host) {
            self.refuse(
                "issuer",
                "names this machine only, while `listen` is for others",
            );
        }
    }

    fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        self.required(key, |text| {
            text.parse()
                .map_err(|_| "expected an IP address and a port, such as 127.0.0.1:7400".to_owned())
        })
    }

    fn integer(&mut self, key: &'static str) -> Option<u64> {
        self.optional_integer(key).flatten()
    }

    fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.optional_duration(key).flatten()
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one: the value was refused; the inner one: it is absent"
    )]
    fn optional_integer(&mut self, key: &'static str) -> Option<Option<u64>> {
        self.optional(key, |text| match kind_of(key) {
            Some(Kind::Integer { least, most }) => integer_of(text, least, most),
            _ => Err("not a whole number in the table of settings".to_owned()),
        })
    }

    #[expect(
        clippy::option_option,
        reason = "the outer one: the value was refused; the inner one: it is absent"
    )]
    fn optional_duration(&mut self, key: &'static str) -> Option<Option<Duration>> {
        self.optional(key, |text| match kind_of(key) {
            Some(Kind::Duration { least, most }) => duration_of(text, least, most),
            _ => Err("not a duration in the table of settings".to_owned()),
        })
    }

    fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.optional(key, parse).flatten()
    }

    /// `None` when the value was refused, `Some(None)` when there is none.
    #[expect(
        clippy::option_option,
        reason = "the outer one: the value was refused; the inner one: it is absent"
    )]
    fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some((text, origin)) = self.raw.get(key) else {
            return Some(None);
        };
        match parse(text) {
            Ok(value) => Some(Some(value)),
            Err(detail) => {
                self.problems.push(Problem {
                    key,
                    given: shorten(text),
                    origin: origin.clone(),
                    detail,
                });
                None
            }
        }
    }

    fn refuse(&mut self, key: &'static str, detail: &str) {
        let (given, origin) = self
            .raw
            .get(key)
            .cloned()
            .unwrap_or_else(|| (String::new(), Origin::Default));
        self.problems.push(Problem {
            key,
            given: shorten(&given),
            origin,
            detail: detail.to_owned(),
        });
    }

    fn effective(&self, setting: &Setting) -> Effective {
        let (value, origin) = match (self.raw.get(setting.key), setting.default) {
            (Some((text, origin)), _) => (text.clone(), origin.clone()),
            (None, Fallback::Value(words) | Fallback::Unset(words)) => {
                (format!("({words})"), Origin::Default)
            }
        };
        Effective {
            key: setting.key,
            value,
            origin,
        }
    }
}

fn kind_of(key: &str) -> Option<Kind> {
    Setting::named(key).map(|setting| setting.kind)
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| "expected true or false".to_owned())
}

fn integer_of(text: &str, least: u64, most: u64) -> Result<u64, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("expected a whole number of {least} to {most}"))
}

/// `least` and `most` are seconds.
fn duration_of(text: &str, least: u64, most: u64) -> Result<Duration, String> {
    let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
    let duration = humantime::parse_duration(text).ok();
    let duration = duration.filter(|duration| (least..=most).contains(duration));
    let show = humantime::format_duration;
    duration.ok_or_else(|| {
        format!(
            "expected a duration of {} to {}, such as 90s or 1h 30m",
            show(least),
            show(most)
        )
    })
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        Err("expected a path".to_owned())
    } else {
        Ok(text.into())
    }
}

fn shorten(text: &str) -> String {
    excerpt(text)
}
