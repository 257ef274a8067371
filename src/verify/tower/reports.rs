//! What the layer tells of its decisions, when somebody wants to know.

use crate::{
    Denial, Pass, Permit,
    tower::{Guard, message::Message},
};
use hallpass_core::{
    base::{ReasonCode, trace::TraceParent},
    token::Call,
    wire::report::CallMethod,
};

impl Guard {
    /// Tells what was decided about the call that `message` makes.
    pub(super) fn report_call(
        &self,
        (pass, message, call): (&Pass, &Message, &Call<'_>),
        cleared: &Result<Permit, Denial>,
        caused_by: Option<TraceParent>,
    ) {
        let Some(reports) = &self.reports else { return };
        let report = match cleared {
            Ok(permit) => permit.report(call),
            Err(denial) => self.verifier.refusal_report(pass, Some(call), denial),
        };
        reports.report(
            report
                .by_method(message.method().and_then(CallMethod::parse))
                .caused_by(caused_by),
        );
    }

    /// Tells that `token` was refused before any call was read, when it is one of this broker's.
    ///
    /// SECURITY: nothing that somebody made up is reported: it could be attributed to nobody, and a flood
    /// of it would push out what can.
    pub(super) fn report_refused_token(
        &self,
        token: &str,
        denial: &Denial,
        caused_by: Option<TraceParent>,
    ) {
        if self.reports.is_some()
            && denial.codes().into_iter().all(may_be_genuine)
            && let Ok(pass) = self.verifier.signed(token)
        {
            self.report_refused_pass(&pass, denial, caused_by);
        }
    }

    /// Tells that `pass` was refused before any call was read.
    pub(super) fn report_refused_pass(
        &self,
        pass: &Pass,
        denial: &Denial,
        caused_by: Option<TraceParent>,
    ) {
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

/// Whether a token that was refused for this may have signatures that hold; others are not checked again.
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
