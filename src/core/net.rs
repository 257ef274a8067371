//! The configuration of every HTTP client in hallpass, and bounded reading of response bodies.
//!
//! SECURITY: a credential is sent only to its intended host. So no client follows redirects, sends a referrer,
//! or retries a request by itself, and none decompresses a body, which may expand without bound.

use std::{fmt, time::Duration};

use reqwest::{Certificate, ClientBuilder, Response, redirect, retry};

/// The settings that differ between clients.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct ClientSettings {
    /// The trusted certificate authorities.
    pub roots: Roots,
    /// Whether proxies are used.
    pub proxies: Proxies,
    /// Whether connections are reused.
    pub connections: Connections,
    /// The timeout for opening a connection, TLS included.
    pub connect_timeout: Duration,
    /// The longest pause between two reads of a response; `None` when the caller sets its own deadline.
    pub read_timeout: Option<Duration>,
}

/// The certificate authorities that a client trusts.
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Roots {
    /// The authorities of the operating system.
    Machine,
    /// These authorities only.
    Only(Vec<Certificate>),
    /// The authorities of the operating system, and these.
    MachineAnd(Vec<Certificate>),
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("Machine"),
            Self::Only(roots) => write!(f, "Only({})", roots.len()),
            Self::MachineAnd(roots) => write!(f, "MachineAnd({})", roots.len()),
        }
    }
}

/// Whether a client uses proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Proxies {
    /// It connects to the host directly.
    Never,
    /// It uses the proxies from the environment variables.
    FromEnvironment,
}

/// Whether a client reuses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Connections {
    /// HTTP/1.1, a new connection for each request: a pooled one may be dead unnoticed.
    OneEach,
    /// HTTP/1.1 or 2, with a connection pool.
    Reused,
}

/// A client builder with these settings. The caller adds the rest, such as a resolver.
pub fn client(settings: ClientSettings) -> ClientBuilder {
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("hallpass/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .connect_timeout(settings.connect_timeout);
    if settings.proxies == Proxies::Never {
        client = client.no_proxy();
    }
    if settings.connections == Connections::OneEach {
        client = client.http1_only().pool_max_idle_per_host(0);
    }
    if let Some(timeout) = settings.read_timeout {
        client = client.read_timeout(timeout);
    }
    match settings.roots {
        Roots::Machine => client,
        Roots::Only(roots) => client.tls_certs_only(roots),
        Roots::MachineAnd(roots) => client.tls_certs_merge(roots),
    }
}

/// The certificates in `pem`; `None` when there is none, or one is invalid.
#[must_use]
pub fn certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    Certificate::from_pem_bundle(pem)
        .ok()
        .filter(|certificates| !certificates.is_empty())
}

/// The whole body of `response`.
///
/// # Errors
///
/// When it is longer than `max_bytes`, or the connection fails.
pub async fn read(mut response: Response, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Broken)? {
        if body.len().saturating_add(chunk.len()) > max_bytes {
            return Err(ReadError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum ReadError {
    /// It is longer than the caller's limit.
    #[error("the response is too long")]
    TooLong,
    /// The connection failed.
    #[error("the response was cut short: {0}")]
    Broken(reqwest::Error),
}
