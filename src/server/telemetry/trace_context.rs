//! W3C trace context for OpenTelemetry: the parent of a request's span, and what is sent on.
//!
//! `traceparent` is read by [`TraceParent`]; `tracestate` is read here, since only exporters want it.
//! An MCP server finds the context that came in `_meta` in the extensions of the requests that
//! `verify::tower` hands on.

use std::fmt;

use http::{HeaderMap, HeaderValue};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use hallpass_core::base::trace::{TRACEPARENT, TraceParent};

/// A position in a distributed trace.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    span: SpanContext,
}

impl TraceContext {
    /// The context that `parent` and, when there is one, a `tracestate` name.
    ///
    /// A `tracestate` that is too long or malformed is left out.
    #[must_use]
    pub fn new(parent: &TraceParent, tracestate: Option<&str>) -> Self {
        let span = SpanContext::new(
            TraceId::from_bytes(parent.trace_bytes()),
            SpanId::from_bytes(parent.span_bytes()),
            TraceFlags::default().with_sampled(parent.is_sampled()),
            true,
            tracestate.and_then(parse_state).unwrap_or_default(),
        );
        Self { span }
    }

    /// The context in HTTP headers; `None` also when there are two of `traceparent`.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let parent = TraceParent::only(
            headers
                .get_all(TRACEPARENT)
                .iter()
                .map(HeaderValue::as_bytes),
        )?;
        let states: Option<Vec<_>> = headers
            .get_all(TRACESTATE)
            .iter()
            .map(|value| value.to_str().ok())
            .collect();
        let state = states
            .filter(|states| !states.is_empty())
            .map(|states| states.join(","));
        Some(Self::new(&parent, state.as_deref()))
    }

    /// The context of `span`, to hand on; `None` when spans are not traced.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context().span().span_context().clone();
        context.is_valid().then_some(Self { span: context })
    }

    /// Puts `span`, which was not entered yet, under this.
    pub fn attach_to(&self, span: &Span) {
        // Fails only when spans are not traced, and then there is nothing to attach to.
        drop(span.set_parent(Context::new().with_remote_span_context(self.span.clone())));
    }

    /// The `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let sampled = if self.span.is_sampled() { "01" } else { "00" };
        format!(
            "00-{}-{}-{sampled}",
            self.span.trace_id(),
            self.span.span_id()
        )
    }

    /// The `tracestate`, unless it is empty.
    #[must_use]
    pub fn tracestate(&self) -> Option<String> {
        let state = self.span.trace_state().header();
        (!state.is_empty()).then_some(state)
    }

    /// The trace's id, 32 hex digits: what the audit trail keeps.
    #[must_use]
    pub fn trace_id(&self) -> String {
        self.span.trace_id().to_string()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({})", self.traceparent())
    }
}

fn parse_state(text: &str) -> Option<TraceState> {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    // The library takes a member without a name.
    let mut members = text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty());
    let named = members.all(|member| {
        member
            .split_once('=')
            .is_some_and(|(name, _)| !name.is_empty())
    });
    if text.len() > MAX_TRACESTATE_BYTES || !printable || !named {
        None
    } else {
        text.parse().ok()
    }
}

const TRACESTATE: &str = "tracestate";

/// What the standard asks every party to pass on at least; more is left out.
const MAX_TRACESTATE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let state = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
        let context =
            TraceContext::from_headers(&headers(&[("traceparent", PARENT), ("tracestate", state)]))
                .unwrap();
        assert_eq!(context.traceparent(), PARENT);
        assert_eq!(context.tracestate().unwrap(), state);
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn a_state_of_another_form_is_left_out() {
        for state in [
            "=",
            "a",
            "Ä=1",
            "a=1\u{7f}",
            &format!("a={}", "b".repeat(511)),
        ] {
            let parent = TraceParent::parse(PARENT).unwrap();
            assert_eq!(
                TraceContext::new(&parent, Some(state)).tracestate(),
                None,
                "{state}"
            );
        }
    }

    #[test]
    fn headers_are_read_once_and_states_are_joined() {
        let context = TraceContext::from_headers(&headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]));
        assert_eq!(context.unwrap().tracestate().unwrap(), "a=1,b=2");
        assert_eq!(
            TraceContext::from_headers(&headers(&[
                ("traceparent", PARENT),
                ("traceparent", PARENT)
            ])),
            None
        );
        assert_eq!(
            TraceContext::from_headers(&headers(&[("tracestate", "a=1")])),
            None
        );
    }
}
