//! The body of a response that passed the layer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::mcp::{EventStream, WatchedStream};

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
    Streamed(Pin<Box<RB>>, Box<Events>),
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

    pub(super) fn watched(body: RB, events: WatchedStream) -> Self {
        Self(Inner::Streamed(
            Box::pin(body),
            Box::new(Events::Watched(events)),
        ))
    }

    pub(super) fn transformed(body: RB, events: EventStream) -> Self {
        Self(Inner::Streamed(
            Box::pin(body),
            Box::new(Events::Transformed(events)),
        ))
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
            Inner::Streamed(body, events) => {
                let (frame, goes_on) = ready!(poll_events(body.as_mut(), events, context));
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
            Inner::Streamed(..) => false,
            Inner::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(body) => body.size_hint(),
            Inner::Untouched(body) => body.size_hint(),
            Inner::Streamed(..) => SizeHint::default(),
            Inner::Ended => SizeHint::with_exact(0),
        }
    }
}

type Polled<E> = (Option<Result<Frame<Bytes>, E>>, bool);

/// What is done with an event stream.
#[derive(Debug)]
enum Events {
    Watched(WatchedStream),
    Transformed(EventStream),
}

impl Events {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Watched(events) => events.push(bytes),
            Self::Transformed(events) => events.push(bytes),
        }
    }

    fn finish(&mut self) -> Vec<u8> {
        match self {
            Self::Watched(events) => events.finish(),
            Self::Transformed(events) => events.finish(),
        }
    }

    const fn is_over(&self) -> bool {
        match self {
            Self::Watched(events) => events.is_over(),
            Self::Transformed(events) => events.is_over(),
        }
    }
}

/// The next frame of an event stream, and whether more may follow.
fn poll_events<RB: Body<Data = Bytes>>(
    mut body: Pin<&mut RB>,
    events: &mut Events,
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
