//! Settings: every key that can be configured, in one table, from which the reference page is made.

use std::fmt::Write as _;

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its key in the file, with dots: `limits.body_bytes`.
    pub key: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// Its value when nothing says otherwise, or what stands for it.
    pub default: Fallback,
    /// Its flag of `hallpass serve`, for those that have one.
    pub flag: Option<&'static str>,
    /// What it does, in one or two sentences.
    pub about: &'static str,
}

impl Setting {
    /// The setting with this key.
    pub(super) fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// The environment variable that sets it: `HALLPASS_LIMITS_BODY_BYTES`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!(
            "{ENVIRONMENT_PREFIX}{}",
            self.key.replace('.', "_").to_ascii_uppercase()
        )
    }
}

/// What a value looks like in the file; in the environment and in flags it is the same as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A path of a file to be read. A relative one in the configuration file starts at that file's directory.
    File,
    /// A duration such as `"10s"` or `"1h 30m"`, within these bounds in seconds.
    Duration {
        /// The shortest.
        least: u64,
        /// The longest.
        most: u64,
    },
    /// A whole number.
    Integer {
        /// The smallest.
        least: u64,
        /// The greatest.
        most: u64,
    },
    /// `true` or `false`.
    Boolean,
}

/// What holds when a setting is given nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This value.
    Value(&'static str),
    /// No value; in words what that means.
    Unset(&'static str),
}

/// Every setting, in the order of the reference page.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "issuer",
        kind: Kind::Text,
        default: Fallback::Unset("the URL of `listen`"),
        flag: Some("--issuer"),
        about: "The broker's public URL. It stands in every pass as the issuer, verifiers pin it, and agents' assertions name it as their audience. Without it, a start refuses a journal that was written under another issuer.",
    },
    Setting {
        key: "listen",
        kind: Kind::Text,
        default: Fallback::Value("127.0.0.1:7400"),
        flag: Some("--listen"),
        about: "Address and port of the API. Beyond loopback it needs `tls`, or `dangerous_plain_http`. Port 0 takes any free port.",
    },
    Setting {
        key: "admin_listen",
        kind: Kind::Text,
        default: Fallback::Value("127.0.0.1:7401"),
        flag: Some("--admin-listen"),
        about: "Address and port of `/livez`, `/readyz` and `/metrics`. Beyond loopback the same rule holds, and it speaks TLS with the same certificate.",
    },
    Setting {
        key: "data_dir",
        kind: Kind::Text,
        default: Fallback::Value("./hallpass-data"),
        flag: Some("--data-dir"),
        about: "Where journal, index, keys and the operator token live. Relative paths start at the working directory.",
    },
    Setting {
        key: "policy_dir",
        kind: Kind::Text,
        default: Fallback::Value("./policy"),
        flag: Some("--policy-dir"),
        about: "Where grants (`*.toml`) and guardrails (`*.cedar`) live.",
    },
    Setting {
        key: "dangerous_plain_http",
        kind: Kind::Boolean,
        default: Fallback::Value("false"),
        flag: Some("--dangerous-plain-http"),
        about: "Listen beyond loopback without TLS. Passes and assertions then cross the network in clear, unless a proxy in front of it terminates TLS and only that proxy can reach it.",
    },
    Setting {
        key: "drain_timeout",
        kind: Kind::Duration {
            least: 0,
            most: HOUR,
        },
        default: Fallback::Value("10s"),
        flag: None,
        about: "How long a stopping broker waits for requests in flight before it cuts them off.",
    },
    Setting {
        key: "tls.certificate",
        kind: Kind::File,
        default: Fallback::Unset("no TLS"),
        flag: Some("--tls-certificate"),
        about: "PEM file with the certificate chain, leaf first. Needs `tls.private_key`.",
    },
    Setting {
        key: "tls.private_key",
        kind: Kind::File,
        default: Fallback::Unset("no TLS"),
        flag: Some("--tls-private-key"),
        about: "PEM file with the private key of the leaf. The file is named here, never its content.",
    },
    Setting {
        key: "limits.body_bytes",
        kind: Kind::Integer {
            least: 1024,
            most: 64 * MEBIBYTE,
        },
        default: Fallback::Value("1048576"),
        flag: None,
        about: "A request's body is at most this long, in bytes.",
    },
    Setting {
        key: "limits.requests_per_second",
        kind: Kind::Integer {
            least: 1,
            most: 1_000_000,
        },
        default: Fallback::Value("100"),
        flag: None,
        about: "Requests a second that one agent or operator may send, and one address that proves to be neither.",
    },
    Setting {
        key: "limits.burst",
        kind: Kind::Integer {
            least: 1,
            most: 1_000_000,
        },
        default: Fallback::Value("200"),
        flag: None,
        about: "Requests that one of them may send at once before that rate holds.",
    },
    Setting {
        key: "limits.concurrent_requests",
        kind: Kind::Integer {
            least: 1,
            most: 100_000,
        },
        default: Fallback::Value("512"),
        flag: None,
        about: "Requests worked on at once; more are answered 503. One agent or operator, and what one network sends before it proves who asks, has an eighth of them at most each, and an eighth more is kept for operators who may revoke. Open feeds do not count.",
    },
    Setting {
        key: "limits.connections",
        kind: Kind::Integer {
            least: 1,
            most: 1_000_000,
        },
        default: Fallback::Value("8192"),
        flag: None,
        about: "Connections at once, open feeds included; more are closed. One network (an IPv4 address, or an IPv6 network of 64 bits) has half of them at most, and an eighth is kept for networks from which an operator or verifier proved itself in the last hour. The broker raises its limit of open files as far as it may, and warns where that is too low.",
    },
    Setting {
        key: "limits.request_timeout",
        kind: Kind::Duration {
            least: 1,
            most: HOUR,
        },
        default: Fallback::Value("10s"),
        flag: None,
        about: "A request that takes longer is answered 504. Open feeds are not cut off.",
    },
    Setting {
        key: "limits.max_task_ttl",
        kind: Kind::Duration {
            least: 1,
            most: 30 * DAY,
        },
        default: Fallback::Value("8h"),
        flag: None,
        about: "A task lasts at most this long.",
    },
    Setting {
        key: "limits.max_pass_ttl",
        kind: Kind::Duration {
            least: 1,
            most: DAY,
        },
        default: Fallback::Value("1h"),
        flag: None,
        about: "A pass lives at most this long, whatever a grant says. Not longer than `limits.max_task_ttl`.",
    },
    Setting {
        key: "limits.decisions_bytes",
        kind: Kind::Integer {
            least: MEBIBYTE,
            most: 1 << 50,
        },
        default: Fallback::Value("1073741824"),
        flag: None,
        about: "The chain of decisions that verifiers report takes at most this many bytes and one batch; beyond that its oldest segments, of an eighth or 16 MiB, are removed.",
    },
    Setting {
        key: "keys.rotation_overlap",
        kind: Kind::Duration {
            least: SHORTEST_OVERLAP,
            most: DAY,
        },
        default: Fallback::Value("2m"),
        flag: None,
        about: "A new key is published this long before it signs: longer than the staleness bound of any verifier, which is 60s unless it was built with another.",
    },
    Setting {
        key: "keys.rotate_after",
        kind: Kind::Duration {
            least: SHORTEST_OVERLAP,
            most: 10 * 365 * DAY,
        },
        default: Fallback::Unset("only by command"),
        flag: None,
        about: "A key that has signed this long is rotated by itself. Longer than `keys.rotation_overlap`.",
    },
    Setting {
        key: "keys.passphrase_file",
        kind: Kind::File,
        default: Fallback::Unset(
            "key files are not encrypted, unless the environment variable `HALLPASS_KEY_ENCRYPTION_KEY` holds a key: 32 bytes in base64url",
        ),
        flag: None,
        about: "File, for its owner and its group alone to read, with the passphrase under which private key files are encrypted, of at least 12 characters. Key files that are not encrypted are then refused: `hallpass keys encrypt`.",
    },
    Setting {
        key: "journal.segment_bytes",
        kind: Kind::Integer {
            least: 64 * 1024,
            most: 1024 * MEBIBYTE,
        },
        default: Fallback::Value("16777216"),
        flag: None,
        about: "A file of the journal that is longer than this many bytes is followed by a new one, which begins with a snapshot; after a snapshot of more than 2 MiB a file is at least four times as long as that. A start reads from the newest snapshot on.",
    },
    Setting {
        key: "journal.keep_for",
        kind: Kind::Duration {
            least: HOUR,
            most: 10 * 366 * DAY,
        },
        default: Fallback::Unset("for ever"),
        flag: None,
        about: "Files of the journal are removed when their last record is older than this. The newest snapshot and what follows it always stay.",
    },
    Setting {
        key: "journal.keep_bytes",
        kind: Kind::Integer {
            least: MEBIBYTE,
            most: u64::MAX,
        },
        default: Fallback::Unset("no limit"),
        flag: None,
        about: "The oldest files of the journal are removed until the rest has at most this many bytes. Files younger than an hour are always kept.",
    },
    Setting {
        key: "journal.archive_dir",
        kind: Kind::Text,
        default: Fallback::Unset("no archive"),
        flag: None,
        about: "A file of the journal is copied there, durably, before it is removed. Needs `journal.keep_for` or `journal.keep_bytes`.",
    },
    Setting {
        key: "oauth.token_ttl",
        kind: Kind::Duration {
            least: SHORTEST_TOKEN,
            most: DAY,
        },
        default: Fallback::Value("5m"),
        flag: None,
        about: "A token request at the OAuth endpoints opens a task that lasts this long; its pass lives no longer. At least 60s: stock clients take a token of less than half a minute for expired. Not longer than `limits.max_task_ttl`, to which the default gives way.",
    },
    Setting {
        key: "oauth.client_documents",
        kind: Kind::Boolean,
        default: Fallback::Value("true"),
        flag: None,
        about: "Clients whose id is the https URL of a metadata document may ask people for consent. The broker fetches the document from there; only public addresses are dialled. Such clients are agents in the group `client-documents`.",
    },
    Setting {
        key: "oauth.dynamic_registration",
        kind: Kind::Boolean,
        default: Fallback::Value("false"),
        flag: None,
        about: "Clients may register themselves (RFC 7591): any caller that reaches the broker can then ask people for consent under any name. A thousand at most wait for a first consent, for a day each. They are agents in the group `registered-clients`.",
    },
    Setting {
        key: "oauth.dangerous_fetch_loopback",
        kind: Kind::Boolean,
        default: Fallback::Value("false"),
        flag: None,
        about: "Fetch issuers' keys from this machine too, over plain http as well, and client metadata documents by https. Anyone who can name a client document can then make the broker call services on this machine: for trials, and for an issuer on the same machine.",
    },
    Setting {
        key: "log.format",
        kind: Kind::Text,
        default: Fallback::Value("text"),
        flag: Some("--log-format"),
        about: "`text` for people, `json` for machines: one line per event, to standard error.",
    },
    Setting {
        key: "log.filter",
        kind: Kind::Text,
        default: Fallback::Value("info"),
        flag: Some("--log-filter"),
        about: "What is logged: a level, or directives such as `info,hallpass_broker=debug`. Libraries are heard from `info` up only: below, some write what they carry.",
    },
];

