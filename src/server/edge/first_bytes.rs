//! The first bytes of a connection have a time limit.
//!
//! Which protocol a client speaks is known from its first bytes, and the limit for a request's head begins only then. So a
//! client that sends nothing, or a part of HTTP/2's preface, would hold its place for ever without the limit here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use crate::server::edge::control_frames::PREFACE;

/// Accepts as `inner` does, and limits the time for the first bytes of what it accepted.
#[derive(Debug, Clone)]
pub(crate) struct FirstBytes<A> {
    inner: A,
    limit: Duration,
}

impl<A> FirstBytes<A> {
    pub(crate) const fn new(inner: A, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<A, I, S> Accept<I, S> for FirstBytes<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = Awaited<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (accepted, limit) = (self.inner.accept(stream, service), self.limit);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let waiting = Some(Waiting {
                matched: 0,
                until: Box::pin(tokio::time::sleep(limit)),
            });
            Ok((Awaited { stream, waiting }, service))
        })
    }
}

/// A stream whose first bytes have a time limit.
#[derive(Debug)]
pub(crate) struct Awaited<I> {
    stream: I,
    /// Until the protocol is known.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// How many bytes of the preface were sent.
    matched: usize,
    until: Pin<Box<Sleep>>,
}

impl Waiting {
    /// Takes the next bytes into account; returns whether the protocol is known now.
    fn is_over_with(&mut self, bytes: &[u8]) -> bool {
        let rest = PREFACE.get(self.matched..).unwrap_or_default();
        let is_prefix = bytes.len() < rest.len() && rest.starts_with(bytes);
        self.matched = self.matched.saturating_add(bytes.len());
        !is_prefix
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Awaited<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, waiting } = &mut *self;
        let before = into.filled().len();
        let polled = Pin::new(stream).poll_read(cx, into);
        let Some(still) = waiting else {
            return polled;
        };
        match polled {
            Poll::Ready(Ok(())) => {
                let read = into.filled().get(before..).unwrap_or_default();
                // Nothing is the end of the stream.
                if read.is_empty() || still.is_over_with(read) {
                    *waiting = None;
                }
                polled
            }
            Poll::Ready(Err(_)) => polled,
            Poll::Pending => still.until.as_mut().poll(cx).map(|()| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the first bytes did not arrive in time",
                ))
            }),
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Awaited<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
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

    async fn reading(
        limit: Duration,
    ) -> (tokio::io::DuplexStream, Awaited<tokio::io::DuplexStream>) {
        let (client, stream) = tokio::io::duplex(1024);
        let waiting = Some(Waiting {
            matched: 0,
            until: Box::pin(tokio::time::sleep(limit)),
        });
        (client, Awaited { stream, waiting })
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
