//! The feed: what verifiers follow, pushed or fetched.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response, sse::Event},
};

use crate::server::{
    App,
    api::{auth::Follower, openapi::Problems},
    edge::{
        extract::Params,
        problem::Problem,
        stream::{self, Place, Source},
    },
};
use hallpass_broker::{BrokerError, ObjectKind, SignedFrame, Subscription};
use hallpass_core::base::{
    format::{Format, UnknownFormat},
    ids::ServerUri,
};

/// Keys, manifest and revocations for one server: a signed frame, or with
/// `Accept: text/event-stream` every later one too.
#[utoipa::path(get, path = "/v1/feed", operation_id = "feed_follow", tag = "feed", security(("operator" = [])),
    params(
        ("server" = String, Query, description = "The server's URI or name"),
        ("since" = Option<u64>, Query, description = "The sequence that the caller has"),
        ("format" = Option<u64>, Query, description = "The format of the frames that the caller reads: 1, also when absent"),
        ("If-None-Match" = Option<String>, Header, description = "The ETag of the frame that the caller has"),
    ),
    responses(
        (status = 200, description = "A frame, or frames as events", content(
            (String = "application/jose"),
            (String = "text/event-stream"),
        )),
        (status = 304, description = "Nothing happened since"),
        Problems,
    ))]
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    follower: Follower,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = params.only(&["server", "since", "format"])?;
    let since = params.parsed::<u64>("since")?;
    // A second format that is written becomes a member of what the hub keeps a publisher for.
    let Format::One = format(&params)? else {
        return Err(Problem::invalid("format", UnknownFormat.to_string()));
    };
    let text = params
        .text("server")
        .ok_or_else(|| Problem::invalid("server", "required"))?;
    let server = app
        .broker
        .state()
        .server(text)
        .map(|manifest| manifest.server.clone());
    follower.clear(&app, server.as_ref())?;
    let server = server.ok_or_else(|| Problem::from(BrokerError::no_such(ObjectKind::Server)))?;
    if stream::wants_events(&headers) {
        let place = Place::take(&app, follower.operator())?;
        let subscription = app.broker.feed.subscribe(&server, since)?;
        let first = vec![event(&subscription.first)];
        return Ok(place.stream(
            first,
            Frames {
                app,
                follower,
                server,
                subscription,
            },
        ));
    }
    frame(&app, &server, (since, &headers))
}

/// The format that the caller reads.
fn format(params: &Params) -> Result<Format, Problem> {
    let format = params.text("format").map(str::parse::<Format>);
    format
        .transpose()
        .map(Option::unwrap_or_default)
        .map_err(|error| Problem::invalid("format", error.to_string()))
}

fn frame(
    app: &App,
    server: &ServerUri,
    (since, headers): (Option<u64>, &HeaderMap),
) -> Result<Response, Problem> {
    let (epoch, sequence) = {
        let state = app.broker.state();
        (state.epoch(), state.last_sequence())
    };
    // Asked first: signing is what costs.
    let has = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let mut response = if has == Some(&tag(epoch, sequence)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let frame = app.broker.feed.feed_frame(server, since)?;
        let mut response = Response::new(Body::from(frame.text.to_string()));
        let tag = HeaderValue::from_str(&tag(epoch, frame.sequence)).ok();
        response
            .headers_mut()
            .extend(tag.map(|tag| (header::ETAG, tag)));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/jose"),
        );
        response
    };
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    Ok(response)
}

/// A subscription, for as long as its operator may follow.
struct Frames {
    app: Arc<App>,
    follower: Follower,
    server: ServerUri,
    subscription: Subscription,
}

impl Source for Frames {
    async fn next(&mut self) -> Option<Vec<Event>> {
        let frame = self.subscription.next().await?;
        self.follower
            .still_follows(&self.app, &self.server)
            .then(|| vec![event(&frame)])
    }
}

fn event(frame: &SignedFrame) -> Event {
    Event::default()
        .event("frame")
        .id(frame.sequence.to_string())
        .data(&*frame.text)
}

fn tag(epoch: i64, sequence: u64) -> String {
    format!("\"{epoch}-{sequence}\"")
}