/// The reference page `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for setting in SETTINGS {
        let kind = match setting.kind {
            Kind::Text => "text",
            Kind::File => "path; a relative one in the file starts at the file's directory",
            Kind::Duration { .. } => "duration",
            Kind::Integer { .. } => "whole number",
            Kind::Boolean => "`true` or `false`",
        };
        let default = match setting.default {
            Fallback::Value(value) => format!("`{value}`"),
            Fallback::Unset(words) => words.to_owned(),
        };
        let flag = setting
            .flag
            .map_or_else(String::new, |flag| format!(", `{flag}`"));
        // Writing to a `String` cannot fail.
        let _ = write!(
            page,
            "\n### `{}`\n\n{}\n\nKind: {kind}. Default: {default}. Also: `{}`{flag}.\n",
            setting.key,
            setting.about,
            setting.variable()
        );
    }
    page.push_str(ISSUERS);
    page
}

/// The table of trusted issuers, which only the file has.
pub(super) const TRUSTED_ISSUERS: &str = "oauth.issuer";

/// One second more than the staleness bound of a verifier that was built with the default.
const SHORTEST_OVERLAP: u64 = 61;

/// Twice what stock clients want to be left of a token.
const SHORTEST_TOKEN: u64 = 60;

const HOUR: u64 = 3600;

