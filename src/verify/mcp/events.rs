//! Server-sent events, split into events: enough to change the messages inside.

use std::sync::Arc;

use crate::mcp::{
    Exchange, Rejection, ResponseTransform, ServerMessage, transform::Standing, transform_message,
};

/// Applies a [`ResponseTransform`] to the messages in an event stream, event by event. Comments, ids
/// and retry hints are sent unchanged; only an event whose message was changed is serialised again.
///
/// It performs no I/O: feed it with [`push`](Self::push) as bytes arrive, and send what it returns.
#[derive(Debug)]
pub struct EventStream {
    transform: Arc<dyn ResponseTransform>,
    exchange: Exchange,
    max_bytes: usize,
    /// The incomplete event.
    buffer: Vec<u8>,
    ends: Ends,
    begun: bool,
    is_over: bool,
}

impl EventStream {
    /// A stream that belongs to `exchange`. It holds back at most `max_bytes` of one event.
    #[must_use]
    pub fn new(
        transform: Arc<dyn ResponseTransform>,
        exchange: Exchange,
        max_bytes: usize,
    ) -> Self {
        Self {
            transform,
            exchange,
            max_bytes,
            buffer: Vec::new(),
            ends: Ends::new(),
            begun: false,
            is_over: false,
        }
    }

    /// Whether the stream must end: the pass may no longer be used, or a message was rejected.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes the next bytes of the stream and returns the events that are complete. An event that is
    /// too long or rejected is replaced by an error for the request, if the request is known, and the
    /// stream ends.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while let Some((end, next)) = self
            .ends
            .find(rest)
            .and_then(|end| rest.split_at_checked(end))
        {
            self.buffer.extend_from_slice(end);
            let event = std::mem::take(&mut self.buffer);
            self.pass_on(&event, &mut out);
            rest = next;
        }
        self.buffer.extend_from_slice(rest);
        if self.buffer.len() > self.max_bytes {
            let too_long = self.transform.unreadable().answering(self.exchange.id());
            self.fail(&too_long, &mut out);
        }
        out
    }

    /// The remaining bytes when the stream has ended. Some clients accept an unfinished event.
    pub fn finish(&mut self) -> Vec<u8> {
        let event = std::mem::take(&mut self.buffer);
        let mut out = Vec::new();
        self.pass_on(&event, &mut out);
        out
    }

    fn pass_on(&mut self, event: &[u8], out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match self.exchange.standing() {
            Standing::Valid => {}
            Standing::AnswerOnly if answers(&self.exchange, event, self.max_bytes) => {
                self.write_or_fail(event, out);
                self.end();
                return;
            }
            Standing::AnswerOnly => return,
            Standing::Over(denial) => return self.fail(&self.exchange.ended(&denial), out),
        }
        self.write_or_fail(event, out);
    }

    fn write_or_fail(&mut self, event: &[u8], out: &mut Vec<u8>) {
        if let Err(rejection) = self.write(event, out) {
            self.fail(&rejection, out);
        }
    }

    fn fail(&mut self, rejection: &Rejection, out: &mut Vec<u8>) {
        if !self.is_over {
            write_error(&self.exchange, rejection, out);
        }
        self.end();
    }

    fn end(&mut self) {
        self.is_over = true;
        self.buffer.clear();
    }

    fn write(&mut self, event: &[u8], out: &mut Vec<u8>) -> Result<(), Rejection> {
        // A byte order mark is allowed once, at the very start, and hides the first field's name.
        let is_first = !std::mem::replace(&mut self.begun, true);
        let event = event
            .strip_prefix(b"\xef\xbb\xbf")
            .filter(|_| is_first)
            .unwrap_or(event);
        let lines: Vec<&[u8]> = Lines { rest: event }.collect();
        let data: Vec<&[u8]> = lines.iter().filter_map(|line| data_of(line)).collect();
        let message = data.join(&b'\n');
        if message.is_empty() {
            out.extend_from_slice(event);
            return Ok(());
        }
        let changed =
            transform_message(&*self.transform, &self.exchange, &message, self.max_bytes)?;
        match changed {
            None => out.extend_from_slice(event),
            Some(changed) => {
                let others = lines
                    .iter()
                    .filter(|line| !line.is_empty() && data_of(line).is_none());
                for line in others {
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&changed);
                out.extend_from_slice(b"\n\n");
            }
        }
        Ok(())
    }
}

/// An event stream that is sent on without buffering while the pass may be used. Once the pass has expired, events are
/// read, and only the answer to the cleared call is sent on.
#[cfg(feature = "tower")]
#[derive(Debug)]
pub(crate) struct WatchedStream {
    exchange: Exchange,
    max_bytes: usize,
    ends: Ends,
    /// A part of the current event was sent.
    is_within: bool,
    /// The pass has expired.
    is_late: bool,
    /// The incomplete event, once the pass has expired.
    buffer: Vec<u8>,
    is_over: bool,
}

