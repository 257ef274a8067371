//! Trusted issuers: whose JWTs are believed, and for what, as the settings say.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use serde::Deserialize;

use crate::identity::{issuer::subject::SubjectPattern, jwk::KeyAlgorithm};
use hallpass_core::base::{
    ids::{AgentId, IssuerUri},
    uri::{Authority, Uri, is_loopback_host},
};

/// One `[[oauth.issuer]]` of the settings, before anything of it is believed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerSettings {
    /// The `iss` of its JWTs, to the letter.
    pub issuer: String,
    /// What its JWTs are believed for.
    pub kinds: BTreeSet<TrustedKind>,
    /// Where its keys are; absent: where its discovery document says.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The algorithms of its signatures; absent: all that are known.
    #[serde(default)]
    pub algorithms: Option<BTreeSet<String>>,
    /// The `aud` of workloads' tokens; absent: the broker's issuer.
    #[serde(default)]
    pub audience: Option<String>,
    /// The clients whose ID tokens are accepted, as their `aud` names them.
    #[serde(default)]
    pub client_ids: BTreeSet<String>,
    /// The broker's own client id at the issuer, with which people sign in.
    #[serde(default)]
    pub sign_in_client_id: Option<String>,
    /// The file with that client's secret; absent: it has none.
    #[serde(default)]
    pub sign_in_secret_file: Option<PathBuf>,
    /// The scopes that are asked for when a person signs in; absent: `openid`.
    #[serde(default)]
    pub sign_in_scopes: Option<Vec<String>>,
    /// Which agent a workload is, by a pattern of its `sub`.
    #[serde(default)]
    pub subjects: BTreeMap<String, AgentId>,
    /// Whether a workload's token is accepted once only.
    #[serde(default)]
    pub single_use: bool,
    /// How long one of its JWTs may live; absent: ten minutes for an ID-JAG, an hour for others.
    #[serde(default)]
    pub max_lifetime: Option<String>,
    /// Networks beyond the public ones in which it may be asked for its keys.
    #[serde(default)]
    pub networks: BTreeSet<String>,
    /// The file with the authorities of its TLS certificate, in PEM form; absent: the machine's.
    #[serde(default)]
    pub root_certificates: Option<PathBuf>,
}

/// What an issuer's JWTs are believed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustedKind {
    /// A person's ID token (OpenID Connect): on whose behalf an agent acts.
    IdToken,
    /// A person's ID token that the broker asked for itself: who signs in to allow something.
    SignIn,
    /// A workload's token: which agent it is.
    Workload,
    /// An identity assertion authorization grant (ID-JAG): an agent, and on whose behalf it acts.
    IdJag,
}

/// The broker as a client of an issuer, with which people sign in (OpenID Connect Core section 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInClient {
    /// Its id there.
    pub client_id: String,
    /// The file with its secret; `None`: it has none.
    pub secret_file: Option<PathBuf>,
    /// What is asked for, as `scope` has it.
    pub scope: String,
}

/// An issuer that is trusted; if it exists, its settings hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedIssuer {
    pub(super) issuer: Box<str>,
    pub(super) kinds: BTreeSet<TrustedKind>,
    pub(super) algorithms: Vec<KeyAlgorithm>,
    pub(super) audience: Option<Box<str>>,
    pub(super) client_ids: BTreeSet<String>,
    sign_in: Option<SignInClient>,
    pub(super) subjects: Vec<(SubjectPattern, AgentId)>,
    pub(super) single_use: bool,
    max_lifetime: Option<Duration>,
    jwks_uri: Option<Box<str>>,
    networks: Vec<IpNet>,
    root_certificates: Option<PathBuf>,
}

