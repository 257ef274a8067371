//! W3C trace context: read from HTTP headers and from MCP `params._meta`, written to both.
//!
//! What a peer sends is a hint about which trace a request belongs to. Anything that is not
//! exactly of version 00's form is dropped, and the request goes on without it.

use std::fmt;

use http::HeaderMap;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use serde_json::Value;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A position in a distributed trace.
#[derive(Clone, PartialEq, Eq)]
pub struct TraceContext {
    span: SpanContext,
}

impl TraceContext {
    /// Reads a `traceparent` and, when there is one, a `tracestate`.
    ///
    /// `None` when `traceparent` is not 55 lower-case characters of the form of version 00 (later
    /// versions may be longer), or an id is zero. A `tracestate` that is too long or malformed is left out.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut parts = traceparent.splitn(5, '-');
        let mut hex = |digits: usize| {
            let part = parts.next()?;
            let valid = part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            valid.then_some(part)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_known = version == "00" && parts.next().is_none();
        let is_later = !matches!(version, "00" | "ff") && traceparent.len() <= MAX_TRACEPARENT_BYTES;
        if !is_known && !is_later {
            return None;
        }
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        let span = SpanContext::new(
            TraceId::from_hex(trace).ok()?,
            SpanId::from_hex(span).ok()?,
            TraceFlags::default().with_sampled(sampled),
            true,
            tracestate.and_then(parse_state).unwrap_or_default(),
        );
        span.is_valid().then_some(Self { span })
    }

    /// The context in HTTP headers; `None` also when there are two of `traceparent`.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let (parent, None) = (parents.next()?, parents.next()) else { return None };
        let states: Option<Vec<_>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
        let state = states.filter(|states| !states.is_empty()).map(|states| states.join(","));
        Self::parse(parent.to_str().ok()?, state.as_deref())
    }

    /// The context in the `_meta` member of an MCP request's parameters.
    #[must_use]
    pub fn from_meta(params: &Value) -> Option<Self> {
        let meta = params.get("_meta")?;
        let text = |name: &str| meta.get(name).and_then(Value::as_str);
        Self::parse(text(TRACEPARENT)?, text(TRACESTATE))
    }

    /// The context of `span`, to hand on; `None` when spans are not traced.
    #[must_use]
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context().span().span_context().clone();
        context.is_valid().then_some(Self { span: context })
    }

    /// The `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let sampled = if self.span.is_sampled() { "01" } else { "00" };
        format!("00-{}-{}-{sampled}", self.span.trace_id(), self.span.span_id())
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

/// Where a request comes from: its parent, and another trace that it is linked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incoming {
    /// What caused it.
    pub parent: Option<TraceContext>,
    /// What carried it, when that is another.
    pub link: Option<TraceContext>,
}

impl Incoming {
    /// The context in MCP's `_meta` is the parent and that of HTTP a link; without `_meta`, HTTP's is the parent.
    #[must_use]
    pub fn of(headers: &HeaderMap, params: Option<&Value>) -> Self {
        let carried = TraceContext::from_headers(headers);
        match params.and_then(TraceContext::from_meta) {
            Some(parent) => Self { link: carried.filter(|carried| *carried != parent), parent: Some(parent) },
            None => Self { parent: carried, link: None },
        }
    }

    /// Puts `span`, which was not entered yet, under the parent and links it.
    pub fn attach_to(&self, span: &Span) {
        if let Some(parent) = &self.parent {
            // Fails only when spans are not traced, and then there is nothing to attach to.
            drop(span.set_parent(Context::new().with_remote_span_context(parent.span.clone())));
        }
        if let Some(link) = &self.link {
            span.add_link(link.span.clone());
        }
    }
}

fn parse_state(text: &str) -> Option<TraceState> {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    // The library takes a member without a name.
    let mut members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
    let named = members.all(|member| member.split_once('=').is_some_and(|(name, _)| !name.is_empty()));
    if text.len() > MAX_TRACESTATE_BYTES || !printable || !named { None } else { text.parse().ok() }
}

/// The header, and the member of `_meta`, that names the parent.
pub const TRACEPARENT: &str = "traceparent";

/// The header, and the member of `_meta`, for what vendors add.
pub const TRACESTATE: &str = "tracestate";

const MAX_TRACEPARENT_BYTES: usize = 256;

/// What the standard asks every party to pass on at least; more is left out.
const MAX_TRACESTATE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [PARENT, OTHER] {
            let context = TraceContext::parse(text, Some("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")).unwrap();
            assert_eq!(context.traceparent(), text);
            assert_eq!(context.tracestate().unwrap(), "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
        }
        assert_eq!(TraceContext::parse(PARENT, None).unwrap().trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let later = TraceContext::parse(&format!("cc-{}-what-the-future-holds", &PARENT[3..]), None).unwrap();
        assert_eq!(later.traceparent(), PARENT);
        let flags = TraceContext::parse(&format!("{}ff", &PARENT[..53]), None).unwrap();
        assert_eq!(flags.traceparent(), PARENT);
    }

    #[test]
    fn other_forms_are_dropped() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        let long = format!("cc-{}-{}", &PARENT[3..], "x".repeat(300));
        for bad in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-"),
            &format!("{PARENT}-00"),
            &format!(" {PARENT}"),
            &PARENT.to_uppercase(),
            &PARENT.replace("00-", "ff-"),
            &PARENT.replace('-', "_"),
            &PARENT.replace("b7ad", "+7ad"),
            &zero_trace,
            &zero_span,
            &long,
        ] {
            assert_eq!(TraceContext::parse(bad, None), None, "{bad:?}");
        }
        for state in ["=", "a", "Ä=1", "a=1\u{7f}", &format!("a={}", "b".repeat(511))] {
            assert_eq!(TraceContext::parse(PARENT, Some(state)).unwrap().tracestate(), None, "{state}");
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
        assert_eq!(TraceContext::from_headers(&headers(&[("traceparent", PARENT), ("traceparent", PARENT)])), None);
        assert_eq!(TraceContext::from_headers(&headers(&[("tracestate", "a=1")])), None);
    }

    #[test]
    fn the_context_of_mcp_is_the_parent_and_that_of_http_a_link() {
        let http = headers(&[("traceparent", PARENT)]);
        let params = json!({"name": "read_ledger", "_meta": {"traceparent": OTHER, "tracestate": "a=1"}});
        let parent = TraceContext::parse(OTHER, Some("a=1"));
        let carried = TraceContext::parse(PARENT, None);
        assert_eq!(Incoming::of(&http, Some(&params)), Incoming { parent: parent.clone(), link: carried.clone() });
        assert_eq!(Incoming::of(&HeaderMap::new(), Some(&params)), Incoming { parent, link: None });
        for params in [None, Some(&json!({})), Some(&json!({"_meta": {"traceparent": 7}})), Some(&json!([]))] {
            assert_eq!(Incoming::of(&http, params), Incoming { parent: carried.clone(), link: None });
        }
        let same = json!({"_meta": {"traceparent": PARENT}});
        assert_eq!(Incoming::of(&http, Some(&same)), Incoming { parent: carried, link: None });
    }
}
