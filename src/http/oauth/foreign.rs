//! JWTs of trusted issuers at the OAuth door: workloads that are clients without a key or secret of ours.

use super::client::Client;
use crate::{
    broker::{Caller, UsedAssertion},
    http::{App, context::Context, problem::Problem},
    identity::issuer::{ForeignJwt, TrustedKind},
    journal::Actor,
    oauth::{OAuthError, Presented},
};

impl App {
    /// The client whose credential is a platform's token (RFC 7523 section 2.2), if it is one.
    pub(super) async fn presented_workload(
        &self,
        presented: &Presented<'_>,
        context: &Context,
    ) -> Result<Option<Client>, Problem> {
        let Presented::Assertion { assertion, client_id } = presented else { return Ok(None) };
        let is_of_a_platform = |jwt: ForeignJwt<'_>| self.trust.is_trusted(jwt.issuer(), TrustedKind::Workload);
        if !ForeignJwt::read(assertion).is_ok_and(is_of_a_platform) {
            return Ok(None);
        }
        let client = self.workload(assertion, (OAuthError::InvalidClient, context)).await?;
        if client_id.is_some_and(|id| id != client.agent.as_str()) {
            return Err(Problem::oauth(OAuthError::InvalidClient, "`client_id` is not the workload's agent"));
        }
        Ok(Some(client))
    }

    /// The client whose platform says in `text` which workload it is. Whatever is wrong with it is told as
    /// `error`.
    ///
    /// Each failure counts against the peer, each success against the client.
    pub(super) async fn workload(
        &self,
        text: &str,
        (error, context): (OAuthError, &Context),
    ) -> Result<Client, Problem> {
        let refused = |inside: String| {
            self.limits.note_failure(context.peer);
            Problem::oauth(error, inside)
        };
        let workload = self.trust.workload(text, (self.broker.issuer(), || self.broker.now())).await;
        let workload = workload.map_err(|error| refused(error.to_string()))?;
        let agent = workload.agent;
        if self.broker.state().agent(&agent).is_none() {
            return Err(refused(format!("the workload's agent `{agent}` is not registered")));
        }
        let expires_at = workload.expires_at;
        let used = workload.once.map(|jti| UsedAssertion { agent: agent.clone(), jti, expires_at });
        if let Some(used) = &used {
            self.broker.use_assertion(used).map_err(|error| refused(error.to_string()))?;
        }
        self.admit_principal(&format!("agent {agent}"), context)?;
        let caller = Caller { assertion: used, ..context.caller(Actor::Agent(agent.clone())) };
        if caller.assertion.is_some() {
            context.used_assertion(caller.clone());
        }
        Ok(Client { agent, caller })
    }
}
