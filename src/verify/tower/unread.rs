//! The body of a request that was refused before it was read.

use std::{future::poll_fn, pin::pin, task::Poll};

use http_body::Body;

/// Whether nothing of the body is to come any more. A short one is thrown away as it comes.
///
/// Whoever sends a request in two pieces would otherwise find the connection closed for its next one, although the
/// answer did not say so: stock clients send the first request without a token, and go on with the same connection.
pub(super) async fn is_over<B: Body>(body: Option<B>) -> bool {
    let Some(body) = body else { return true };
    // SECURITY: what is long, or of unknown length, is not waited for: nobody has proven anything yet.
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
                // SECURITY: what is on its way may arrive; nobody is waited for.
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

/// How often the connection gets its turn to read what has arrived.
const MAX_TURNS: u8 = 16;

/// Bodies that are declared to be longer are not read to their end when the request is refused.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;
