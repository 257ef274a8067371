//! Proofs of the audit trail: its signed head, inclusion, consistency, and exports.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;

use crate::server::{
    App,
    api::{
        auth::{Operator, needs::AuditRead},
        openapi::Problems,
    },
    edge::{answer::Answer, extract::Params, problem::Problem, stream::Place},
};
use hallpass_broker::{
    identity::OperatorSession,
    ledger::audit::{ConsistencyEvidence, Export, HeadEvidence, InclusionEvidence},
};

/// The last record and the tree's root, signed.
#[utoipa::path(get, path = "/v1/audit/head", operation_id = "audit_head", tag = "audit", security(("operator" = [])),
    responses((status = 200, description = "The head", body = HeadEvidence), Problems))]
pub(crate) async fn head(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Answer::ok(&app.broker.history.signed_head()?)
}

/// A record, and the proof that it is in the tree.
#[utoipa::path(get, path = "/v1/audit/proofs/inclusion", operation_id = "audit_inclusion", tag = "audit",
    security(("operator" = [])),
    params(
        ("sequence" = u64, Query, description = "The record"),
        ("size" = Option<u64>, Query, description = "The size of the tree; else that of the head, which comes with it"),
    ),
    responses((status = 200, description = "The proof", body = InclusionEvidence), Problems))]
pub(crate) async fn inclusion(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["sequence", "size"])?;
    let (sequence, size) = (required(&params, "sequence")?, params.parsed("size")?);
    Answer::ok(
        &app.blocking(move |broker| broker.history.prove_inclusion(sequence, size))
            .await??,
    )
}

/// The proof that a tree begins with an older one, unchanged.
#[utoipa::path(get, path = "/v1/audit/proofs/consistency", operation_id = "audit_consistency", tag = "audit",
    security(("operator" = [])),
    params(
        ("from" = u64, Query, description = "The size of the older tree"),
        ("to" = Option<u64>, Query, description = "The size of the tree; else that of the head, which comes with it"),
    ),
    responses((status = 200, description = "The proof", body = ConsistencyEvidence), Problems))]
pub(crate) async fn consistency(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["from", "to"])?;
    let (from, to) = (required(&params, "from")?, params.parsed("to")?);
    Answer::ok(
        &app.blocking(move |broker| broker.history.prove_consistency(from, to))
            .await??,
    )
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
pub(crate) async fn export(
    State(app): State<Arc<App>>,
    operator: Operator<AuditRead>,
    params: Params,
) -> Result<Response, Problem> {
    let params = params.only(&["from", "to"])?;
    let (from, to) = (params.parsed("from")?, params.parsed("to")?);
    let session = operator.session;
    let place = Place::take(&app, session.operator())?;
    let export = app
        .blocking(move |broker| broker.history.export(from, to))
        .await??;
    let pieces = stream::unfold(
        Some((
            place,
            Reading {
                app,
                session,
                export,
            },
        )),
        |state| async move {
            let (place, reading) = state?;
            // On a thread that may block, but no longer than for one piece: a reader may take its time.
            let read = match place.is_over() {
                true => Err(io::Error::other("the broker is about to stop")),
                false => tokio::task::spawn_blocking(move || reading.next())
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error))),
            };
            match read {
                Ok((Some(piece), reading)) => Some((Ok(piece), Some((place, reading)))),
                Ok((None, _)) => None,
                Err(error) => {
                    tracing::error!(error = %error, "an export of the audit trail broke off");
                    Some((Err(error), None))
                }
            }
        },
    );
    let mut response = Body::from_stream(pieces).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    Ok(response)
}

/// An export, and for whom it is.
struct Reading {
    app: Arc<App>,
    session: OperatorSession,
    export: Export,
}

impl Reading {
    /// The next piece, `None` after the seal; an error as soon as the reader may not read the trail any more.
    fn next(mut self) -> io::Result<(Option<Vec<u8>>, Self)> {
        if !self.app.still_accepts(&self.session) {
            return Err(io::Error::other(
                "its reader may not read the audit trail any more",
            ));
        }
        let piece = self.export.next_piece().map_err(io::Error::other)?;
        Ok((piece, self))
    }
}

fn required(params: &Params, name: &'static str) -> Result<u64, Problem> {
    params
        .parsed(name)?
        .ok_or_else(|| Problem::invalid(name, "required"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use axum::{body::BodyDataStream, http::Request};
    use futures_util::StreamExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::server::{Observer, Options, Seen, Server, routes::main_router};
    use hallpass_broker::{Broker, Caller, NewOperator, domain::event::Role};
    use hallpass_core::base::{ids::OperatorId, time::SystemClock};

    #[derive(Debug)]
    struct Silent;

    impl Observer for Silent {
        fn answered(&self, _: &Seen<'_>) {}

        fn panicked(&self) {}

        fn render(&self) -> String {
            String::new()
        }
    }

    async fn exported(app: &Arc<App>, token: &str) -> BodyDataStream {
        let request =
            Request::get("/v1/audit/export").header("authorization", format!("Bearer {token}"));
        let answer = main_router(app)
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().into_data_stream()
    }

    #[tokio::test]
    async fn an_export_breaks_off_without_its_seal_when_its_reader_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let (data, policy) = (home.path().join("data"), home.path().join("policy"));
        let options =
            hallpass_broker::Options::new("https://broker.example".parse().unwrap(), data, policy);
        let broker = Broker::open(options, Arc::new(SystemClock::default()))
            .await
            .unwrap()
            .broker;
        let operator: OperatorId = "auditor".parse().unwrap();
        let new = NewOperator {
            operator: operator.clone(),
            roles: [Role::Auditor].into(),
            servers: BTreeSet::new(),
            ttl: Duration::from_secs(3600),
        };
        let token = broker
            .operators
            .add_operator(&Caller::broker(), new)
            .await
            .unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(
            Options::new(any, any),
            Arc::clone(&broker),
            Arc::new(Silent),
        )
        .await
        .unwrap();
        let mut whole = exported(server.app(), token.token.expose()).await;
        let mut cut = exported(server.app(), token.token.expose()).await;
        for pieces in [&mut whole, &mut cut] {
            assert!(
                pieces.next().await.unwrap().unwrap().starts_with(b"{"),
                "the records"
            );
        }
        let seal = whole.next().await.unwrap().unwrap();
        assert!(
            String::from_utf8_lossy(&seal).contains("\"export\"") && whole.next().await.is_none()
        );
        broker
            .operators
            .remove_operator(&Caller::broker(), &operator)
            .await
            .unwrap();
        assert!(
            cut.next().await.unwrap().is_err(),
            "no seal for an operator who may not read any more"
        );
        assert!(cut.next().await.is_none());
    }
}
