//! Metrics: counted once, shown at `/metrics` and, when it is set up, sent by OTLP.
//!
//! Every label value is a `&'static str`, so that no request can make a new time series.

use std::{fmt, time::Duration};

use opentelemetry::{KeyValue, metrics::Meter};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::server::telemetry::conventions::{
    CONNECTIONS, CONNECTIONS_REFUSED, FEED_FRAMES, FEED_SUBSCRIBERS, HTTP_DURATION, HTTP_REQUESTS,
    HTTP_ROUTE, JOURNAL_APPEND, JOURNAL_BATCH, KIND, MetricName, OUTCOME, PANICS, PASSES_MINTED,
    POLICY_RELOADS, PROMETHEUS_PREFIX, REASON, REQUESTS_REFUSED, REVOCATIONS, ROUTE, STATUS_CLASS,
};
use hallpass_broker::domain::event::Subject;
use hallpass_core::base::ReasonCode;

/// What hallpass counts.
pub struct Metrics {
    registry: Registry,
    requests: Count<2>,
    request_duration: Distribution<1>,
    passes_minted: Count<0>,
    requests_refused: Count<1>,
    revocations: Count<1>,
    journal_append: Distribution<0>,
    journal_batch: Distribution<0>,
    feed_subscribers: Level,
    feed_frames: Count<0>,
    connections: Level,
    connections_refused: Count<0>,
    policy_reloads: Count<1>,
    panics: Count<0>,
}

impl Metrics {
    /// Metrics at zero; `meter` gets all of them too.
    #[must_use]
    pub fn new(meter: Option<&Meter>) -> Self {
        let mut registry = Registry::with_prefix(PROMETHEUS_PREFIX);
        let mut maker = Maker {
            registry: &mut registry,
            meter,
        };
        Self {
            requests: maker.count(HTTP_REQUESTS),
            request_duration: maker.distribution(HTTP_DURATION, REQUEST_SECONDS),
            passes_minted: maker.count(PASSES_MINTED),
            requests_refused: maker.count(REQUESTS_REFUSED),
            revocations: maker.count(REVOCATIONS),
            journal_append: maker.distribution(JOURNAL_APPEND, APPEND_SECONDS),
            journal_batch: maker.distribution(JOURNAL_BATCH, BATCH_RECORDS),
            feed_subscribers: maker.level(FEED_SUBSCRIBERS),
            feed_frames: maker.count(FEED_FRAMES),
            connections: maker.level(CONNECTIONS),
            connections_refused: maker.count(CONNECTIONS_REFUSED),
            policy_reloads: maker.count(POLICY_RELOADS),
            panics: maker.count(PANICS),
            registry,
        }
    }

    /// A request was answered. `route` is the route's template, never the path that was asked for.
    pub fn request_answered(&self, route: &'static str, status: u16, took: Duration) {
        self.requests
            .add(1, [(ROUTE, route), (STATUS_CLASS, status_class(status))]);
        self.request_duration
            .observe(took.as_secs_f64(), [(HTTP_ROUTE, route)]);
    }

    /// A pass was minted and released.
    pub fn pass_minted(&self) {
        self.passes_minted.add(1, []);
    }

    /// A request was refused; call it for each reason.
    pub fn request_refused(&self, reason: ReasonCode) {
        self.requests_refused.add(1, [(REASON, reason.as_str())]);
    }

    /// A revocation was recorded.
    pub fn revoked(&self, subject: &Subject) {
        self.revocations.add(1, [(KIND, subject.kind())]);
    }

    /// The journal made a batch durable.
    pub fn journal_appended(&self, records: usize, took: Duration) {
        self.journal_append.observe(took.as_secs_f64(), []);
        self.journal_batch
            .observe(f64::from(u32::try_from(records).unwrap_or(u32::MAX)), []);
    }

    /// How many verifiers follow the feed now.
    pub fn feed_subscribers(&self, subscribers: usize) {
        self.feed_subscribers
            .set(i64::try_from(subscribers).unwrap_or(i64::MAX));
    }

