//! A batch: reports that are stored and sent together, as one line of JSON.

use crate::feed::reports::losses::{Loss, Times};
use hallpass_core::{
    base::{digest::Digest, format::Format, json},
    wire::report::{MAX_BATCH_REPORTS, Report, ReportBatch},
};

/// Collects reports, each as its JSON.
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
        !self.is_full()
            && self
                .bytes
                .saturating_add(encoded(report).map_or(0, |json| json.len()))
                <= MAX_BYTES
    }

    /// Adds a report; `false` when it cannot be written as JSON.
    pub(super) fn add(&mut self, report: &Report) -> bool {
        let (Some(json), Report::Call(call)) = (encoded(report), report) else {
            return false;
        };
        self.bytes = self.bytes.saturating_add(json.len()).saturating_add(1);
        self.times = Some(self.times.map_or((call.at, call.at), |(from, to)| {
            (from.min(call.at), to.max(call.at))
        }));
        self.reports.push(json);
        true
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.reports.len()).unwrap_or(u64::MAX)
    }

    /// The times of the first and the last decision.
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
        let mut line = format!("{{\"v\":{},\"reports\":[", Format::One).into_bytes();
        line.extend(reports.join(&b','));
        line.extend_from_slice(b"]}\n");
        Some(line)
    }
}

fn encoded(report: &Report) -> Option<Vec<u8>> {
    serde_json::to_vec(report).ok()
}

/// The content of a line of the spool.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The number of calls, and when they were decided.
    pub(super) calls: Option<(u64, Times)>,
    /// The gap that it reports.
    pub(super) gap: Option<Loss>,
}

impl Held {
    /// The number of reports.
    pub(super) fn reports(&self) -> u64 {
        self.calls
            .map_or(0, |(count, _)| count)
            .saturating_add(u64::from(self.gap.is_some()))
    }
}

/// A line of the spool, read back; `None` when it is not one, as after damage to the disk.
pub(super) fn of_line(line: &[u8]) -> Option<Held> {
    let batch = json::parse(line, line.len()).ok()?;
    let ReportBatch { reports, .. } = ReportBatch::read(batch).ok()?;
    let mut held = Held::default();
    for report in &reports {
        match report {
            Report::Call(call) => {
                let (count, (from, to)) = held.calls.unwrap_or((0, (call.at, call.at)));
                held.calls = Some((
                    count.saturating_add(1),
                    (from.min(call.at), to.max(call.at)),
                ));
            }
            Report::Lost(lost) => {
                let loss = Loss {
                    count: lost.count,
                    times: (lost.from, lost.to),
                };
                held.gap = Some(held.gap.map_or(loss, |gap| gap.and(loss)));
            }
        }
    }
    (held.reports() > 0).then_some(held)
}

/// The idempotency key of a line: equal lines are the same batch, also after a restart.
pub(super) fn key_of(line: &[u8]) -> String {
    Digest::of(line).to_string()
}

/// The most reports in a batch; with a gap before them, the most that a broker accepts in one request.
const MAX_REPORTS: usize = MAX_BATCH_REPORTS - 1;

/// The most bytes in a batch, half of a broker's default limit for a request body.
const MAX_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use hallpass_core::{base::time::Timestamp, wire::report::LostReports};

    #[test]
    fn a_gap_in_a_line_keeps_its_number() {
        let at = Timestamp::from_unix_seconds;
        let gap = |count| {
            let server = "https://ledger.example/mcp".parse().unwrap();
            let lost = Report::Lost(LostReports::new(server, count, (at(1), at(2))));
            of_line(&Batch::default().to_line(Some(&lost)).unwrap()).unwrap()
        };
        let held = gap(Some(5_000));
        assert_eq!(
            (held.calls, held.gap),
            (
                None,
                Some(Loss {
                    count: Some(5_000),
                    times: (at(1), at(2))
                })
            )
        );
        assert_eq!(
            gap(None).gap,
            Some(Loss {
                count: None,
                times: (at(1), at(2))
            })
        );
        assert!(of_line(b"{\"reports\":[]}\n").is_none() && of_line(b"torn").is_none());
    }
}
