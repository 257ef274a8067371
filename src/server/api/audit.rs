//! The audit trail: pages of the past, and following it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response, sse::Event},
};
use tokio::sync::watch;

use crate::{
    api::Page,
    server::{
        App,
        api::{
            auth::{Operator, needs::AuditRead},
            openapi::{Paging, Problems},
        },
        edge::{
            answer::Answer,
            extract::Params,
            problem::Problem,
            stream::{self, Place, Source},
        },
    },
};
use hallpass_broker::{
    BrokerError,
    identity::OperatorSession,
    ledger::{
        Position,
        audit::{self, AuditEvent},
        views::{Filter, Order, Window},
    },
};

/// Events, or with `Accept: text/event-stream` every one from now on.
#[utoipa::path(get, path = "/v1/audit", operation_id = "audit_list", tag = "audit", security(("operator" = [])),
    params(
        ("agent" = Option<String>, Query),
        ("steward" = Option<String>, Query, description = "By name or id"),
        ("task" = Option<String>, Query),
        ("server" = Option<String>, Query, description = "By URI or name"),
        ("from" = Option<String>, Query, description = "Decided then (RFC 3339) or later"),
        ("to" = Option<String>, Query, description = "Decided before then"),
        ("order" = Option<String>, Query, description = "`newest` (first, the default) or `oldest`"),
        Paging,
        ("Last-Event-ID" = Option<String>, Header, description = "When following: the last event that the caller has"),
    ),
    responses((status = 200, description = "A page, or events", content(
        (Page<AuditEvent> = "application/json"),
        (String = "text/event-stream"),
    )), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    operator: Operator<AuditRead>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let known = [
        "agent", "steward", "task", "server", "from", "to", "order", "limit", "cursor",
    ];
    let params = params.only(&known)?;
    let filter = filter(&app, &params)?;
    if stream::wants_events(&headers) {
        return follow(app, operator.session, (filter, params), &headers);
    }
    let order = order(&params)?;
    let (list, limit) = (params.list("audit"), params.limit()?);
    let window = Window {
        order,
        after: params.after(&list)?,
        limit,
    };
    let page = events(&app, &filter, window).await?;
    let next = page.next.map(|next| list.cursor(&next));
    Ok(Answer::ok(&Page {
        items: page.events,
        next,
    })?
    .into_response())
}

/// Which records a list is about.
pub(crate) fn filter(app: &App, params: &Params) -> Result<Filter, Problem> {
    let steward = params
        .text("steward")
        .map(|steward| app.broker.registry.find_steward(steward))
        .transpose()?;
    let server = match params.text("server") {
        // A server that was removed is still asked about by its URI.
        Some(text) => match text.parse() {
            Ok(uri) => Some(uri),
            Err(_) => Some(app.broker.registry.server(text)?.manifest.server),
        },
        None => None,
    };
    Ok(Filter {
        agent: params.parsed("agent")?,
        steward,
        task: params.parsed("task")?,
        server,
        from: params.parsed("from")?,
        to: params.parsed("to")?,
        verdict: None,
    })
}

/// In which order a list is wanted.
pub(crate) fn order(params: &Params) -> Result<Order, Problem> {
    match params.text("order") {
        None | Some("newest") => Ok(Order::NewestFirst),
        Some("oldest") => Ok(Order::OldestFirst),
        Some(_) => Err(Problem::invalid("order", "expected `newest` or `oldest`")),
    }
}

async fn events(app: &Arc<App>, filter: &Filter, window: Window) -> Result<audit::Page, Problem> {
    let (app, filter) = (Arc::clone(app), filter.clone());
    let found =
        tokio::task::spawn_blocking(move || app.broker.history.trail().events(&filter, window))
            .await;
    let failed = |inside: String| Problem::from(BrokerError::Trail(inside));
    found
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))
}

fn follow(
    app: Arc<App>,
    session: OperatorSession,
    (filter, params): (Filter, Params),
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    params.only(&["agent", "steward", "task", "server", "from", "to"])?;
    let place = Place::take(&app, session.operator())?;
    let records = app.broker.records();
    let bad = || Problem::invalid("Last-Event-ID", "expected the id of an event");
    let last = match headers.get("last-event-id") {
        Some(id) => id
            .to_str()
            .ok()
            .and_then(|id| id.parse().ok())
            .ok_or_else(bad)?,
        None => app.broker.views().head().sequence,
    };
    let follower = Follower {
        app,
        session,
        filter,
        records,
        last,
    };
    Ok(place.stream(Vec::new(), follower))
}

/// A client that follows the trail.
struct Follower {
    app: Arc<App>,
    session: OperatorSession,
    filter: Filter,
    records: watch::Receiver<Position>,
    /// The last record that was looked at.
    last: u64,
}

impl Source for Follower {
    async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            let head = self.records.borrow_and_update().sequence();
            if head <= self.last {
                self.records.changed().await.ok()?;
                continue;
            }
            if !self.app.still_accepts(&self.session) {
                return None;
            }
            let window = Window {
                order: Order::OldestFirst,
                after: Some(self.last),
                limit: FOLLOWED_AT_ONCE,
            };
            let page = events(&self.app, &self.filter, window).await.ok()?;
            // What came since is not in this page's promise: it is looked for again.
            let seen = page.events.last().map_or(self.last, |event| event.seq);
            self.last = page.next.unwrap_or_else(|| seen.max(head));
            if !page.events.is_empty() {
                return Some(page.events.iter().map(event).collect());
            }
        }
    }
}

fn event(event: &AuditEvent) -> Event {
    Event::default()
        .event("audit")
        .id(event.seq.to_string())
        .data(event.to_line())
}

const FOLLOWED_AT_ONCE: usize = 200;