    /// How many connections there are to the main listener now.
    pub fn connections(&self, connections: usize) {
        self.connections
            .set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// A connection was closed, since there were too many.
    pub fn connection_refused(&self) {
        self.connections_refused.add(1, []);
    }

    /// How many frames were signed for the feed.
    pub fn feed_frames(&self, frames: u64) {
        self.feed_frames.add(frames, []);
    }

    /// The policy was loaded anew, or the old one stayed because the new one is bad.
    pub fn policy_reloaded(&self, outcome: ReloadOutcome) {
        let outcome = match outcome {
            ReloadOutcome::Loaded => "loaded",
            ReloadOutcome::Refused => "refused",
        };
        self.policy_reloads.add(1, [(OUTCOME, outcome)]);
    }

    /// A request ended in a panic.
    pub fn panicked(&self) {
        self.panics.add(1, []);
    }

    /// All metrics in the OpenMetrics text format, as Prometheus scrapes them.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail, and no metric of ours does.
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(fmt::Error) => String::new(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// How a policy reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new set is in force.
    Loaded,
    /// The new set is bad; the old one stays.
    Refused,
}

/// The content type of [`Metrics::encode`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels<const N: usize> = [(&'static str, &'static str); N];

struct Count<const N: usize> {
    prometheus: Family<Labels<N>, Counter>,
    otel: Option<opentelemetry::metrics::Counter<u64>>,
}

impl<const N: usize> Count<N> {
    fn add(&self, number: u64, labels: Labels<N>) {
        self.prometheus.get_or_create(&labels).inc_by(number);
        if let Some(counter) = &self.otel {
            counter.add(number, &attributes(labels));
        }
    }
}

struct Distribution<const N: usize> {
    prometheus: Family<Labels<N>, Histogram, fn() -> Histogram>,
    otel: Option<opentelemetry::metrics::Histogram<f64>>,
}

impl<const N: usize> Distribution<N> {
    fn observe(&self, value: f64, labels: Labels<N>) {
        self.prometheus
            .get_or_create(&labels.map(|(name, value)| (prometheus_label(name), value)))
            .observe(value);
        if let Some(histogram) = &self.otel {
            histogram.record(value, &attributes(labels));
        }
    }
}

struct Level {
    prometheus: Gauge,
    otel: Option<opentelemetry::metrics::Gauge<i64>>,
}

impl Level {
    fn set(&self, level: i64) {
        self.prometheus.set(level);
        if let Some(gauge) = &self.otel {
            gauge.record(level, &[]);
        }
    }
}

struct Maker<'a> {
    registry: &'a mut Registry,
    meter: Option<&'a Meter>,
}

impl Maker<'_> {
    fn count<const N: usize>(&mut self, name: MetricName) -> Count<N> {
        let prometheus = Family::default();
        self.registry
            .register(name.prometheus, name.help, prometheus.clone());
        if N == 0 {
            // Without labels there is one series, which is there from the start.
            drop(prometheus.get_or_create(&[("", ""); N]));
        }
        let instrument = |meter: &Meter| {
            meter
                .u64_counter(name.otel)
                .with_unit(name.unit)
                .with_description(name.help)
                .build()
        };
        Count {
            prometheus,
            otel: self.meter.map(instrument),
        }
    }

    fn distribution<const N: usize>(
        &mut self,
        name: MetricName,
        buckets: Buckets,
    ) -> Distribution<N> {
        let prometheus = Family::new_with_constructor(buckets.histogram);
        self.registry
            .register(name.prometheus, name.help, prometheus.clone());
        if N == 0 {
            drop(prometheus.get_or_create(&[("", ""); N]));
        }
        let instrument = |meter: &Meter| {
            let builder = meter
                .f64_histogram(name.otel)
                .with_unit(name.unit)
                .with_description(name.help);
            builder.with_boundaries(buckets.bounds.to_vec()).build()
        };
        Distribution {
            prometheus,
            otel: self.meter.map(instrument),
        }
    }

    fn level(&mut self, name: MetricName) -> Level {
        let prometheus = Gauge::default();
        self.registry
            .register(name.prometheus, name.help, prometheus.clone());
        let instrument = |meter: &Meter| {
            meter
                .i64_gauge(name.otel)
                .with_unit(name.unit)
                .with_description(name.help)
                .build()
        };
        Level {
            prometheus,
            otel: self.meter.map(instrument),
        }
    }
}

fn attributes<const N: usize>(labels: Labels<N>) -> [KeyValue; N] {
    labels.map(|(name, value)| KeyValue::new(name, value))
}

/// Prometheus names have no dots.
fn prometheus_label(name: &'static str) -> &'static str {
    if name == HTTP_ROUTE { ROUTE } else { name }
}

const fn status_class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

#[derive(Clone, Copy)]
struct Buckets {
    bounds: &'static [f64],
    histogram: fn() -> Histogram,
}

macro_rules! buckets {
    ($($bound:literal),+) => {
        Buckets { bounds: &[$($bound),+], histogram: || Histogram::new([$($bound),+]) }
    };
}

const REQUEST_SECONDS: Buckets = buckets![
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
];
const APPEND_SECONDS: Buckets = buckets![
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0
];
const BATCH_RECORDS: Buckets = buckets![
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0
];
