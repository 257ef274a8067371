//! A small MCP client: asks a live server once what it offers, over streamable HTTP.
//!
//! It calls nothing. Every answer is foreign: sizes, pages and times are bounded, JSON is strict.
//!
//! Servers before MCP 2026-07-28 open with `initialize`; those that know nothing older open with nothing, and are asked by
//! `server/discover`.

use std::{path::PathBuf, time::Duration};

use reqwest::{
    RequestBuilder, Response, StatusCode,
    header::{self, HeaderMap},
};
use serde_json::{Value, json};
use sse_stream::SseStream;
use zeroize::Zeroizing;

use crate::cli::{
    client::{body, http_client},
    error::CliError,
};
use hallpass_core::base::{
    error::chain, ids::ServerUri, json::parse, media_type::MediaType, text::excerpt,
};

/// What a server says that it offers, as it says it.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) tools: Vec<Value>,
    pub(super) prompts: Vec<Value>,
    pub(super) resources: Vec<Value>,
    pub(super) templates: Vec<Value>,
}

/// How to reach the server.
pub(super) struct Target<'t> {
    pub(super) server: &'t ServerUri,
    pub(super) token: Option<Zeroizing<String>>,
    /// Headers that the server wants beside.
    pub(super) headers: HeaderMap,
    pub(super) ca_file: Option<&'t PathBuf>,
}

/// Reads the lists of a live server.
///
/// # Errors
///
/// When it cannot be reached, wants another credential, or does not speak the protocol.
pub(super) async fn read_offer(target: &Target<'_>) -> Result<Offer, CliError> {
    let http = http_client(target.server.as_str(), target.ca_file)?;
    let mut session = Session {
        http,
        target,
        id: 0,
        session: None,
        era: Era::Sessions(None),
    };
    let offer = session.read().await;
    session.end().await;
    offer
}

struct Session<'t> {
    http: reqwest::Client,
    target: &'t Target<'t>,
    id: u64,
    session: Option<String>,
    era: Era,
}

/// How a request says which version it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Era {
    /// By the version that `initialize` agreed on, `None` before that.
    Sessions(Option<String>),
    /// By `_meta` in each request (MCP 2026-07-28).
    Stateless,
}

/// Why a request has no result.
enum Trouble {
    /// The server refused it: the HTTP status, and the JSON-RPC code, if it gave one.
    Refused {
        status: StatusCode,
        code: Option<i64>,
        error: CliError,
    },
    Failed(CliError),
}

impl Trouble {
    /// Whether a server that does not know the request answers so.
    fn is_unknown_method(&self) -> bool {
        match self {
            Self::Refused { status, code, .. } => {
                matches!(code, Some(METHOD_NOT_FOUND | UNSUPPORTED_VERSION))
                    || (code.is_none()
                        && matches!(
                            *status,
                            StatusCode::NOT_FOUND
                                | StatusCode::BAD_REQUEST
                                | StatusCode::METHOD_NOT_ALLOWED
                        ))
            }
            Self::Failed(_) => false,
        }
    }
}

impl From<Trouble> for CliError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused { error, .. } | Trouble::Failed(error) => error,
        }
    }
}

impl From<CliError> for Trouble {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

impl Session<'_> {
    async fn read(&mut self) -> Result<Offer, CliError> {
        let answer = self.begin().await?;
        let offers = |what: &str| {
            answer
                .pointer(&format!("/capabilities/{what}"))
                .is_some_and(Value::is_object)
        };
        let mut offer = Offer::default();
        for (what, method, list) in [
            ("tools", "tools/list", &mut offer.tools),
            ("prompts", "prompts/list", &mut offer.prompts),
            ("resources", "resources/list", &mut offer.resources),
        ] {
            if offers(what) {
                *list = self.list(method, what).await?;
            }
        }
        if offers("resources") {
            let templates = self.list("resources/templates/list", "resourceTemplates");
            offer.templates = match templates.await {
                Ok(templates) => templates,
                // Servers without templates often do not know the method.
                Err(trouble) if trouble.is_unknown_method() => Vec::new(),
                Err(trouble) => return Err(trouble.into()),
            };
        }
        Ok(offer)
    }

    /// Opens, in the way that the server knows: what it says that it can do.
    async fn begin(&mut self) -> Result<Value, CliError> {
        let params = json!({"protocolVersion": PROTOCOL, "capabilities": capabilities(), "clientInfo": client()});
        let refused = match self.call("initialize", params).await {
            Ok(answer) => return self.initialized(answer).await,
            Err(trouble) if trouble.is_unknown_method() => CliError::from(trouble),
            Err(trouble) => return Err(trouble.into()),
        };
        (self.era, self.session) = (Era::Stateless, None);
        let found = self.call("server/discover", json!({})).await;
        found.map_err(|trouble| match trouble {
            // It knows neither: the first answer is about what most servers are asked.
            Trouble::Refused { .. } => refused,
            Trouble::Failed(error) => error,
        })
    }

