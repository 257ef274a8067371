//! `hallpass audit`: what happened, and whether the record of it is whole.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sse_stream::SseStream;

use super::{
    access::{DATA_DIRECTORY, Operator},
    client::{Bearer, Client, chain},
    error::CliError,
    output::{Output, View},
    view::text,
};
use crate::{
    audit::{self, Claims, FileState, Summary, VerifyError},
    base::{
        ids::{AgentId, TaskId},
        json::parse,
        time::Timestamp,
    },
    journal::{DIRECTORY, Head},
};

/// What happened.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the newest events, oldest first; with -f go on as they happen.
    #[command(after_help = "\
Examples:
  hallpass audit tail
  hallpass audit tail -f --agent research-bot
  hallpass audit tail -n 1000 --from 2026-11-22T00:00:00Z --json | jq -r .type")]
    Tail(Tail),
    /// Check every record of a journal, offline: hashes, order, nothing missing. A running broker may
    /// go on writing meanwhile.
    #[command(after_help = "\
Examples:
  hallpass audit verify
  hallpass audit verify /backup/journal --closed --head 1042:9f86d081…
  hallpass audit verify --follows 9310:5e884898…

Note the head that it prints somewhere else: with --head a later check finds a tail that was cut. A journal
whose oldest segments were archived is checked from the first that is left; --follows the head of the
archived ones, which this prints for them, shows that nothing is missing between.")]
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Tail {
    #[command(flatten)]
    operator: Operator,
    /// How many events of the past.
    #[arg(short = 'n', long = "lines", default_value_t = 20)]
    lines: usize,
    /// Go on as events happen, until interrupted.
    #[arg(short, long, conflicts_with = "to")]
    follow: bool,
    /// Only events about this agent.
    #[arg(long)]
    agent: Option<AgentId>,
    /// Only events about this steward, by name or id.
    #[arg(long, value_name = "NAME")]
    steward: Option<String>,
    /// Only events about this task.
    #[arg(long)]
    task: Option<TaskId>,
    /// Only events about this server, by name or URI.
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Only events from then on.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only events before then.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
}

#[derive(Debug, Args)]
struct Verify {
    /// A data directory, a directory of segments, or one segment's file.
    #[arg(default_value = DATA_DIRECTORY)]
    path: PathBuf,
    /// A head that this journal is known to have had.
    #[arg(long, value_name = "SEQUENCE:HASH", value_parser = parse_head)]
    head: Option<Head>,
    /// The head of the archived segments that this journal follows on.
    #[arg(long, value_name = "SEQUENCE:HASH", value_parser = parse_head)]
    follows: Option<Head>,
    /// Nobody is writing to it: the last line must be whole.
    #[arg(long)]
    closed: bool,
}

impl Audit {
    pub(super) async fn run(self, output: Output) -> Result<(), CliError> {
        match self.command {
            Command::Tail(tail) => tail.run(output).await,
            Command::Verify(verify) => verify.run(output),
        }
    }
}

impl Tail {
    async fn run(self, output: Output) -> Result<(), CliError> {
        let (client, bearer) = self.operator.open()?;
        let filter = self.filter();
        let mut query = filter.clone();
        query.push(("order", "newest".to_owned()));
        // Asked first: what happens between this and the list is in the list.
        let head = if self.follow { client.get("/v1/audit/head", &[], &bearer).await? } else { Value::Null };
        let events = client.list("/v1/audit", (&query, self.lines), &bearer).await?;
        for event in events.iter().rev() {
            output.stream(event, &event_line(event))?;
        }
        if !self.follow {
            return Ok(());
        }
        let seen = events.first().and_then(|event| event.get("seq")).and_then(Value::as_u64);
        let seen = seen.max(head.get("sequence").and_then(Value::as_u64));
        follow((&client, &bearer), (filter, seen), output).await
    }

