//! Decisions about a client's token and messages, for every transport.

use std::sync::Arc;

use crate::{
    Denial, Pass, Permit, ReportSink, Verifier,
    mcp::{ClientMessage, Exchange, Rejection},
};
use hallpass_core::{
    base::{ReasonCode, trace::TraceParent},
    possession::Presented,
    token::Call,
    wire::report::CallMethod,
};

/// Messages longer than this are refused unless configured otherwise: 1 MiB.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Decides about tokens and messages with a [`Verifier`], and reports the decisions.
#[derive(Debug, Clone)]
pub struct Decider {
    verifier: Arc<Verifier>,
    reports: Option<Arc<dyn ReportSink>>,
    max_message_bytes: usize,
    forwards_roots: bool,
}

impl Decider {
    /// Decides with `verifier`, reports nothing, and reads messages of at most
    /// [`DEFAULT_MAX_MESSAGE_BYTES`].
    #[must_use]
    pub const fn new(verifier: Arc<Verifier>) -> Self {
        Self {
            verifier,
            reports: None,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            forwards_roots: false,
        }
    }

    /// Leaves the client's directories (MCP `roots`) in its messages; without this the server hears that there are none.
    ///
    /// SECURITY: only for a server that takes them for a hint. One that serves the directories that a client lists is moved
    /// out of its own by any agent.
    #[must_use]
    pub const fn forward_roots(mut self) -> Self {
        self.forwards_roots = true;
        self
    }

    /// Sends `reports` a report of every call that is decided, and of every pass of this broker that
    /// is refused before its call was read.
    #[must_use]
    pub fn report_to(mut self, reports: Arc<dyn ReportSink>) -> Self {
        self.reports = Some(reports);
        self
    }

    /// Refuses messages longer than `bytes`.
    #[must_use]
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// The verifier.
    #[must_use]
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// Checks a token: its signatures, its revocation, its times, its audience, and the proof of
    /// possession when one is presented.
    ///
    /// # Errors
    ///
    /// As [`Verifier::verify`], [`Verifier::verify_with_proof`] and [`Verifier::admit`].
    pub fn admit(
        &self,
        token: &str,
        proof: Option<&Presented<'_>>,
        caused_by: Option<TraceParent>,
    ) -> Result<Pass, Denial> {
        let verified = match proof {
            None => self.verifier.verify(token),
            Some(presented) => self.verifier.verify_with_proof(token, presented),
        };
        let pass =
            verified.inspect_err(|denial| self.report_refused_token(token, denial, caused_by))?;
        self.admit_again(&pass, caused_by)?;
        Ok(pass)
    }

    /// Reads one message of the client, whose directories are left out unless they are
    /// [forwarded](Self::forward_roots).
    ///
    /// # Errors
    ///
    /// As [`ClientMessage::read`].
    pub fn message(&self, bytes: &[u8]) -> Result<ClientMessage, Rejection> {
        let message = ClientMessage::read(bytes, self.max_message_bytes)?;
        Ok(if self.forwards_roots {
            message
        } else {
            message.without_roots()
        })
    }

    /// Decides the call that `message` makes. For a message that makes none, which needs no permit,
    /// it checks again whether the pass may still be used.
    ///
    /// # Errors
    ///
    /// A refusal with every reason; a fault when it cannot be decided.
    pub fn clear(
        &self,
        pass: &Pass,
        message: &ClientMessage,
        caused_by: Option<TraceParent>,
    ) -> Result<Option<Permit>, Denial> {
        let Some(call) = message.call() else {
            self.admit_again(pass, caused_by)?;
            return Ok(None);
        };
        let cleared = self.verifier.clear(pass, &call);
        if self.reports.is_some() {
            let decided = Decided {
                pass,
                call: &call,
                method: message.method().and_then(CallMethod::parse),
                cleared: &cleared,
            };
            self.report_call(&decided, caused_by);
        }
        cleared.map(Some)
    }

    /// The exchange of a message to the holder of `pass` whose request is not known.
    #[must_use]
    pub fn exchange(&self, pass: Pass) -> Exchange {
        Exchange::of_holder(Arc::clone(&self.verifier), pass)
    }

    fn admit_again(&self, pass: &Pass, caused_by: Option<TraceParent>) -> Result<(), Denial> {
        self.verifier
            .admit(pass)
            .map(drop)
            .inspect_err(|denial| self.report_refused_pass(pass, denial, caused_by))
    }

    /// Reports the decision about one call.
    fn report_call(&self, decided: &Decided<'_>, caused_by: Option<TraceParent>) {
        let Some(reports) = &self.reports else { return };
        let report = match decided.cleared {
            Ok(permit) => permit.report(decided.call),
            Err(denial) => self
                .verifier
                .refusal_report(decided.pass, Some(decided.call), denial),
        };
        reports.report(report.by_method(decided.method).caused_by(caused_by));
    }

    /// Reports that `token` was refused before any call was read, when this broker issued it.
    ///
    /// SECURITY: a token that anyone could have made up is not reported: the report could name no
    /// agent truthfully, and a flood of such reports would push out those that can.
    fn report_refused_token(&self, token: &str, denial: &Denial, caused_by: Option<TraceParent>) {
        if self.reports.is_some()
            && denial.codes().into_iter().all(may_be_genuine)
            && let Ok(pass) = self.verifier.signed(token)
        {
            self.report_refused_pass(&pass, denial, caused_by);
        }
    }

    /// Reports that `pass` was refused before any call was read.
    fn report_refused_pass(&self, pass: &Pass, denial: &Denial, caused_by: Option<TraceParent>) {
        let Some(reports) = &self.reports else { return };
        if pass.verified().claims().issuer == *self.verifier.issuer() {
            reports.report(
                self.verifier
                    .refusal_report(pass, None, denial)
                    .caused_by(caused_by),
            );
        }
    }
}

/// One call and the decision about it.
struct Decided<'d> {
    pass: &'d Pass,
    call: &'d Call<'d>,
    method: Option<CallMethod>,
    cleared: &'d Result<Permit, Denial>,
}

/// Whether a token that was refused for this may have valid signatures; others are not checked again.
const fn may_be_genuine(code: ReasonCode) -> bool {
    !matches!(
        code,
        ReasonCode::TokenInvalid
            | ReasonCode::TokenMalformed
            | ReasonCode::TokenTooLarge
            | ReasonCode::TokenProfile
            | ReasonCode::TokenSignature
            | ReasonCode::TokenKeyUnknown
            | ReasonCode::TokenFormat
            | ReasonCode::TokenIssuer
            | ReasonCode::HolderChain
    )
}
