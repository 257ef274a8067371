//! The headers of MCP 2026-07-28 that mirror parts of the body.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName};
use serde_json::Value;

use crate::mcp::{ClientMessage, ErrorCode, Purpose, Rejection};
use hallpass_core::base::ReasonCode;

/// Compares the mirrored headers with the body.
///
/// # Errors
///
/// Refuses a header that differs from the body, and a duplicate one.
pub(super) fn agree(headers: &HeaderMap, message: &ClientMessage) -> Result<(), Rejection> {
    check(headers, message).map_err(|rejection| rejection.answering(message.id()))
}

fn check(headers: &HeaderMap, message: &ClientMessage) -> Result<(), Rejection> {
    let mirrored = headers
        .keys()
        .filter(|name| name.as_str().starts_with("mcp-"));
    for name in mirrored {
        single(headers, name)?;
    }
    let method = message.method();
    repeats(headers, &MCP_METHOD, method)?;
    let named = match message.purpose() {
        Purpose::Calls { name, .. } => Some(name.as_str()),
        _ => None,
    };
    // A completion names its prompt or resource inside `ref`, which no header repeats.
    let is_mirrored = method != Some("completion/complete");
    repeats(headers, &MCP_NAME, named.filter(|_| is_mirrored))?;
    let version = message
        .params()
        .and_then(|params| params.get("_meta")?.get(VERSION_META))
        .and_then(Value::as_str);
    if version.is_some() {
        repeats(headers, &MCP_PROTOCOL_VERSION, version)
    } else {
        Ok(())
    }
}

fn repeats(
    headers: &HeaderMap,
    name: &HeaderName,
    expected: Option<&str>,
) -> Result<(), Rejection> {
    let Some(given) = single(headers, name)? else {
        return Ok(());
    };
    if expected.is_some() && decode(given).as_deref() == expected {
        return Ok(());
    }
    Err(mismatch(format!(
        "the header `{name}` differs from the body"
    )))
}

/// The only value of `name`, if present.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(mismatch(format!("the header `{name}` is duplicated")));
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
pub(super) fn decode(value: &str) -> Option<String> {
    match value
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="))
    {
        Some(encoded) => String::from_utf8(STANDARD.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn mismatch(detail: String) -> Rejection {
    Rejection::new(
        ErrorCode::HeaderMismatch,
        ReasonCode::HeaderMismatch,
        detail,
    )
}

pub(super) const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const VERSION_META: &str = "io.modelcontextprotocol/protocolVersion";