    fn filter(&self) -> Vec<(&'static str, String)> {
        let members = [
            ("agent", self.agent.as_ref().map(ToString::to_string)),
            ("steward", self.steward.clone()),
            ("task", self.task.as_ref().map(ToString::to_string)),
            ("server", self.server.clone()),
            ("from", self.from.map(|at| at.to_string())),
            ("to", self.to.map(|at| at.to_string())),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

async fn follow(
    (client, bearer): (&Client, &Bearer),
    (filter, mut seen): (Vec<(&'static str, String)>, Option<u64>),
    output: Output,
) -> Result<(), CliError> {
    let response = client.events("/v1/audit", (&filter, seen.map(|seen| seen.to_string())), bearer).await?;
    let mut events = SseStream::from_bytes_stream(response.bytes_stream());
    while let Some(event) = futures_util::StreamExt::next(&mut events).await {
        let event = event.map_err(|error| CliError::failed(format!("the stream broke off: {}", chain(&error))))?;
        let Some(data) = event.data.filter(|_| event.event.as_deref() == Some("audit")) else { continue };
        let event = parse(data.as_bytes(), MAX_EVENT_BYTES).map_err(CliError::failed)?;
        let sequence = event.get("seq").and_then(Value::as_u64);
        // What was shown before the stream began is not shown again.
        if sequence > seen {
            output.stream(&event, &event_line(&event))?;
            seen = sequence;
        }
    }
    Err(CliError::failed("the broker ended the stream").hint("it may be restarting: run this again"))
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

impl Verify {
    fn run(self, output: Output) -> Result<(), CliError> {
        let inside = self.path.join(DIRECTORY);
        let path = if inside.is_dir() { inside } else { self.path.clone() };
        let failed = |error: std::io::Error| {
            CliError::failed(format!("cannot read `{}`: {error}", path.display()))
                .hint("name the broker's data directory, a directory of segments, or one segment's file")
        };
        let segments = audit::segments_of(&path).map_err(failed)?;
        if segments.is_empty() {
            return Err(CliError::failed(format!("`{}` holds no journal", path.display())));
        }
        let mut files = Vec::with_capacity(segments.len());
        let mut bytes: u64 = 0;
        for (number, path) in &segments {
            let file = File::open(path).map_err(failed)?;
            bytes = bytes.saturating_add(file.metadata().map_err(failed)?.len());
            files.push((*number, file));
        }
        let bar = output.progress(bytes);
        let file = if self.closed { FileState::Closed } else { FileState::Live };
        let claims = Claims { head: self.head, follows: self.follows, file };
        let reader = |file| BufReader::with_capacity(READ_BUFFER_BYTES, bar.wrap_read(file));
        let readers = files.into_iter().map(|(number, file)| Ok((number, reader(file))));
        let verified = audit::verify_segments(readers, &claims);
        bar.finish_and_clear();
        match verified {
            Ok(summary) => sound(&path, &summary, output),
            Err(VerifyError::Damage(damage)) => {
                let damaged = segments.iter().find(|(number, _)| *number == damage.segment);
                let path = damaged.map_or(&path, |(_, path)| path);
                Err(CliError::failed(format!("`{}` is damaged at {damage}", path.display()))
                    .hint("what stands before that place is sound; compare with a copy from elsewhere"))
            }
            Err(error) => Err(CliError::failed(chain(&error))),
        }
    }
}

fn sound(path: &Path, summary: &Summary, output: Output) -> Result<(), CliError> {
    let head = format!("{}:{}", summary.head.sequence, summary.head.hash);
    let document = json!({
        "ok": true, "file": path.display().to_string(), "records": summary.records, "begins": summary.begins, "first": summary.first,
        "last": summary.last, "head": {"sequence": summary.head.sequence, "hash": summary.head.hash},
        "in_flight": summary.in_flight,
    });
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let mut fields = vec![
        ("journal", path.display().to_string()),
        ("sound", "yes".to_owned()),
        ("records", summary.records.to_string()),
        ("first", time(summary.first)),
        ("last", time(summary.last)),
        ("head", head),
    ];
    if summary.begins > 1 {
        fields.push(("begins", format!("with record {}: those before it were archived", summary.begins)));
    }
    if summary.in_flight {
        fields.push(("in flight", "a record is being written".to_owned()));
    }
    output.show(&document, View::Fields(fields))
}

fn parse_head(text: &str) -> Result<Head, String> {
    let expected = "expected SEQUENCE:HASH, as `hallpass audit verify` prints it";
    let (sequence, hash) = text.split_once(':').ok_or(expected)?;
    let sequence = sequence.parse().map_err(|_| expected)?;
    let hash = hash.parse().map_err(|error| format!("{expected}: {error}"))?;
    Ok(Head { sequence, hash })
}

const READ_BUFFER_BYTES: usize = 256 * 1024;
const MAX_EVENT_BYTES: usize = 1024 * 1024;
