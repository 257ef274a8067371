//! W3C trace context: the one place that reads a `traceparent`.
//!
//! The value is a peer's hint about which trace a request belongs to. A value that does not have
//! the exact form of version 00 is dropped, and the request is processed without it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A position in a trace, as a peer sent it.
///
/// It helps people to find a request later; no decision depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl TraceParent {
    /// Reads a `traceparent`.
    ///
    /// `None` when it is not 55 lower-case characters of the form of version 00 (later versions
    /// may be longer, up to 256), or an id is zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let ([version], trace, span, [flags]) = (
            octets(version)?,
            octets(trace)?,
            octets(span)?,
            octets(flags)?,
        );
        let is_whole = match version {
            0 => parts.next().is_none(),
            FORBIDDEN_VERSION => false,
            _ => text.len() <= MAX_BYTES,
        };
        let is_known =
            trace.iter().any(|octet| *octet != 0) && span.iter().any(|octet| *octet != 0);
        (is_whole && is_known).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }

    /// Reads the values of a header that may be there once: `None` also when there are two.
    #[must_use]
    pub fn only<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Option<Self> {
        let mut values = values.into_iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        Self::parse(std::str::from_utf8(value).ok()?)
    }

    /// The trace id, 32 hex digits, as the audit trail records it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }

    /// The trace's id.
    #[must_use]
    pub const fn trace_bytes(&self) -> [u8; 16] {
        self.trace
    }

    /// The id of the parent span, 16 hex digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        hex::encode(self.span)
    }

    /// The id of the parent span.
    #[must_use]
    pub const fn span_bytes(&self) -> [u8; 8] {
        self.span
    }

    /// Whether the caller samples the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }
}

impl TryFrom<String> for TraceParent {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("expected a W3C traceparent")
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

/// In the form of version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.sampled { "01" } else { "00" };
        write!(
            f,
            "00-{}-{}-{flags}",
            hex::encode(self.trace),
            hex::encode(self.span)
        )
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

/// Exactly `N` octets in lower-case hex.
fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut octets = [0; N];
    (is_hex && hex::decode_to_slice(text, &mut octets).is_ok()).then_some(octets)
}

/// The header, and the member of MCP's `_meta`, that names the parent.
pub const TRACEPARENT: &str = "traceparent";

const FORBIDDEN_VERSION: u8 = 0xff;
const SAMPLED: u8 = 1;
const MAX_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [PARENT, OTHER] {
            let parent = TraceParent::parse(text).unwrap();
            assert_eq!(
                (parent.to_string(), parent.trace_id()),
                (text.to_owned(), text[3..35].to_owned())
            );
            assert_eq!(parent.is_sampled(), text.ends_with('1'));
        }
        let later =
            TraceParent::parse(&format!("cc-{}-what-the-future-holds", &PARENT[3..])).unwrap();
        let flags = TraceParent::parse(&format!("{}ff", &PARENT[..53])).unwrap();
        assert_eq!(
            (later.to_string(), flags.to_string()),
            (PARENT.to_owned(), PARENT.to_owned())
        );
    }

    #[test]
    fn other_forms_are_dropped() {
        let zero_trace = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        let long = format!("cc-{}-{}", &PARENT[3..], "x".repeat(300));
        for bad in [
            "",
            "00",
            &PARENT[..52],
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
            assert_eq!(TraceParent::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_header_counts_only_when_it_is_there_once() {
        let values = |texts: &'static [&'static str]| {
            TraceParent::only(texts.iter().map(|text| text.as_bytes()))
        };
        assert_eq!(values(&[PARENT]), TraceParent::parse(PARENT));
        assert_eq!(
            (
                values(&[]),
                values(&[PARENT, PARENT]),
                values(&[PARENT, "x"])
            ),
            (None, None, None)
        );
        assert_eq!(TraceParent::only([&b"\xff"[..]]), None);
    }
}
