//! The purpose of a message, in both directions.

use hallpass_core::{
    base::{ReasonCode, text::excerpt},
    token::rights::Kind,
};
use serde_json::{Map, Value};

use crate::mcp::{ErrorCode, Rejection};

/// The purpose of a client's message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// It names a tool, a prompt or a resource: it must be cleared.
    Calls {
        /// The kind of thing that is called.
        kind: Kind,
        /// The tool's or prompt's name, or the resource's URI.
        name: String,
    },
    /// It lists what the server has: a verified pass is enough, and the answer is filtered.
    Lists,
    /// `initialize`: a verified pass is enough. It opens a session before MCP 2026-07-28.
    Initializes,
    /// A notification: a verified pass is enough.
    Notifies,
    /// The client's answer to a request of the server: a verified pass is enough.
    Responds,
    /// Another request that names and lists nothing: a verified pass is enough.
    Neutral,
}

/// The purpose of a server's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerPurpose {
    /// The answer to a request of the client, or an error.
    Responds,
    /// A notification.
    Notifies,
    /// `ping`.
    Pings,
    /// `sampling/createMessage`: the server asks the client's model.
    Samples,
    /// `elicitation/create`: the server asks the client's user.
    Elicits,
    /// `roots/list`: the server asks for the client's directories.
    AsksForRoots,
}

/// The purpose of a client's message, whose envelope was checked.
///
/// # Errors
///
/// Refuses every method that is not known to be harmless or to be clearable.
pub(super) fn of_client(members: &Map<String, Value>) -> Result<Purpose, Rejection> {
    let Some(method) = method(members)? else {
        response(members, "neither a `method` nor an `id`")?;
        return Ok(Purpose::Responds);
    };
    let empty = Map::new();
    let params = params(members)?.unwrap_or(&empty);
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
        _ if CLIENT_NOTIFICATIONS.contains(&method) => Purpose::Notifies,
        _ => return Err(unknown_method("no pass allows this method")),
    };
    // SECURITY: a call in the shape of a notification would run, and its answer would be lost.
    request_or_notification(members, purpose == Purpose::Notifies)?;
    Ok(purpose)
}

/// The purpose of a server's message, whose envelope was checked.
///
/// # Errors
///
/// Refuses every method that MCP does not let a server send.
pub(super) fn of_server(members: &Map<String, Value>) -> Result<ServerPurpose, Rejection> {
    let Some(method) = method(members)? else {
        let is_error = members.contains_key("error");
        // An error for an unreadable request has a null id, or none.
        if is_error && members.get("id").is_none_or(Value::is_null) {
            only_members(members, &["jsonrpc", "id", "error"])?;
            outcome(members)?;
        } else {
            response(members, "neither a `method` nor an `id`")?;
        }
        return Ok(ServerPurpose::Responds);
    };
    params(members)?;
    let purpose = match method {
        "ping" => ServerPurpose::Pings,
        "sampling/createMessage" => ServerPurpose::Samples,
        "elicitation/create" => ServerPurpose::Elicits,
        "roots/list" => ServerPurpose::AsksForRoots,
        _ if SERVER_NOTIFICATIONS.contains(&method) => ServerPurpose::Notifies,
        _ => return Err(unknown_method("no server sends this method")),
    };
    request_or_notification(members, purpose == ServerPurpose::Notifies)?;
    Ok(purpose)
}

fn method(members: &Map<String, Value>) -> Result<Option<&str>, Rejection> {
    match members.get("method") {
        Some(Value::String(method)) => {
            only_members(members, &["jsonrpc", "id", "method", "params"])?;
            Ok(Some(method))
        }
        Some(_) => Err(invalid("`method` must be a string")),
        None => Ok(None),
    }
}

