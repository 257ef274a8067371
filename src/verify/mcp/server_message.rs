//! One JSON-RPC message of a server, on its way to the client.

use std::fmt;

use serde_json::{Map, Value};

use crate::mcp::{
    Rejection, ServerPurpose,
    message::{envelope, object, readable_id},
    purpose,
};

/// One message of a server: a response, a request to the client, or a notification.
///
/// It was read as strict JSON. [`ServerMessage::purpose`] also checks that MCP lets a server send it:
/// the tower layer trusts the server behind it and skips this check; a gateway makes it.
///
/// It holds results, which its `Debug` form leaves out.
pub struct ServerMessage {
    members: Map<String, Value>,
    received_bytes: usize,
}

impl ServerMessage {
    /// Reads one message of at most `max_bytes`.
    ///
    /// # Errors
    ///
    /// Refuses anything but one strict JSON object.
    pub fn read(bytes: &[u8], max_bytes: usize) -> Result<Self, Rejection> {
        Ok(Self {
            members: object(bytes, max_bytes)?,
            received_bytes: bytes.len(),
        })
    }

    /// The purpose of the message.
    ///
    /// # Errors
    ///
    /// Refuses anything but one strict JSON-RPC 2.0 message, and every method that MCP does not
    /// let a server send.
    pub fn purpose(&self) -> Result<ServerPurpose, Rejection> {
        let members = &self.members;
        // An error for an unreadable request has a null id.
        let is_null = |id: &&Value| members.contains_key("error") && id.is_null();
        let id = members.get("id").filter(|id| !is_null(id));
        envelope(members, id)
            .and_then(|()| purpose::of_server(members))
            .map_err(|rejection| rejection.answering(readable_id(members)))
    }

    /// The method, when it is a request or a notification.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.members.get("method").and_then(Value::as_str)
    }

    /// The id of the request that it responds to, or its own; null when there is none.
    #[must_use]
    pub fn id(&self) -> Value {
        self.members.get("id").cloned().unwrap_or_default()
    }

    /// Its length in bytes when it was received.
    #[must_use]
    pub const fn received_bytes(&self) -> usize {
        self.received_bytes
    }

    /// All members: `result`, `error`, `method`, `params` and the rest.
    #[must_use]
    pub const fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// All members, to change them.
    pub const fn members_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.members
    }

    /// The result, to change it; `None` when it is absent or not an object.
    pub fn result_mut(&mut self) -> Option<&mut Map<String, Value>> {
        self.members
            .get_mut("result")
            .and_then(Value::as_object_mut)
    }

    /// The message, serialised.
    ///
    /// # Errors
    ///
    /// Only when serialisation fails, which does not happen for a parsed message.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Rejection> {
        serde_json::to_vec(&self.members)
            .map_err(|_| Rejection::internal("the server's response cannot be written"))
    }
}

impl fmt::Debug for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMessage")
            .field("method", &self.method())
            .field("received_bytes", &self.received_bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use hallpass_core::base::ReasonCode;

    use super::*;
    use crate::mcp::ErrorCode;

    fn purpose(text: &str) -> Result<ServerPurpose, Rejection> {
        ServerMessage::read(text.as_bytes(), 10_000)?.purpose()
    }

    #[test]
    fn every_message_that_a_server_sends_has_a_purpose() {
        let expected = [
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
                ServerPurpose::Responds,
            ),
            (
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-1,"message":"no"}}"#,
                ServerPurpose::Responds,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#,
                ServerPurpose::Responds,
            ),
            (
                r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no"}}"#,
                ServerPurpose::Responds,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                ServerPurpose::Pings,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#,
                ServerPurpose::Samples,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"?"}}"#,
                ServerPurpose::Elicits,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#,
                ServerPurpose::AsksForRoots,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}"#,
                ServerPurpose::Notifies,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#,
                ServerPurpose::Notifies,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
                ServerPurpose::Notifies,
            ),
        ];
        for (text, purpose_of_it) in expected {
            assert_eq!(purpose(text), Ok(purpose_of_it), "{text}");
        }
    }

    #[test]
    fn what_a_server_does_not_send_is_rejected_with_a_code() {
        let rejected = [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#,
                ErrorCode::MethodNotFound,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tasks/get"}"#,
                ErrorCode::MethodNotFound,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
                ErrorCode::MethodNotFound,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"notifications/message"}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"roots/list"}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
                ErrorCode::InvalidParams,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":1}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","result":{}}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"more":1}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"n":18446744073709551616}}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#,
                ErrorCode::InvalidRequest,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":1,"result":{}}"#,
                ErrorCode::Parse,
            ),
            ("", ErrorCode::Parse),
        ];
        for (text, code) in rejected {
            assert_eq!(purpose(text).unwrap_err().code(), code, "{text}");
        }
        let rejection = purpose(r#"{"jsonrpc":"2.0","id":"x","method":"tools/call"}"#).unwrap_err();
        assert_eq!(rejection.reason(), ReasonCode::MethodNotAllowed);
        assert_eq!(rejection.id(), "x");
    }

    #[test]
    fn what_a_debugger_shows_holds_no_result() {
        let text = br#"{"jsonrpc":"2.0","id":1,"result":{"content":"secret"}}"#;
        let shown = format!("{:?}", ServerMessage::read(text, 1000).unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
