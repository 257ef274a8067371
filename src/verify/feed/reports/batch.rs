//! A batch: reports that are written down and sent together, as one line of JSON.

use super::Times;
use crate::{
    base::{digest::Digest, json, time::Timestamp},
    verify::report::{MAX_BATCH_REPORTS, Report, ReportBatch},
};

/// Reports that are gathered, each as its JSON.
#[derive(Debug, Default)]
pub(super) struct Batch {
    reports: Vec<Vec<u8>>,
    bytes: usize,
    times: Option<Times>,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.reports.len() >= MAX_REPORTS || self.bytes >= MAX_BYTES
    }

    pub(super) fn has_room_for(&self, report: &Report) -> bool {
        !self.is_full() && self.bytes.saturating_add(encoded(report).map_or(0, |json| json.len())) <= MAX_BYTES
    }

    /// Adds a report; `false` when it cannot be written as JSON.
    pub(super) fn add(&mut self, report: &Report) -> bool {
        let (Some(json), Report::Call(call)) = (encoded(report), report) else { return false };
        self.bytes = self.bytes.saturating_add(json.len()).saturating_add(1);
        self.times = Some(self.times.map_or((call.at, call.at), |(from, to)| (from.min(call.at), to.max(call.at))));
        self.reports.push(json);
        true
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.reports.len()).unwrap_or(u64::MAX)
    }

    /// When the first and the last of its calls were decided.
    pub(super) const fn times(&self) -> Option<Times> {
        self.times
    }

    /// The body of the request that sends it, `gap` first, and a newline; `None` when there is nothing to send.
    pub(super) fn to_line(&self, gap: Option<&Report>) -> Option<Vec<u8>> {
        let gap = gap.and_then(encoded);
        let reports: Vec<_> = gap.iter().chain(&self.reports).map(Vec::as_slice).collect();
        if reports.is_empty() {
            return None;
        }
        let mut line = b"{\"reports\":[".to_vec();
        line.extend(reports.join(&b','));
        line.extend_from_slice(b"]}\n");
        Some(line)
    }
}

fn encoded(report: &Report) -> Option<Vec<u8>> {
    serde_json::to_vec(report).ok()
}

/// A line of the spool, read back: how many reports it holds, and when their calls were decided.
/// `None` when it is not one, as after damage to the disk.
pub(super) fn of_line(line: &[u8]) -> Option<(u64, Times)> {
    let ReportBatch { reports } = json::parse_as(line, line.len()).ok()?;
    let times = |report: &Report| match report {
        Report::Call(call) => (call.at, call.at),
        Report::Lost(lost) => (lost.from, lost.to),
    };
    let mut all = reports.iter().map(times);
    let first: (Timestamp, Timestamp) = all.next()?;
    let whole = all.fold(first, |(from, to), next| (from.min(next.0), to.max(next.1)));
    Some((u64::try_from(reports.len()).unwrap_or(u64::MAX), whole))
}

/// The key under which a line is sent: equal lines are one batch, also after a restart.
pub(super) fn key_of(line: &[u8]) -> String {
    Digest::of(line).to_string()
}

/// A batch has at most so many reports; with a gap before them they are as many as a broker takes at once.
const MAX_REPORTS: usize = MAX_BATCH_REPORTS - 1;

/// And at most so many bytes, half of what a broker takes as a body unless configured otherwise.
const MAX_BYTES: usize = 512 * 1024;
