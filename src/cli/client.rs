//! The broker as its HTTP client sees it: one request, one JSON answer, one error for people.

use std::{
    error::Error,
    fmt, fs, io,
    iter::successors,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, header};
use rustls::CertificateError;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    api::{Page, shape},
    cli::{config_file::ConfigFile, error::CliError, help::GLOBAL},
    server::config::process_environment,
};
use hallpass_core::{
    base::{
        error::chain,
        ids::IssuerUri,
        json,
        uri::{HttpUri, is_loopback_host},
    },
    net::{self, ClientSettings, Connections, Proxies, ReadError, Roots},
};

/// How to reach the broker.
///
/// The environment is read here and not by clap, whose usage lines show what a variable gave as if it were required.
#[derive(Debug, Clone, Args)]
pub(super) struct Connection {
    /// Where the broker is; else the broker of the configuration file, or http://127.0.0.1:7400.
    /// [env: HALLPASS_BROKER]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL")]
    broker: Option<String>,
    /// Certificates (PEM) to trust besides the system's, for a broker behind a private CA.
    /// [env: HALLPASS_CA_FILE]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    ca_file: Option<PathBuf>,
    /// The broker's configuration file, which says where broker and token are; ./hallpass.toml when it is there.
    /// [env: HALLPASS_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    config: Option<PathBuf>,
}

/// A client of one broker.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: IssuerUri,
}

/// What a request proves about its sender.
#[derive(Clone, Default)]
pub(super) struct Bearer(Option<Zeroizing<String>>);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

impl Bearer {
    /// Nothing.
    pub(super) const NONE: Self = Self(None);

    pub(super) const fn new(credential: Zeroizing<String>) -> Self {
        Self(Some(credential))
    }
}

impl Connection {
    /// The configuration of the broker on this machine.
    pub(super) fn config_file(&self) -> ConfigFile {
        ConfigFile::named(self.config.clone())
    }

    pub(super) fn client(&self) -> Result<Client, CliError> {
        self.client_near(&self.config_file())
    }

    /// A client of the broker that was named, or else of the one that `config` describes.
    pub(super) fn client_near(&self, config: &ConfigFile) -> Result<Client, CliError> {
        let named = self.broker.clone().or_else(|| variable(BROKER_VARIABLE));
        let mut ca_file = self.ca_file();
        let base = match named {
            Some(text) => {
                let text = text.strip_suffix('/').unwrap_or(&text);
                text.parse().map_err(|error| {
                    CliError::usage(format!("--broker: {error}"))
                        .hint("for example http://127.0.0.1:7400 or https://broker.example")
                })?
            }
            None => {
                let local = config.local_broker()?;
                ca_file = ca_file.or_else(|| local.certificate().cloned());
                local.url()?
            }
        };
        Ok(Client {
            http: http_client(base.as_str(), ca_file.as_ref())?,
            base,
        })
    }

    /// The certificates to trust, by flag or by variable.
    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        let in_environment = || variable(CA_FILE_VARIABLE).map(PathBuf::from);
        self.ca_file.clone().or_else(in_environment)
    }
}

/// A variable that is set, and not to nothing.
pub(super) fn variable(name: &str) -> Option<String> {
    process_environment(name).filter(|text| !text.is_empty())
}

