//! Decisions that verifiers report.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use hallpass_core::wire::report::Report;

/// What a verifier decided: 1 to 500 reports about at most 64 servers, all of them or none.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionsRequest {
    /// Calls and gaps, about servers that the verifier's token names.
    pub reports: Vec<Report>,
}
