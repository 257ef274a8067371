//! The client: one JSON document from one URL, under every bound at once.

use std::{
    error::Error,
    fmt, io,
    iter::successors,
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Response, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap},
};
use serde_json::Value;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::server::outbound::Reach;
use hallpass_core::{
    base::{
        error::chain,
        json::{self, JsonError},
        media_type::MediaType,
    },
    net::{self, ClientSettings, Connections, Proxies, ReadError, Roots},
};

/// Fetches JSON documents that other parties named or wrote.
///
/// Only https is spoken, plain http to loopback where [`Reach`] has it. The address that is dialled is
/// checked, not a name that may mean another one a moment later. Redirects, proxies of the environment,
/// cookies and credentials are not used.
pub struct Fetcher {
    /// What hinders it, when there are no certificates to trust.
    http: Result<Client, String>,
    reach: Reach,
    deadline: Duration,
}

/// How documents are fetched.
pub struct FetchOptions {
    /// What may be dialled.
    pub reach: Reach,
    /// The certificate authorities to trust, in PEM form; `None`: the machine's.
    pub root_certificates: Option<Vec<u8>>,
    /// Who knows addresses of names.
    pub names: Arc<dyn Names>,
    /// A whole exchange takes at most this long: from the name to the last byte.
    pub deadline: Duration,
}

impl FetchOptions {
    /// The machine's authorities and names, and five seconds.
    #[must_use]
    pub fn new(reach: Reach) -> Self {
        Self {
            reach,
            root_certificates: None,
            names: Arc::new(SystemNames::default()),
            deadline: DEADLINE,
        }
    }
}

impl fmt::Debug for FetchOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            reach, deadline, ..
        } = self;
        f.debug_struct("FetchOptions")
            .field("reach", reach)
            .field("deadline", deadline)
            .finish_non_exhaustive()
    }
}

/// A form to post.
pub(crate) struct PostedForm<'a> {
    /// Its members.
    pub(crate) form: &'a [(&'a str, &'a str)],
    /// Name and secret for HTTP Basic authentication (RFC 6749 section 2.3.1).
    pub(crate) basic: Option<(&'a str, &'a str)>,
}

/// An answer to a form.
pub(crate) struct Posted {
    /// Its status.
    pub(crate) status: u16,
    /// Its JSON. It may hold secrets, so that it is printed nowhere.
    pub(crate) json: Value,
}

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// What it says.
    pub json: Value,
    /// How long its server lets it be kept; `None` when it does not say.
    pub fresh_for: Option<Duration>,
}

impl Fetcher {
    /// A client.
    ///
    /// # Errors
    ///
    /// When the given root certificates are none.
    pub fn new(options: FetchOptions) -> Result<Self, FetchError> {
        let roots = match options.root_certificates.as_deref() {
            Some(pem) => Roots::Only(net::certificates(pem).ok_or(FetchError::RootCertificates)?),
            None => Roots::Machine,
        };
        let resolver = Resolver {
            names: options.names,
            reach: options.reach.clone(),
        };
        let http = client(resolver, roots, options.deadline).map_err(|error| chain(&error));
        Ok(Self {
            http,
            reach: options.reach,
            deadline: options.deadline,
        })
    }

    /// Fetches the document at `url`, of at most `max_bytes`.
    ///
    /// # Errors
    ///
    /// Refuses a URL or address that must not be dialled, and every answer but 200 with strict JSON in time.
    pub async fn json(&self, url: &str, max_bytes: usize) -> Result<Fetched, FetchError> {
        let url = self.admitted(url)?;
        let http = self
            .http
            .as_ref()
            .map_err(|error| FetchError::Unreachable(error.clone()))?;
        let exchange = async {
            let request = http.get(url).header(ACCEPT, ACCEPTED);
            let response = request.send().await.map_err(FetchError::from_http)?;
            refuse_other_than_json(&response)?;
            let fresh_for = fresh_for(response.headers());
            let body = read(response, max_bytes).await?;
            Ok(Fetched {
                json: json::parse(&body, max_bytes).map_err(FetchError::Json)?,
                fresh_for,
            })
        };
        // SECURITY: a server that sends one byte a second passes every idle timeout.
        tokio::time::timeout(self.deadline, exchange)
            .await
            .map_err(|_| FetchError::TimedOut)?
    }

