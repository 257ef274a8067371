//! What the server reports to its metrics.

use std::{fmt, time::Duration};

use axum::http::HeaderMap;

use hallpass_broker::domain::event::Subject;
use hallpass_core::base::ReasonCode;

/// Receives what happens in the server, for metrics and traces.
///
/// The methods with a body here do nothing, for observers that need only some events.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A request with these headers begins; `span` is its span, not entered yet: the place to put
    /// it under the trace that it came with.
    fn began(&self, _headers: &HeaderMap, _span: &tracing::Span) {}

    /// A pass was minted and handed out.
    fn minted(&self) {}

    /// A revocation was recorded.
    fn revoked(&self, _subject: &Subject) {}

    /// The policy was loaded anew, or the old one stays because the files do not check.
    fn policy_loaded(&self, _in_force: bool) {}

    /// How many verifiers follow the feed now.
    fn followers(&self, _followers: usize) {}

    /// How many connections there are to the main listener now.
    fn connections(&self, _connections: usize) {}

    /// A connection was closed, since there were too many.
    fn connection_refused(&self) {}

    /// A request was answered.
    fn answered(&self, seen: &Seen<'_>);

    /// A handler panicked; only its request was affected.
    fn panicked(&self);

    /// What `/metrics` answers, in the Prometheus text format.
    fn render(&self) -> String;
}

/// An answered request. Every text is from a closed set.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The method; `OTHER` when it is none that is served.
    pub method: &'a str,
    /// The route's template, `/v1/tasks/{id}`; `unmatched` when there is none.
    pub route: &'a str,
    /// The status.
    pub status: u16,
    /// The problem's code, when it was one.
    pub code: Option<ReasonCode>,
    /// How long it took until the answer began.
    pub took: Duration,
}
