//! The HTTP client: how every client of hallpass is set up, and how an answer is read within bounds.
//!
//! SECURITY: a credential goes to the place that it is meant for. So no client follows redirects, sends a referrer,
//! or repeats a request by itself, and none decodes a compressed body, which can be far longer than it looks.

use std::{fmt, time::Duration};

use reqwest::{Certificate, ClientBuilder, Response, redirect, retry};

/// What differs between clients.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct ClientSettings {
    /// Whose TLS certificates are trusted.
    pub roots: Roots,
    /// Whether proxies are used.
    pub proxies: Proxies,
    /// Whether connections are kept.
    pub connections: Connections,
    /// TCP and TLS must be set up in this time.
    pub connect_timeout: Duration,
    /// The longest silence while an answer arrives; `None`: the caller bounds it.
    pub read_timeout: Option<Duration>,
}

/// Whose TLS certificates a client trusts.
#[expect(clippy::exhaustive_enums, reason = "every client chooses")]
pub enum Roots {
    /// Those of the machine's authorities.
    Machine,
    /// Those of these authorities alone.
    Only(Vec<Certificate>),
    /// Those of the machine's authorities and of these.
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
#[expect(clippy::exhaustive_enums, reason = "every client chooses")]
pub enum Proxies {
    /// It connects to the host that is asked.
    Never,
    /// It uses those that the environment names.
    FromEnvironment,
}

/// Whether a client keeps connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every client chooses")]
pub enum Connections {
    /// HTTP/1.1, a new connection for each request: a pooled one may be dead without saying so.
    OneEach,
    /// HTTP/1.1 or 2, connections are used again.
    Reused,
}

/// A client builder with these settings. The caller adds what is its own, such as a resolver.
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

/// The certificates in `pem`; `None` when there is none, or what is there is no certificate.
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
/// When it is longer than `max_bytes`, or breaks off.
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

/// A body that was not read.
#[derive(Debug, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "every client answers both")]
pub enum ReadError {
    /// It is longer than the caller reads.
    #[error("the answer is too long")]
    TooLong,
    /// The connection failed.
    #[error("the answer broke off: {0}")]
    Broken(reqwest::Error),
}
