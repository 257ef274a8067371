//! Rejections: refusals as JSON-RPC errors.

use std::{borrow::Cow, fmt};

use serde_json::{Value, json};

use crate::{Denial, Fault, Refusal};
use hallpass_core::base::ReasonCode;

/// A JSON-RPC error that is sent in place of a response. It holds only what the client may learn.
///
/// A transport adds its own parts: the tower layer chooses an HTTP status and a challenge.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejection {
    code: ErrorCode,
    message: Cow<'static, str>,
    reasons: Vec<Refusal>,
    id: Value,
}

impl Rejection {
    /// A rejection with one reason. The JSON-RPC message is the usual one of `code`.
    #[must_use]
    pub fn new(code: ErrorCode, reason: ReasonCode, detail: impl Into<String>) -> Self {
        Self::saying(
            code,
            code.message(),
            vec![Refusal::new(reason, None, detail)],
        )
    }

    /// A fault of this process or of the server behind it.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, ReasonCode::Internal, detail)
    }

    /// The response for a pass that was refused before a call was read.
    ///
    /// SECURITY: a caller whose token has no valid signature does not learn which keys are known,
    /// nor which check the token failed.
    #[must_use]
    pub fn of_pass(denial: &Denial) -> Self {
        of_pass(denial).0
    }

    /// The response for a call that was refused with a verified pass: it states all reasons.
    #[must_use]
    pub fn of_call(denial: &Denial) -> Self {
        of_call(denial).0
    }

    pub(crate) fn saying(
        code: ErrorCode,
        message: impl Into<Cow<'static, str>>,
        reasons: Vec<Refusal>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            reasons,
            id: Value::Null,
        }
    }

    /// The same rejection as the response to the request `id`.
    #[must_use]
    pub fn answering(mut self, id: Value) -> Self {
        self.id = id;
        self
    }

    /// The JSON-RPC error code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The JSON-RPC error message: which stock clients show.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The first reason, for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        self.reasons
            .first()
            .map_or(ReasonCode::Internal, |reason| reason.code)
    }

    /// Every reason, with its detail.
    #[must_use]
    pub fn reasons(&self) -> &[Refusal] {
        &self.reasons
    }

    /// The id of the request that it responds to; null when there is none.
    #[must_use]
    pub const fn id(&self) -> &Value {
        &self.id
    }

    /// The JSON-RPC error message.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "jsonrpc": "2.0",
            "id": self.id,
            "error": {
                "code": self.code.number(),
                "message": self.message,
                "data": { "reason": self.reason(), "reasons": self.reasons },
            },
        })
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for reason in &self.reasons {
            write!(f, "; {reason}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}

/// The JSON-RPC error codes that hallpass uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// -32700: not JSON, or not strict JSON.
    Parse,
    /// -32600: not one JSON-RPC 2.0 message.
    InvalidRequest,
    /// -32601: a method that no pass allows.
    MethodNotFound,
    /// -32602: parameters that do not have the form of the method.
    InvalidParams,
    /// -32603: a fault of this process or of the server behind it.
    Internal,
    /// -32020: a header that mirrors a part of the body differs from it (MCP 2026-07-28).
    HeaderMismatch,
    /// -32010: refused by the verifier. JSON-RPC leaves the range to servers, and MCP leaves it unused.
    Refused,
    /// -32011: the verifier cannot decide now.
    Unavailable,
}

impl ErrorCode {
    /// The number in the JSON-RPC error.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Parse => -32700,
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::HeaderMismatch => -32020,
            Self::Refused => -32010,
            Self::Unavailable => -32011,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Parse | Self::InvalidRequest | Self::InvalidParams => {
                "not a message this server takes"
            }
            Self::MethodNotFound => "method not allowed",
            Self::Internal => "internal error",
            Self::HeaderMismatch => "header and body differ",
            Self::Refused => "refused",
            Self::Unavailable => "cannot decide now",
        }
    }
}

/// The part that was denied, which determines the client's next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// No decision is possible now.
    Decision,
    /// The proof of possession.
    Proof,
    /// The proof of possession, for its nonce.
    Nonce,
    /// The pass.
    Pass,
    /// The scope: the pass does not grant what is called, and another pass may.
    Scope,
    /// This call, with a valid pass, for what no other scope would mend: arguments above all.
    Call,
}

pub(crate) fn of_pass(denial: &Denial) -> (Rejection, Denied) {
    let refusals = match denial {
        Denial::Fault(fault) => return cannot_decide(*fault),
        Denial::Refused(refusals) => refusals,
    };
    let all = |is: fn(ReasonCode) -> bool| refusals.iter().all(|refusal| is(refusal.code));
    if all(is_about_proof) {
        proof_denied(refusals)
    } else if all(presupposes_signature) {
        pass_denied(refusals.clone())
    } else {
        let detail = "this server does not accept the token";
        pass_denied(vec![Refusal::new(ReasonCode::TokenInvalid, None, detail)])
    }
}

