//! Workloads: a platform says which of its workloads this is, and the settings say which agent that is.

use crate::identity::issuer::{GenuineJwt, JwtReason};
use hallpass_core::base::{
    digest::Digest,
    ids::{AgentId, IssuerUri},
    time::Timestamp,
};

/// A workload that is an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which agent it is.
    pub agent: AgentId,
    /// Digest over the issuer and the `jti`, when its tokens are accepted once only.
    pub once: Option<Digest>,
    /// Until when the `jti` must be remembered.
    pub expires_at: Timestamp,
}

impl Workload {
    /// Reads a workload's token, for the broker `own` at `now`.
    ///
    /// # Errors
    ///
    /// Refuses another audience than the settings', one that does not hold now, one that is bound to a key,
    /// claims of the wrong type, and a subject that fits no pattern, or patterns of several agents.
    pub fn read(jwt: &GenuineJwt<'_>, own: &IssuerUri, now: Timestamp) -> Result<Self, JwtReason> {
        let trusted = jwt.trusted;
        if !trusted.is_audience(jwt.only_audience()?, own) {
            return Err(JwtReason::Audience);
        }
        if jwt.claim("cnf").is_some() {
            return Err(JwtReason::Narrowed("cnf"));
        }
        let expires_at = jwt.end(now)?;
        let subject = jwt.subject()?;
        let mut agents = trusted
            .subjects
            .iter()
            .filter(|(pattern, _)| pattern.matches(subject))
            .map(|(_, agent)| agent);
        let agent = agents.next().ok_or(JwtReason::Subject)?;
        if agents.any(|other| other != agent) {
            return Err(JwtReason::Subject);
        }
        let once = trusted.single_use.then(|| jwt.jti()).transpose()?;
        Ok(Self {
            agent: agent.clone(),
            once,
            expires_at,
        })
    }
}
