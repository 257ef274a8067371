//! Problems: how errors are answered (RFC 9457), rendered in one place.
//!
//! OAuth clients get the same in the form of RFC 6749. Two audiences: the answer never holds a token,
//! a value that was sent, a path of the server's file system or anything of another principal; the internal reason
//! goes to the log, once: at `info` where OAuth clients get one fixed text for each code.

use std::{borrow::Cow, sync::Arc, time::Duration};

use crate::{
    api::problem::{OAuthErrorBody, ProblemBody, ReasonBody},
    server::oauth::grammar::OAuthError,
};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hallpass_broker::{BrokerError, DecisionsError, ObjectKind, policy::PolicyErrors};
use hallpass_core::base::{
    ReasonCode,
    ids::{RequestId, TaskId},
};

/// An error, on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    status: StatusCode,
    code: ReasonCode,
    detail: Cow<'static, str>,
    field: Option<String>,
    reasons: Vec<ReasonBody>,
    errors: Vec<String>,
    task: Option<TaskId>,
    retry_after: Option<Duration>,
    /// The error code for an OAuth client; `None`: what fits the status.
    oauth: Option<OAuthError>,
    /// For the log.
    inside: Option<String>,
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: ReasonCode,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Details {
            status,
            code,
            detail: detail.into(),
            field: None,
            reasons: Vec::new(),
            errors: Vec::new(),
            task: None,
            retry_after: None,
            oauth: None,
            inside: None,
        }))
    }

    /// A refusal of an OAuth endpoint; `inside` is for the log.
    pub(crate) fn oauth(error: OAuthError, inside: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let code = match error {
            OAuthError::InvalidClient => ReasonCode::Unauthenticated,
            OAuthError::UnauthorizedClient | OAuthError::AccessDenied => ReasonCode::Forbidden,
            OAuthError::TemporarilyUnavailable => ReasonCode::Unavailable,
            OAuthError::ServerError => ReasonCode::Internal,
            _ => ReasonCode::InvalidRequest,
        };
        let mut problem = Self::new(status, code, error.description())
            .inside(format!("{error}: {}", inside.into()));
        problem.0.oauth = Some(error);
        problem.0.retry_after =
            (error == OAuthError::TemporarilyUnavailable).then_some(RETRY_AFTER);
        problem
    }

    /// A member, parameter or header is wrong.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ReasonCode::InvalidRequest, detail).field(field)
    }

    /// The credential is missing or does not verify; one text for every reason.
    pub(crate) fn unauthenticated(inside: impl Into<String>) -> Self {
        let detail = "present one credential that is valid now: `Authorization: Bearer …`";
        Self::new(
            StatusCode::UNAUTHORIZED,
            ReasonCode::Unauthenticated,
            detail,
        )
        .inside(inside)
    }

    pub(crate) fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, ReasonCode::Forbidden, detail)
    }

    /// No such thing, or not the caller's to see: the two look the same.
    pub(crate) fn not_found(what: ObjectKind) -> Self {
        let detail = format!("there is no such {what}, or it is not yours to see");
        Self::new(StatusCode::NOT_FOUND, ReasonCode::NotFound, detail)
    }

    pub(crate) fn rate_limited(wait: Duration) -> Self {
        let detail = "too many requests: wait as long as Retry-After says";
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ReasonCode::RateLimited,
            detail,
        )
        .retry_after(wait)
    }

    pub(crate) fn unavailable(detail: &'static str, inside: impl Into<String>) -> Self {
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ReasonCode::Unavailable,
            detail,
        );
        problem.retry_after(RETRY_AFTER).inside(inside)
    }

    fn storage_low(inside: impl Into<String>) -> Self {
        let detail = "the broker's disk is nearly full: until space is freed, only revocations and task completions are accepted";
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ReasonCode::StorageLow,
            detail,
        );
        problem.retry_after(RETRY_AFTER).inside(inside)
    }

    pub(crate) fn timeout(limit: Duration) -> Self {
        let detail = "it took too long; what was asked for may have been done";
        Self::new(StatusCode::GATEWAY_TIMEOUT, ReasonCode::Timeout, detail).retry_after(limit)
    }

    pub(crate) fn internal(inside: impl Into<String>) -> Self {
        let detail = "an internal error of the broker: see its log for this request id";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ReasonCode::Internal,
            detail,
        )
        .inside(inside)
    }

    /// Policy files that do not check, shown to operators.
    pub(crate) fn policy(errors: &PolicyErrors) -> Self {
        let detail = "the policy does not check, so the one in force stays";
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            ReasonCode::InvalidRequest,
            detail,
        );
        problem.0.errors = errors.findings().iter().map(ToString::to_string).collect();
        problem
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Names the member as this route's body spells it, where the broker names it otherwise.
    pub(crate) fn renamed(self, broker: &str, here: &str) -> Self {
        if self.0.field.as_deref() == Some(broker) {
            self.field(here)
        } else {
            self
        }
    }

    pub(crate) fn task(mut self, task: Option<TaskId>) -> Self {
        self.0.task = task;
        self
    }

    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub(crate) fn inside(mut self, inside: impl Into<String>) -> Self {
        self.0.inside = Some(inside.into());
        self
    }
}

