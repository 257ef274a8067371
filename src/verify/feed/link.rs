//! The HTTP side of the feed client: requests to the broker, and the bounds on its responses.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use sse_stream::{Sse, SseByteStream};

use crate::{FrameError, feed::error::FeedError};
use hallpass_core::{
    base::{
        error::chain,
        format::Format,
        ids::{IssuerUri, ServerUri},
        json, jws,
        media_type::MediaType,
        text::is_unsafe_char,
    },
    net::{self, ClientSettings, Connections, Proxies, ReadError, Roots},
    wire::{DocumentError, document::KeyDocument},
};

/// The broker's address, and the client for requests to it.
pub(super) struct Link {
    http: Client,
    keys: Url,
    feed: Url,
    decisions: Url,
    authorization: HeaderValue,
    idle_timeout: Duration,
}

impl Link {
    pub(super) fn new(
        (broker, server): (&IssuerUri, &ServerUri),
        token: &str,
        root_certificate: Option<&[u8]>,
        idle_timeout: Duration,
    ) -> Result<Self, FeedError> {
        let url = |path: &str| {
            Url::parse(&format!("{broker}{path}"))
                .map_err(|error| FeedError::Http(format!("`{broker}`: {error}")))
        };
        let (keys, mut feed, decisions) = (
            url("/v1/keys.json")?,
            url("/v1/feed")?,
            url("/v1/decisions")?,
        );
        feed.query_pairs_mut()
            .append_pair("server", server.as_str())
            .append_pair("format", &FORMAT.to_string());
        let roots = match root_certificate {
            Some(pem) => Roots::Only(net::certificates(pem).ok_or(FeedError::RootCertificate)?),
            // Plain http on loopback never opens TLS; a machine without certificates can still use it.
            None if keys.scheme() == "http" => Roots::Only(Vec::new()),
            None => Roots::Machine,
        };
        let (http, authorization) = (client(roots, idle_timeout)?, bearer(token)?);
        Ok(Self {
            http,
            keys,
            feed,
            decisions,
            authorization,
            idle_timeout,
        })
    }

    /// Fetches the key document. It is public, so the token is not sent.
    pub(super) async fn key_document(&self) -> Result<KeyDocument, Failure> {
        let answer = async {
            let response = expect(self.http.get(self.keys.clone()), "application/json").await?;
            let body = read(response, KeyDocument::MAX_BYTES).await?;
            KeyDocument::from_json(&body).map_err(Failure::key_document)
        };
        // SECURITY: a broker that sends one byte a second passes every idle timeout.
        tokio::time::timeout(self.idle_timeout, answer)
            .await
            .map_err(|_| Failure::Silent)?
    }

    /// Subscribes to the frames for the server: a snapshot first, or the changes `since`.
    pub(super) async fn subscribe(&self, since: Option<u64>) -> Result<Frames, Failure> {
        let mut url = self.feed.clone();
        if let Some(since) = since {
            url.query_pairs_mut()
                .append_pair("since", &since.to_string());
        }
        let request = self
            .http
            .get(url)
            .header(AUTHORIZATION, self.authorization.clone());
        let response = send(request, "text/event-stream").await?;
        if response.status() == StatusCode::BAD_REQUEST {
            // SECURITY: as for the key document.
            let body = tokio::time::timeout(self.idle_timeout, read(response, MAX_REPLY_BYTES));
            let body = body.await.map_err(|_| Failure::Silent)??;
            return Err(match Problem::read(&body) {
                Problem { field, detail } if field == "format" => Failure::Format(detail),
                _ => Failure::Status(StatusCode::BAD_REQUEST),
            });
        }
        Ok(Frames::new(
            checked(response, "text/event-stream")?,
            self.idle_timeout,
        ))
    }

