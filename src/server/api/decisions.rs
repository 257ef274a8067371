//! Decisions: verifiers report them, auditors read them.

use std::{collections::HashSet, sync::Arc};

use axum::extract::State;
use serde_json::Value;

use crate::{
    api::Page,
    server::{
        App,
        api::{
            audit::{filter, order},
            auth::{
                Operator,
                needs::{AuditRead, DecisionsCreate},
            },
            openapi::{Paging, Problems},
        },
        edge::{
            answer::Answer,
            extract::{Input, Params, unreadable},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::{
    CallView, RecordedReports,
    identity::{Operation, OperatorSession},
    ledger::views::{Filter, Verdict, Window},
};
use hallpass_core::{
    base::time::Timestamp,
    wire::report::{MAX_BATCH_REPORTS, Report, ReportBatch},
};

/// Records what a verifier decided.
#[utoipa::path(post, path = "/v1/decisions", operation_id = "decisions_create",
    tag = "audit", security(("operator" = [])), request_body = ReportBatch,
    responses((status = 201, description = "Durable", body = RecordedReports), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<DecisionsCreate>,
    once: Once,
    input: Input<Value>,
) -> Result<Answer, Problem> {
    let ReportBatch { reports, .. } =
        ReportBatch::read(input.value).map_err(|error| unreadable(&error))?;
    if !(1..=MAX_BATCH_REPORTS).contains(&reports.len()) {
        return Err(Problem::invalid(
            "reports",
            format!("1 to {MAX_BATCH_REPORTS} reports"),
        ));
    }
    let Operator {
        caller, session, ..
    } = operator;
    app.limits
        .admit_reports(session.operator(), reports.len())?;
    let now = app.broker.now();
    // Clearing evaluates Datalog, so it runs on the blocking pool.
    let reports = app
        .blocking(move |_| check((&session, now), &reports).map(|()| reports))
        .await??;
    let work = async |caller| {
        let done = app.broker.decisions.record_reports(caller, reports).await?;
        Answer::created(&done)
    };
    once.run(&app, (caller, input.digest), work).await
}

/// Refuses the whole batch for the first report that is not this verifier's to send, or that no verifier would.
fn check((session, now): (&OperatorSession, Timestamp), reports: &[Report]) -> Result<(), Problem> {
    let (mut cleared, mut ids) = (HashSet::new(), HashSet::new());
    for (at, report) in reports.iter().enumerate() {
        if !cleared.contains(report.server()) {
            if cleared.len() >= MAX_BATCH_SERVERS {
                let expected = format!("at most {MAX_BATCH_SERVERS} servers in a batch");
                return Err(Problem::invalid(format!("reports[{at}].server"), expected));
            }
            if session
                .clear_at(Operation::DecisionsCreate, report.server(), now)
                .is_err()
            {
                let detail = "this token does not report for that server";
                return Err(Problem::forbidden(detail).field(format!("reports[{at}].server")));
            }
            cleared.insert(report.server());
        }
        report.check().map_err(|(member, expected)| {
            Problem::invalid(format!("reports[{at}].{member}"), expected)
        })?;
        if !ids.insert((report.server(), report.id())) {
            return Err(Problem::invalid(
                format!("reports[{at}].id"),
                "each report once",
            ));
        }
    }
    Ok(())
}

/// Calls that were decided, and gaps, as verifiers reported them.
#[utoipa::path(get, path = "/v1/decisions", operation_id = "decisions_list", tag = "audit", security(("operator" = [])),
    params(
        ("agent" = Option<String>, Query),
        ("steward" = Option<String>, Query, description = "By name or id"),
        ("task" = Option<String>, Query),
        ("server" = Option<String>, Query, description = "By URI or name"),
        ("decision" = Option<String>, Query, description = "`allowed`, `refused` or `lost`"),
        ("from" = Option<String>, Query, description = "Decided then (RFC 3339, the verifier's clock) or later"),
        ("to" = Option<String>, Query, description = "Decided before then"),
        ("order" = Option<String>, Query, description = "Of recording: `newest` (first, the default) or `oldest`"),
        Paging,
    ),
    responses((status = 200, description = "A page", body = Page<CallView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let known = [
        "agent", "steward", "task", "server", "decision", "from", "to", "order", "limit", "cursor",
    ];
    let params = params.only(&known)?;
    let verdict = params.text("decision").map(|word| {
        Verdict::parse(word)
            .ok_or_else(|| Problem::invalid("decision", "expected `allowed`, `refused` or `lost`"))
    });
    let filter = Filter {
        verdict: verdict.transpose()?,
        ..filter(&app, &params)?
    };
    let order = order(&params)?;
    let (list, limit) = (params.list("decisions"), params.limit()?);
    let window = Window {
        order,
        after: params.after(&list)?,
        limit,
    };
    let page = app.broker.history.calls(filter, window).await?;
    let next = page.next.map(|next| list.cursor(&next));
    Answer::ok(&Page {
        items: page.calls,
        next,
    })
}

/// Each server of a batch is cleared by itself, which is work.
const MAX_BATCH_SERVERS: usize = 64;
