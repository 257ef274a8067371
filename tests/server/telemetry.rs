//! Telemetry as a collector, a scraper and a log reader see it.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::Uri};
use hallpass::server::{
    config::{Config, Log, Overrides},
    telemetry::{self, Metrics, Output, ReloadOutcome, Telemetry, TraceContext},
};
use hallpass_broker::domain::event::Subject;
use hallpass_core::base::{ReasonCode, json, text};
use tracing::Dispatch;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

type Received = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An OTLP collector that keeps what it is sent.
async fn collector() -> (String, Received) {
    let received = Received::default();
    let keep = |State(received): State<Received>, uri: Uri, body: Bytes| async move {
        received
            .lock()
            .unwrap()
            .push((uri.path().to_owned(), body.to_vec()));
    };
    let router = Router::new()
        .fallback(keep)
        .with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

fn log(format: &str, filter: &str) -> Log {
    let overrides = Overrides::default()
        .flag("--log-format", Some(format))
        .flag("--log-filter", Some(filter));
    Config::load(&overrides, &|_| None).unwrap().log
}

fn build(format: &str, variables: &[(&str, &str)]) -> (Dispatch, Telemetry, Arc<Mutex<Vec<u8>>>) {
    build_for(&log(format, "info"), variables)
}

fn build_for(log: &Log, variables: &[(&str, &str)]) -> (Dispatch, Telemetry, Arc<Mutex<Vec<u8>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let writer = BoxMakeWriter::new(move || Sink(Arc::clone(&sink)));
    let environment = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let (dispatch, telemetry) = telemetry::build(
        log,
        &environment,
        Output {
            writer,
            color: false,
        },
    )
    .unwrap();
    (dispatch, telemetry, lines)
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A request that says which trace it belongs to.
fn handle_a_request(telemetry: &Telemetry) -> TraceContext {
    let mut headers = http::HeaderMap::new();
    headers.insert("traceparent", PARENT.parse().unwrap());
    let span = tracing::info_span!(target: "hallpass::test", "tools/call read_ledger", agent.id = "research-bot");
    TraceContext::from_headers(&headers)
        .unwrap()
        .attach_to(&span);
    let own = span.in_scope(|| TraceContext::of(&tracing::Span::current()));
    telemetry
        .metrics()
        .request_answered("/v1/tasks", 201, Duration::from_millis(3));
    own.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_named_sees_spans_and_metrics() {
    let (url, received) = collector().await;
    let (dispatch, mut telemetry, _) = build("text", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let own = tracing::dispatcher::with_default(&dispatch, || handle_a_request(&telemetry));
    assert_eq!(
        own.trace_id(),
        PARENT[3..35],
        "what the request named is the parent"
    );
    assert_ne!(
        own.traceparent(),
        PARENT,
        "within the trace it is a span of its own"
    );
    tokio::task::spawn_blocking(move || telemetry.shut_down())
        .await
        .unwrap();

    let received = received.lock().unwrap();
    let body = |path: &str| {
        &received
            .iter()
            .find(|(known, _)| known == path)
            .expect(path)
            .1
    };
    let (spans, metrics) = (body("/v1/traces"), body("/v1/metrics"));
    for part in [
        "tools/call read_ledger",
        "agent.id",
        "research-bot",
        "service.name",
        "hallpass",
    ] {
        assert!(contains(spans, part.as_bytes()), "{part}");
    }
    assert!(
        contains(spans, &hex::decode(&PARENT[3..35]).unwrap()),
        "the parent's trace"
    );
    assert!(
        contains(spans, &hex::decode(&PARENT[36..52]).unwrap()),
        "the parent's span"
    );
    for part in [
        "hallpass.http.requests",
        "http.server.request.duration",
        "/v1/tasks",
        "2xx",
    ] {
        assert!(contains(metrics, part.as_bytes()), "{part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_when_nothing_is_set() {
    let (url, received) = collector().await;
    for variables in [
        vec![],
        vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            ("OTEL_SDK_DISABLED", "true"),
        ],
    ] {
        let (dispatch, mut telemetry, _) = build("text", &variables);
        tracing::dispatcher::with_default(&dispatch, || {
            let span = tracing::info_span!(target: "hallpass::test", "request");
            assert_eq!(TraceContext::of(&span), None);
        });
        telemetry.metrics().pass_minted();
        tokio::task::spawn_blocking(move || telemetry.shut_down())
            .await
            .unwrap();
    }
    assert!(received.lock().unwrap().is_empty());
}

#[test]
fn a_collector_that_is_gone_stops_nothing() {
    let (dispatch, mut telemetry, _) = build(
        "text",
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")],
    );
    tracing::dispatcher::with_default(&dispatch, || drop(handle_a_request(&telemetry)));
    telemetry.shut_down();
}

#[test]
fn one_event_is_one_line_whatever_its_fields_hold() {
    let hostile = "a\r\nb\u{1b}[31mc\u{2028}d\"e\\f\0\u{202e}g\u{200b}\u{feff}\u{61c}\u{e0041}";
    for format in ["text", "json"] {
        let (dispatch, _telemetry, lines) = build(format, &[]);
        tracing::dispatcher::with_default(&dispatch, || {
            tracing::info!(target: "hallpass::test", { agent.id = hostile, other = %hostile }, "refused {hostile}");
            tracing::debug!(target: "hallpass::test", "below the filter");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{format}: {text:?}");
        assert!(
            text.ends_with('\n') && !text.trim_end().contains(text::is_unsafe_char),
            "{format}: {text:?}"
        );
        if format == "json" {
            let event = json::parse(text.as_bytes(), 10_000).unwrap();
            assert_eq!(event["agent.id"], hostile);
            assert_eq!(event["level"], "INFO");
        }
    }
}

#[test]
fn libraries_are_not_heard_below_info_whatever_the_filter_says() {
    let (dispatch, _telemetry, lines) = build_for(&log("text", "trace,h2=trace"), &[]);
    tracing::dispatcher::with_default(&dispatch, || {
        tracing::trace!(target: "hallpass_broker::broker", "ours");
        tracing::info!(target: "h2::codec", "theirs");
        tracing::debug!(target: "h2::codec", "a header with a token");
        tracing::trace!(target: "hyper::proto", "a header with a token");
    });
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert!(text.contains("ours") && text.contains("theirs"), "{text}");
    assert!(!text.contains("token"), "{text}");
}

#[test]
fn metrics_have_units_totals_and_closed_labels() {
    let metrics = Metrics::new(None);
    metrics.request_answered("/v1/tasks", 201, Duration::from_millis(3));
    metrics.request_answered("/v1/tasks", 403, Duration::from_micros(700));
    metrics.request_answered("/v1/feed", 599, Duration::from_secs(20));
    metrics.pass_minted();
    metrics.request_refused(ReasonCode::NoGrant);
    metrics.request_refused(ReasonCode::Guardrail);
    metrics.revoked(&Subject::Agent("research-bot".parse().unwrap()));
    metrics.journal_appended(17, Duration::from_micros(900));
    metrics.feed_subscribers(3);
    metrics.feed_frames(5);
    metrics.policy_reloaded(ReloadOutcome::Loaded);
    metrics.policy_reloaded(ReloadOutcome::Refused);
    metrics.panicked();
    let text = metrics.encode();
    assert!(!text.contains("research-bot"));
    // Series of one family come in no fixed order.
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.contains("_bucket{"))
        .collect();
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(
        text.contains(
            "hallpass_http_request_duration_seconds_bucket{le=\"0.005\",route=\"/v1/tasks\"} 2\n"
        ),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn series_without_labels_are_there_before_anything_happened() {
    let text = Metrics::new(None).encode();
    for line in [
        "hallpass_passes_minted_total{} 0",
        "hallpass_panics_total{} 0",
        "hallpass_feed_subscribers 0",
        "hallpass_journal_batch_records_count{} 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