const DAY: u64 = 24 * HOUR;

const MEBIBYTE: u64 = 1024 * 1024;

/// What the environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "HALLPASS_";

const HEAD: &str = "\
# Configuration

Made from the table in `src/server/config/settings.rs`; `UPDATE=1 cargo test --test server config` writes it anew.

hallpass needs no configuration. What is configured is taken from, each going before the next:

1. flags of `hallpass serve`;
2. environment variables `HALLPASS_…`; one that is empty counts as absent, and one that no setting has is logged as a warning;
3. the file `./hallpass.toml`, or the one that `--config` or `HALLPASS_CONFIG` names, which then must exist;
4. the defaults below.

Unknown keys, values of another kind and contradictions stop the start, with file, line and key.
`hallpass serve --check-config` prints every value with where it comes from. No setting holds a secret: keys and tokens are files, and
settings name them.

```toml
listen = \"0.0.0.0:7400\"
issuer = \"https://broker.example\"

[tls]
certificate = \"/etc/hallpass/broker.pem\"
private_key = \"/etc/hallpass/broker.key\"

[limits]
max_pass_ttl = \"15m\"

[log]
format = \"json\"
```

Telemetry follows the standard `OTEL_…` variables: traces and metrics go to `OTEL_EXPORTER_OTLP_ENDPOINT`, or to
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, by HTTP with protobuf. Without them nothing is sent anywhere. What they ask for and hallpass cannot do (`grpc`, `http/json`, an endpoint without a
scheme) is logged as a warning, and that signal is not sent.