impl From<OAuthError> for Problem {
    fn from(error: OAuthError) -> Self {
        Self::oauth(error, error.description())
    }
}

impl Details {
    /// The error code for an OAuth client.
    fn as_oauth(&self) -> OAuthError {
        self.oauth.unwrap_or(match self.status {
            StatusCode::UNAUTHORIZED => OAuthError::InvalidClient,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => OAuthError::TemporarilyUnavailable,
            status if status.is_server_error() => OAuthError::ServerError,
            _ => OAuthError::InvalidRequest,
        })
    }

    fn body(&self, request: &RequestId) -> ProblemBody {
        ProblemBody {
            problem_type: format!("urn:hallpass:problem:{}", self.code),
            title: self.code.as_str().replace('_', " "),
            status: self.status.as_u16(),
            detail: self.detail.to_string(),
            code: self.code.as_str().to_owned(),
            request_id: request.to_string(),
            field: self.field.clone(),
            reasons: self.reasons.clone(),
            errors: self.errors.clone(),
            task_id: self.task.as_ref().map(ToString::to_string),
        }
    }
}

impl From<BrokerError> for Problem {
    fn from(error: BrokerError) -> Self {
        let code = error.code();
        let inside = error.to_string();
        match error {
            BrokerError::Refused(reasons) => {
                let mut problem = Self::new(
                    StatusCode::FORBIDDEN,
                    code,
                    "refused: `reasons` lists every one",
                );
                problem.0.reasons = reasons.iter().map(ReasonBody::from).collect();
                problem
            }
            BrokerError::Invalid { field, detail } => Self::invalid(field, detail),
            // What was asked for is the caller's word, which may be anything: it is not logged either.
            BrokerError::NotFound(missing) => Self::not_found(missing.kind),
            BrokerError::Conflict(detail) => Self::new(StatusCode::CONFLICT, code, detail),
            BrokerError::Suspended(detail) => Self::new(StatusCode::FORBIDDEN, code, detail),
            BrokerError::TaskEnded(detail) => Self::new(StatusCode::CONFLICT, code, detail),
            BrokerError::Archived(detail) => Self::new(StatusCode::GONE, code, detail),
            BrokerError::Replay => Self::unauthenticated(inside),
            BrokerError::Journal(_) => {
                Self::unavailable("nothing can be recorded now, so nothing was done", inside)
            }
            BrokerError::StorageLow => Self::storage_low(inside),
            BrokerError::Trail(_) => {
                Self::unavailable("the audit trail cannot be read now", inside)
            }
            BrokerError::Full(_) => Self::unavailable("the limit is reached: retry later", inside),
            BrokerError::Internal(_) => Self::internal(inside),
            BrokerError::Busy => {
                Self::unavailable("too many reports are being made: ask again later", inside)
            }
            BrokerError::Contended => Self::unavailable(
                "other brokers recorded first, so nothing was done: ask again",
                inside,
            ),
            BrokerError::Decisions(DecisionsError::Busy) => {
                Self::unavailable("too many reports wait: send them again later", inside)
            }
            BrokerError::Decisions(_) => {
                Self::unavailable("the chain of decisions cannot be used now", inside)
            }
            BrokerError::Files(_) => {
                Self::unavailable("the broker cannot reach its files now", inside)
            }
        }
    }
}

