//! The body of a response that passed the layer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::mcp::{EventStream, Exchange};

/// The body of a response that passed the layer: the server's own, a filtered one, or a refusal.
#[derive(Debug)]
pub struct ResponseBody<RB>(Inner<RB>);

#[derive(Debug)]
enum Inner<RB> {
    /// Written by the layer, or filtered as a whole.
    Whole(Full<Bytes>),
    /// The server's, untouched.
    Untouched(Pin<Box<RB>>),
    /// The server's event stream, which ends with the pass.
    Watched(Pin<Box<RB>>, Box<Exchange>),
    /// The server's event stream, transformed, which ends with the pass.
    Transformed(Pin<Box<RB>>, Box<EventStream>),
    /// The body has ended.
    Ended,
}

impl<RB> ResponseBody<RB> {
    pub(super) const fn whole(body: Full<Bytes>) -> Self {
        Self(Inner::Whole(body))
    }

    pub(super) fn untouched(body: RB) -> Self {
        Self(Inner::Untouched(Box::pin(body)))
    }

    pub(super) fn watched(body: RB, exchange: Exchange) -> Self {
        Self(Inner::Watched(Box::pin(body), Box::new(exchange)))
    }

    pub(super) fn transformed(body: RB, events: EventStream) -> Self {
        Self(Inner::Transformed(Box::pin(body), Box::new(events)))
    }
}

impl<RB: Body<Data = Bytes>> Body for ResponseBody<RB> {
    type Data = Bytes;
    type Error = RB::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = match &mut self.0 {
            Inner::Whole(body) => Poll::Ready(match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => Some(Ok(frame)),
                Some(Err(never)) => match never {},
                None => None,
            }),
            Inner::Untouched(body) => return body.as_mut().poll_frame(context),
            Inner::Watched(body, exchange) => match ready!(body.as_mut().poll_frame(context)) {
                Some(Ok(_)) if exchange.remaining().is_none() => Poll::Ready(None),
                frame => Poll::Ready(frame),
            },
            Inner::Transformed(body, events) => {
                let (frame, goes_on) = ready!(poll_transformed(body.as_mut(), events, context));
                if !goes_on {
                    self.0 = Inner::Ended;
                }
                return Poll::Ready(frame);
            }
            Inner::Ended => Poll::Ready(None),
        };
        if matches!(polled, Poll::Ready(None)) {
            // Dropping the server's body signals to the server that the client is gone.
            self.0 = Inner::Ended;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(body) => body.is_end_stream(),
            Inner::Untouched(body) => body.is_end_stream(),
            Inner::Watched(..) | Inner::Transformed(..) => false,
            Inner::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(body) => body.size_hint(),
            Inner::Untouched(body) => body.size_hint(),
            Inner::Watched(..) | Inner::Transformed(..) => SizeHint::default(),
            Inner::Ended => SizeHint::with_exact(0),
        }
    }
}

type Polled<E> = (Option<Result<Frame<Bytes>, E>>, bool);

/// The next frame of a transformed event stream, and whether more may follow.
fn poll_transformed<RB: Body<Data = Bytes>>(
    mut body: Pin<&mut RB>,
    events: &mut EventStream,
    context: &mut Context<'_>,
) -> Poll<Polled<RB::Error>> {
    loop {
        let frame = match ready!(body.as_mut().poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready((Some(Err(error)), false)),
            None => return Poll::Ready((to_frame(events.finish()), false)),
        };
        // Clients ignore trailers of an event stream.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if events.is_over() {
            return Poll::Ready((None, false));
        }
        let frame = to_frame(events.push(&data));
        let goes_on = !events.is_over();
        if frame.is_some() || !goes_on {
            return Poll::Ready((frame, goes_on));
        }
    }
}

fn to_frame<E>(bytes: Vec<u8>) -> Option<Result<Frame<Bytes>, E>> {
    (!bytes.is_empty()).then(|| Ok(Frame::data(bytes.into())))
}
