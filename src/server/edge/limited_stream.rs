//! What is held to limits below HTTP: the time until a connection's first bytes, and HTTP/2 frames without a request.
//!
//! Which protocol a client speaks is known from its first bytes, and the limit for a request's head begins only then. So a
//! client that sends nothing, or a part of HTTP/2's preface, would hold its place for ever without the limit here.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::server::edge::control_frames::Frames;
use hallpass_core::base::time::Clock;

/// Accepts as `inner` does, and holds what it accepted to the limits.
#[derive(Debug, Clone)]
pub(crate) struct LimitedStreams<A> {
    inner: A,
    first_bytes: Duration,
    clock: Arc<dyn Clock>,
}

impl<A> LimitedStreams<A> {
    /// The first bytes arrive within `first_bytes`; frames are counted by `clock`.
    pub(crate) const fn new(inner: A, first_bytes: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            inner,
            first_bytes,
            clock,
        }
    }
}

impl<A, I, S> Accept<I, S> for LimitedStreams<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = LimitedStream<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepted = self.inner.accept(stream, service);
        let (first_bytes, clock) = (self.first_bytes, Arc::clone(&self.clock));
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            Ok((LimitedStream::new(stream, first_bytes, clock), service))
        })
    }
}

/// A stream that is held to the limits.
#[derive(Debug)]
pub(crate) struct LimitedStream<I> {
    stream: I,
    frames: Frames,
    /// When the first bytes must have arrived; `None` once the protocol is known, or the client has ended.
    until: Option<Pin<Box<Sleep>>>,
}

impl<I> LimitedStream<I> {
    fn new(stream: I, first_bytes: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            stream,
            frames: Frames::new(clock),
            until: Some(Box::pin(tokio::time::sleep(first_bytes))),
        }
    }

    fn note_sent(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.frames.sent(*bytes);
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for LimitedStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        let read = into.filled().get(before..).unwrap_or_default();
        if !self.frames.received(read) {
            tracing::info!(
                "an HTTP/2 connection sent too many frames without a request, and is closed"
            );
            let flood = "too many HTTP/2 frames without a request";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, flood)));
        }
        // Nothing is the end of the stream.
        let is_settled = read.is_empty() || self.frames.is_begun();
        match (&polled, &mut self.until) {
            (Poll::Pending, Some(until)) => until.as_mut().poll(cx).map(|()| {
                let late = "the first bytes did not arrive in time";
                Err(io::Error::new(io::ErrorKind::TimedOut, late))
            }),
            (Poll::Ready(Ok(())), until) if is_settled => {
                *until = None;
                polled
            }
            _ => polled,
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for LimitedStream<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_sent(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.note_sent(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::server::edge::control_frames::PREFACE;
    use hallpass_core::base::time::{ManualClock, Timestamp};

    async fn reading(
        limit: Duration,
    ) -> (
        tokio::io::DuplexStream,
        LimitedStream<tokio::io::DuplexStream>,
    ) {
        let (client, stream) = tokio::io::duplex(1024);
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        (client, LimitedStream::new(stream, limit, clock))
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaves_the_protocol_open_ends_after_the_limit() {
        for sent in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut client, mut server) = reading(Duration::from_secs(10)).await;
            client.write_all(sent).await.unwrap();
            let mut read = Vec::new();
            let ended = server.read_to_end(&mut read).await.unwrap_err();
            assert_eq!((ended.kind(), &read[..]), (io::ErrorKind::TimedOut, sent));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn once_the_protocol_is_known_there_is_no_limit() {
        for sent in [&b"G"[..], b"PRX", &PREFACE[..], b"\x16\x03"] {
            let (mut client, mut server) = reading(Duration::from_secs(10)).await;
            let write = async {
                for byte in sent {
                    client.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(Duration::from_secs(60)).await;
                client.write_all(b"later").await.unwrap();
                drop(client);
            };
            let mut read = Vec::new();
            let (done, ()) = tokio::join!(server.read_to_end(&mut read), write);
            assert_eq!(done.unwrap(), sent.len() + 5);
        }
    }
}
