//! Names: every metric and label that leaves hallpass, in one place.
//!
//! They follow the OpenTelemetry semantic conventions. The attributes of spans stand where the two
//! kinds of span are opened: `server::middleware` and `verify::tower`.

/// One metric: its name at `/metrics`, its name over OTLP, its unit and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricName {
    /// The Prometheus name without prefix and `_total`, with its unit.
    pub prometheus: &'static str,
    /// The OpenTelemetry name.
    pub otel: &'static str,
    /// The OpenTelemetry unit (UCUM).
    pub unit: &'static str,
    /// What it counts.
    pub help: &'static str,
}

macro_rules! metric_names {
    ($($name:ident = $prometheus:literal, $otel:literal, $unit:literal, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $name: MetricName =
                MetricName { prometheus: $prometheus, otel: $otel, unit: $unit, help: $help };
        )+
    };
}

metric_names! {
    HTTP_REQUESTS = "http_requests", "hallpass.http.requests", "{request}", "Requests answered, by route and class of status";
    HTTP_DURATION = "http_request_duration_seconds", "http.server.request.duration", "s", "Time from the head of a request to the head of its answer";
    PASSES_MINTED = "passes_minted", "hallpass.passes.minted", "{pass}", "Passes minted and released";
    REQUESTS_REFUSED = "requests_refused", "hallpass.requests.refused", "{request}", "Requests refused, by the code of each reason";
    REVOCATIONS = "revocations", "hallpass.revocations", "{revocation}", "Revocations recorded, by kind of subject";
    JOURNAL_APPEND = "journal_append_duration_seconds", "hallpass.journal.append.duration", "s", "Time from handing a batch to the journal to its being durable";
    JOURNAL_BATCH = "journal_batch_records", "hallpass.journal.batch.records", "{record}", "Records made durable by one fdatasync";
    FEED_SUBSCRIBERS = "feed_subscribers", "hallpass.feed.subscribers", "{subscriber}", "Verifiers that follow the feed now";
    FEED_FRAMES = "feed_frames", "hallpass.feed.frames", "{frame}", "Frames signed for the feed";
    CONNECTIONS = "connections", "hallpass.connections", "{connection}", "Connections to the main listener now";
    CONNECTIONS_REFUSED = "connections_refused", "hallpass.connections.refused", "{connection}", "Connections closed since there were too many, or too many of one network";
    POLICY_RELOADS = "policy_reloads", "hallpass.policy.reloads", "{reload}", "Policy reloads, by outcome";
    PANICS = "panics", "hallpass.panics", "{panic}", "Requests that ended in a panic, which is a fault of hallpass";
}

/// What every Prometheus name begins with.
pub const PROMETHEUS_PREFIX: &str = "hallpass";

/// The instrumentation scope of spans and metrics, and the default `service.name`.
pub const SCOPE: &str = "hallpass";

/// The route of an HTTP request, as a template: `/v1/tasks/{id}`.
pub const HTTP_ROUTE: &str = "http.route";
/// The class of an HTTP status: `2xx`.
pub const STATUS_CLASS: &str = "status";
/// The route's label at `/metrics`.
pub const ROUTE: &str = "route";
/// A reason code's label.
pub const REASON: &str = "reason";
/// The kind of a revocation's subject.
pub const KIND: &str = "kind";
/// How something ended.
pub const OUTCOME: &str = "outcome";
