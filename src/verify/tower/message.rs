//! One JSON-RPC message, read strictly, and what of it must be cleared.
//!
//! What is authorised is what is forwarded: the message is written out again from the value that
//! was read, and the bytes that came in are dropped.

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Map, Value};

use crate::tower::answer::{self, Answer};
use hallpass_core::{
    base::{
        ReasonCode, json,
        text::excerpt,
        trace::{TRACEPARENT, TraceParent},
    },
    token::{Call, rights::Kind},
};

/// One request, notification or response, as strictly as JSON-RPC 2.0 and MCP define it.
#[derive(Debug)]
pub(super) struct Message {
    members: Map<String, Value>,
    purpose: Purpose,
}

/// What a message is for, as far as clearing is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Names a thing of the server: must be cleared.
    Names(Kind, String),
    /// Lists what the server has: allowed, its answer is filtered.
    Lists,
    /// Opens a session: allowed, and the session belongs to the pass's task from then on.
    Initializes,
    /// Neither names nor lists anything: a verified pass is enough.
    Neutral,
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    ///
    /// Refuses what is not one strict JSON-RPC 2.0 message, and every method that is not known to
    /// be harmless or to be clearable.
    pub(super) fn read(body: &[u8], max_bytes: usize) -> Result<Self, Answer> {
        let value = json::parse(body, max_bytes)
            .map_err(|error| malformed(PARSE_ERROR, error.to_string()))?;
        let members = match value {
            Value::Object(members) => members,
            Value::Array(_) => return Err(invalid("a batch: send one message per request")),
            _ => return Err(invalid("not a JSON object")),
        };
        let id = members.get("id").cloned();
        match Self::understand(members) {
            Ok(message) => Ok(message),
            Err(answer) => Err(answer.to(id.filter(is_id).unwrap_or(Value::Null))),
        }
    }

    fn understand(members: Map<String, Value>) -> Result<Self, Answer> {
        if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(invalid("`jsonrpc` must be \"2.0\""));
        }
        if members.get("id").is_some_and(|id| !is_id(id)) {
            return Err(invalid(
                "`id` must be an integer, or a string of at most 256 bytes",
            ));
        }
        if !members.values().all(keeps_its_digits) {
            return Err(invalid(
                "a number that cannot be carried exactly: send it as a string",
            ));
        }
        let purpose = match members.get("method") {
            Some(Value::String(method)) => request_purpose(method, &members)?,
            Some(_) => return Err(invalid("`method` must be a string")),
            None => response_purpose(&members)?,
        };
        Ok(Self { members, purpose })
    }

    pub(super) fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// The method, when it is a request or a notification: one that the layer knows.
    pub(super) fn method(&self) -> Option<&str> {
        self.members.get("method").and_then(Value::as_str)
    }

    /// Which trace the message belongs to, when its `_meta` says so.
    pub(super) fn trace_parent(&self) -> Option<TraceParent> {
        TraceParent::parse(self.params()?.get("_meta")?.get(TRACEPARENT)?.as_str()?)
    }

    /// The id to answer to: null when there is none.
    pub(super) fn id(&self) -> Value {
        self.members.get("id").cloned().unwrap_or_default()
    }

    /// The call to clear, when the message makes one.
    pub(super) fn call(&self) -> Option<Call<'_>> {
        let Purpose::Names(kind, name) = &self.purpose else {
            return None;
        };
        let arguments = self.params().and_then(|params| params.get("arguments"));
        Some(match kind {
            Kind::Tool => Call::tool(name, arguments),
            Kind::Prompt => Call::prompt(name, arguments),
            Kind::Resource => Call::resource(name),
        })
    }

    /// The message written out anew: what the server gets to see.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Answer> {
        serde_json::to_vec(&self.members)
            .map_err(|_| answer::broken("the message cannot be written"))
    }

    /// Holds the headers of MCP 2026-07-28 that repeat parts of the body against the body.
    ///
    /// # Errors
    ///
    /// Refuses a header that says something else, and one that is there twice.
    pub(super) fn agree_with(&self, headers: &HeaderMap) -> Result<(), Answer> {
        let mirrored = headers
            .keys()
            .filter(|name| name.as_str().starts_with("mcp-"));
        for name in mirrored {
            single(headers, name).map_err(|answer| answer.to(self.id()))?;
        }
        let method = self.method();
        self.agree(headers, &MCP_METHOD, method)?;
        let (kind, named) = match &self.purpose {
            Purpose::Names(kind, name) => (Some(*kind), Some(name.as_str())),
            _ => (None, None),
        };
        // A completion names its prompt or resource inside `ref`, which no header repeats.
        let is_mirrored = kind.is_some() && method != Some("completion/complete");
        self.agree(headers, &MCP_NAME, named.filter(|_| is_mirrored))?;
        let version = self
            .params()
            .and_then(|params| params.get("_meta")?.get(VERSION_META)?.as_str());
        if version.is_some() {
            self.agree(headers, &MCP_PROTOCOL_VERSION, version)
        } else {
            Ok(())
        }
    }

    fn agree(
        &self,
        headers: &HeaderMap,
        name: &HeaderName,
        expected: Option<&str>,
    ) -> Result<(), Answer> {
        let Some(given) = single(headers, name).map_err(|answer| answer.to(self.id()))? else {
            return Ok(());
        };
        if expected.is_some() && decode_mirrored(given).as_deref() == expected {
            return Ok(());
        }
        Err(mismatch(format!("the header `{name}` does not repeat the body")).to(self.id()))
    }

    fn params(&self) -> Option<&Map<String, Value>> {
        self.members.get("params").and_then(Value::as_object)
    }
}

