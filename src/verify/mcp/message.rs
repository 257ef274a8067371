//! One JSON-RPC message of a client, read strictly, and the call that it makes.
//!
//! The forwarded message is the authorised one: it is serialised again from the parsed value, and
//! the received bytes are dropped.

use std::fmt;

use serde_json::{Map, Value};

use crate::mcp::{
    ErrorCode, Purpose, Rejection,
    purpose::{self, invalid, malformed},
};
use hallpass_core::{
    base::{
        json,
        trace::{TRACEPARENT, TraceParent},
    },
    token::{Call, rights::Kind},
};

/// One request, notification or response of a client, as strictly as JSON-RPC 2.0 and MCP define it.
///
/// It holds arguments, which its `Debug` form leaves out.
pub struct ClientMessage {
    members: Map<String, Value>,
    purpose: Purpose,
}

impl ClientMessage {
    /// Reads one message of at most `max_bytes`.
    ///
    /// # Errors
    ///
    /// Refuses anything but one strict JSON-RPC 2.0 message (duplicate member names, a batch, an
    /// unknown member and lost digits included), and every method that is not known to be harmless
    /// or to be clearable. The rejection answers to the message's id when that is readable.
    pub fn read(bytes: &[u8], max_bytes: usize) -> Result<Self, Rejection> {
        let members = object(bytes, max_bytes)?;
        let checked = envelope(&members, members.get("id"));
        match checked.and_then(|()| purpose::of_client(&members)) {
            Ok(purpose) => Ok(Self { members, purpose }),
            Err(rejection) => Err(rejection.answering(readable_id(&members))),
        }
    }

    /// The purpose of the message.
    #[must_use]
    pub const fn purpose(&self) -> &Purpose {
        &self.purpose
    }

    /// The method, when it is a request or a notification: always a known one.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.members.get("method").and_then(Value::as_str)
    }

    /// The id for the response: null when there is none.
    #[must_use]
    pub fn id(&self) -> Value {
        self.members.get("id").cloned().unwrap_or_default()
    }

    /// The parameters, if any.
    #[must_use]
    pub fn params(&self) -> Option<&Map<String, Value>> {
        self.members.get("params").and_then(Value::as_object)
    }

    /// The trace that the message belongs to, when its `_meta` names one (W3C trace context).
    #[must_use]
    pub fn trace_parent(&self) -> Option<TraceParent> {
        TraceParent::parse(self.params()?.get("_meta")?.get(TRACEPARENT)?.as_str()?)
    }

    /// The call to clear, when the message makes one.
    #[must_use]
    pub fn call(&self) -> Option<Call<'_>> {
        let Purpose::Calls { kind, name } = &self.purpose else {
            return None;
        };
        let arguments = self.params().and_then(|params| params.get("arguments"));
        Some(match kind {
            Kind::Tool => Call::tool(name, arguments),
            Kind::Prompt => Call::prompt(name, arguments),
            Kind::Resource => Call::resource(name),
        })
    }

    /// The message without the client's directories (MCP `roots`): the client says that it has none, and lists none.
    ///
    /// SECURITY: some servers take the directories that a client lists for those that they may serve, so that an agent
    /// could move a server out of its own.
    pub(super) fn without_roots(mut self) -> Self {
        if let Some(Value::Object(result)) = self.members.get_mut("result") {
            empty_roots(result);
        }
        let Some(Value::Object(params)) = self.members.get_mut("params") else {
            return self;
        };
        if let Some(Value::Object(capabilities)) = params.get_mut("capabilities") {
            capabilities.remove(ROOTS);
        }
        // MCP 2026-07-28: the capabilities come with each request, and answers to the server in the next one.
        let meta = params.get_mut("_meta").and_then(Value::as_object_mut);
        let capabilities = meta.and_then(|meta| meta.get_mut(CLIENT_CAPABILITIES));
        if let Some(Value::Object(capabilities)) = capabilities {
            capabilities.remove(ROOTS);
        }
        let answers = params.get_mut("inputResponses");
        let answers = answers.and_then(Value::as_object_mut).into_iter();
        for answer in answers.flat_map(Map::values_mut) {
            if let Value::Object(answer) = answer {
                empty_roots(answer);
            }
        }
        self
    }

    /// The message serialised again: the bytes to forward or to execute.
    ///
    /// # Errors
    ///
    /// Only when serialisation fails, which does not happen for a parsed message.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Rejection> {
        serde_json::to_vec(&self.members)
            .map_err(|_| Rejection::internal("the message cannot be written").answering(self.id()))
    }
}

impl fmt::Debug for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientMessage")
            .field("method", &self.method())
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

fn empty_roots(answer: &mut Map<String, Value>) {
    if let Some(roots) = answer.get_mut(ROOTS) {
        *roots = Value::Array(Vec::new());
    }
}

/// The members of one JSON object, read strictly.
pub(super) fn object(bytes: &[u8], max_bytes: usize) -> Result<Map<String, Value>, Rejection> {
    let value = json::parse(bytes, max_bytes)
        .map_err(|error| malformed(ErrorCode::Parse, error.to_string()))?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Array(_) => Err(invalid("a batch: send one message per request")),
        _ => Err(invalid("not a JSON object")),
    }
}

/// Checks the JSON-RPC 2.0 rules that both directions share; `id` is the one to check.
pub(super) fn envelope(members: &Map<String, Value>, id: Option<&Value>) -> Result<(), Rejection> {
    if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    if id.is_some_and(|id| !is_id(id)) {
        return Err(invalid(
            "`id` must be an integer, or a string of at most 256 bytes",
        ));
    }
    if !members.values().all(keeps_its_digits) {
        return Err(invalid(
            "a number that cannot be represented exactly: send it as a string",
        ));
    }
    Ok(())
}

pub(super) fn readable_id(members: &Map<String, Value>) -> Value {
    let id = members.get("id").filter(|id| is_id(id));
    id.cloned().unwrap_or_default()
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

const ROOTS: &str = "roots";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// An `id` longer than this is refused: it is repeated in answers.
const MAX_ID_BYTES: usize = 256;

/// 2^53: from here on a double skips integers.
const LARGEST_DOUBLE: f64 = 9_007_199_254_740_992.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_lists_no_directories_in_any_version() {
        let without = |message: Value| {
            let bytes = serde_json::to_vec(&message).unwrap();
            let read = ClientMessage::read(&bytes, 4096).unwrap();
            let written = read.without_roots().to_bytes().unwrap();
            serde_json::from_slice::<Value>(&written).unwrap()
        };
        let client = json!({"name": "c", "version": "1"});
        let initialize = without(
            json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
            "capabilities": {"roots": {"listChanged": true}, "sampling": {}}, "clientInfo": client}}),
        );
        assert_eq!(
            initialize["params"]["capabilities"],
            json!({"sampling": {}})
        );
        let roots = json!([{"uri": "file:///etc"}]);
        let answer = without(json!({"jsonrpc": "2.0", "id": 0, "result": {"roots": roots}}));
        assert_eq!(answer["result"], json!({"roots": []}));
        let call = without(
            json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "read",
            "arguments": {"roots": ["kept"]}, "inputResponses": {"a": {"roots": roots}, "b": {"action": "accept"}},
            "_meta": {"io.modelcontextprotocol/clientCapabilities": {"roots": {}, "sampling": {}}}}}),
        );
        assert_eq!(
            call["params"]["inputResponses"],
            json!({"a": {"roots": []}, "b": {"action": "accept"}})
        );
        assert_eq!(
            call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
            json!({"sampling": {}})
        );
        assert_eq!(call["params"]["arguments"], json!({"roots": ["kept"]}));
    }
}
