//! Parses one JSON-RPC message into the call that it makes.

use crate::mcp::{ClientMessage, DEFAULT_MAX_MESSAGE_BYTES, ErrorCode, Rejection};
use hallpass_core::{base::ReasonCode, token::Call};
use serde_json::Value;

/// One call of a tool, a prompt or a resource, with the bytes to execute.
///
/// For servers that read messages themselves. `serde_json` and most other parsers keep the last of
/// two members with one name, and some servers keep the first: clear [`CallRequest::call`] and
/// execute [`CallRequest::bytes`], and both are the same call.
///
/// ```
/// use hallpass_verify::{Pass, Verifier, mcp::CallRequest};
///
/// fn execute(verifier: &Verifier, pass: &Pass, received: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
///     let request = CallRequest::from_json_rpc(received)?;
///     let permit = verifier.clear(pass, &request.call())?;
///     println!("{} calls {}", permit.agent(), permit.name());
///     run(request.bytes());
///     Ok(())
/// }
/// # fn run(_: &[u8]) {}
/// ```
pub struct CallRequest {
    message: ClientMessage,
    bytes: Vec<u8>,
}

/// SECURITY: without the bytes, whose arguments may hold secrets.
impl std::fmt::Debug for CallRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallRequest")
            .field("message", &self.message)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl CallRequest {
    /// Reads `tools/call`, `prompts/get`, `resources/read` or another message that names a thing of
    /// the server, of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// As [`ClientMessage::read`], and a message that makes no call.
    pub fn from_json_rpc(bytes: &[u8]) -> Result<Self, Rejection> {
        let message = ClientMessage::read(bytes, DEFAULT_MAX_MESSAGE_BYTES)?;
        let bytes = message.to_bytes()?;
        if message.call().is_none() {
            let rejection = Rejection::new(
                ErrorCode::InvalidRequest,
                ReasonCode::MessageMalformed,
                "the message makes no call",
            );
            return Err(rejection.answering(message.id()));
        }
        Ok(Self { message, bytes })
    }

    /// The call to clear.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        // `from_json_rpc` refuses a message without a call; a call of nothing is never cleared.
        self.message.call().unwrap_or(Call::tool("", None))
    }

    /// The message serialised again: the bytes to execute.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The id for the response.
    #[must_use]
    pub fn id(&self) -> Value {
        self.message.id()
    }

    /// The whole message.
    #[must_use]
    pub const fn message(&self) -> &ClientMessage {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_call_is_that_of_the_bytes_to_execute() {
        let received = br#" {"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call",
            "params":{"name":"transfer","arguments":{"amount":0.1,"to":"\u0061"}}} "#;
        let request = CallRequest::from_json_rpc(received).unwrap();
        let call = request.call();
        assert_eq!(
            (call.name, call.arguments),
            ("transfer", Some(&json!({"amount": 0.1, "to": "a"})))
        );
        assert_eq!(request.id(), json!(9_007_199_254_740_993_u64));
        let executed: Value = serde_json::from_slice(request.bytes()).unwrap();
        assert_eq!(Some(&executed["params"]["arguments"]), call.arguments);
        assert_eq!(
            CallRequest::from_json_rpc(request.bytes()).unwrap().bytes(),
            request.bytes()
        );
    }

    #[test]
    fn two_members_with_one_name_and_messages_without_a_call_are_rejected() {
        let twice = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","name":"delete"}}"#;
        assert_eq!(
            CallRequest::from_json_rpc(twice).unwrap_err().code(),
            ErrorCode::Parse
        );
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            let rejection = CallRequest::from_json_rpc(text.as_bytes()).unwrap_err();
            assert_eq!(
                (rejection.code(), rejection.id()),
                (ErrorCode::InvalidRequest, &json!(1))
            );
        }
    }
}