/// The only value of `name`, when it is there.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Answer> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(mismatch(format!("the header `{name}` is there twice")));
    }
    first
        .map(|value| {
            value
                .to_str()
                .map_err(|_| mismatch(format!("the header `{name}` is not ASCII")))
        })
        .transpose()
}

/// A header value as MCP 2026-07-28 writes it: plain, or base64 between `=?base64?` and `?=`.
pub(super) fn decode_mirrored(value: &str) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn request_purpose(method: &str, members: &Map<String, Value>) -> Result<Purpose, Answer> {
    only_members(members, &["jsonrpc", "id", "method", "params"])?;
    let empty = Map::new();
    let params = match members.get("params") {
        None => &empty,
        Some(Value::Object(params)) => params,
        Some(_) => return Err(bad_params("`params` must be an object")),
    };
    let purpose = match method {
        "tools/call" => named(Kind::Tool, params, "name")?,
        "prompts/get" => named(Kind::Prompt, params, "name")?,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            named(Kind::Resource, params, "uri")?
        }
        "completion/complete" => completed(params)?,
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
            Purpose::Lists
        }
        "initialize" => Purpose::Initializes,
        "ping" | "server/discover" | "logging/setLevel" => Purpose::Neutral,
        _ if NOTIFICATIONS.contains(&method) => Purpose::Neutral,
        _ => return Err(unknown_method()),
    };
    // SECURITY: a call in the shape of a notification would run without anybody seeing its answer.
    match (NOTIFICATIONS.contains(&method), members.contains_key("id")) {
        (true, true) => Err(invalid("a notification carries no `id`")),
        (false, false) => Err(invalid("a request needs an `id`")),
        _ => Ok(purpose),
    }
}

/// An answer of the client to a request of the server: only before MCP 2026-07-28.
fn response_purpose(members: &Map<String, Value>) -> Result<Purpose, Answer> {
    only_members(members, &["jsonrpc", "id", "result", "error"])?;
    let outcome = (members.get("result"), members.get("error"));
    match outcome {
        _ if !members.contains_key("id") => Err(invalid("neither a `method` nor an `id`")),
        (Some(Value::Object(_)), None) | (None, Some(Value::Object(_))) => Ok(Purpose::Neutral),
        _ => Err(invalid(
            "a response carries either `result` or `error`, as an object",
        )),
    }
}

