//! Reports: people's questions about the audit trail.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    api::Page,
    server::{
        App,
        api::{
            audit::{filter, order},
            auth::{Operator, needs::AuditRead},
            openapi::{Paging, Problems},
        },
        edge::{answer::Answer, extract::Params, problem::Problem},
    },
};
use hallpass_broker::ledger::{
    audit::{ActivityRow, LiveRow, ReachRow, RefusalRow},
    views::Window,
};
use hallpass_broker::{EntitlementFilter, EntitlementRow};
use hallpass_core::base::{ids::ToolName, time::Timestamp};

/// What an agent did, and what was done about it: a row for each right, reason and hand-over.
#[utoipa::path(get, path = "/v1/audit/reports/activity", operation_id = "audit_activity", tag = "audit",
    security(("operator" = [])),
    params(
        ("agent" = Option<String>, Query),
        ("steward" = Option<String>, Query, description = "By name or id"),
        ("task" = Option<String>, Query),
        ("server" = Option<String>, Query, description = "By URI or name"),
        ("from" = Option<String>, Query, description = "Decided then (RFC 3339) or later"),
        ("to" = Option<String>, Query, description = "Decided before then"),
        ("order" = Option<String>, Query, description = "`newest` (first, the default) or `oldest`"),
        Paging,
    ),
    responses((status = 200, description = "A page: `limit` counts records, of which each gives a row or more",
        body = Page<ActivityRow>), Problems))]
pub(crate) async fn activity(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let known = [
        "agent", "steward", "task", "server", "from", "to", "order", "limit", "cursor",
    ];
    let params = params.only(&known)?;
    let (filter, order) = (filter(&app, &params)?, order(&params)?);
    let list = params.list("activity");
    let window = Window {
        order,
        after: params.after(&list)?,
        limit: params.limit()?,
    };
    let (items, next) = app
        .blocking(move |broker| broker.history.activity(&filter, window))
        .await??;
    Answer::ok(&Page {
        items,
        next: next.map(|next| list.cursor(&next)),
    })
}

/// Who could call a tool at a time: the passes that were alive then.
#[utoipa::path(get, path = "/v1/audit/reports/reach", operation_id = "audit_reach", tag = "audit",
    security(("operator" = [])),
    params(
        ("server" = String, Query, description = "By URI or name"),
        ("tool" = String, Query, description = "By its exact name"),
        ("at" = Option<String>, Query, description = "When (RFC 3339); else now"),
        Paging,
    ),
    responses((status = 200, description = "A page", body = Page<ReachRow>), Problems))]
pub(crate) async fn reach(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["server", "tool", "at", "limit", "cursor"])?;
    let missing = |name: &'static str| move || Problem::invalid(name, "required");
    let server = filter(&app, &params)?
        .server
        .ok_or_else(missing("server"))?;
    let tool: ToolName = params.parsed("tool")?.ok_or_else(missing("tool"))?;
    let at: Timestamp = params.parsed("at")?.unwrap_or_else(|| app.broker.now());
    let (list, limit) = (params.list("reach"), params.limit()?);
    let after = params.after(&list)?;
    let page = (after, limit.saturating_add(1));
    let rows = app
        .blocking(move |broker| broker.history.reach((server, tool), at, page))
        .await??;
    Page::answer(&list, rows, limit, |row| row.seq)
}

/// What was refused, by reason and agent.
#[utoipa::path(get, path = "/v1/audit/reports/refusals", operation_id = "audit_refusals", tag = "audit",
    security(("operator" = [])),
    params(
        ("from" = Option<String>, Query, description = "Decided then (RFC 3339) or later"),
        ("to" = Option<String>, Query, description = "Decided before then"),
        Paging,
    ),
    responses((status = 200, description = "A page", body = Page<RefusalRow>), Problems))]
pub(crate) async fn refusals(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["from", "to", "limit", "cursor"])?;
    let (from, to) = (params.parsed("from")?, params.parsed("to")?);
    let (list, limit) = (params.list("refusals"), params.limit()?);
    let after: Option<String> = params.after(&list)?;
    let rows = app
        .blocking(move |broker| broker.history.refusals(from, to))
        .await??;
    let position = |row: &RefusalRow| format!("{} {}", row.code, row.agent);
    // No row of a time that is over goes away, so the one before is found again.
    let seen = after.map_or(0, |after| {
        rows.iter()
            .position(|row| position(row) == after)
            .map_or(rows.len(), |at| at.saturating_add(1))
    });
    let rows: Vec<_> = rows
        .into_iter()
        .skip(seen)
        .take(limit.saturating_add(1))
        .collect();
    Page::answer(&list, rows, limit, position)
}

/// Which agents have which passes now, for a review of what is in use.
#[utoipa::path(get, path = "/v1/audit/reports/live", operation_id = "audit_live", tag = "audit",
    security(("operator" = [])),
    params(("steward" = Option<String>, Query, description = "Only this steward's agents; by name or id"), Paging),
    responses((status = 200, description = "A page", body = Page<LiveRow>), Problems))]
pub(crate) async fn live(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["steward", "limit", "cursor"])?;
    let steward = filter(&app, &params)?.steward;
    let (list, limit) = (params.list("live"), params.limit()?);
    let after = params.after(&list)?;
    let rows = app
        .broker
        .history
        .live(steward, (after, limit.saturating_add(1)))
        .await?;
    Page::answer(&list, rows, limit, |row| row.agent.clone())
}

/// What agents could be given: agent by server by right, as policy answers a plain request, for a review of entitlements.
#[utoipa::path(get, path = "/v1/audit/reports/entitlements", operation_id = "audit_entitlements", tag = "audit",
    security(("operator" = [])),
    params(
        ("agent" = Option<String>, Query),
        ("steward" = Option<String>, Query, description = "Only this steward's agents; by name or id"),
        ("server" = Option<String>, Query, description = "By URI or name"),
        Paging,
    ),
    responses((status = 200, description = "A page; it may have fewer rows than `limit` and yet a `next`",
        body = Page<EntitlementRow>), Problems))]
pub(crate) async fn entitlements(
    State(app): State<Arc<App>>,
    _: Operator<AuditRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["agent", "steward", "server", "limit", "cursor"])?;
    let wanted = filter(&app, &params)?;
    let wanted = EntitlementFilter {
        agent: wanted.agent,
        steward: wanted.steward,
        server: wanted.server,
    };
    let (list, limit) = (params.list("entitlements"), params.limit()?);
    let after = params.after(&list)?;
    let (items, next) = app
        .blocking(move |broker| broker.history.entitlements(&wanted, after, limit))
        .await??;
    Answer::ok(&Page {
        items,
        next: next.map(|next| list.cursor(&next)),
    })
}