## Settings
";

const ISSUERS: &str = "
## Trusted issuers

`[[oauth.issuer]]`, in the file only, once for each issuer of JWTs that is believed, and for what: [oauth.md](oauth.md)
says what each kind is for.

```toml
[[oauth.issuer]]
issuer = \"https://idp.example\"
kinds = [\"id_token\", \"id_jag\"]
client_ids = [\"0oa1b2c3\"]

[[oauth.issuer]]
issuer = \"https://token.actions.githubusercontent.com\"
kinds = [\"workload\"]
max_lifetime = \"15m\"

[oauth.issuer.subjects]
# Repositories made, renamed or moved since 2026-07-15 have the numbers of owner and repository in their `sub`;
# others have the first form. A token that fits neither is logged with its `sub`.
\"repo:acme/ledger:ref:refs/heads/main\" = \"deploy-bot\"
\"repo:acme@123456/ledger@456789:ref:refs/heads/main\" = \"deploy-bot\"
```

Relative paths in this table start at the file's directory.

| key | what it does |
| --- | --- |
| `issuer` | The `iss` of its JWTs, to the letter. |
| `kinds` | What they are believed for: `id_token` (who a person is), `sign_in` (people sign in on the consent page with it), `workload` (which agent a workload is), `id_jag` (on whose behalf a client acts). |
| `jwks_uri` | Where its keys are. Absent: where `/.well-known/openid-configuration` below `issuer` says, which must name the same `issuer`. |
| `algorithms` | Some of `EdDSA`, `ES256`, `ES384`, `PS256`, `RS256`. Absent: all of them, each with the keys that it belongs to. |
| `client_ids` | For `id_token`: every `aud`, and `azp`, must be one of these. The broker's `issuer` is none. |
| `sign_in_client_id` | For `sign_in`: the broker's client id at the issuer, which is none of `client_ids`. Its redirect URI there is the broker's `issuer` followed by `/oauth/sign-in`. |
| `sign_in_secret_file` | For `sign_in`: the file with that client's secret, which only its owner may read. Absent: the client has none. |
| `sign_in_scopes` | For `sign_in`: what is asked for. Default: `[\"openid\"]`; some issuers give groups for `groups` only. |
| `audience` | For `workload`: the one `aud`, which is none of `client_ids`. Absent: the broker's `issuer`. |
| `subjects` | For `workload`: which agent it is, by a pattern of its `sub` where `*` stands for one or more characters other than `/` and `:`. A subject that fits patterns of several agents is refused. |
| `single_use` | For `workload`: each token once only, by its `jti`. Default: false. An ID-JAG always is. |
| `max_lifetime` | Tokens that live longer are refused; `10s` to `1day`. Default: 10m for an ID-JAG, 2h for an ID token, 1h for a workload. Microsoft Entra ID, Google and Okta issue ID tokens of about an hour, Auth0 by default of ten hours. |
| `networks` | Networks such as `10.96.0.0/12`, beyond the public ones, in which the issuer may be asked for its keys. |
| `root_certificates` | PEM file with the authorities of its TLS certificate. Absent: the machine's. |
";