pub(crate) fn of_call(denial: &Denial) -> (Rejection, Denied) {
    let refusals = match denial {
        Denial::Fault(fault) => return cannot_decide(*fault),
        Denial::Refused(refusals) => refusals,
    };
    if refusals.iter().any(|refusal| ends_the_pass(refusal.code)) {
        return of_pass(denial);
    }
    // Another proof would help here; another scope would not.
    if refusals.iter().all(|refusal| is_about_proof(refusal.code)) {
        return proof_denied(refusals);
    }
    let message = with_reasons(refusals);
    let rejection = Rejection::saying(ErrorCode::Refused, message, refusals.clone());
    let not_granted = |refusal: &Refusal| refusal.code == ReasonCode::NotGranted;
    let denied = if refusals.iter().all(not_granted) {
        Denied::Scope
    } else {
        Denied::Call
    };
    (rejection, denied)
}

/// Stock clients show their users and models only the message.
fn with_reasons(refusals: &[Refusal]) -> String {
    let reasons: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    format!("the pass does not allow this call: {}", reasons.join("; "))
}

fn proof_denied(refusals: &[Refusal]) -> (Rejection, Denied) {
    let needs_nonce = |refusal: &Refusal| refusal.code == ReasonCode::ProofNonce;
    let (message, denied) = if refusals.iter().any(needs_nonce) {
        ("the proof of possession needs a nonce", Denied::Nonce)
    } else {
        ("the proof of possession is not valid", Denied::Proof)
    };
    let rejection = Rejection::saying(ErrorCode::Refused, message, refusals.to_vec());
    (rejection, denied)
}

fn pass_denied(reasons: Vec<Refusal>) -> (Rejection, Denied) {
    let rejection = Rejection::saying(ErrorCode::Refused, "the pass is not valid", reasons);
    (rejection, Denied::Pass)
}

fn cannot_decide(fault: Fault) -> (Rejection, Denied) {
    let rejection = Rejection::new(ErrorCode::Unavailable, fault.code(), fault.to_string());
    (rejection, Denied::Decision)
}

/// Codes that only a token with valid signatures can get.
const fn presupposes_signature(code: ReasonCode) -> bool {
    ends_the_pass(code) || matches!(code, ReasonCode::ProofRequired | ReasonCode::HolderChain)
}

/// Codes that a new proof of possession would resolve.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_without_a_valid_signature_learns_one_reason_only() {
        for code in [
            ReasonCode::TokenSignature,
            ReasonCode::TokenKeyUnknown,
            ReasonCode::TokenProfile,
        ] {
            let denial = Denial::Refused(vec![
                Refusal::new(code, Some(3), "the key 17 is unknown"),
                Refusal::new(ReasonCode::Expired, None, "the pass has ended"),
            ]);
            for rejection in [Rejection::of_pass(&denial), Rejection::of_call(&denial)] {
                assert_eq!(rejection.reason(), ReasonCode::TokenInvalid);
                assert_eq!(rejection.reasons().len(), 1);
                assert!(!rejection.to_json().to_string().contains("17"));
            }
        }
    }

    #[test]
    fn a_rejection_of_a_call_states_every_reason_and_answers_its_request() {
        let denial = Denial::Refused(vec![
            Refusal::new(ReasonCode::NotGranted, Some(0), "the pass does not name it"),
            Refusal::new(ReasonCode::Attenuation, Some(2), "allows only tool `a`"),
        ]);
        let (rejection, denied) = of_call(&denial);
        assert_eq!(denied, Denied::Call);
        assert_eq!(
            rejection.answering(json!(7)).to_json(),
            json!({
                "jsonrpc": "2.0",
                "id": 7,
                "error": {
                    "code": -32010,
                    "message": "the pass does not allow this call: not_granted (block 0 (issued by the broker): the pass \
                                does not name it); attenuation (block 2 (added by a holder) allows only tool `a`)",
                    "data": {
                        "reason": "not_granted",
                        "reasons": [
                            {"code": "not_granted", "block": 0, "detail": "the pass does not name it"},
                            {"code": "attenuation", "block": 2, "detail": "allows only tool `a`"},
                        ],
                    },
                },
            })
        );
    }

    #[test]
    fn rejections_distinguish_faults_from_invalid_proofs() {
        let fault = of_call(&Denial::Fault(Fault::FeedStale));
        assert_eq!(
            (fault.0.code(), fault.0.reason(), fault.1),
            (
                ErrorCode::Unavailable,
                ReasonCode::FeedStale,
                Denied::Decision
            )
        );
        let of = |code| of_call(&Denial::because(code, "x")).1;
        assert_eq!(of(ReasonCode::ProofCall), Denied::Proof);
        assert_eq!(of(ReasonCode::ProofNonce), Denied::Nonce);
        assert_eq!(of(ReasonCode::RevokedTask), Denied::Pass);
        assert_eq!(of(ReasonCode::NotGranted), Denied::Scope);
        assert_eq!(of(ReasonCode::ArgumentConstraint), Denied::Call);
    }

    #[test]
    fn every_code_has_its_own_number_in_the_range_of_errors() {
        use ErrorCode::*;
        let all = [
            Parse,
            InvalidRequest,
            MethodNotFound,
            InvalidParams,
            Internal,
            HeaderMismatch,
            Refused,
            Unavailable,
        ];
        let numbers: std::collections::BTreeSet<_> = all.iter().map(|code| code.number()).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(
            numbers
                .iter()
                .all(|number| (-32768..=-32000).contains(number))
        );
        let rejection = Rejection::new(Parse, ReasonCode::MessageMalformed, "EOF");
        assert_eq!(
            rejection.to_string(),
            "not a message this server takes; message_malformed (EOF)"
        );
    }
}
