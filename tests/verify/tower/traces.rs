//! The trace that a request belongs to goes on behind the layer.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    thread::{self, ThreadId},
};

use hallpass_core::base::{json, trace::TraceParent};
use serde_json::{Value, json};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::tower::guarded::{Guarded, call, message, request};

/// What the spans that ended on this thread said, by name of the field.
#[derive(Clone)]
struct Spans {
    lines: Arc<Mutex<Vec<u8>>>,
    thread: ThreadId,
}

impl Spans {
    /// For the whole process, since `tracing` asks whichever thread comes first whether a span is of
    /// interest, and remembers the answer.
    fn collect() -> Self {
        let spans = Self {
            lines: Arc::default(),
            thread: thread::current().id(),
        };
        let writer = spans.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_span_events(FmtSpan::CLOSE);
        tracing::subscriber::set_global_default(
            subscriber.with_writer(move || writer.clone()).finish(),
        )
        .unwrap();
        spans
    }

    fn take(&self) -> Vec<Value> {
        let text = String::from_utf8(std::mem::take(&mut *self.lines.lock().unwrap())).unwrap();
        let spans = text
            .lines()
            .map(|line| json::parse(line.as_bytes(), 100_000).unwrap()["span"].take());
        spans.filter(|span| span["name"] == "mcp request").collect()
    }
}

impl Write for Spans {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if thread::current().id() == self.thread {
            self.lines.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A call of `read_ledger` whose `_meta` is `meta`.
fn traced_call(meta: &Value) -> String {
    message(
        "tools/call",
        &json!({"name": "read_ledger", "arguments": {"secret": "s3"}, "_meta": meta}),
    )
}

#[tokio::test]
async fn the_trace_of_a_call_reaches_the_server_and_the_span() {
    let spans = Spans::collect();
    let guarded = Guarded::new();
    let cases = [
        (Some(HTTP), json!({"traceparent": MCP}), Some(MCP)),
        (None, json!({"traceparent": MCP}), Some(MCP)),
        (Some(HTTP), json!({}), Some(HTTP)),
        (
            Some(HTTP),
            json!({"traceparent": "00-not-a-trace"}),
            Some(HTTP),
        ),
        (Some("00-not-a-trace"), json!({"traceparent": 7}), None),
    ];
    for (header, meta, parent) in cases {
        let mut request = request(&guarded.pass(), traced_call(&meta));
        if let Some(header) = header {
            request
                .headers_mut()
                .insert("traceparent", header.parse().unwrap());
        }
        guarded.send(request).await;
        let reached = guarded.reached();
        let (parts, _) = &reached[0];
        let found = parts
            .extensions
            .get::<TraceParent>()
            .map(ToString::to_string);
        assert_eq!(found.as_deref(), parent, "{header:?} {meta}");
        // The HTTP context is the server's to link to.
        assert_eq!(
            parts
                .headers
                .get("traceparent")
                .map(|value| value.to_str().unwrap()),
            header
        );
        let [span] = &spans.take()[..] else {
            panic!("one request, one span")
        };
        assert_eq!(
            span["trace.id"].as_str(),
            parent.map(|parent| &parent[3..35]),
            "{span}"
        );
        let named = [
            "agent.id",
            "mcp.method.name",
            "gen_ai.operation.name",
            "gen_ai.tool.name",
        ]
        .map(|name| &span[name]);
        assert_eq!(
            named,
            ["research-bot", "tools/call", "execute_tool", "read_ledger"],
            "{span}"
        );
        assert!(
            !span.to_string().contains("s3") && span.get("error.type").is_none(),
            "{span}"
        );
    }

    guarded
        .post(call("transfer", &json!({"amount": 101})))
        .await;
    guarded
        .send(request("x", call("read_ledger", &json!({}))))
        .await;
    let refused = spans.take();
    let codes: Vec<_> = refused
        .iter()
        .map(|span| (&span["error.type"], span.get("gen_ai.tool.name")))
        .collect();
    assert_eq!(
        codes,
        [
            (&json!("argument_constraint"), None),
            (&json!("token_invalid"), None)
        ]
    );
}

const HTTP: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MCP: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
