//! Health, metrics and the OpenAPI document: constant cost, no principal's data.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::server::{
    App,
    api::openapi::OpenApiDocument,
    edge::{extract::Params, problem::Problem},
};

/// The admin listener's router.
pub(crate) fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|| async { plain(StatusCode::OK, "alive\n".to_owned()) }),
        )
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(app))
}

/// Ready is who can record new things and is not about to stop.
async fn ready(State(app): State<Arc<App>>) -> Response {
    if !app.broker.is_healthy() {
        return plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "the journal stopped: restart\n".to_owned(),
        );
    }
    if let Some(fault) = app.broker.clock_fault() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n"));
    }
    if *app.draining.borrow() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    // Still the place to revoke at.
    let low = if app.broker.is_storage_low() {
        "ready, but the disk is nearly full: no passes\n"
    } else {
        "ready\n"
    };
    plain(StatusCode::OK, low.to_owned())
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.observer.render();
    let openmetrics =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let mut response = plain(StatusCode::OK, text);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, openmetrics);
    response
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    (status, headers, text).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "health_document",
    tag = "keys", security(()),
    responses((status = 200, description = "The OpenAPI document", body = OpenApiDocument)))]
pub(crate) async fn document(
    State(app): State<Arc<App>>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    );
    Ok((headers, app.openapi.clone()).into_response())
}