impl TrustedIssuer {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// In words, what is wrong: a URL that is none, an unknown algorithm, a kind that lacks what it needs or
    /// has what belongs to another.
    pub fn new(settings: IssuerSettings) -> Result<Self, String> {
        let issuer = url(&settings.issuer).map_err(|expected| format!("`issuer`: {expected}"))?;
        let jwks_uri = settings.jwks_uri.as_deref().map(url).transpose();
        let jwks_uri = jwks_uri.map_err(|expected| format!("`jwks_uri`: {expected}"))?;
        let is = |kind| settings.kinds.contains(&kind);
        if settings.kinds.is_empty() {
            return Err(
                "`kinds`: name at least one of id_token, sign_in, workload, id_jag".to_owned(),
            );
        }
        if is(TrustedKind::IdToken) == settings.client_ids.is_empty() {
            return Err(
                "`client_ids` goes with the kind id_token, which needs at least one".to_owned(),
            );
        }
        if is(TrustedKind::Workload) == settings.subjects.is_empty() {
            return Err(
                "`subjects` goes with the kind workload, which needs at least one".to_owned(),
            );
        }
        if !is(TrustedKind::Workload) && (settings.audience.is_some() || settings.single_use) {
            return Err("`audience` and `single_use` go with the kind workload".to_owned());
        }
        if settings.audience.as_ref().is_some_and(String::is_empty)
            || settings.client_ids.contains("")
        {
            return Err("`audience` and `client_ids` are not empty".to_owned());
        }
        // SECURITY: a person's token for that client would pass for a workload's; nothing else distinguishes them.
        if settings
            .audience
            .as_ref()
            .is_some_and(|audience| settings.client_ids.contains(audience))
        {
            return Err("`audience` is one of `client_ids`: workloads' tokens need an audience of their own".to_owned());
        }
        let sign_in = sign_in(&settings)?;
        let pattern =
            |(text, agent): (String, AgentId)| Ok((text.parse::<SubjectPattern>()?, agent));
        let subjects: Result<Vec<_>, String> = settings.subjects.into_iter().map(pattern).collect();
        let network = |text: &String| {
            text.parse::<IpNet>()
                .map_err(|_| format!("`networks`: `{text}` is no network"))
        };
        Ok(Self {
            issuer,
            kinds: settings.kinds,
            algorithms: settings
                .algorithms
                .as_ref()
                .map_or_else(|| Ok(KeyAlgorithm::ALL.into()), algorithms)?,
            audience: settings.audience.map(Into::into),
            client_ids: settings.client_ids,
            sign_in,
            subjects: subjects.map_err(|error| format!("`subjects`: {error}"))?,
            single_use: settings.single_use,
            max_lifetime: settings.max_lifetime.as_deref().map(lifetime).transpose()?,
            jwks_uri,
            networks: settings
                .networks
                .iter()
                .map(network)
                .collect::<Result<_, _>>()?,
            root_certificates: settings.root_certificates,
        })
    }

    /// The `iss` of its JWTs.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether its JWTs are believed for `kind`.
    #[must_use]
    pub fn is_for(&self, kind: TrustedKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// The broker as its client, where people sign in with it.
    #[must_use]
    pub const fn sign_in(&self) -> Option<&SignInClient> {
        self.sign_in.as_ref()
    }

    /// The agents that its workloads can be.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.subjects.iter().map(|(_, agent)| agent)
    }

    /// Where its keys are, when that does not have to be discovered.
    #[must_use]
    pub fn jwks_uri(&self) -> Option<&str> {
        self.jwks_uri.as_deref()
    }

    /// Networks beyond the public ones in which it may be asked.
    #[must_use]
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// The file with the authorities of its TLS certificate, when they are not the machine's.
    #[must_use]
    pub const fn root_certificates(&self) -> Option<&PathBuf> {
        self.root_certificates.as_ref()
    }

    /// Whether its workloads' tokens for the broker `own` have this `aud`.
    pub(super) fn is_audience(&self, audience: &str, own: &IssuerUri) -> bool {
        self.audience
            .as_deref()
            .map_or_else(|| own.is_spelled(audience), |expected| expected == audience)
    }

    pub(super) fn max_lifetime(&self, kind: TrustedKind) -> Duration {
        self.max_lifetime.unwrap_or(match kind {
            TrustedKind::IdJag => Duration::from_secs(600),
            // Microsoft Entra ID issues ID tokens of 65 minutes.
            TrustedKind::IdToken | TrustedKind::SignIn => Duration::from_secs(2 * 3600),
            TrustedKind::Workload => Duration::from_secs(3600),
        })
    }
}