    /// Sends a batch of reports, with a key by which the broker detects a repetition.
    ///
    /// The response is a success, or a problem with the reason.
    pub(super) async fn send_reports(&self, key: &str, body: Vec<u8>) -> Result<Reply, Failure> {
        let request = self
            .http
            .post(self.decisions.clone())
            .header(AUTHORIZATION, self.authorization.clone());
        let request = request
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let exchange = async {
            let response = request
                .header(ACCEPT, "application/json")
                .send()
                .await
                .map_err(Failure::http)?;
            let (status, headers) = (response.status(), response.headers().clone());
            if status.is_success() && !is_of(&response, "application/json") {
                return Err(Failure::ContentType("application/json"));
            }
            Ok(Reply {
                status,
                headers,
                body: read(response, MAX_REPLY_BYTES).await?,
            })
        };
        // SECURITY: a broker that sends one byte a second passes every idle timeout.
        tokio::time::timeout(self.idle_timeout, exchange)
            .await
            .map_err(|_| Failure::Silent)?
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("feed", &self.feed.as_str())
            .finish_non_exhaustive()
    }
}

/// A complete response, of any status.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// The broker's problem for a refused request. It names members and repeats no values.
pub(super) struct Problem {
    /// The member or parameter.
    pub(super) field: String,
    /// The problem.
    pub(super) detail: String,
}

impl Problem {
    /// Reads `body`; absent members become a dash.
    pub(super) fn read(body: &[u8]) -> Self {
        let problem = json::parse(body, MAX_REPLY_BYTES).unwrap_or_default();
        let text = |member: &str| {
            let text = problem.get(member).and_then(serde_json::Value::as_str);
            let plain = |character: &char| !is_unsafe_char(*character);
            let shown = text.unwrap_or("-").chars().filter(plain);
            shown.take(MAX_SHOWN_CHARS).collect()
        };
        Self {
            field: text("field"),
            detail: text("detail"),
        }
    }
}

/// The frames of one subscription.
pub(super) struct Frames {
    events: Pin<Box<dyn Stream<Item = Result<Sse, sse_stream::Error>> + Send>>,
    /// Bytes received since the last event.
    received: Arc<AtomicUsize>,
    deadline: Duration,
}

impl Frames {
    fn new(response: Response, idle_timeout: Duration) -> Self {
        let received = Arc::new(AtomicUsize::new(0));
        let meter = Arc::clone(&received);
        // SECURITY: the decoder buffers an event until it ends; one that never ends would exhaust memory.
        let bytes = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(Failure::http)?;
            let before = meter.fetch_add(chunk.len(), Ordering::Relaxed);
            if before.saturating_add(chunk.len()) > MAX_EVENT_BYTES {
                return Err(Failure::TooLarge(MAX_EVENT_BYTES));
            }
            Ok(chunk)
        });
        let deadline = idle_timeout.saturating_mul(FRAME_DEADLINE_FACTOR);
        Self {
            events: Box::pin(SseByteStream::new(bytes)),
            received,
            deadline,
        }
    }

    /// The next frame, not yet verified.
    pub(super) async fn next(&mut self) -> Result<String, Failure> {
        // SECURITY: comments, other events and single bytes keep the idle timeout from firing, but are not frames.
        tokio::time::timeout(self.deadline, self.next_frame())
            .await
            .map_err(|_| Failure::Silent)?
    }

    async fn next_frame(&mut self) -> Result<String, Failure> {
        loop {
            let event = self
                .events
                .next()
                .await
                .ok_or(Failure::Ended)?
                .map_err(Failure::stream)?;
            self.received.store(0, Ordering::Relaxed);
            // Events with other names come from a later build of the broker.
            if event.event.as_deref() == Some("frame") {
                return Ok(event.data.unwrap_or_default());
            }
        }
    }
}

/// Why a connection ended. The text holds no secret and appears in logs and in the status.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("cannot reach the broker: {0}")]
    Http(String),
    #[error(
        "the broker refused the verifier's token ({0}): check that it was issued for this server and has not expired"
    )]
    Denied(StatusCode),
    #[error(
        "the broker answered {0}: redirects are not followed; configure the broker's final address"
    )]
    Redirect(StatusCode),
    #[error("the broker answered {0}")]
    Status(StatusCode),
    #[error("the response is not `{0}`: check the broker's address")]
    ContentType(&'static str),
    #[error("the broker sent a message of more than {0} bytes")]
    TooLarge(usize),
    #[error("the broker's stream cannot be read: {0}")]
    Stream(String),
    #[error("the broker closed the stream")]
    Ended,
    #[error("the broker has been silent for too long")]
    Silent,
    #[error(
        "the broker does not write feed format {FORMAT}, which this verifier reads ({0}): upgrade the broker, or this \
         verifier where the broker writes later formats only"
    )]
    Format(String),
    #[error("the broker's key document cannot be read: {0}")]
    KeyDocumentShape(DocumentError),
    #[error("{}", key_document_problem(.0))]
    KeyDocument(FrameError),
    #[error("{0}")]
    Frame(FrameError),
}

