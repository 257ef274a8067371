//! Problems: what an answer says when something went wrong (RFC 9457, RFC 6749).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use hallpass_broker::policy::Reason;

/// An error of an OAuth endpoint (RFC 6749 section 5.2).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = OAuthError)]
pub struct OAuthErrorBody {
    /// The code.
    pub error: Cow<'static, str>,
    /// The code in words.
    pub error_description: Cow<'static, str>,
}

/// A problem (RFC 9457).
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `urn:hallpass:problem:` and the code.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what would be right.
    pub detail: String,
    /// One stable word.
    pub code: String,
    /// The request, as the broker's log knows it.
    pub request_id: String,
    /// The member, parameter or header that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Every reason of a refusal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<ReasonBody>,
    /// What is wrong with the policy: file, line and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// The task that an earlier request with this idempotency key opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
}

/// One reason of a refusal.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Reason)]
pub struct ReasonBody {
    /// One stable word.
    pub code: String,
    /// What it is about and what decided, in words.
    pub detail: String,
    /// The right that is refused, when it is about one: `tool read_ledger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
    /// The server of that right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The grant or guardrail that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<RuleBody>,
}

/// A grant or guardrail.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DecidingRule)]
pub struct RuleBody {
    /// Its name.
    pub name: String,
    /// Its file, under the policy directory.
    pub file: String,
}

impl From<&Reason> for ReasonBody {
    fn from(reason: &Reason) -> Self {
        let source = reason.decided_by.as_ref();
        Self {
            code: reason.code.as_str().to_owned(),
            detail: reason.detail.clone(),
            right: reason.right.as_ref().map(ToString::to_string),
            server: reason.right.as_ref().map(|right| right.server.to_string()),
            decided_by: source.map(|source| RuleBody {
                name: source.name.clone(),
                file: source.file.clone(),
            }),
        }
    }
}
