//! Streams: events for as long as the client listens and the server does not drain.

use std::{convert::Infallible, sync::Arc};

use axum::{
    http::{HeaderMap, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, Sse},
    },
};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::server::{
    App,
    edge::{per_principal_limit::Share, problem::Problem},
};
use hallpass_core::base::ids::OperatorId;

/// Where a stream's events come from.
pub(crate) trait Source: Send + 'static {
    /// The next events, at least one; `None` ends the stream.
    fn next(&mut self) -> impl Future<Output = Option<Vec<Event>>> + Send;
}

/// A place for one stream.
#[derive(Debug)]
pub(crate) struct Place {
    draining: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Place {
    /// Takes a place for `operator`, if one is left for it and the server does not drain.
    pub(crate) fn take(app: &App, operator: &OperatorId) -> Result<Self, Problem> {
        let draining = app.draining.subscribe();
        if *draining.borrow() {
            return Err(Problem::unavailable(
                "the broker is about to stop",
                "draining",
            ));
        }
        let share = app.stream_shares.take(operator.as_str());
        let share = share
            .ok_or_else(|| Problem::unavailable("too many streams of one operator", "its share"))?;
        let permit = Arc::clone(&app.streams).try_acquire_owned();
        let permit = permit
            .map_err(|_| Problem::unavailable("too many streams at once", "no place is left"))?;
        Ok(Self {
            draining,
            _permit: permit,
            _share: share,
        })
    }

    /// Whether the server drains, so that no more is to be sent.
    pub(crate) fn is_over(&self) -> bool {
        *self.draining.borrow()
    }

    /// The answer that sends `first` and then what `source` gives.
    pub(crate) fn stream(self, first: Vec<Event>, source: impl Source) -> Response {
        let state = (self, source, first.into_iter());
        let events = stream::unfold(state, |(mut place, mut source, mut ready)| async move {
            loop {
                if let Some(event) = ready.next() {
                    return Some((Ok::<_, Infallible>(event), (place, source, ready)));
                }
                let more = tokio::select! {
                    // A sender that is gone is a server that is gone.
                    _ = place.draining.wait_for(|draining| *draining) => None,
                    more = source.next() => more,
                };
                ready = more?.into_iter();
            }
        });
        Sse::new(events).into_response()
    }
}

/// Whether the caller wants events.
pub(crate) fn wants_events(headers: &HeaderMap) -> bool {
    let mut types = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    types.any(|types| {
        types
            .split(',')
            .any(|one| one.split(';').next().unwrap_or_default().trim() == EVENT_STREAM)
    })
}

const EVENT_STREAM: &str = "text/event-stream";