    /// Posts a form to `url`; the answer is JSON of at most `max_bytes`, whatever its status.
    ///
    /// # Errors
    ///
    /// As [`json`](Self::json).
    pub(crate) async fn post_form(
        &self,
        url: &str,
        PostedForm { form, basic }: PostedForm<'_>,
        max_bytes: usize,
    ) -> Result<Posted, FetchError> {
        let url = self.admitted(url)?;
        let http = self
            .http
            .as_ref()
            .map_err(|error| FetchError::Unreachable(error.clone()))?;
        let encoded = |text: &str| {
            let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
            Zeroizing::new(encoded)
        };
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut request = http
            .post(url)
            .header(ACCEPT, ACCEPTED)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        if let Some((name, secret)) = basic {
            request = request.basic_auth(&*encoded(name), Some(&*encoded(secret)));
        }
        let exchange = async {
            let response = request.send().await.map_err(FetchError::from_http)?;
            let status = response.status();
            if status.is_redirection() {
                return Err(FetchError::Redirect(status.as_u16()));
            }
            refuse_other_types(&response)?;
            let body = Zeroizing::new(read(response, max_bytes).await?);
            Ok(Posted {
                status: status.as_u16(),
                json: json::parse(&body, max_bytes).map_err(FetchError::Json)?,
            })
        };
        tokio::time::timeout(self.deadline, exchange)
            .await
            .map_err(|_| FetchError::TimedOut)?
    }

    /// SECURITY: an address in the URL is dialled without asking the resolver, so it is checked here; the
    /// parser has by now turned `0x7f.1`, `2130706433` and `127.0.0.1.` into the address that they mean.
    pub(super) fn admitted(&self, text: &str) -> Result<Url, FetchError> {
        // The parser drops white space, turns backslashes around and skips slashes: such text means two things.
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && !text.contains(":///");
        if text.len() > MAX_URL_BYTES || !is_plain {
            return Err(FetchError::Url);
        }
        let url = Url::parse(text).map_err(|_| FetchError::Url)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(FetchError::Url);
        }
        let host = url.host_str().ok_or(FetchError::Url)?;
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok();
        let plain_is_accepted = || match literal {
            Some(address) => self.reach.admits_plain_http(address),
            None => {
                host == "localhost" && self.reach.admits_plain_http(IpAddr::from([127, 0, 0, 1]))
            }
        };
        match url.scheme() {
            "https" => {}
            "http" if plain_is_accepted() => {}
            _ => return Err(FetchError::Url),
        }
        if literal.is_some_and(|address| !self.reach.admits(address)) {
            return Err(FetchError::Address);
        }
        Ok(url)
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

/// Why a document was not fetched. Its text is for the log: it may say what is in the network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Not a URL that is fetched from.
    #[error(
        "not an https URL (http only for loopback, where that is configured) without user and fragment"
    )]
    Url,
    /// Nothing that may be dialled.
    #[error(
        "the host has no address that may be dialled: private, loopback and special ones are refused"
    )]
    Address,
    /// Not reached, or not by TLS.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// Not done in time.
    #[error("was not done in time")]
    TimedOut,
    /// Another place was named.
    #[error("answered {0}: redirects are not followed")]
    Redirect(u16),
    /// Not 200.
    #[error("answered {0}")]
    Status(u16),
    /// Not JSON by its type.
    #[error("the answer is not JSON by its content type")]
    ContentType,
    /// Longer than is read.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    /// Not strict JSON.
    #[error("the answer is not strict JSON: {0}")]
    Json(JsonError),
    /// The root certificates are none.
    #[error("the root certificates are not PEM certificates")]
    RootCertificates,
}

