//! Middleware: what happens to every request before and after its handler.
//!
//! A request runs as a task of its own: a panic ends it alone, and neither a caller that hangs up
//! nor the time limit stops half-way what it asked for; its idempotency key finds the answer.

use std::{sync::Arc, time::Duration};

use axum::{
    body::HttpBody as _,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::server::{
    App, Seen,
    edge::{
        context::{Context, Here},
        limit::network,
        problem::{self, Problem},
    },
    oauth::EndpointKind,
};

/// The main listener's middleware.
pub(super) async fn main_listener(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = app.clock.monotonic();
    let context = Arc::new(Context::new(&request));
    let method = known_method(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    request.extensions_mut().insert(Here(Arc::clone(&context)));
    let span = tracing::info_span!(
        "request",
        http.request.method = method,
        http.route = route,
        request.id = %context.id,
        trace.id = context.trace.as_deref(),
    );
    app.observer.began(request.headers(), &span);
    let endpoint = EndpointKind::of(request.uri().path(), app.broker.issuer());
    let leaves_body = request.version() <= Version::HTTP_11 && !request.body().is_end_stream();
    let answer = match admit(&app, &context, (&request, endpoint)) {
        Ok(_) if endpoint.is_preflight(request.method()) => endpoint.preflight(),
        Ok(permit) => {
            let work = run(Arc::clone(&app), Arc::clone(&context), request, next);
            let work = async move {
                let _permit = permit;
                work.await
            };
            wait(&app, tokio::spawn(work.instrument(span.clone()))).await
        }
        Err(problem) => {
            let mut refusal = problem.into_response();
            if leaves_body {
                // The connection ends with it, and a client must not send its next request there.
                let close = HeaderValue::from_static("close");
                refusal.headers_mut().insert(header::CONNECTION, close);
            }
            refusal
        }
    };
    let _entered = span.enter();
    let (mut response, code) = problem::render(answer, &context.id, endpoint.dialect());
    set_headers(response.headers_mut(), &context);
    endpoint.set_headers(response.headers_mut());
    let took = app.clock.monotonic().saturating_sub(began);
    let status = response.status().as_u16();
    app.observer.answered(&Seen {
        method,
        route,
        status,
        code,
        took,
    });
    tracing::info!(http.response.status_code = status, duration_ms = %took.as_millis(), "answered");
    response
}

/// Refuses what is refused whatever it asks for.
fn admit(
    app: &App,
    context: &Context,
    (request, endpoint): (&Request, EndpointKind),
) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    // SECURITY: an address that floods uses up its own quota before that of all.
    app.limits.admit(context.peer)?;
    // SECURITY: but for the OAuth endpoints nothing here is for browsers, and a page in one must not reach a broker on loopback.
    if !endpoint.admits_origins(
        request.headers().get_all(header::ORIGIN).iter(),
        app.broker.issuer(),
    ) {
        return Err(Problem::forbidden(
            "requests with an Origin are refused: this is no API for browsers",
        )
        .field("Origin"));
    }
    // SECURITY: what one network has under way before it proves who asks, unfinished bodies above all, takes no more than
    // its share. The share of the principal takes its place then.
    let share = app.network_shares.take(&network(context.peer).to_string());
    let Some(share) = share else {
        let reserved = app.reserved(request.headers(), context);
        return reserved.ok_or_else(|| Problem::rate_limited(Duration::from_secs(1)));
    };
    context.hold(share);
    let permit = Arc::clone(&app.requests).try_acquire_owned().ok();
    let permit = permit.or_else(|| app.reserved(request.headers(), context));
    permit.ok_or_else(|| Problem::unavailable("too many requests at once", "no permit is left"))
}

/// Waits for the answer, and no longer than the limit: what is recorded already takes its effect all
/// the same, so the work continues and keeps its permit.
async fn wait(app: &App, work: JoinHandle<Response>) -> Response {
    match tokio::time::timeout(app.times.request, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => {
            app.observer.panicked();
            // SECURITY: the panic's text may hold anything; the panic hook has it.
            let what = if error.is_panic() {
                "the handler panicked"
            } else {
                "the handler was stopped"
            };
            Problem::internal(what).into_response()
        }
        Err(_) => Problem::timeout(app.times.request).into_response(),
    }
}

async fn run(app: Arc<App>, context: Arc<Context>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    // An assertion is single-use even over a restart: no answer leaves before it is recorded.
    match context.take_user() {
        Some(caller) => match app.broker.note(&caller).await {
            Ok(()) => response,
            Err(error) => Problem::from(error).into_response(),
        },
        None => response,
    }
}

fn set_headers(headers: &mut HeaderMap, context: &Context) {
    // An id of ours is plain ASCII.
    if let Ok(id) = HeaderValue::from_str(context.id.as_str()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, body, http::StatusCode, middleware, routing::get};
    use tower::ServiceExt as _;

    use super::*;
    use crate::server::{Observer, Options, Server};
    use hallpass_broker::{self, Broker};
    use hallpass_core::base::time::SystemClock;

    #[derive(Debug, Default)]
    struct Panics(AtomicUsize);

    impl Observer for Panics {
        fn answered(&self, _: &Seen<'_>) {}

        fn panicked(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }

        fn render(&self) -> String {
            String::new()
        }
    }

    async fn server(directory: &tempfile::TempDir, limit: Duration) -> (Server, Arc<Panics>) {
        let options = hallpass_broker::Options::new(
            "https://broker.example".parse().unwrap(),
            directory.path().join("data"),
            directory.path().join("policy"),
        );
        let broker = Broker::open(options, Arc::new(SystemClock::default()))
            .await
            .unwrap()
            .broker;
        let panics = Arc::new(Panics::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let mut options = Options::new(any, any);
        options.times.request = limit;
        (
            Server::bind(options, broker, panics.clone()).await.unwrap(),
            panics,
        )
    }

    #[tokio::test]
    async fn the_time_limit_ends_the_waiting_and_not_the_work() {
        let directory = tempfile::tempdir().unwrap();
        let (server, _) = server(&directory, Duration::from_millis(20)).await;
        let app = Arc::clone(server.app());
        let all = app.requests.available_permits();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let hands = Arc::new(std::sync::Mutex::new(Some((gone, sender))));
        let slow = move || async move {
            let (gone, sender) = hands.lock().unwrap().take().unwrap();
            gone.await.unwrap();
            sender.send(()).unwrap();
        };
        let router = Router::new()
            .route("/slow", get(slow))
            .layer(middleware::from_fn_with_state(
                Arc::clone(&app),
                main_listener,
            ));
        let answer = router
            .oneshot(Request::get("/slow").body(body::Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(app.requests.available_permits(), all - 1);
        go.send(()).unwrap();
        receiver.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_ends_its_request_alone_and_tells_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (server, panics) = server(&directory, Duration::from_secs(30)).await;
        let app = Arc::clone(server.app());
        let router = Router::new()
            .route(
                "/panics",
                get(async || -> &'static str { panic!("a secret") }),
            )
            .route("/works", get(async || "works"))
            .layer(middleware::from_fn_with_state(app, main_listener));
        let ask = |path: &str| {
            let request = Request::get(path).body(body::Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        let answer = ask("/panics").await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let text = body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(
            text.contains("\"internal\"") && !text.contains("secret"),
            "{text}"
        );
        assert_eq!(ask("/works").await.unwrap().status(), StatusCode::OK);
        assert_eq!(panics.0.load(Ordering::SeqCst), 1);
    }
}