fn params(members: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, Rejection> {
    match members.get("params") {
        None => Ok(None),
        Some(Value::Object(params)) => Ok(Some(params)),
        Some(_) => Err(bad_params("`params` must be an object")),
    }
}

fn request_or_notification(
    members: &Map<String, Value>,
    is_notification: bool,
) -> Result<(), Rejection> {
    match (is_notification, members.contains_key("id")) {
        (true, true) => Err(invalid("a notification carries no `id`")),
        (false, false) => Err(invalid("a request needs an `id`")),
        _ => Ok(()),
    }
}

fn response(members: &Map<String, Value>, without_id: &'static str) -> Result<(), Rejection> {
    only_members(members, &["jsonrpc", "id", "result", "error"])?;
    if !members.contains_key("id") {
        return Err(invalid(without_id));
    }
    outcome(members)
}

fn outcome(members: &Map<String, Value>) -> Result<(), Rejection> {
    match (members.get("result"), members.get("error")) {
        (Some(Value::Object(_)), None) | (None, Some(Value::Object(_))) => Ok(()),
        _ => Err(invalid(
            "a response carries either `result` or `error`, as an object",
        )),
    }
}

fn named(
    kind: Kind,
    params: &Map<String, Value>,
    member: &'static str,
) -> Result<Purpose, Rejection> {
    plain_members(params)?;
    if params
        .get("arguments")
        .is_some_and(|arguments| !arguments.is_object())
    {
        return Err(bad_params("`arguments` must be an object"));
    }
    // The result of such a call is fetched with `tasks/result`, which no pass allows.
    if kind == Kind::Tool && params.contains_key("task") {
        return Err(Rejection::new(
            ErrorCode::Refused,
            ReasonCode::MethodNotAllowed,
            "calls as tasks are not supported: send the call without `params.task`",
        ));
    }
    match params.get(member) {
        Some(Value::String(name)) => Ok(Purpose::Calls {
            kind,
            name: name.clone(),
        }),
        _ => Err(bad_params(format!("`params.{member}` must be a string"))),
    }
}

fn completed(params: &Map<String, Value>) -> Result<Purpose, Rejection> {
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

fn only_members(members: &Map<String, Value>, known: &[&str]) -> Result<(), Rejection> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(invalid(format!("unknown member `{}`", excerpt(name)))),
        None => Ok(()),
    }
}

/// SECURITY: some servers match member names without regard to case, or end them at a NUL
/// (CVE-2026-27896). Such a server would run another call than the one that was cleared.
fn plain_members(params: &Map<String, Value>) -> Result<(), Rejection> {
    let is_spoof = |name: &String| {
        !name.bytes().all(|byte| byte.is_ascii_graphic())
            || DECISIVE
                .iter()
                .any(|decisive| name.eq_ignore_ascii_case(decisive) && name != decisive)
    };
    if params.keys().any(is_spoof) {
        return Err(bad_params(
            "`params` has a member that could be confused with another",
        ));
    }
    Ok(())
}

pub(super) fn invalid(detail: impl Into<String>) -> Rejection {
    malformed(ErrorCode::InvalidRequest, detail)
}

pub(super) fn malformed(code: ErrorCode, detail: impl Into<String>) -> Rejection {
    Rejection::new(code, ReasonCode::MessageMalformed, detail)
}

fn bad_params(detail: impl Into<String>) -> Rejection {
    malformed(ErrorCode::InvalidParams, detail)
}

fn unknown_method(detail: &'static str) -> Rejection {
    Rejection::new(
        ErrorCode::MethodNotFound,
        ReasonCode::MethodNotAllowed,
        detail,
    )
}

/// The notifications that a client may send. Others are refused: an extension could do work in one.
const CLIENT_NOTIFICATIONS: [&str; 5] = [
    "notifications/initialized",
    "notifications/cancelled",
    "notifications/progress",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
];

/// The notifications that a server may send.
const SERVER_NOTIFICATIONS: [&str; 10] = [
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
];

/// Members of `params` and `ref` that determine the call.
const DECISIVE: [&str; 6] = ["name", "arguments", "uri", "ref", "type", "task"];