/// An HTTP client for `url`: no redirects, since a credential goes where it was meant to go, and no
/// proxy to this machine itself.
pub(super) fn http_client(
    url: &str,
    ca_file: Option<&PathBuf>,
) -> Result<reqwest::Client, CliError> {
    let is_here = HttpUri::split(url).is_some_and(|uri| is_loopback_host(uri.host));
    let settings = ClientSettings {
        roots: match ca_file {
            Some(path) => Roots::MachineAnd(certificates(path)?),
            None => Roots::Machine,
        },
        proxies: if is_here {
            Proxies::Never
        } else {
            Proxies::FromEnvironment
        },
        connections: Connections::Reused,
        connect_timeout: CONNECT_TIMEOUT,
        read_timeout: None,
    };
    net::client(settings)
        .build()
        .map_err(|error| CliError::failed(format!("cannot set up TLS: {}", chain(&error))))
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, CliError> {
    let pem = fs::read(path)
        .map_err(|error| CliError::failed(format!("cannot read `{}`: {error}", path.display())))?;
    net::certificates(&pem).ok_or_else(|| {
        CliError::failed(format!(
            "`{}` holds no certificate in PEM form",
            path.display()
        ))
    })
}

impl Client {
    /// The broker's URL.
    pub(super) fn base(&self) -> &str {
        self.base.as_str()
    }

    /// Whether `issuer` has this broker's scheme, host and port.
    pub(super) fn has_origin_of(&self, issuer: &IssuerUri) -> bool {
        self.base.parts().origin == issuer.parts().origin
    }

    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
        bearer: &Bearer,
    ) -> Result<Value, CliError> {
        self.answer(self.request(Method::GET, path, bearer).query(query))
            .await
    }

    pub(super) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
        bearer: &Bearer,
    ) -> Result<Value, CliError> {
        self.answer(self.request(Method::POST, path, bearer).json(body))
            .await
    }

    pub(super) async fn put(
        &self,
        path: &str,
        body: &impl Serialize,
        bearer: &Bearer,
    ) -> Result<Value, CliError> {
        self.answer(self.request(Method::PUT, path, bearer).json(body))
            .await
    }

    pub(super) async fn delete(&self, path: &str, bearer: &Bearer) -> Result<Value, CliError> {
        self.answer(self.request(Method::DELETE, path, bearer))
            .await
    }

    /// Every item of a list, page by page, at most `limit`.
    pub(super) async fn list(
        &self,
        path: &str,
        (query, limit): (&[(&str, String)], usize),
        bearer: &Bearer,
    ) -> Result<Vec<Value>, CliError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < limit {
            let page = limit.saturating_sub(items.len()).min(PAGE);
            let mut query = query.to_vec();
            query.push(("limit", page.to_string()));
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let answer = self.get(path, &query, bearer).await?;
            let page: Page<Value> = shape::read_known(answer).map_err(unreadable)?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    /// An answer that is text, of the media type `accept`.
    pub(super) async fn text(
        &self,
        path: &str,
        (query, accept): (&[(&str, String)], &str),
        bearer: &Bearer,
    ) -> Result<String, CliError> {
        let request = self
            .request(Method::GET, path, bearer)
            .query(query)
            .header(header::ACCEPT, accept);
        let response = self.send(request.timeout(TIMEOUT)).await?;
        let bytes = body(response, MAX_ANSWER_BYTES).await?;
        String::from_utf8(bytes).map_err(|_| CliError::failed("the broker's answer is not text"))
    }

    /// A stream of events; it ends when the broker ends it.
    pub(super) async fn events(
        &self,
        path: &str,
        (query, last): (&[(&str, String)], Option<String>),
        bearer: &Bearer,
    ) -> Result<Response, CliError> {
        let mut request = self.request(Method::GET, path, bearer).query(query);
        request = request.header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        self.send(request).await
    }

    /// An answer that is read as it comes, of the media type `accept`.
    pub(super) async fn stream(
        &self,
        path: &str,
        (query, accept): (&[(&str, String)], &str),
        bearer: &Bearer,
    ) -> Result<Response, CliError> {
        self.send(
            self.request(Method::GET, path, bearer)
                .query(query)
                .header(header::ACCEPT, accept),
        )
        .await
    }

    fn request(&self, method: Method, path: &str, bearer: &Bearer) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &bearer.0 {
            Some(credential) => request.bearer_auth(credential.as_str()),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.send(request.timeout(TIMEOUT)).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        parse(&body(response, MAX_ANSWER_BYTES).await?)
    }

    /// The response when it is a success, and the problem in it when it is not.
    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = body(response, MAX_ANSWER_BYTES).await?;
        match json::parse(&bytes, MAX_ANSWER_BYTES) {
            Ok(problem @ Value::Object(_)) => Err(CliError::problem(status.as_u16(), problem)),
            _ => Err(
                CliError::failed(format!("`{}` answered {status}", self.base))
                    .hint("is this the URL of a hallpass broker?"),
            ),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let failed = CliError::failed(format!(
            "cannot reach the broker at {}: {}",
            self.base,
            chain(error)
        ));
        match hint(error) {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }
}

/// What to do about a request that had no answer.
fn hint(error: &reqwest::Error) -> Option<&'static str> {
    let outermost: &dyn Error = error;
    let causes = || successors(Some(outermost), |error| (*error).source());
    let io_error = || causes().find_map(|cause| cause.downcast_ref::<io::Error>());
    let tls_error = causes().find_map(tls_error);
    Some(match tls_error {
        Some(rustls::Error::InvalidCertificate(error)) => certificate_hint(error),
        Some(rustls::Error::InvalidMessage(_)) => {
            "does the broker speak plain http there? then its URL begins with http://"
        }
        Some(_) => return None,
        None if io_error()
            .is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) =>
        {
            "is `hallpass serve` running? --broker or HALLPASS_BROKER says where"
        }
        None if error.is_timeout() && !error.is_connect() => {
            "the request may have been carried out all the same: look before you repeat it"
        }
        None if error.is_connect() => "--broker or HALLPASS_BROKER says where the broker is",
        None => return None,
    })
}

/// The TLS error that `error` is or holds: an `io::Error` does not name what it holds as its source.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    let held = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_error(held)
}

fn certificate_hint(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::UnknownIssuer => {
            "this machine does not know the authority that signed the broker's certificate: say --ca-file or HALLPASS_CA_FILE, \
             the file with the authority's certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for other names: say --broker with one of them, or make a certificate with this one as a \
             subjectAltName"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the broker's certificate, and send the broker SIGHUP"
        }
        // The library has no name of its own for it.
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "the broker serves the certificate of an authority (`openssl req -x509` makes one): sign a certificate for the \
             broker with it; docs/operations.md has the commands"
        }
        _ => "see `hallpass doctor`, and `openssl s_client -connect HOST:PORT`",
    }
}

/// A path segment, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The body of `response`, refused when it is longer than `max_bytes`.
pub(super) async fn body(response: Response, max_bytes: usize) -> Result<Vec<u8>, CliError> {
    net::read(response, max_bytes)
        .await
        .map_err(|error| match error {
            ReadError::TooLong => {
                CliError::failed(format!("the answer is longer than {max_bytes} bytes"))
            }
            ReadError::Broken(error) => {
                CliError::failed(format!("the answer broke off: {}", chain(&error)))
            }
        })
}

/// The broker's answer has another shape than this program knows.
pub(super) fn unreadable(error: impl fmt::Display) -> CliError {
    CliError::failed(format!("the broker's answer cannot be read: {error}"))
}

fn parse(bytes: &[u8]) -> Result<Value, CliError> {
    json::parse(bytes, MAX_ANSWER_BYTES).map_err(|error| {
        CliError::failed(format!("the answer is not JSON: {error}"))
            .hint("is this the URL of a hallpass broker?")
    })
}

/// What is encoded in a path segment: everything but unreserved characters (RFC 3986 section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The variables that say where the broker is, and whom it is trusted by.
pub(super) const BROKER_VARIABLE: &str = "HALLPASS_BROKER";
pub(super) const CA_FILE_VARIABLE: &str = "HALLPASS_CA_FILE";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The largest page that the broker gives.
const PAGE: usize = 200;
