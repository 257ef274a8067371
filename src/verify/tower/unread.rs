//! The body of a request that was refused before it was read.

use std::{future::poll_fn, pin::pin, task::Poll};

use http_body::Body;

/// Drains a short request body. Returns `true` if it was fully consumed.
///
/// Otherwise a client that sends a request in two pieces would find the connection closed for its next request, without
/// a notice in the response: stock clients send the first request without a token and reuse the connection.
pub(super) async fn is_over<B: Body>(body: Option<B>) -> bool {
    let Some(body) = body else { return true };
    // SECURITY: a body that is long, or of unknown length, is not drained: the client is not authenticated.
    if body
        .size_hint()
        .upper()
        .is_none_or(|bytes| bytes > MAX_DISCARDED_BYTES)
    {
        return body.is_end_stream();
    }
    let (mut body, mut turns) = (pin!(body), 0_u8);
    poll_fn(|context| {
        loop {
            match body.as_mut().poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                // SECURITY: bytes that have arrived are read, without waiting for the client.
                Poll::Pending if turns >= MAX_TURNS => return Poll::Ready(false),
                Poll::Pending => {
                    turns = turns.saturating_add(1);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

/// How often the task yields, so that the connection can read arrived bytes.
const MAX_TURNS: u8 = 16;

/// The longest declared body that is drained when the request is refused.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;
