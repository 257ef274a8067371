//! `hallpass audit tail`: the newest events, and those that come.

use clap::Args;
use serde_json::Value;
use sse_stream::SseStream;

use crate::cli::{
    access::Operator,
    audit::filter::Filter,
    client::{Bearer, Client},
    error::CliError,
    output::Output,
    view::text,
};
use hallpass_core::base::{error::chain, json::parse};

#[derive(Debug, Args)]
pub(super) struct Tail {
    #[command(flatten)]
    operator: Operator,
    /// How many events of the past.
    #[arg(short = 'n', long = "lines", default_value_t = 20)]
    lines: usize,
    /// Go on as events happen, until interrupted.
    #[arg(short, long, conflicts_with = "to")]
    follow: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Tail {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let (client, bearer) = self.operator.open()?;
        let filter = self.filter.query();
        let mut query = filter.clone();
        query.push(("order", "newest".to_owned()));
        // Asked first: what happens between this and the list is in the list.
        let head = if self.follow {
            client.get("/v1/audit/head", &[], &bearer).await?
        } else {
            Value::Null
        };
        let events = client
            .list("/v1/audit", (&query, self.lines), &bearer)
            .await?;
        for event in events.iter().rev() {
            output.stream(event, &event_line(event))?;
        }
        if !self.follow {
            return Ok(());
        }
        let seen = events
            .first()
            .and_then(|event| event.get("seq"))
            .and_then(Value::as_u64);
        let seen = seen.max(head.get("sequence").and_then(Value::as_u64));
        follow((&client, &bearer), (filter, seen), output).await
    }
}

async fn follow(
    (client, bearer): (&Client, &Bearer),
    (filter, mut seen): (Vec<(&'static str, String)>, Option<u64>),
    output: Output,
) -> Result<(), CliError> {
    let response = client
        .events(
            "/v1/audit",
            (&filter, seen.map(|seen| seen.to_string())),
            bearer,
        )
        .await?;
    let mut events = SseStream::from_bytes_stream(response.bytes_stream());
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        let event = event.map_err(|error| {
            CliError::failed(format!("the stream broke off: {}", chain(&error)))
        })?;
        let Some(data) = event
            .data
            .filter(|_| event.event.as_deref() == Some("audit"))
        else {
            continue;
        };
        let event = parse(data.as_bytes(), MAX_EVENT_BYTES).map_err(CliError::failed)?;
        let sequence = event.get("seq").and_then(Value::as_u64);
        // What was shown before the stream began is not shown again.
        if sequence > seen {
            output.stream(&event, &event_line(&event))?;
            seen = sequence;
        }
    }
    Err(CliError::failed("the broker ended the stream")
        .hint("it may be restarting: run this again"))
}

/// `17 2026-11-22T10:00:00Z revoked by operator admin: token … (task tsk_…)`.
fn event_line(event: &Value) -> String {
    let mut line = format!(
        "{:>6} {:<24} {:<19} {}",
        text(event, "/seq"),
        text(event, "/at"),
        text(event, "/type"),
        text(event, "/actor")
    );
    for member in ["agent", "task", "servers"] {
        let value = text(event, &format!("/{member}"));
        if value != "-" {
            line.push_str(&format!(" · {value}"));
        }
    }
    let detail = text(event, "/detail");
    if !detail.is_empty() && detail != "-" {
        line.push_str(&format!(" · {detail}"));
    }
    line
}

const MAX_EVENT_BYTES: usize = 1024 * 1024;
