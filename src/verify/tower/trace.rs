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

/// The span of one request. Its fields are recorded when they are known. No value that a peer can
/// choose freely is recorded.
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

/// The trace context of the HTTP request.
pub(super) fn carried(headers: &HeaderMap) -> Option<TraceParent> {
    TraceParent::only(
        headers
            .get_all(TRACEPARENT)
            .iter()
            .map(HeaderValue::as_bytes),
    )
}

/// Records the agent and the task of the pass in the span.
pub(super) fn tell_pass(span: &Span, pass: &Pass) {
    let claims = pass.verified().claims();
    span.record("agent.id", claims.agent.as_str())
        .record("task.id", claims.task.as_str());
}

/// Records the cleared call in the span.
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

/// Records the reason of the layer's own response in the span.
pub(super) fn tell_refusal(span: &Span, answer: &Answer) {
    span.record("error.type", answer.reason().as_str());
}
