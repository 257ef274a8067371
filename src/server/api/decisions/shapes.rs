//! Shapes of reports and of calls for the OpenAPI document.

#![expect(dead_code, reason = "these types describe JSON and are never made")]

use serde_json::Value;
use utoipa::ToSchema;

/// One call that a verifier decided, or a gap in what it reports.
#[derive(ToSchema)]
pub(super) struct DecisionReport {
    /// `call` or `lost`.
    #[schema(rename = "type")]
    report_type: String,
    /// `rpt_` and 32 hex digits, unique: what is sent twice counts once.
    id: String,
    server: String,
    /// When it was decided; of a call.
    at: Option<String>,
    /// `"allowed"`, or an object whose one member `refused` lists every reason; of a call.
    #[schema(value_type = Option<Object>)]
    decision: Option<Value>,
    /// Absent when the request was refused before its call was read.
    call: Option<ReportedCall>,
    /// Of a call, as are the members up to `caused_by`.
    task: Option<String>,
    agent: Option<String>,
    /// Opaque.
    steward: Option<String>,
    /// The ids of the pass's blocks, block 0 first.
    chain: Option<Vec<String>>,
    delegates: Option<Vec<ReportedHop>>,
    /// The thumbprint of the key that may use the pass.
    holder: Option<String>,
    /// A W3C `traceparent`.
    caused_by: Option<String>,
    /// How many reports were lost; of a gap, and absent when that is not known.
    count: Option<u64>,
    /// Of a gap: none was lost before.
    from: Option<String>,
    /// Of a gap: none was lost after.
    to: Option<String>,
}

/// What was called.
#[derive(ToSchema)]
pub(super) struct ReportedCall {
    /// `tools/call`, `prompts/get`, `resources/read`, …
    method: String,
    /// `tool`, `prompt` or `resource`.
    kind: String,
    /// Or `sha256:` and its digest, when it is too long to be kept.
    name: String,
    /// SHA-256 over the arguments in canonical form (RFC 8785).
    arguments: Option<String>,
}

/// Who was given a pass.
#[derive(ToSchema)]
pub(super) struct ReportedHop {
    /// Counted from 0.
    block: u64,
    /// As the holder before calls it.
    agent: String,
    /// The thumbprint of its key.
    key: String,
}

/// A record of the chain of decisions.
#[derive(ToSchema)]
pub(super) struct DecidedCall {
    /// Its place in that chain.
    seq: u64,
    id: String,
    /// By the verifier's clock.
    at: String,
    /// By the broker's.
    recorded_at: String,
    /// The operator whose token reported it.
    reported_by: String,
    server: String,
    /// `allowed`, `refused` or `lost`.
    decision: String,
    reasons: Option<Vec<String>>,
    call: Option<ReportedCall>,
    /// Whether the broker's own records agree with what was reported.
    attributed: Option<bool>,
    /// `confirmed`, `unknown_task`, `other_agent`, `other_steward`, `other_pass` or `other_server`.
    attribution: Option<String>,
    task: Option<String>,
    purpose: Option<String>,
    agent: Option<String>,
    /// Opaque.
    steward: Option<String>,
    /// Absent once it was erased.
    steward_name: Option<String>,
    /// By which the pass had the right.
    grant: Option<String>,
    /// What to revoke the pass by.
    revocation_id: Option<String>,
    /// Block 0 first.
    chain: Option<Vec<String>>,
    delegates: Option<Vec<ReportedHop>>,
    holder: Option<String>,
    /// The W3C trace id, as the caller says.
    trace: Option<String>,
    /// The W3C id of the span that called, as the caller says.
    parent: Option<String>,
    lost: Option<Gap>,
    /// The record's hash.
    hash: String,
}

/// Reports that were lost.
#[derive(ToSchema)]
pub(super) struct Gap {
    /// Absent when it is not known.
    count: Option<u64>,
    from: String,
    to: String,
}
