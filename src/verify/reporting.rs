//! Decision reports, which a verifier sends to its broker about the calls that it decided.
//!
//! Reporting has no effect on decisions: a [`ReportSink`] is called after the decision and must not block.

use std::fmt;

use crate::{Denial, Pass, Permit, Verifier};
use hallpass_core::{
    token::{Call, HolderChain, VerifiedPass},
    wire::report::{CallReport, Decision, PassIdentity, ReportedCall, ReportedHop},
};

/// Receives decision reports. It is called on the path of the call, so it must not block.
pub trait ReportSink: fmt::Debug + Send + Sync {
    /// A call was decided.
    fn report(&self, report: CallReport);
}

impl Permit {
    /// The report that `call` was allowed with this permit.
    #[must_use]
    pub fn report(&self, call: &Call<'_>) -> CallReport {
        let identity = PassIdentity {
            task: self.task().clone(),
            agent: self.agent().clone(),
            steward: self.steward().clone(),
        };
        let mut report = CallReport::new(
            self.server().clone(),
            self.cleared_at(),
            Decision::Allowed,
            identity,
        );
        report.call = Some(ReportedCall::of(call));
        report.chain = self.chain().to_vec();
        report.delegates = self.delegates().iter().map(ReportedHop::from).collect();
        report.holder = self.holder().map(|key| key.thumbprint());
        report
    }
}

impl Verifier {
    /// The report that this verifier refused `pass`; `call` is absent when the body was not read yet.
    #[must_use]
    pub fn refusal_report(
        &self,
        pass: &Pass,
        call: Option<&Call<'_>>,
        denial: &Denial,
    ) -> CallReport {
        let verified: &VerifiedPass = pass.verified();
        let claims = verified.claims();
        let mut reasons = denial.codes();
        reasons.sort_unstable();
        reasons.dedup();
        let identity = PassIdentity {
            task: claims.task.clone(),
            agent: claims.agent.clone(),
            steward: claims.steward.clone(),
        };
        let mut report = CallReport::new(
            self.server().clone(),
            self.now(),
            Decision::Refused(reasons),
            identity,
        );
        report.call = call.map(ReportedCall::of);
        report.chain = verified.blocks().to_vec();
        report.delegates = verified
            .holder()
            .map_or(&[][..], HolderChain::hops)
            .iter()
            .map(ReportedHop::from)
            .collect();
        report.holder = verified.holder().map(|chain| chain.leaf().thumbprint());
        report
    }
}