#[cfg(feature = "tower")]
impl WatchedStream {
    pub(crate) const fn new(exchange: Exchange, max_bytes: usize) -> Self {
        Self {
            exchange,
            max_bytes,
            ends: Ends::new(),
            is_within: false,
            is_late: false,
            buffer: Vec::new(),
            is_over: false,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes the next bytes of the stream and returns those to send.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self.exchange.standing() {
            Standing::Valid => {}
            Standing::AnswerOnly => self.is_late = true,
            Standing::Over(denial) => {
                self.fail(&self.exchange.ended(&denial), &mut out);
                return out;
            }
        }
        let mut rest = bytes;
        while !self.is_over && !rest.is_empty() {
            let end = self.ends.find(rest);
            let (piece, next) = rest
                .split_at_checked(end.unwrap_or(rest.len()))
                .unwrap_or((rest, &[]));
            self.take(piece, end.is_some(), &mut out);
            rest = next;
        }
        out
    }

    /// The remaining bytes when the stream has ended.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_late && !self.is_over {
            self.close(&mut out);
        }
        out
    }

    fn take(&mut self, piece: &[u8], is_complete: bool, out: &mut Vec<u8>) {
        if !self.is_late || self.is_within {
            // An event that began before the end is completed.
            out.extend_from_slice(piece);
            self.is_within = !is_complete;
            return;
        }
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() > self.max_bytes {
            let detail =
                "the pass ended before the call did, and the answer is too long to be read";
            let too_long = Rejection::internal(detail).answering(self.exchange.id());
            self.fail(&too_long, out);
        } else if is_complete {
            self.close(out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let event = std::mem::take(&mut self.buffer);
        if answers(&self.exchange, &event, self.max_bytes) {
            out.extend_from_slice(&event);
            self.is_over = true;
        }
    }

    fn fail(&mut self, rejection: &Rejection, out: &mut Vec<u8>) {
        if self.is_within {
            out.extend_from_slice(b"\n\n");
        }
        write_error(&self.exchange, rejection, out);
        self.is_over = true;
    }
}

fn write_error(exchange: &Exchange, rejection: &Rejection, out: &mut Vec<u8>) {
    if exchange.expects_response() {
        out.extend_from_slice(format!("data: {}\n\n", rejection.to_json()).as_bytes());
    }
}

/// Whether `event` is the response to the request of `exchange`.
fn answers(exchange: &Exchange, event: &[u8], max_bytes: usize) -> bool {
    let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    let data: Vec<&[u8]> = Lines { rest: event }.filter_map(data_of).collect();
    ServerMessage::read(&data.join(&b'\n'), max_bytes)
        .is_ok_and(|message| exchange.is_answered_by(&message))
}

/// The value of a `data` line; `None` for any other line.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    match rest.split_first() {
        None => Some(rest),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

/// Finds the ends of events, behind the empty line that closes each. Reads every byte once,
/// however the stream is split.
#[derive(Debug)]
struct Ends {
    line_is_empty: bool,
    /// The last byte was a CR, which may be half of a CRLF.
    after_cr: bool,
}

impl Ends {
    const fn new() -> Self {
        Self {
            line_is_empty: true,
            after_cr: false,
        }
    }

    /// How many of `bytes`, which follow those seen before, belong to the event that has begun;
    /// `None` when all do and it is still incomplete.
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            if std::mem::take(&mut self.after_cr) {
                let closes = std::mem::replace(&mut self.line_is_empty, true);
                let is_crlf = *byte == b'\n';
                if closes {
                    return Some(at.saturating_add(usize::from(is_crlf)));
                }
                if is_crlf {
                    continue;
                }
            }
            match byte {
                b'\r' => self.after_cr = true,
                b'\n' if std::mem::replace(&mut self.line_is_empty, true) => {
                    return Some(at.saturating_add(1));
                }
                b'\n' => {}
                _ => self.line_is_empty = false,
            }
        }
        None
    }
}

/// Lines that end in CRLF, LF or CR, without their ends.
struct Lines<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Lines<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self
            .rest
            .iter()
            .position(|byte| matches!(byte, b'\r' | b'\n'))
            .unwrap_or(self.rest.len());
        let (line, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest
            .strip_prefix(b"\r\n")
            .or_else(|| rest.split_first().map(|(_, rest)| rest))
            .unwrap_or(rest);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_at_an_empty_line_of_any_kind() {
        for (text, end) in [
            ("data: 1\n\nid: 2\n", 9),
            ("data: 1\r\n\r\nid", 11),
            ("data: 1\r\rid", 9),
            (": ping\n\n", 8),
            ("\ndata", 1),
            ("data: 1\r\n\n", 10),
        ] {
            assert_eq!(Ends::new().find(text.as_bytes()), Some(end), "{text:?}");
            for cut in 0..end {
                let (mut ends, (before, after)) = (Ends::new(), text.split_at(cut));
                assert_eq!(ends.find(before.as_bytes()), None, "{before:?}");
                assert_eq!(
                    ends.find(after.as_bytes()),
                    Some(end - cut),
                    "{text:?} {cut}"
                );
            }
        }
        for open in [
            "",
            "data: 1",
            "data: 1\n",
            "data: 1\r\n",
            "data: 1\r\n\r",
            "data: 1\r\r",
        ] {
            assert_eq!(Ends::new().find(open.as_bytes()), None, "{open:?}");
        }
    }

    #[test]
    fn only_data_lines_hold_data() {
        let of = |line: &'static str| {
            data_of(line.as_bytes()).map(|data| String::from_utf8_lossy(data).into_owned())
        };
        assert_eq!(of("data: x"), Some("x".to_owned()));
        assert_eq!(of("data:  x"), Some(" x".to_owned()));
        assert_eq!(of("data:x"), Some("x".to_owned()));
        assert_eq!(of("data"), Some(String::new()));
        for other in ["database: x", "Data: x", ": data: x", " data: x", "id: 1"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
