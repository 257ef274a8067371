//! Answers that the layer gives itself: one status, perhaps a challenge, one JSON-RPC error.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{Denial, Fault, Refusal, tower::challenge::Challenge};
use hallpass_core::base::ReasonCode;

/// A no, ready to be sent. It says what the caller may know and nothing else.
#[derive(Debug)]
pub(super) struct Answer(Box<Content>);

#[derive(Debug)]
struct Content {
    status: StatusCode,
    code: i64,
    message: Cow<'static, str>,
    reasons: Vec<Refusal>,
    headers: Vec<(HeaderName, HeaderValue)>,
    id: Value,
}

impl Answer {
    /// An answer with the JSON-RPC error `code`.
    pub(super) fn error(
        status: StatusCode,
        code: i64,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (message, reasons, headers) = (message.into(), Vec::new(), Vec::new());
        Self(Box::new(Content {
            status,
            code,
            message,
            reasons,
            headers,
            id: Value::Null,
        }))
    }

    /// Adds a reason.
    pub(super) fn because(mut self, code: ReasonCode, detail: impl Into<String>) -> Self {
        self.0.reasons.push(Refusal::new(code, None, detail));
        self
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Adds the challenge that a client acts upon.
    pub(super) fn challenge(self, challenge: &Challenge<'_>) -> Self {
        match challenge.value() {
            Some(value) => self.header(header::WWW_AUTHENTICATE, value),
            None => self,
        }
    }

    /// Answers to the request `id`.
    pub(super) fn to(mut self, id: Value) -> Self {
        self.0.id = id;
        self
    }

    /// The first reason: what the answer is counted and logged under.
    pub(super) fn reason(&self) -> ReasonCode {
        self.0
            .reasons
            .first()
            .map_or(ReasonCode::Internal, |reason| reason.code)
    }

    /// The JSON-RPC error message.
    pub(super) fn to_json(&self) -> Value {
        let reason = self.reason();
        json!({
            "jsonrpc": "2.0",
            "id": self.0.id,
            "error": {
                "code": self.0.code,
                "message": self.0.message,
                "data": { "reason": reason, "reasons": self.0.reasons },
            },
        })
    }

    /// The HTTP response.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.to_json().to_string()));
        *response.status_mut() = self.0.status;
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

/// The answer to a denial of the pass itself, before anything was called.
///
/// SECURITY: whoever presents a token whose signatures do not hold learns nothing from the
/// answer, neither which keys are known nor how far the token got.
pub(super) fn pass_denied(denial: &Denial, challenge: &Challenge<'_>) -> Answer {
    match denial {
        Denial::Fault(fault) => cannot_decide(*fault),
        Denial::Refused(refusals)
            if refusals.iter().all(|refusal| is_about_proof(refusal.code)) =>
        {
            proof_denied(refusals, challenge)
        }
        Denial::Refused(refusals)
            if refusals
                .iter()
                .all(|refusal| presupposes_signature(refusal.code)) =>
        {
            invalid_token(challenge, refusals.clone())
        }
        Denial::Refused(_) => {
            let detail = "the token is not one that this server accepts".to_owned();
            invalid_token(
                challenge,
                vec![Refusal::new(ReasonCode::TokenInvalid, None, detail)],
            )
        }
    }
}

/// The answer to a denial of a call by a pass that was verified: all reasons are told.
pub(super) fn call_denied(denial: &Denial, challenge: &Challenge<'_>) -> Answer {
    match denial {
        Denial::Fault(fault) => cannot_decide(*fault),
        Denial::Refused(refusals) if refusals.iter().any(|refusal| ends_the_pass(refusal.code)) => {
            pass_denied(denial, challenge)
        }
        // What another proof would cure is no matter of scope.
        Denial::Refused(refusals)
            if refusals.iter().all(|refusal| is_about_proof(refusal.code)) =>
        {
            proof_denied(refusals, challenge)
        }
        Denial::Refused(refusals) => {
            let challenge =
                challenge.with_error("insufficient_scope", "the pass does not allow this call");
            let mut answer = Answer::error(StatusCode::FORBIDDEN, REFUSED, with_reasons(refusals));
            answer.0.reasons = refusals.clone();
            answer.challenge(&challenge)
        }
    }
}

/// Stock clients show their users, and models, the message and nothing beside it.
fn with_reasons(refusals: &[Refusal]) -> String {
    let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    format!("the pass does not allow this call: {}", reasons.join("; "))
}

/// A fault of the layer or of the server behind it: refused, and said so.
pub(super) fn broken(detail: &'static str) -> Answer {
    Answer::error(
        StatusCode::INTERNAL_SERVER_ERROR,
        INTERNAL_ERROR,
        "internal error",
    )
    .because(ReasonCode::Internal, detail)
}

/// The answer to a proof of possession that is not one, or not for this request (RFC 9449).
pub(super) fn proof_refused(challenge: &Challenge<'_>) -> Answer {
    let challenge = challenge.with_error("invalid_dpop_proof", "sign a new proof for this request");
    Answer::error(
        StatusCode::UNAUTHORIZED,
        REFUSED,
        "the proof of possession is not valid",
    )
    .challenge(&challenge)
}

fn proof_denied(refusals: &[Refusal], challenge: &Challenge<'_>) -> Answer {
    let mut answer = if refusals
        .iter()
        .any(|refusal| refusal.code == ReasonCode::ProofNonce)
    {
        let challenge = challenge.with_error(
            "use_dpop_nonce",
            "sign a new proof with the nonce of this answer",
        );
        Answer::error(
            StatusCode::UNAUTHORIZED,
            REFUSED,
            "the proof of possession needs a nonce",
        )
        .challenge(&challenge)
    } else {
        proof_refused(challenge)
    };
    answer.0.reasons = refusals.to_vec();
    answer
}

fn invalid_token(challenge: &Challenge<'_>, reasons: Vec<Refusal>) -> Answer {
    let challenge = challenge.with_error("invalid_token", "get a new pass and try again");
    let mut answer = Answer::error(StatusCode::UNAUTHORIZED, REFUSED, "the pass is not valid");
    answer.0.reasons = reasons;
    answer.challenge(&challenge)
}

fn cannot_decide(fault: Fault) -> Answer {
    Answer::error(
        StatusCode::SERVICE_UNAVAILABLE,
        UNAVAILABLE,
        "cannot decide now",
    )
    .because(fault.code(), fault.to_string())
    .header(header::RETRY_AFTER, RETRY_AFTER_SECONDS)
}

/// Codes that only a token with genuine signatures can get.
const fn presupposes_signature(code: ReasonCode) -> bool {
    ends_the_pass(code) || matches!(code, ReasonCode::ProofRequired | ReasonCode::HolderChain)
}

/// Codes that a new proof of possession would cure.
const fn is_about_proof(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::ProofInvalid
            | ReasonCode::ProofKey
            | ReasonCode::ProofToken
            | ReasonCode::ProofTarget
            | ReasonCode::ProofTime
            | ReasonCode::ProofReplayed
            | ReasonCode::ProofNonce
            | ReasonCode::ProofCall
            | ReasonCode::CallProofRequired
    )
}

/// Codes for which no call at all can be cleared with this pass.
const fn ends_the_pass(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::RevokedToken
            | ReasonCode::RevokedTask
            | ReasonCode::RevokedAgent
            | ReasonCode::RevokedSteward
            | ReasonCode::RevokedServer
            | ReasonCode::RevokedKey
            | ReasonCode::Expired
            | ReasonCode::NotYetValid
            | ReasonCode::Audience
    )
}

/// Refused by the verifier. In the range that JSON-RPC leaves to servers and MCP leaves unused.
pub(super) const REFUSED: i64 = -32010;
/// The verifier cannot decide; later it may.
const UNAVAILABLE: i64 = -32011;
const INTERNAL_ERROR: i64 = -32603;

const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");
