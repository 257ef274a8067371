//! Responses of the layer itself: a rejection, with an HTTP status and perhaps a challenge.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use crate::{
    Denial, Refusal,
    mcp::{self, Denied, ErrorCode, Rejection},
    tower::challenge::Challenge,
};
use hallpass_core::base::ReasonCode;

/// A rejection, ready to be sent over HTTP.
#[derive(Debug)]
pub(super) struct Answer(Box<Content>);

#[derive(Debug)]
struct Content {
    status: StatusCode,
    rejection: Rejection,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A refusal of the HTTP request, regardless of its message.
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// The JSON-RPC error message.
    pub(super) message: &'static str,
    pub(super) reason: ReasonCode,
    pub(super) detail: Cow<'static, str>,
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let reasons = vec![Refusal::new(refused.reason, None, refused.detail)];
        let rejection = Rejection::saying(ErrorCode::Refused, refused.message, reasons);
        Self::new(refused.status, rejection)
    }
}

/// The status for a message that was rejected for its form or its method.
impl From<Rejection> for Answer {
    fn from(rejection: Rejection) -> Self {
        let status = match rejection.code() {
            ErrorCode::Parse
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidParams
            | ErrorCode::HeaderMismatch => StatusCode::BAD_REQUEST,
            // Not 404: before MCP 2026-07-28 that means that the session has ended.
            // The client can send the call again without what was refused.
            ErrorCode::Refused if rejection.reason() == ReasonCode::MethodNotAllowed => {
                StatusCode::OK
            }
            ErrorCode::MethodNotFound | ErrorCode::Refused => StatusCode::FORBIDDEN,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, rejection)
    }
}

impl Answer {
    fn new(status: StatusCode, rejection: Rejection) -> Self {
        Self(Box::new(Content {
            status,
            rejection,
            headers: Vec::new(),
        }))
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Adds the challenge for the client.
    pub(super) fn challenge(self, challenge: &Challenge<'_>) -> Self {
        match challenge.value() {
            Some(value) => self.header(header::WWW_AUTHENTICATE, value),
            None => self,
        }
    }

    /// Makes it the response to the request `id`.
    pub(super) fn to(mut self, id: Value) -> Self {
        self.0.rejection = self.0.rejection.answering(id);
        self
    }

    /// The first reason, for metrics and logs.
    pub(super) fn reason(&self) -> ReasonCode {
        self.0.rejection.reason()
    }

    /// The HTTP response.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let error = self.0.rejection.to_json();
        // What asked for no answer can be given none.
        let is_answer = !error.get("id").is_none_or(Value::is_null);
        let status = if self.0.status == StatusCode::OK && !is_answer {
            StatusCode::FORBIDDEN
        } else {
            self.0.status
        };
        let mut response = Response::new(Full::from(error.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.0.headers);
        response
    }
}

/// The response for a denied pass, before a call was read.
pub(super) fn pass_denied(denial: &Denial, challenge: &Challenge<'_>) -> Answer {
    denied(mcp::of_pass(denial), challenge)
}

/// The response for a denied call with a verified pass.
pub(super) fn call_denied(denial: &Denial, challenge: &Challenge<'_>) -> Answer {
    denied(mcp::of_call(denial), challenge)
}

fn denied((rejection, denied): (Rejection, Denied), challenge: &Challenge<'_>) -> Answer {
    let challenge_with = |status, error, description| {
        Answer::new(status, rejection.clone()).challenge(&challenge.with_error(error, description))
    };
    let unauthorized = StatusCode::UNAUTHORIZED;
    match denied {
        Denied::Decision => Answer::new(StatusCode::SERVICE_UNAVAILABLE, rejection)
            .header(header::RETRY_AFTER, RETRY_AFTER_SECONDS),
        Denied::Proof => {
            let (error, description) = INVALID_PROOF;
            challenge_with(unauthorized, error, description)
        }
        Denied::Nonce => challenge_with(
            unauthorized,
            "use_dpop_nonce",
            "sign a new proof with the nonce of this response",
        ),
        Denied::Pass => challenge_with(
            unauthorized,
            "invalid_token",
            "get a new pass and try again",
        ),
        Denied::Scope => challenge_with(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "the pass does not allow this call",
        ),
        // A client can do nothing about it with its credentials, and a model can with its arguments: a status would make
        // clients ask for another pass, or end the session, and keep the reason from the model.
        Denied::Call => Answer::new(StatusCode::OK, rejection),
    }
}

/// The response for a request with the `DPoP` scheme and no usable proof (RFC 9449).
pub(super) fn proof_missing(challenge: &Challenge<'_>) -> Answer {
    let (error, description) = INVALID_PROOF;
    Answer::from(Refused {
        status: StatusCode::UNAUTHORIZED,
        message: "the proof of possession is not valid",
        reason: ReasonCode::ProofInvalid,
        detail: "send exactly one `DPoP` header with a proof of possession".into(),
    })
    .challenge(&challenge.with_error(error, description))
}

/// The error and its description in a challenge (RFC 9449 section 7.1).
const INVALID_PROOF: (&str, &str) = ("invalid_dpop_proof", "sign a new proof for this request");

const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");
