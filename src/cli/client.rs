//! The broker as its HTTP client sees it: one request, one JSON answer, one error for people.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::{
    api::{Page, shape},
    cli::{error::CliError, help::GLOBAL},
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
#[derive(Debug, Clone, Args)]
pub(super) struct Connection {
    /// Where the broker listens.
    #[arg(long, global = true, env = "HALLPASS_BROKER", hide_env_values = true, help_heading = GLOBAL, default_value = "http://127.0.0.1:7400", value_name = "URL")]
    broker: String,
    /// Certificates (PEM) to trust besides the system's, for a broker behind a private CA.
    #[arg(long, global = true, value_name = "FILE", help_heading = GLOBAL)]
    ca_file: Option<PathBuf>,
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
    pub(super) fn client(&self) -> Result<Client, CliError> {
        let text = self.broker.strip_suffix('/').unwrap_or(&self.broker);
        let base: IssuerUri = text.parse().map_err(|error| {
            CliError::usage(format!("--broker: {error}"))
                .hint("for example http://127.0.0.1:7400 or https://broker.example")
        })?;
        Ok(Client {
            http: http_client(base.as_str(), self.ca_file.as_ref())?,
            base,
        })
    }
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
        if error.is_connect() {
            return failed
                .hint("is `hallpass serve` running? --broker or HALLPASS_BROKER says where");
        }
        if error.is_timeout() {
            return failed.hint(
                "the request may have been carried out all the same: look before you repeat it",
            );
        }
        failed
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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The largest page that the broker gives.
const PAGE: usize = 200;