fn named(kind: Kind, params: &Map<String, Value>, member: &'static str) -> Result<Purpose, Answer> {
    plain_members(params)?;
    if params
        .get("arguments")
        .is_some_and(|arguments| !arguments.is_object())
    {
        return Err(bad_params("`arguments` must be an object"));
    }
    match params.get(member) {
        Some(Value::String(name)) => Ok(Purpose::Names(kind, name.clone())),
        _ => Err(bad_params(format!("`params.{member}` must be a string"))),
    }
}

fn completed(params: &Map<String, Value>) -> Result<Purpose, Answer> {
    plain_members(params)?;
    let Some(reference) = params.get("ref").and_then(Value::as_object) else {
        return Err(bad_params("`params.ref` must be an object"));
    };
    match reference.get("type").and_then(Value::as_str) {
        Some("ref/prompt") => named(Kind::Prompt, reference, "name"),
        Some("ref/resource") => named(Kind::Resource, reference, "uri"),
        _ => Err(bad_params(
            "`params.ref.type` must be ref/prompt or ref/resource",
        )),
    }
}

fn only_members(members: &Map<String, Value>, known: &[&str]) -> Result<(), Answer> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(invalid(format!("unknown member `{}`", excerpt(name)))),
        None => Ok(()),
    }
}

/// SECURITY: some servers match member names without regard to case, or end them at a NUL
/// (CVE-2026-27896). Such a server would run another call than the one that was cleared.
fn plain_members(params: &Map<String, Value>) -> Result<(), Answer> {
    let is_spoof = |name: &String| {
        !name.bytes().all(|byte| byte.is_ascii_graphic())
            || DECISIVE
                .iter()
                .any(|decisive| name.eq_ignore_ascii_case(decisive) && name != decisive)
    };
    if params.keys().any(is_spoof) {
        return Err(bad_params(
            "`params` has a member that could be taken for another",
        ));
    }
    Ok(())
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.len() <= MAX_ID_BYTES,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

/// An integer of more than 64 bits arrives as a double that has lost its last digits; the server
/// would get another number than the client sent.
fn keeps_its_digits(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .is_some_and(|double| double.abs() < LARGEST_DOUBLE),
        Value::Array(items) => items.iter().all(keeps_its_digits),
        Value::Object(members) => members.values().all(keeps_its_digits),
        _ => true,
    }
}

fn malformed(code: i64, detail: impl Into<String>) -> Answer {
    Answer::error(
        StatusCode::BAD_REQUEST,
        code,
        "not a message this server takes",
    )
    .because(ReasonCode::MessageMalformed, detail)
}

fn invalid(detail: impl Into<String>) -> Answer {
    malformed(INVALID_REQUEST, detail)
}

fn bad_params(detail: impl Into<String>) -> Answer {
    malformed(INVALID_PARAMS, detail)
}

fn unknown_method() -> Answer {
    // Not 404: before MCP 2026-07-28 that tells the client that its session is gone.
    Answer::error(
        StatusCode::FORBIDDEN,
        METHOD_NOT_FOUND,
        "method not allowed",
    )
    .because(ReasonCode::MethodNotAllowed, "no pass allows this method")
}

fn mismatch(detail: impl Into<String>) -> Answer {
    Answer::error(
        StatusCode::BAD_REQUEST,
        HEADER_MISMATCH,
        "header and body differ",
    )
    .because(ReasonCode::HeaderMismatch, detail)
}

pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const VERSION_META: &str = "io.modelcontextprotocol/protocolVersion";

/// What a client may tell a server. Others are refused: an extension could do work in one.
const NOTIFICATIONS: [&str; 5] = [
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
];

/// Members of `params` and `ref` that decide what is called.
const DECISIVE: [&str; 5] = ["name", "arguments", "uri", "ref", "type"];

/// An `id` longer than this is refused: it is repeated in answers.
const MAX_ID_BYTES: usize = 256;

/// 2^53: from here on a double skips integers.
const LARGEST_DOUBLE: f64 = 9_007_199_254_740_992.0;

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
/// MCP 2026-07-28: `HeaderMismatch`.
const HEADER_MISMATCH: i64 = -32020;
