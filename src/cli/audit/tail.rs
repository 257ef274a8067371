//! `hallpass audit tail`: the newest events, and those that come.

use std::time::Duration;

use clap::Args;
use sse_stream::SseStream;

use crate::cli::{
    access::Operator,
    audit::filter::Filter,
    error::CliError,
    names::Names,
    output::Output,
    session::{Answer, Session},
    view::listed,
};
use hallpass_broker::ledger::audit::AuditEvent;
use hallpass_core::base::{error::chain, ids::RequestId, json::parse, time::Timestamp};

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
    /// Only what this request did, as a refusal names it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["follow", "lines", "from", "to"])]
    request: Option<RequestId>,
    #[command(flatten)]
    filter: Filter,
}

impl Tail {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        let session = self.operator.open()?;
        let names = Names::known_to(&session, output).await;
        let show = |event: &Answer<AuditEvent>| show(event, &names, output);
        let filter = self.filter.query();
        if let Some(request) = &self.request {
            return of_request(&session, request, filter, (&show, output)).await;
        }
        let mut query = filter.clone();
        query.push(("order", "newest".to_owned()));
        // Asked first: what happens between this and the list is in the list.
        let head = if self.follow {
            Some(session.audit_head().await?.read()?.sequence)
        } else {
            None
        };
        let mut seen = head;
        for event in session.events(&query, self.lines).await?.iter().rev() {
            seen = seen.max(Some(show(event)?));
        }
        if !self.follow {
            return Ok(());
        }
        follow(&session, Following { filter, seen }, show).await
    }
}

/// Shows what one request did. Its id tells when it came, and no request lasts longer than `limits.request_timeout` may be.
async fn of_request(
    session: &Session,
    request: &RequestId,
    mut query: Vec<(&'static str, String)>,
    (show, output): (
        impl Fn(&Answer<AuditEvent>) -> Result<u64, CliError>,
        Output,
    ),
) -> Result<(), CliError> {
    if let Some(came) = request.made_at_millis() {
        let came = Timestamp::from_unix_millis(came);
        query.push(("from", came.minus(APART).to_string()));
        query.push(("to", came.plus(LONGEST_REQUEST).plus(APART).to_string()));
    }
    query.push(("order", "oldest".to_owned()));
    let mut found = false;
    for event in &session.events(&query, usize::MAX).await? {
        if event.read()?.request.as_ref() == Some(request) {
            show(event)?;
            found = true;
        }
    }
    if !found {
        output.note("nothing was recorded for this request: the broker's log may have it");
    }
    Ok(())
}

/// What is followed, and the last event that was shown.
struct Following {
    filter: Vec<(&'static str, String)>,
    seen: Option<u64>,
}

async fn follow(
    session: &Session,
    Following { filter, mut seen }: Following,
    show: impl Fn(&Answer<AuditEvent>) -> Result<u64, CliError>,
) -> Result<(), CliError> {
    let last = seen.map(|seen| seen.to_string());
    let response = session.follow_events(&filter, last).await?;
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
        let event: Answer<AuditEvent> = Answer::new(event);
        let sequence = Some(event.read()?.seq);
        // What was shown before the stream began is not shown again.
        if sequence > seen {
            show(&event)?;
            seen = sequence;
        }
    }
    Err(CliError::failed("the broker ended the stream")
        .hint("it may be restarting: run this again"))
}

/// Shows one event; its place in the chain.
fn show(answer: &Answer<AuditEvent>, names: &Names, output: Output) -> Result<u64, CliError> {
    let event = answer.read()?;
    output.stream(answer.raw(), &event_line(&event, names))?;
    Ok(event.seq)
}

/// `17 2026-11-22T10:00:00Z steward_added operator admin · alice (stw_…) · req_…`.
fn event_line(event: &AuditEvent, names: &Names) -> String {
    let (at, event_type) = (event.at.to_string(), &event.event_type);
    let mut line = format!("{:>6} {at:<24} {event_type:<19} {}", event.seq, event.actor);
    let servers = Some(listed(&event.servers)).filter(|_| !event.servers.is_empty());
    let about = [
        event.agent.as_ref().map(ToString::to_string),
        event.task.as_ref().map(ToString::to_string),
        // Of a task and an agent the steward is known.
        event
            .steward
            .as_ref()
            .filter(|_| event.task.is_none())
            .map(|steward| names.of(steward)),
        servers,
        Some(event.detail.clone()).filter(|detail| !detail.is_empty() && detail != "-"),
        event.request.as_ref().map(ToString::to_string),
    ];
    for words in about.into_iter().flatten() {
        line.push_str(&format!(" · {words}"));
    }
    line
}

/// The longest `limits.request_timeout`.
const LONGEST_REQUEST: Duration = Duration::from_secs(3600);
/// The journal's times may be somewhat apart from those in ids of requests: they never go back.
const APART: Duration = Duration::from_secs(120);
const MAX_EVENT_BYTES: usize = 1024 * 1024;