impl IntoResponse for Problem {
    /// The body is written by [`render`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.extensions_mut().insert(Arc::new(*self.0));
        response
    }
}

/// Gives a response its problem as a body, where it is one; logs what is for inside.
///
/// Errors that a library answered with (no route, wrong method) become problems too.
pub(crate) fn render(
    mut response: Response,
    request: &RequestId,
    dialect: Dialect,
) -> (Response, Option<ReasonCode>) {
    if response.extensions_mut().remove::<Page>().is_some() {
        return (response, None);
    }
    let problem = response.extensions_mut().remove::<Arc<Details>>();
    let problem = problem.or_else(|| foreign(&response).map(|problem| Arc::new(*problem.0)));
    let Some(problem) = problem else {
        return (response, None);
    };
    let inside = problem.inside.as_deref().unwrap_or_default();
    if problem.status.is_server_error() {
        tracing::error!(request.id = %request, code = %problem.code, error = inside, "the request failed");
    } else if problem.status == StatusCode::UNAUTHORIZED {
        // The answer says nothing more, so that operators need the reason here.
        tracing::info!(request.id = %request, code = %problem.code, reason = inside, "the credential was refused");
    } else if dialect == Dialect::OAuth {
        tracing::info!(request.id = %request, error = %problem.as_oauth(), reason = inside, "the request was refused");
    } else {
        tracing::debug!(request.id = %request, code = %problem.code, reason = inside, "the request was refused");
    }
    // Plain strings and numbers: there is nothing here that JSON could not hold.
    let (body, content_type, challenge) = match dialect {
        Dialect::Problem => (
            serde_json::to_vec(&problem.body(request)),
            PROBLEM_JSON,
            "Bearer realm=\"hallpass\"",
        ),
        Dialect::OAuth => {
            let error = problem.as_oauth();
            let body = OAuthErrorBody {
                error: Cow::Borrowed(error.as_str()),
                error_description: Cow::Borrowed(error.description()),
            };
            (
                serde_json::to_vec(&body),
                "application/json",
                "Basic realm=\"hallpass\"",
            )
        }
    };
    let body = body.unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if problem.status == StatusCode::UNAUTHORIZED {
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
    }
    if let Some(wait) = problem.retry_after {
        // Whole seconds, rounded up: no client comes back too early.
        let seconds = wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0))
            .max(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    (
        Response::from_parts(parts, Body::from(body)),
        Some(problem.code),
    )
}

fn foreign(response: &Response) -> Option<Problem> {
    let status = response.status();
    let problem = match status {
        StatusCode::NOT_FOUND => {
            Problem::new(status, ReasonCode::NotFound, "there is no such route")
        }
        StatusCode::METHOD_NOT_ALLOWED => Problem::new(
            status,
            ReasonCode::HttpMethodNotAllowed,
            "`Allow` lists the methods of this route",
        ),
        _ if status.is_client_error() => Problem::new(
            status,
            ReasonCode::InvalidRequest,
            "the request is malformed",
        ),
        _ if status.is_server_error() => Problem::internal("a library answered with an error"),
        _ => return None,
    };
    Some(problem)
}

/// Marks a response that shows a person what is wrong by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page;

/// In which form a problem is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// RFC 9457, for the API.
    Problem,
    /// RFC 6749 section 5.2, for OAuth endpoints.
    OAuth,
}

pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// When the broker cannot do something, trying again sooner is of no use.
const RETRY_AFTER: Duration = Duration::from_secs(5);