impl FetchError {
    fn from_http(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        let error = error.without_url();
        let first: &dyn Error = &error;
        let mut causes = successors(Some(first), |error| (*error).source());
        if causes.any(|cause| cause.is::<NoneAdmitted>()) {
            return Self::Address;
        }
        Self::Unreachable(chain(&error))
    }
}

/// Who knows addresses of names.
pub trait Names: Send + Sync + fmt::Debug {
    /// Every address of `host`.
    fn addresses(&self, host: String) -> Addresses;
}

/// The answer of [`Names`].
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// The machine's resolver.
#[derive(Debug)]
struct SystemNames {
    /// Places for threads that wait: the machine's resolver cannot be cancelled.
    places: Arc<Semaphore>,
}

impl Default for SystemNames {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_AT_ONCE)),
        }
    }
}

impl Names for SystemNames {
    fn addresses(&self, host: String) -> Addresses {
        let places = Arc::clone(&self.places);
        Box::pin(async move {
            let permit = places.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = move || {
                let _permit = permit;
                (host.as_str(), 0)
                    .to_socket_addrs()
                    .map(|found| found.map(|address| address.ip()).collect())
            };
            tokio::task::spawn_blocking(lookup).await?
        })
    }
}

/// SECURITY: what the connector dials is what this gives it, so a name cannot mean one address when it is
/// checked and another when it is dialled.
struct Resolver {
    names: Arc<dyn Names>,
    reach: Reach,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, reach) = (
            self.names.addresses(name.as_str().to_owned()),
            self.reach.clone(),
        );
        Box::pin(async move {
            let admitted = found
                .await?
                .into_iter()
                .filter(|address| reach.admits(*address));
            let admitted: Vec<_> = admitted
                .map(|address| SocketAddr::new(address, 0))
                .take(MAX_ADDRESSES)
                .collect();
            if admitted.is_empty() {
                return Err(NoneAdmitted.into());
            }
            let admitted: Addrs = Box::new(admitted.into_iter());
            Ok(admitted)
        })
    }
}

/// Distinguishes a name whose addresses must not be dialled from one that was not found.
#[derive(Debug, thiserror::Error)]
#[error("no address that may be dialled")]
struct NoneAdmitted;

fn client(resolver: Resolver, roots: Roots, deadline: Duration) -> Result<Client, reqwest::Error> {
    let settings = ClientSettings {
        roots,
        proxies: Proxies::Never,
        // Every fetch asks the resolver and dials anew.
        connections: Connections::OneEach,
        connect_timeout: deadline,
        read_timeout: None,
    };
    net::client(settings).dns_resolver(resolver).build()
}

fn refuse_other_than_json(response: &Response) -> Result<(), FetchError> {
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(FetchError::Redirect(status.as_u16())),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    refuse_other_types(response)
}

fn refuse_other_types(response: &Response) -> Result<(), FetchError> {
    let given = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if MediaType::split(given).is_json() {
        Ok(())
    } else {
        Err(FetchError::ContentType)
    }
}

/// The whole body, when it is not longer than `max` bytes.
async fn read(response: Response, max: usize) -> Result<Vec<u8>, FetchError> {
    net::read(response, max).await.map_err(|error| match error {
        ReadError::TooLong => FetchError::TooLarge(max),
        ReadError::Broken(error) => FetchError::from_http(error),
    })
}

fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    // Several lines are one list (RFC 9110 section 5.3).
    let lines = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let lines: Vec<_> = lines.map(str::to_ascii_lowercase).collect();
    let mut directives = lines.iter().flat_map(|line| line.split(',')).map(str::trim);
    if directives
        .clone()
        .any(|directive| matches!(directive, "no-store" | "no-cache"))
    {
        return Some(Duration::ZERO);
    }
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    seconds
        .trim_matches('"')
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// An exchange takes at most this long.
const DEADLINE: Duration = Duration::from_secs(5);

/// The second for Kubernetes, whose API server gives its key set only to clients that accept that type.
const ACCEPTED: &str = "application/json, application/jwk-set+json";

/// How many lookups of names may run at once.
const MAX_AT_ONCE: usize = 32;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

const MAX_URL_BYTES: usize = 2048;
