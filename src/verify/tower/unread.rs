//! The body of a request that was refused before it was read.

use std::pin::pin;

use http_body::Body;
use http_body_util::BodyExt as _;

/// Whether nothing of the body is to come any more. A short one is thrown away as it comes.
///
/// Whoever sends a request in two pieces would otherwise find the connection closed for its next one, although the
/// answer did not say so: stock clients send the first request without a token, and go on with the same connection.
pub(super) async fn is_over<B: Body>(body: Option<B>) -> bool {
    let Some(body) = body else { return true };
    // SECURITY: what is long, or of unknown length, is not waited for: nobody has proven anything yet.
    if body.size_hint().upper().is_none_or(|bytes| bytes > MAX_DISCARDED_BYTES) {
        return body.is_end_stream();
    }
    let mut body = pin!(body);
    loop {
        match body.frame().await {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}

/// Bodies that are declared to be longer are not read to their end when the request is refused.
const MAX_DISCARDED_BYTES: u64 = 64 * 1024;
