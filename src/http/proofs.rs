//! Proofs of the audit trail: its signed head, inclusion, consistency, and exports.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use super::{
    App,
    answer::Answer,
    audit_shapes,
    auth::{Operator, needs::AuditRead},
    document::Problems,
    extract::Params,
    problem::Problem,
    stream::Place,
};
use crate::{
    audit::Export,
    broker::{Broker, BrokerError},
};

/// The last record and the tree's root, signed.
#[utoipa::path(get, path = "/v1/audit/head", operation_id = "audit_head", tag = "audit", security(("operator" = [])),
    responses((status = 200, description = "The head", body = audit_shapes::AuditHead), Problems))]
pub(super) async fn head(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Answer::ok(&app.broker.signed_head()?)
}

/// A record, and the proof that it is in the tree.
#[utoipa::path(get, path = "/v1/audit/proofs/inclusion", operation_id = "audit_inclusion", tag = "audit",
    security(("operator" = [])),
    params(
        ("sequence" = u64, Query, description = "The record"),
        ("size" = Option<u64>, Query, description = "The size of the tree; else that of the head, which comes with it"),
    ),
    responses((status = 200, description = "The proof", body = audit_shapes::InclusionEvidence), Problems))]
pub(super) async fn inclusion(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["sequence", "size"])?;
    let (sequence, size) = (required(&params, "sequence")?, params.parsed("size")?);
    Answer::ok(&blocking(&app, move |broker| broker.prove_inclusion(sequence, size)).await?)
}

/// The proof that a tree begins with an older one, unchanged.
#[utoipa::path(get, path = "/v1/audit/proofs/consistency", operation_id = "audit_consistency", tag = "audit",
    security(("operator" = [])),
    params(
        ("from" = u64, Query, description = "The size of the older tree"),
        ("to" = Option<u64>, Query, description = "The size of the tree; else that of the head, which comes with it"),
    ),
    responses((status = 200, description = "The proof", body = audit_shapes::ConsistencyEvidence), Problems))]
pub(super) async fn consistency(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["from", "to"])?;
    let (from, to) = (required(&params, "from")?, params.parsed("to")?);
    Answer::ok(&blocking(&app, move |broker| broker.prove_consistency(from, to)).await?)
}

/// The exact lines of records, and a last line that seals them.
#[utoipa::path(get, path = "/v1/audit/export", operation_id = "audit_export", tag = "audit",
    security(("operator" = [])),
    params(
        ("from" = Option<u64>, Query, description = "The first record; else 1"),
        ("to" = Option<u64>, Query, description = "The last record; else the last that there is"),
    ),
    responses(
        (status = 200, description = "One JSON value a line; an answer without the seal is no export",
            content((String = "application/jsonl"))),
        Problems,
    ))]
pub(super) async fn export(
    State(app): State<Arc<App>>,
    operator: Operator<AuditRead>,
    params: Params,
) -> Result<Response, Problem> {
    let params = params.only(&["from", "to"])?;
    let (from, to) = (params.parsed("from")?, params.parsed("to")?);
    let place = Place::take(&app, operator.session.operator())?;
    let export = blocking(&app, move |broker| broker.export(from, to)).await?;
    let pieces = stream::unfold(Some((place, export)), |state| async move {
        let (place, export) = state?;
        // On a thread that may block, but no longer than for one piece: a reader may take its time.
        let read = match place.is_over() {
            true => Err(io::Error::other("the broker is about to stop")),
            false => tokio::task::spawn_blocking(move || read(export))
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error))),
        };
        match read {
            Ok((Some(piece), export)) => Some((Ok(piece), Some((place, export)))),
            Ok((None, _)) => None,
            Err(error) => {
                tracing::error!(error = %error, "an export of the audit trail broke off");
                Some((Err(error), None))
            }
        }
    });
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    Ok(response)
}

fn read(mut export: Export) -> io::Result<(Option<Vec<u8>>, Export)> {
    let piece = export.next_piece().map_err(io::Error::other)?;
    Ok((piece, export))
}

fn required(params: &Params, name: &'static str) -> Result<u64, Problem> {
    params.parsed(name)?.ok_or_else(|| Problem::invalid(name, "required"))
}

/// Runs `work`, which reads files, where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Broker) -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, Problem> {
    let app = Arc::clone(app);
    let done = tokio::task::spawn_blocking(move || work(&app.broker)).await;
    Ok(done.map_err(|error| Problem::internal(error.to_string()))??)
}