impl Failure {
    /// Whether only an administrator can fix it: with another token, or an upgrade of the older side.
    pub(super) const fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Denied(_)
                | Self::Format(_)
                | Self::Frame(FrameError::Format { .. } | FrameError::Critical { .. })
                | Self::KeyDocument(FrameError::Format { .. } | FrameError::Critical { .. })
        )
    }

    /// A key document that a later build can read is named as such.
    fn key_document(error: DocumentError) -> Self {
        if error.is_newer() {
            Self::KeyDocument(error.into())
        } else {
            Self::KeyDocumentShape(error)
        }
    }

    fn http(error: reqwest::Error) -> Self {
        Self::Http(chain(&error.without_url()))
    }

    fn stream(error: sse_stream::Error) -> Self {
        match error {
            sse_stream::Error::Body(body) => match body.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(other) => Self::Stream(chain(&*other)),
            },
            other => Self::Stream(other.to_string()),
        }
    }
}

fn key_document_problem(error: &FrameError) -> String {
    match error {
        FrameError::Address => {
            "the key document is from another broker: compare the issuer".to_owned()
        }
        FrameError::Signature => {
            "the key document has no chain from the pinned feed key: compare the thumbprint"
                .to_owned()
        }
        other => format!("key document: {other}"),
    }
}

/// Sends `request` and returns the response when it is a success of this content type.
async fn expect(request: RequestBuilder, content_type: &'static str) -> Result<Response, Failure> {
    checked(send(request, content_type).await?, content_type)
}

async fn send(request: RequestBuilder, content_type: &'static str) -> Result<Response, Failure> {
    request
        .header(ACCEPT, content_type)
        .send()
        .await
        .map_err(Failure::http)
}

fn checked(response: Response, content_type: &'static str) -> Result<Response, Failure> {
    match response.status() {
        StatusCode::OK => {}
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            return Err(Failure::Denied(status));
        }
        status if status.is_redirection() => return Err(Failure::Redirect(status)),
        status => return Err(Failure::Status(status)),
    }
    if is_of(&response, content_type) {
        Ok(response)
    } else {
        Err(Failure::ContentType(content_type))
    }
}

fn is_of(response: &Response, content_type: &str) -> bool {
    let given = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    MediaType::split(given).is(content_type)
}

/// The whole body, when it is not longer than `max` bytes.
async fn read(response: Response, max: usize) -> Result<Vec<u8>, Failure> {
    net::read(response, max).await.map_err(|error| match error {
        ReadError::TooLong => Failure::TooLarge(max),
        ReadError::Broken(error) => Failure::http(error),
    })
}

/// SECURITY: the token is sent only to the configured broker, never to a proxy from the environment.
fn client(roots: Roots, idle_timeout: Duration) -> Result<Client, FeedError> {
    let settings = ClientSettings {
        roots,
        proxies: Proxies::Never,
        connections: Connections::OneEach,
        connect_timeout: CONNECT_TIMEOUT,
        read_timeout: Some(idle_timeout),
    };
    net::client(settings)
        .build()
        .map_err(|error| FeedError::Http(chain(&error)))
}

fn bearer(token: &str) -> Result<HeaderValue, FeedError> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(FeedError::Token);
    }
    let mut header =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| FeedError::Token)?;
    // Keeps it out of the HTTP libraries' logs.
    header.set_sensitive(true);
    Ok(header)
}

/// The timeout for opening a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A frame must be whole within this many idle timeouts: the largest on a slow link.
const FRAME_DEADLINE_FACTOR: u32 = 4;

/// The largest frame, and the field names around it.
const MAX_EVENT_BYTES: usize = jws::MAX_JWS_BYTES + 1024;

/// The requested format of the feed.
const FORMAT: Format = Format::One;

/// The longest response that is not a document, in bytes.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// The longest text of a problem in a message.
const MAX_SHOWN_CHARS: usize = 200;
