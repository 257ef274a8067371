//! JWTs of trusted issuers at the OAuth endpoints: workloads that are clients without a key or secret of ours.

use crate::server::{
    App,
    api::subject::outage,
    edge::{context::Context, problem::Problem},
    oauth::{client::Client, grammar::OAuthError},
    outbound::TrustError,
};
use hallpass_broker::{BrokerError, Caller, UsedAssertion, domain::event::Actor};

impl App {
    /// The client whose platform says in `text` which workload it is; a `client_id` beside it is the same. Whatever
    /// is wrong with it, the client gets `error`.
    ///
    /// Each failure counts against the peer, each success against the client.
    pub(super) async fn workload(
        &self,
        text: &str,
        client_id: Option<&str>,
        (error, context): (OAuthError, &Context),
    ) -> Result<Client, Problem> {
        let refused = |inside: String| self.unproven(context, error, inside);
        let workload = self
            .trust
            .workload(text, (self.broker.issuer(), || self.broker.now()))
            .await;
        let workload = workload.map_err(|reason| self.not_believed(reason, (error, context)))?;
        let agent = workload.agent;
        if client_id.is_some_and(|id| id != agent.as_str()) {
            return Err(refused(
                "`client_id` is not the workload's agent".to_owned(),
            ));
        }
        if self.broker.state().agent(&agent).is_none() {
            return Err(refused(format!(
                "the workload's agent `{agent}` is not registered"
            )));
        }
        let expires_at = workload.expires_at;
        let used = workload.once.map(|jti| UsedAssertion {
            agent: agent.clone(),
            jti,
            expires_at,
        });
        if let Some(used) = &used {
            self.broker
                .use_assertion(used)
                .map_err(|error| match error {
                    BrokerError::Replay => refused(error.to_string()),
                    other => other.into(),
                })?;
        }
        self.admit(&Actor::Agent(agent.clone()), context)?;
        let caller = Caller {
            assertion: used,
            ..context.caller(Actor::Agent(agent.clone()))
        };
        if caller.assertion.is_some() {
            context.used_assertion(caller.clone());
        }
        Ok(Client { agent, caller })
    }

    /// A JWT of an issuer that was refused, answered with `error`, unless the issuer cannot be asked.
    pub(super) fn not_believed(
        &self,
        reason: TrustError,
        (error, context): (OAuthError, &Context),
    ) -> Problem {
        outage(&reason).unwrap_or_else(|| self.unproven(context, error, reason.to_string()))
    }
}
