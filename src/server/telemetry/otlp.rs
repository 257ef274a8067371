//! OTLP over HTTP with protobuf, when the standard `OTEL_…` variables ask for it and not otherwise.
//!
//! Batches are sent by threads of their own, so that neither requests nor the runtime wait for a collector.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::{Resource, metrics::SdkMeterProvider, trace::SdkTracerProvider};

use crate::server::telemetry::conventions::SCOPE;

/// The providers that are set up; none when nothing was asked for.
#[derive(Debug, Default)]
pub(super) struct Otlp {
    pub(super) traces: Option<SdkTracerProvider>,
    pub(super) metrics: Option<SdkMeterProvider>,
    /// Why a signal is not sent although the variables ask for it.
    pub(super) refused: Vec<OtlpError>,
}

impl Otlp {
    /// Reads what the variables ask for. A signal that cannot be sent as they ask is not sent: such variables are often
    /// set for every process of a machine, and a broker does not stay down for its telemetry.
    ///
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES` and
    /// the batches' `OTEL_BSP_…` and `OTEL_METRIC_EXPORT_…` are read by the SDK itself.
    pub(super) fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
        if environment("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Self::default();
        }
        let resource = resource(&environment);
        let mut refused = Vec::new();
        let traces = Signal::TRACES.endpoint(&environment).and_then(|endpoint| {
            let provider = |endpoint: String| tracer_provider(&endpoint, resource.clone());
            endpoint.map(provider).transpose()
        });
        let metrics = Signal::METRICS.endpoint(&environment).and_then(|endpoint| {
            let provider = |endpoint: String| meter_provider(&endpoint, resource.clone());
            endpoint.map(provider).transpose()
        });
        Self {
            traces: traces.unwrap_or_else(|error| {
                refused.push(error);
                None
            }),
            metrics: metrics.unwrap_or_else(|error| {
                refused.push(error);
                None
            }),
            refused,
        }
    }

    /// Sends what is waiting and stops; at most [`SHUTDOWN_TIMEOUT`] for each signal.
    pub(super) fn shut_down(&mut self) {
        // An unreachable collector has been reported by the exporter already.
        if let Some(traces) = self.traces.take() {
            drop(traces.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        }
        if let Some(metrics) = self.metrics.take() {
            drop(metrics.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        }
    }
}

/// A signal is not sent although the variables ask for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum OtlpError {
    /// Another protocol or exporter than there is.
    #[error("`{variable}` is `{given}`, and hallpass sends {expected} only: change or unset it")]
    Unsupported {
        /// The variable.
        variable: &'static str,
        /// Its value.
        given: String,
        /// What there is.
        expected: &'static str,
    },
    /// The endpoint has no scheme, or another one. What it is may hold a secret.
    #[error("`{variable}` is no URL of http or https")]
    Endpoint {
        /// The variable.
        variable: &'static str,
    },
    /// The exporter refused its settings.
    #[error("`{variable}`: {error}")]
    Exporter {
        /// The variable for the endpoint of this signal.
        variable: &'static str,
        /// Why.
        error: ExporterBuildError,
    },
}

struct Signal {
    endpoint: &'static str,
    protocol: &'static str,
    exporter: &'static str,
    path: &'static str,
}

impl Signal {
    const TRACES: Self = Self {
        endpoint: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        protocol: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        exporter: "OTEL_TRACES_EXPORTER",
        path: "v1/traces",
    };
    const METRICS: Self = Self {
        endpoint: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        protocol: "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
        exporter: "OTEL_METRICS_EXPORTER",
        path: "v1/metrics",
    };

    /// The URL for this signal; the general endpoint gets the signal's path, its own is taken as it is.
    fn endpoint(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, OtlpError> {
        let own = environment(self.endpoint);
        let general = || {
            environment(ENDPOINT).map(|url| format!("{}/{}", url.trim_end_matches('/'), self.path))
        };
        let Some(endpoint) = own.or_else(general) else {
            return Ok(None);
        };
        match environment(self.exporter) {
            Some(exporter) if exporter == "none" => return Ok(None),
            Some(given) if given != "otlp" => {
                return Err(OtlpError::Unsupported {
                    variable: self.exporter,
                    given,
                    expected: "otlp",
                });
            }
            _ => {}
        }
        for variable in [self.protocol, PROTOCOL] {
            match environment(variable) {
                Some(given) if given != HTTP_PROTOBUF => {
                    return Err(OtlpError::Unsupported {
                        variable,
                        given,
                        expected: HTTP_PROTOBUF,
                    });
                }
                Some(_) => break,
                None => {}
            }
        }
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme));
        if !is_url {
            let is_own = environment(self.endpoint).is_some();
            let variable = if is_own { self.endpoint } else { ENDPOINT };
            return Err(OtlpError::Endpoint { variable });
        }
        Ok(Some(endpoint))
    }
}

fn tracer_provider(endpoint: &str, resource: Resource) -> Result<SdkTracerProvider, OtlpError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary);
    let provider = SdkTracerProvider::builder().with_resource(resource);
    let exporter = exporter.build().map_err(|error| OtlpError::Exporter {
        variable: Signal::TRACES.endpoint,
        error,
    })?;
    Ok(provider.with_batch_exporter(exporter).build())
}

fn meter_provider(endpoint: &str, resource: Resource) -> Result<SdkMeterProvider, OtlpError> {
    let exporter = MetricExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary);
    let provider = SdkMeterProvider::builder().with_resource(resource);
    let exporter = exporter.build().map_err(|error| OtlpError::Exporter {
        variable: Signal::METRICS.endpoint,
        error,
    })?;
    Ok(provider.with_periodic_exporter(exporter).build())
}

fn resource(environment: &dyn Fn(&str) -> Option<String>) -> Resource {
    let named = environment("OTEL_SERVICE_NAME").is_some()
        || environment("OTEL_RESOURCE_ATTRIBUTES")
            .is_some_and(|attributes| attributes.contains("service.name="));
    let builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named {
        builder.build()
    } else {
        builder.with_service_name(SCOPE).build()
    }
}

/// How long a stopping process waits for a collector, for each signal.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const HTTP_PROTOBUF: &str = "http/protobuf";

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(variables: &[(&str, &str)]) -> Result<[Option<String>; 2], OtlpError> {
        let environment = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Ok([
            Signal::TRACES.endpoint(&environment)?,
            Signal::METRICS.endpoint(&environment)?,
        ])
    }

    #[test]
    fn nothing_is_sent_anywhere_unless_asked_for() {
        assert_eq!(endpoints(&[]).unwrap(), [None, None]);
        assert_eq!(
            endpoints(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap(),
            [None, None]
        );
        let both = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/")];
        let url = |path: &str| Some(format!("http://127.0.0.1:4318/{path}"));
        assert_eq!(
            endpoints(&both).unwrap(),
            [url("v1/traces"), url("v1/metrics")]
        );
        let one = [(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://127.0.0.1:4318/x",
        )];
        assert_eq!(endpoints(&one).unwrap(), [url("x"), None]);
        let none = [both[0], ("OTEL_METRICS_EXPORTER", "none")];
        assert_eq!(endpoints(&none).unwrap(), [url("v1/traces"), None]);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let both = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(endpoints(&[both, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).is_err());
        assert!(endpoints(&[both, ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json")]).is_err());
        assert!(endpoints(&[both, ("OTEL_TRACES_EXPORTER", "zipkin")]).is_err());
        assert!(endpoints(&[both, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).is_ok());
    }

    #[test]
    fn a_disabled_sdk_sets_nothing_up() {
        let otlp = Otlp::from_environment(&|name| match name {
            "OTEL_SDK_DISABLED" => Some("TRUE".to_owned()),
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:4318".to_owned()),
            _ => None,
        });
        assert!(otlp.traces.is_none() && otlp.metrics.is_none() && otlp.refused.is_empty());
    }

    #[test]
    fn what_cannot_be_had_is_said_and_keeps_nothing_else_from_being_sent() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:4318"),
        ] {
            let otlp = Otlp::from_environment(&|asked| match asked {
                "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:4318".to_owned()),
                asked => (asked == name).then(|| value.to_owned()),
            });
            assert!(otlp.traces.is_some() && otlp.metrics.is_none(), "{name}");
            let said: Vec<_> = otlp.refused.iter().map(ToString::to_string).collect();
            assert!(
                matches!(said.as_slice(), [one] if one.contains(name)),
                "{said:?}"
            );
        }
    }
}