    async fn initialized(&mut self, answer: Value) -> Result<Value, CliError> {
        let version = answer
            .get("protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(self.failed(&format!(
                "speaks MCP version `{}`, which this build does not",
                excerpt(version)
            )));
        }
        self.era = Era::Sessions(Some(version.to_owned()));
        self.notify("notifications/initialized").await?;
        Ok(answer)
    }

    /// The items of every page of a list, which stand in the member `what`.
    async fn list(&mut self, method: &str, what: &str) -> Result<Vec<Value>, Trouble> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let params = cursor
                .as_ref()
                .map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let answer = self.call(method, params).await?;
            let Some(Value::Array(items)) = answer.get(what) else {
                return Err(self
                    .failed(&format!("answered {method} without `{what}`"))
                    .into());
            };
            found.extend(items.iter().cloned());
            match answer.get("nextCursor").and_then(Value::as_str) {
                Some(next) if found.len() <= MAX_NAMES => cursor = Some(next.to_owned()),
                Some(_) => break,
                None if found.len() <= MAX_NAMES => return Ok(found),
                None => break,
            }
        }
        Err(self
            .failed(&format!(
                "lists more than {MAX_NAMES} {what}, or more than {MAX_PAGES} pages of them"
            ))
            .into())
    }

    async fn call(&mut self, method: &str, mut params: Value) -> Result<Value, Trouble> {
        self.id = self.id.saturating_add(1);
        if self.era == Era::Stateless
            && let Some(members) = params.as_object_mut()
        {
            let meta = json!({"io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientCapabilities": capabilities(),
                "io.modelcontextprotocol/clientInfo": client()});
            members.insert("_meta".to_owned(), meta);
        }
        let message = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        let waited = tokio::time::timeout(TIMEOUT, self.exchange(&message)).await;
        let mut answer = waited.map_err(|_| {
            self.failed(&format!(
                "did not answer {method} within {} seconds",
                TIMEOUT.as_secs()
            ))
        })??;
        if let Some(error) = answer.get("error") {
            return Err(self.refused(StatusCode::OK, error));
        }
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    /// The server's error as it words it.
    fn refused(&self, status: StatusCode, error: &Value) -> Trouble {
        let words = error.get("message").and_then(Value::as_str);
        let words = words.map_or_else(|| "no reason given".to_owned(), excerpt);
        Trouble::Refused {
            status,
            code: error.get("code").and_then(Value::as_i64),
            error: self.failed(&format!("refused a request: {words}")),
        }
    }

    async fn exchange(&mut self, message: &Value) -> Result<Value, Trouble> {
        let response = self.post(message).await?;
        if let Some(session) = response
            .headers()
            .get(SESSION_HEADER)
            .and_then(|value| value.to_str().ok())
        {
            self.session = Some(session.to_owned());
        }
        let media = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let is_stream = MediaType::split(media).is("text/event-stream");
        if is_stream {
            return Ok(self.answer_in_stream(response).await?);
        }
        let answer = self.message(&body(response, MAX_MESSAGE_BYTES).await?)?;
        if answer.get("id") == Some(&json!(self.id)) {
            Ok(answer)
        } else {
            Err(self.failed("answered something that was not asked").into())
        }
    }

    /// The answer to the last call among the messages of a stream; the server may send others first.
    async fn answer_in_stream(&self, response: Response) -> Result<Value, CliError> {
        let mut left = MAX_MESSAGE_BYTES;
        let bounded = futures_util::StreamExt::map(response.bytes_stream(), move |chunk| {
            let chunk = chunk.map_err(std::io::Error::other)?;
            let too_long =
                || std::io::Error::other(format!("longer than {MAX_MESSAGE_BYTES} bytes"));
            left = left.checked_sub(chunk.len()).ok_or_else(too_long)?;
            Ok::<_, std::io::Error>(chunk)
        });
        let mut events = SseStream::from_bytes_stream(Box::pin(bounded));
        while let Some(event) = futures_util::StreamExt::next(&mut events).await {
            let event = event.map_err(|error| {
                self.failed(&format!("broke off its answer: {}", chain(&error)))
            })?;
            // A first event without data is how a server makes a stream resumable.
            let Some(data) = event.data.filter(|data| !data.is_empty()) else {
                continue;
            };
            let message = self.message(data.as_bytes())?;
            match (message.get("id"), message.get("method")) {
                (Some(id), None) if *id == json!(self.id) => return Ok(message),
                (Some(id), Some(method)) => self.answer(id, method).await?,
                _ => {}
            }
        }
        Err(self.failed("ended its answer before it was given"))
    }

    /// Answers a request of the server's, which may wait for that: there is no person to ask and nothing to show.
    async fn answer(&self, id: &Value, method: &Value) -> Result<(), CliError> {
        let answer = if method == "roots/list" {
            json!({"jsonrpc": "2.0", "id": id, "result": {"roots": []}})
        } else if method == "ping" {
            json!({"jsonrpc": "2.0", "id": id, "result": {}})
        } else {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": METHOD_NOT_FOUND, "message": "this client reads lists only"}})
        };
        Ok(self.post(&answer).await.map(drop)?)
    }

    async fn notify(&self, method: &str) -> Result<(), CliError> {
        let notification = json!({"jsonrpc": "2.0", "method": method});
        Ok(self.post(&notification).await.map(drop)?)
    }

    async fn post(&self, message: &Value) -> Result<Response, Trouble> {
        let mut request = self
            .http
            .post(self.target.server.as_str())
            .timeout(TIMEOUT)
            .json(message);
        if self.era == Era::Stateless
            && let Some(method) = message.get("method").and_then(Value::as_str)
        {
            request = request.header("mcp-method", method);
        }
        let request = request.header(header::ACCEPT, "application/json, text/event-stream");
        let response = self.with_headers(request).send().await;
        let response = response
            .map_err(|error| self.failed(&format!("cannot be reached: {}", chain(&error))))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    /// An answer other than a success, with the server's own words.
    async fn refusal(&self, response: Response) -> Trouble {
        let status = response.status();
        let text = body(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
        let answer = parse(&text, MAX_REFUSAL_BYTES).unwrap_or_default();
        let error = answer.get("error").filter(|error| error.is_object());
        let (words, code) = match error {
            Some(error) => (error.get("message"), error.get("code")),
            None => (
                ["error_description", "detail", "message", "error"]
                    .iter()
                    .find_map(|name| answer.get(name).filter(|value| value.is_string())),
                None,
            ),
        };
        let words = words.and_then(Value::as_str).map(str::to_owned);
        // HTML is for browsers.
        let words = words.or_else(|| {
            let text = String::from_utf8(text).ok()?;
            (!text.trim_start().starts_with('<')).then_some(text)
        });
        let words = words.map(|words| excerpt(words.trim()));
        let words = words.filter(|words| !words.is_empty());
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        let error = self.failed(&format!("answered {status}{words}"));
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => error.hint(
                "say --token TOKEN (`--token -` reads it from stdin), or --header 'NAME: VALUE' for another credential; a server that admits names only wants the URL with its own name",
            ),
            _ => error.hint("is this the URL of its streamable HTTP endpoint?"),
        };
        Trouble::Refused {
            status,
            code: code.and_then(Value::as_i64),
            error,
        }
    }

    fn with_headers(&self, mut request: RequestBuilder) -> RequestBuilder {
        let version = match &self.era {
            Era::Sessions(version) => version.as_deref(),
            Era::Stateless => Some(STATELESS),
        };
        if let Some(version) = version {
            request = request.header("mcp-protocol-version", version);
        }
        request = request.headers(self.target.headers.clone());
        if let Some(session) = &self.session {
            request = request.header(SESSION_HEADER, session);
        }
        match &self.target.token {
            Some(token) => request.bearer_auth(token.as_str()),
            None => request,
        }
    }

    /// Politeness: the server may forget us. It need not know how.
    async fn end(&self) {
        if self.session.is_some() {
            let request = self
                .http
                .delete(self.target.server.as_str())
                .timeout(GOODBYE_TIMEOUT);
            let _ = self.with_headers(request).send().await;
        }
    }

    fn message(&self, bytes: &[u8]) -> Result<Value, CliError> {
        parse(bytes, MAX_MESSAGE_BYTES)
            .map_err(|error| self.failed(&format!("sent what is not JSON: {error}")))
    }

    fn failed(&self, what: &str) -> CliError {
        CliError::failed(format!("the server at {} {what}", self.target.server))
    }
}

/// What a client can do: a server shows some tools only to clients that can.
fn capabilities() -> Value {
    json!({"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}})
}

fn client() -> Value {
    json!({"name": "hallpass", "version": env!("CARGO_PKG_VERSION")})
}

const PROTOCOL: &str = "2025-11-25";

/// The version that opens with nothing.
const STATELESS: &str = "2026-07-28";

/// The versions whose lists read alike.
const VERSIONS: [&str; 4] = [PROTOCOL, "2025-06-18", "2025-03-26", "2024-11-05"];

const SESSION_HEADER: &str = "mcp-session-id";
const METHOD_NOT_FOUND: i64 = -32601;
/// MCP 2026-07-28: `UnsupportedProtocolVersion`.
const UNSUPPORTED_VERSION: i64 = -32022;
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
const MAX_NAMES: usize = 5000;
const MAX_PAGES: usize = 200;
