//! Reason codes: why something was refused, or could not be decided.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why something was refused or could not be decided: a stable code, the same in
        /// problems, JSON-RPC errors, audit events and metrics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ReasonCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl ReasonCode {
            /// Every code, in the order of this file.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable code.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

reason_codes! {
    // --- the bytes (verify)
    /// No token was presented.
    TokenMissing = "token_missing",
    /// The only code that is returned for a token whose signatures do not verify.
    TokenInvalid = "token_invalid",
    /// Not base64url, or not a Biscuit.
    TokenMalformed = "token_malformed",
    /// Longer than the limit.
    TokenTooLarge = "token_too_large",
    /// Outside the structural profile of format 1.
    TokenProfile = "token_profile",
    /// A signature does not match.
    TokenSignature = "token_signature",
    /// Signed by an unknown or retired key.
    TokenKeyUnknown = "token_key_unknown",
    /// Block 0 is not a valid block 0 of format 1.
    TokenFormat = "token_format",
    /// Issued by another broker.
    TokenIssuer = "token_issuer",
    /// The delegation chain is not signed hop by hop by its holders.
    HolderChain = "holder_chain",
    /// The pass is bound to a key and no proof of that key was presented.
    ProofRequired = "proof_required",
    /// The proof of possession is malformed, or not signed by the key that it embeds.
    ProofInvalid = "proof_invalid",
    /// The proof is signed by a key other than the pass's holder key.
    ProofKey = "proof_key",
    /// The proof is for another token.
    ProofToken = "proof_token",
    /// The proof is for another HTTP method or URL.
    ProofTarget = "proof_target",
    /// The proof is too old, or from the future.
    ProofTime = "proof_time",
    /// The proof was used before.
    ProofReplayed = "proof_replayed",
    /// The proof lacks a nonce of this server, or has an expired one.
    ProofNonce = "proof_nonce",
    /// The proof is for another call.
    ProofCall = "proof_call",
    // --- revocation
    /// The token, or one it was attenuated from, was revoked.
    RevokedToken = "revoked_token",
    /// The task was revoked or is complete.
    RevokedTask = "revoked_task",
    /// The agent was revoked after the pass was issued.
    RevokedAgent = "revoked_agent",
    /// The steward was revoked after the pass was issued.
    RevokedSteward = "revoked_steward",
    /// The server was revoked after the pass was issued.
    RevokedServer = "revoked_server",
    /// The root key was revoked.
    RevokedKey = "revoked_key",
    // --- the call (clear)
    /// The pass is not valid yet.
    NotYetValid = "not_yet_valid",
    /// The pass, or one hop of its chain, has expired.
    Expired = "expired",
    /// The pass is not for this server.
    Audience = "audience",
    /// The pass does not name this tool, resource or prompt.
    NotGranted = "not_granted",
    /// An argument does not satisfy its constraint, or is absent.
    ArgumentConstraint = "argument_constraint",
    /// An argument is not of the type that its constraint requires.
    ArgumentType = "argument_type",
    /// An argument that the closed list does not allow.
    ArgumentNotAllowed = "argument_not_allowed",
    /// More arguments than a verifier checks.
    ArgumentCount = "argument_count",
    /// The pass is read-only and the tool is not.
    ReadOnly = "read_only",
    /// The chain of delegations is longer than allowed.
    DelegationDepth = "delegation_depth",
    /// The call needs a proof that names this call, and the proof names no call.
    CallProofRequired = "call_proof_required",
    /// The budget of calls is used up, or this verifier does not count calls.
    Budget = "budget",
    /// The verifier does not mask fields that the pass requires to be masked.
    Mask = "mask",
    /// A forbidden sequence of calls, or this verifier keeps no history.
    Sequence = "sequence",
    /// An approval is needed and none is in the token.
    ApprovalRequired = "approval_required",
    /// A condition on the verifier's context does not hold.
    Context = "context",
    /// A check that a holder added by attenuation does not hold.
    Attenuation = "attenuation",
    /// The server's manifest does not know this tool, resource or prompt.
    NotInManifest = "not_in_manifest",
    // --- the verifier itself (faults)
    /// No state from the broker yet, or the last is older than the staleness bound.
    FeedStale = "feed_stale",
    /// The engine exceeded its limits.
    RunLimit = "run_limit",
    /// The engine could not evaluate the token.
    Evaluation = "evaluation",
    /// The verifier's store of used proofs is full.
    ProofGuardFull = "proof_guard_full",
    // --- MCP requests at a server
    /// The body is not one strict JSON-RPC 2.0 message.
    MessageMalformed = "message_malformed",
    /// The body is longer than the cap.
    MessageTooLarge = "message_too_large",
    /// A method that the verifier does not know how to clear.
    MethodNotAllowed = "method_not_allowed",
    /// Header and body name different calls.
    HeaderMismatch = "header_mismatch",
    // --- policy
    /// No grant allows the request.
    NoGrant = "no_grant",
    /// A guardrail forbids the request.
    Guardrail = "guardrail",
    /// The engine could not evaluate a policy; refused.
    PolicyError = "policy_error",
    /// The grant requires a holder key and none was presented.
    HolderKeyRequired = "holder_key_required",
    /// No verifier of that server can enforce the request.
    UnsupportedObligation = "unsupported_obligation",
    /// The rights do not fit into one pass.
    PassTooLarge = "pass_too_large",
    /// The constraint names something that neither the request nor the manifest has.
    ConstraintMismatch = "constraint_mismatch",
    /// A pinned context value is absent.
    ContextMissing = "context_missing",
    /// The steward is not the agent's.
    StewardMismatch = "steward_mismatch",
    /// The subject token was not accepted, or its subject is not a steward.
    SubjectToken = "subject_token",
    // --- the broker
    /// Bad input: the detail names the field.
    InvalidRequest = "invalid_request",
    /// Longer than the route accepts.
    RequestTooLarge = "request_too_large",
    /// A content type that the route does not accept.
    UnsupportedMediaType = "unsupported_media_type",
    /// No credential, or one that does not verify.
    Unauthenticated = "unauthenticated",
    /// The credential does not allow this.
    Forbidden = "forbidden",
    /// Not found, or not visible to the caller.
    NotFound = "not_found",
    /// The route does not support the method.
    HttpMethodNotAllowed = "http_method_not_allowed",
    /// The object exists already, or was changed meanwhile.
    Conflict = "conflict",
    /// The idempotency key was used for another request, or its response is no longer stored.
    IdempotencyConflict = "idempotency_conflict",
    /// The agent, steward, server or key is suspended or revoked.
    Suspended = "suspended",
    /// The task is complete, revoked or over.
    TaskEnded = "task_ended",
    /// Too many requests.
    RateLimited = "rate_limited",
    /// The request timed out.
    Timeout = "timeout",
    /// The broker's disk is nearly full: only revocations and task completions are accepted.
    StorageLow = "storage_low",
    /// The broker cannot serve this now.
    Unavailable = "unavailable",
    /// An internal error of the broker.
    Internal = "internal",
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_stable_words() {
        let mut words: Vec<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert!(words.iter().all(|word| {
            word.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        }));
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ReasonCode::ALL.len());
    }
}
