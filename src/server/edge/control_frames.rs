//! HTTP/2 frames that carry no request are limited.
//!
//! PING, SETTINGS and the like cost the server an answer each and open no request, so that no other limit counts them.
//! The frames' headers (RFC 9113 section 4.1) are read in passing; what they mean is left to the HTTP library.

use std::{sync::Arc, time::Duration};

use hallpass_core::base::time::Clock;

/// Where in the frames a connection is, and how many more it may send without a request.
#[derive(Debug)]
pub(super) struct Frames {
    at: At,
    credit: u32,
    /// Bytes that were sent to the client and gave no credit yet.
    sent: usize,
    clock: Arc<dyn Clock>,
    /// When credit was last given for the time that passed.
    refilled: Duration,
}

#[derive(Debug)]
enum At {
    /// In the preface, of which so much was read.
    Preface(usize),
    /// In a frame's header.
    Header { read: [u8; HEADER], count: usize },
    /// In a payload of which so much is left.
    Payload(usize),
    /// In a protocol without frames.
    Other,
}

impl Frames {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            at: At::Preface(0),
            credit: MAX_CREDIT,
            sent: 0,
            refilled: clock.monotonic(),
            clock,
        }
    }

    /// Whether the protocol is known: the preface was sent, or something else was.
    pub(super) const fn is_begun(&self) -> bool {
        !matches!(self.at, At::Preface(_))
    }

    /// Takes bytes from the client into account; returns whether it may go on.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.at {
                At::Other => return true,
                At::Preface(matched) => {
                    if PREFACE.get(*matched) != Some(first) {
                        self.at = At::Other;
                        return true;
                    }
                    *matched += 1;
                    if *matched == PREFACE.len() {
                        self.at = At::header();
                    }
                    bytes = rest;
                }
                At::Header { read, count } => {
                    if let Some(byte) = read.get_mut(*count) {
                        *byte = *first;
                    }
                    *count += 1;
                    bytes = rest;
                    if *count == HEADER {
                        let [high, middle, low, kind, ..] = *read;
                        let [high, middle, low] = [high, middle, low].map(usize::from);
                        let length = (high << 16) | (middle << 8) | low;
                        self.at = if length == 0 {
                            At::header()
                        } else {
                            At::Payload(length)
                        };
                        if !self.may_send(kind, length) {
                            return false;
                        }
                    }
                }
                At::Payload(left) => {
                    let skipped = bytes.len().min(*left);
                    *left -= skipped;
                    if *left == 0 {
                        self.at = At::header();
                    }
                    bytes = bytes.get(skipped..).unwrap_or_default();
                }
            }
        }
        true
    }

    fn may_send(&mut self, kind: u8, length: usize) -> bool {
        match kind {
            // What these cost, the limits of requests and of their bodies count.
            HEADERS => {
                self.give(CREDIT_A_REQUEST);
                return true;
            }
            DATA if length > 0 => return true,
            CONTINUATION => return true,
            _ => {}
        }
        if self.credit == 0 {
            self.refill();
        }
        let may = self.credit > 0;
        self.credit = self.credit.saturating_sub(1);
        may
    }

    /// Takes bytes to the client into account: it says how much of them it has taken, with a frame now and then.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
        let credit = self.sent / BYTES_A_CREDIT;
        self.sent %= BYTES_A_CREDIT;
        self.give(u32::try_from(credit).unwrap_or(u32::MAX));
    }

    fn refill(&mut self) {
        let now = self.clock.monotonic();
        let since = now.saturating_sub(self.refilled);
        if since >= Duration::from_secs(1) {
            let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
            self.give(seconds.saturating_mul(CREDIT_A_SECOND));
            self.refilled = now;
        }
    }

    fn give(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(MAX_CREDIT);
    }
}

impl At {
    const fn header() -> Self {
        Self::Header {
            read: [0; HEADER],
            count: 0,
        }
    }
}

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header: three of the length, the type, the flags, four of the stream.
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// So many frames without a request may come at once.
const MAX_CREDIT: u32 = 1_000;
const CREDIT_A_SECOND: u32 = 20;
const CREDIT_A_REQUEST: u32 = 8;
/// Clients acknowledge each 16 KiB or more, for the stream and for the connection.
const BYTES_A_CREDIT: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use hallpass_core::base::time::{ManualClock, Timestamp};

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    fn connection() -> (Frames, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let mut frames = Frames::new(clock.clone());
        assert!(frames.received(PREFACE));
        (frames, clock)
    }

    const PING: u8 = 6;

    #[test]
    fn a_flood_of_pings_ends_the_connection_and_twenty_a_second_do_not() {
        let ((mut frames, _), ping) = (connection(), frame(PING, &[0; 8]));
        for _ in 0..MAX_CREDIT {
            assert!(frames.received(&ping));
        }
        assert!(!frames.received(&ping));
        let (mut frames, clock) = connection();
        for _ in 0..1_200 {
            assert!(frames.received(&ping.repeat(19)));
            clock.advance(Duration::from_secs(1));
        }
    }

    #[test]
    fn frames_are_counted_however_they_are_cut_and_payloads_are_not_read_as_headers() {
        let wire = [
            frame(HEADERS, &[6; 40]),
            frame(DATA, &[6; 300]),
            frame(PING, &[6; 8]),
            frame(DATA, b""),
        ]
        .concat();
        for size in [1, 2, 9, 10, 13, wire.len()] {
            let (mut frames, _) = connection();
            frames.credit = 500;
            for piece in wire.chunks(size) {
                assert!(frames.received(piece));
            }
            assert_eq!(frames.credit, 500 + CREDIT_A_REQUEST - 2, "{size}");
        }
    }

    #[test]
    fn acknowledgements_of_what_was_sent_and_http_1_are_not_limited() {
        let ((mut frames, clock), window_update) = (connection(), frame(8, &[0, 0, 0, 1]));
        for _ in 0..20_000 {
            frames.sent(8 * 1024);
            assert!(frames.received(&window_update.repeat(2)));
        }
        let mut frames = Frames::new(clock);
        assert!(frames.received(b"POST / HTTP/1.1\r\n\r\n"));
        assert!(frames.received(&frame(PING, &[0; 8]).repeat(10_000)));
    }
}