/// The settings of the kind `sign_in`, which belong together.
fn sign_in(settings: &IssuerSettings) -> Result<Option<SignInClient>, String> {
    let is_meant = settings.kinds.contains(&TrustedKind::SignIn);
    if is_meant != settings.sign_in_client_id.is_some() {
        return Err("`sign_in_client_id` goes with the kind sign_in, which needs it".to_owned());
    }
    let Some(client_id) = settings.sign_in_client_id.clone() else {
        return match (&settings.sign_in_secret_file, &settings.sign_in_scopes) {
            (None, None) => Ok(None),
            _ => Err(
                "`sign_in_secret_file` and `sign_in_scopes` go with the kind sign_in".to_owned(),
            ),
        };
    };
    // SECURITY: an ID token for that client could be presented by an agent, too.
    if client_id.is_empty() || settings.client_ids.contains(&client_id) {
        return Err(
            "`sign_in_client_id` is a client of the broker's own: not empty, and none of `client_ids`"
                .to_owned(),
        );
    }
    let scopes = settings.sign_in_scopes.as_deref();
    let scopes = scopes.map_or_else(|| vec!["openid".to_owned()], <[String]>::to_vec);
    // RFC 6749 section 3.3.
    let is_scope = |scope: &String| {
        let is_good = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        !scope.is_empty() && scope.bytes().all(is_good)
    };
    if !scopes.iter().all(is_scope) || !scopes.iter().any(|scope| scope == "openid") {
        return Err("`sign_in_scopes`: words without blanks, `openid` among them".to_owned());
    }
    Ok(Some(SignInClient {
        client_id,
        secret_file: settings.sign_in_secret_file.clone(),
        scope: scopes.join(" "),
    }))
}

fn algorithms(names: &BTreeSet<String>) -> Result<Vec<KeyAlgorithm>, String> {
    let known = KeyAlgorithm::NAMES.join(", ");
    let algorithm = |name: &String| KeyAlgorithm::from_alg(name).ok_or(());
    match names.iter().map(algorithm).collect::<Result<Vec<_>, _>>() {
        Ok(algorithms) if !algorithms.is_empty() => Ok(algorithms),
        _ => Err(format!("`algorithms`: name one or more of {known}")),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = humantime::parse_duration(text).ok();
    let lifetime =
        lifetime.filter(|lifetime| (SHORTEST_LIFETIME..=LONGEST_LIFETIME).contains(lifetime));
    lifetime
        .ok_or_else(|| "`max_lifetime`: expected a duration of 10s to 1day, such as 1h".to_owned())
}

/// An https URL without user, query and fragment, or an http one of this machine.
fn url(text: &str) -> Result<Box<str>, &'static str> {
    if is_url(text) {
        Ok(text.into())
    } else {
        Err("expected an https URL without user, query and fragment")
    }
}

fn is_url(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'@' | b'\\');
    let Some(uri) = Uri::split(text).filter(Uri::ends_with_path) else {
        return false;
    };
    let Some(authority) = uri.authority else {
        return false;
    };
    // This machine is a name or an IPv4 address here.
    let is_here = Authority::split(authority)
        .is_some_and(|it| is_loopback_host(it.host) && !it.host.starts_with('['));
    let is_secure = uri.scheme == "https" || (uri.scheme == "http" && is_here);
    is_secure
        && !(authority.is_empty() && uri.path.is_empty())
        && text.len() <= MAX_URL_BYTES
        && text.bytes().all(is_plain)
}

const SHORTEST_LIFETIME: Duration = Duration::from_secs(10);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const MAX_URL_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn urls_of_issuers_are_read_as_the_vectors_of_uris_say() {
        let rows = include_str!("../../../core/base/uri/vectors.json");
        let rows: Vec<Value> = serde_json::from_str(rows).unwrap();
        for row in &rows {
            let given = row["text"].as_str().unwrap();
            let (start, length) = given.split_once('*').unwrap_or((given, ""));
            let text = match length.parse() {
                Ok(length) => format!("{start}{}", "x".repeat(length)),
                Err(_) => given.to_owned(),
            };
            let taken = row.get("trusted").is_some();
            assert_eq!(url(&text).is_ok(), taken, "{given:?}");
        }
    }
}
