//! A small MCP client: asks a live server once what it offers, over streamable HTTP.
//!
//! It calls nothing. Every answer is foreign: sizes, pages and times are bounded, JSON is strict.

use std::{path::PathBuf, time::Duration};

use reqwest::{RequestBuilder, Response, StatusCode, header};
use serde_json::{Value, json};
use sse_stream::SseStream;
use zeroize::Zeroizing;

use crate::cli::{
    client::{body, http_client},
    error::CliError,
};
use hallpass_core::base::{error::chain, ids::ServerUri, json::parse, media_type::MediaType};

/// What a server says that it offers, as it says it.
#[derive(Debug, Default)]
pub(super) struct Offer {
    pub(super) tools: Vec<Value>,
    pub(super) prompts: Vec<Value>,
    pub(super) resources: Vec<Value>,
}

/// How to reach the server.
pub(super) struct Target<'t> {
    pub(super) server: &'t ServerUri,
    pub(super) token: Option<Zeroizing<String>>,
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
        version: PROTOCOL.to_owned(),
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
    version: String,
}

impl Session<'_> {
    async fn read(&mut self) -> Result<Offer, CliError> {
        let params = json!({
            "protocolVersion": PROTOCOL, "capabilities": {},
            "clientInfo": {"name": "hallpass", "version": env!("CARGO_PKG_VERSION")},
        });
        let answer = self.call("initialize", params).await?;
        let version = answer
            .get("protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !VERSIONS.contains(&version) {
            return Err(self.failed(&format!(
                "speaks MCP version `{version}`, which this build does not"
            )));
        }
        version.clone_into(&mut self.version);
        self.notify("notifications/initialized").await?;
        let offers = |what: &str| {
            answer
                .pointer(&format!("/capabilities/{what}"))
                .is_some_and(Value::is_object)
        };
        let mut offer = Offer::default();
        for (what, list) in [
            ("tools", &mut offer.tools),
            ("prompts", &mut offer.prompts),
            ("resources", &mut offer.resources),
        ] {
            if offers(what) {
                *list = self.list(what).await?;
            }
        }
        Ok(offer)
    }

    async fn list(&mut self, what: &str) -> Result<Vec<Value>, CliError> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let params = cursor
                .as_ref()
                .map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let answer = self.call(&format!("{what}/list"), params).await?;
            let Some(Value::Array(items)) = answer.get(what) else {
                return Err(self.failed(&format!("answered {what}/list without `{what}`")));
            };
            found.extend(items.iter().cloned());
            match answer.get("nextCursor").and_then(Value::as_str) {
                Some(next) if found.len() <= MAX_NAMES => cursor = Some(next.to_owned()),
                Some(_) => break,
                None if found.len() <= MAX_NAMES => return Ok(found),
                None => break,
            }
        }
        Err(self.failed(&format!(
            "lists more than {MAX_NAMES} {what}, or more than {MAX_PAGES} pages of them"
        )))
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, CliError> {
        self.id = self.id.saturating_add(1);
        let message = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        let waited = tokio::time::timeout(TIMEOUT, self.exchange(&message)).await;
        let mut answer = waited.map_err(|_| {
            self.failed(&format!(
                "did not answer {method} within {} seconds",
                TIMEOUT.as_secs()
            ))
        })??;
        if let Some(error) = answer.get("error") {
            let words = error
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or("no reason given");
            return Err(self.failed(&format!("refused {method}: {words}")));
        }
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    async fn exchange(&mut self, message: &Value) -> Result<Value, CliError> {
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
            return self.answer_in_stream(response).await;
        }
        let answer = self.message(&body(response, MAX_MESSAGE_BYTES).await?)?;
        if answer.get("id") == Some(&json!(self.id)) {
            Ok(answer)
        } else {
            Err(self.failed("answered something that was not asked"))
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
            if message.get("id") == Some(&json!(self.id)) && message.get("method").is_none() {
                return Ok(message);
            }
        }
        Err(self.failed("ended its answer before it was given"))
    }

    async fn notify(&self, method: &str) -> Result<(), CliError> {
        self.post(&json!({"jsonrpc": "2.0", "method": method}))
            .await
            .map(drop)
    }

    async fn post(&self, message: &Value) -> Result<Response, CliError> {
        let request = self
            .http
            .post(self.target.server.as_str())
            .timeout(TIMEOUT)
            .json(message);
        let request = request.header(header::ACCEPT, "application/json, text/event-stream");
        let response = self.with_headers(request).send().await;
        let response = response
            .map_err(|error| self.failed(&format!("cannot be reached: {}", chain(&error))))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self
                .failed(&format!("answered {}", response.status()))
                .hint("say --token TOKEN, or `--token -` to give it on stdin")),
            status => Err(self
                .failed(&format!("answered {status}"))
                .hint("is this the URL of its streamable HTTP endpoint?")),
        }
    }

    fn with_headers(&self, mut request: RequestBuilder) -> RequestBuilder {
        if self.id > 1 || self.session.is_some() {
            request = request.header("mcp-protocol-version", &self.version);
        }
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

const PROTOCOL: &str = "2025-11-25";

/// The versions whose lists read alike.
const VERSIONS: [&str; 4] = [PROTOCOL, "2025-06-18", "2025-03-26", "2024-11-05"];

const SESSION_HEADER: &str = "mcp-session-id";
const TIMEOUT: Duration = Duration::from_secs(30);
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
const MAX_NAMES: usize = 5000;
const MAX_PAGES: usize = 200;
