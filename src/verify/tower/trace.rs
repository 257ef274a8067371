//! Which trace a request belongs to, and the span in which the layer and the server handle it.

use http::{HeaderMap, HeaderValue};
use tracing::{Span, field::Empty};

use crate::{
    Pass,
    mcp::{ClientMessage, Purpose},
    tower::answer::Answer,
};
use hallpass_core::{
    base::trace::{TRACEPARENT, TraceParent},
    token::rights::Kind,
};

/// The span of one request. What it is about is told when it is known: nothing that a peer chose
/// freely gets in.
pub(super) fn span() -> Span {
    tracing::info_span!(
        "mcp request",
        trace.id = Empty,
        agent.id = Empty,
        task.id = Empty,
        mcp.method.name = Empty,
        gen_ai.operation.name = Empty,
        gen_ai.tool.name = Empty,
        error.type = Empty,
    )
}

/// The context that the HTTP request came with.
pub(super) fn carried(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::only(
        headers
            .get_all(TRACEPARENT)
            .iter()
            .map(HeaderValue::as_bytes),
    )
}

/// Tells the span whose pass it is.
pub(super) fn tell_pass(span: &Span, pass: &Pass) {
    let claims = pass.verified().claims();
    span.record("agent.id", claims.agent.as_str())
        .record("task.id", claims.task.as_str());
}

/// Tells the span what was cleared.
pub(super) fn tell_message(span: &Span, message: &ClientMessage) {
    if let Some(method) = message.method() {
        span.record("mcp.method.name", method);
    }
    if let Purpose::Calls {
        kind: Kind::Tool,
        name,
    } = message.purpose()
    {
        span.record("gen_ai.operation.name", "execute_tool")
            .record("gen_ai.tool.name", name.as_str());
    }
}

/// Tells the span why the layer answered itself.
pub(super) fn tell_refusal(span: &Span, answer: &Answer) {
    span.record("error.type", answer.reason().as_str());
}
