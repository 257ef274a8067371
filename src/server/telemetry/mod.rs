//! Telemetry: logs to standard error, metrics at `/metrics`, and both traces and metrics by OTLP when asked.
//!
//! No log field, span attribute or label ever holds a token, a proof, a header, a body or an
//! e-mail address: what is logged are ids, codes, counts and times, each logged once, where it is
//! handled. A message is readable alone; its fields have dotted names ([`conventions`]).

pub mod conventions;
pub mod metrics;
mod otlp;
pub mod trace_context;

use std::{
    fmt,
    io::{self, IsTerminal as _},
    sync::Arc,
};

use opentelemetry::{metrics::MeterProvider as _, trace::TracerProvider as _};
use tracing::{Dispatch, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    field::MakeExt as _,
    filter::{FilterExt as _, Targets},
    fmt::{
        format::{Writer, debug_fn},
        writer::{BoxMakeWriter, MakeWriter},
    },
    layer::SubscriberExt as _,
};

pub use metrics::{METRICS_CONTENT_TYPE, Metrics, ReloadOutcome};
pub use trace_context::TraceContext;

use crate::server::config::{Log, LogFormat};
use conventions::SCOPE;
use hallpass_core::base::text::{escape, escape_json};
use otlp::Otlp;

/// What keeps telemetry going; what is waiting is sent when it is shut down or dropped.
///
/// Sending blocks for up to ten seconds when a collector does not answer: shut down after the
/// runtime, or on a thread that may block.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
    otlp: Otlp,
}

impl Telemetry {
    /// The metrics of this process.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Sends what is waiting and stops sending. Logs go on.
    pub fn shut_down(&mut self) {
        self.otlp.shut_down();
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// Sets telemetry up for this process, logging to standard error.
///
/// `environment` looks up the `OTEL_…` variables; without them nothing is sent anywhere. What they ask for and cannot be
/// had is logged as a warning.
///
/// # Errors
///
/// When the log's filter is not understood, and when another subscriber was installed before.
pub fn init(
    log: &Log,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Telemetry, TelemetryError> {
    let color =
        io::stderr().is_terminal() && environment("NO_COLOR").is_none_or(|value| value.is_empty());
    let output = Output {
        writer: BoxMakeWriter::new(io::stderr),
        color,
    };
    let (dispatch, telemetry) = build(log, environment, output)?;
    tracing::dispatcher::set_global_default(dispatch)
        .map_err(|_| TelemetryError::InstalledBefore)?;
    for error in &telemetry.otlp.refused {
        tracing::warn!(error = %error, "telemetry is not sent");
    }
    Ok(telemetry)
}

/// As [`init`], with another place for the log, and without installing anything.
///
/// # Errors
///
/// When the log's filter is not understood.
pub fn build(
    log: &Log,
    environment: &dyn Fn(&str) -> Option<String>,
    output: Output,
) -> Result<(Dispatch, Telemetry), TelemetryError> {
    let otlp = Otlp::from_environment(environment);
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![log_layer(log, output)?];
    if let Some(traces) = &otlp.traces {
        // Only our own spans, and never those of the client that sends them.
        let ours = Targets::new().with_target(SCOPE, LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer(SCOPE));
        layers.push(
            layer
                .with_location(false)
                .with_threads(false)
                .with_target(false)
                .with_filter(ours)
                .boxed(),
        );
    }
    let meter = otlp.metrics.as_ref().map(|metrics| metrics.meter(SCOPE));
    let metrics = Arc::new(Metrics::new(meter.as_ref()));
    Ok((
        Dispatch::new(Registry::default().with(layers)),
        Telemetry { metrics, otlp },
    ))
}

/// Where the log goes.
pub struct Output {
    /// What writes a line.
    pub writer: BoxMakeWriter,
    /// Whether lines of text are coloured; never their meaning alone.
    pub color: bool,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("color", &self.color)
            .finish_non_exhaustive()
    }
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter of the log.
    #[error("the log filter `{0}` is not understood")]
    Filter(String),
    /// A provider was installed before.
    #[error("a tracing subscriber was installed before")]
    InstalledBefore,
}

fn log_layer(
    log: &Log,
    output: Output,
) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&log.filter)
        .map_err(|_| TelemetryError::Filter(log.filter.clone()))?;
    // SECURITY: below `info`, HTTP and TLS libraries write of frames and headers, so of tokens. Whatever
    // the filter says, only hallpass itself is heard there.
    let limit = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target(SCOPE, LevelFilter::TRACE);
    let filter = filter.and(limit);
    let layer = tracing_subscriber::fmt::layer().with_ansi(output.color);
    Ok(match log.format {
        LogFormat::Text => {
            let layer = layer
                .with_writer(output.writer)
                .fmt_fields(debug_fn(write_field).delimited(" "));
            layer.with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let layer = layer
                .with_writer(EscapedJson(output.writer))
                .json()
                .flatten_event(true);
            layer.with_span_list(false).with_filter(filter).boxed()
        }
    })
}

/// SECURITY: what a field holds may come from a peer. Written as it is, it could begin a line of
/// its own or take hold of a terminal (log injection).
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{field}=")?;
    }
    writer.write_str(&escape(&format!("{value:?}")))
}

/// Lines of JSON, with the characters escaped that serde_json passes on: marks of direction and what is not seen.
struct EscapedJson(BoxMakeWriter);

struct EscapedLine<W>(W);

impl<'a> MakeWriter<'a> for EscapedJson {
    type Writer = EscapedLine<<BoxMakeWriter as MakeWriter<'a>>::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapedLine(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for EscapedLine<W> {
    /// Takes whole lines, as the layer writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        for piece in text.split_inclusive('\n') {
            let (json, end) = piece
                .strip_suffix('\n')
                .map_or((piece, ""), |json| (json, "\n"));
            self.0.write_all(escape_json(json).as_bytes())?;
            self.0.write_all(end.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
