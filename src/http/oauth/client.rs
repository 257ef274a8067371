//! Clients: who sends a token request, proven by whatever credential it presents.

use axum::http::{HeaderMap, header};

use crate::{
    base::ids::AgentId,
    broker::Caller,
    http::{App, context::Context, problem::Problem},
    journal::Actor,
    oauth::{Form, OAuthError, Presented},
};

/// A client that proved itself.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// The agent that it is.
    pub(super) agent: AgentId,
    /// Whom records are attributed to.
    pub(super) caller: Caller,
}

impl App {
    /// The credential that a request presents, not looked at yet.
    pub(super) fn presented<'f>(
        &self,
        headers: &HeaderMap,
        form: &'f Form,
        context: &Context,
    ) -> Result<Presented<'f>, Problem> {
        let values = headers.get_all(header::AUTHORIZATION).iter().map(|value| value.to_str().ok());
        let Some(values) = values.collect::<Option<Vec<_>>>() else {
            return Err(self.not_a_client(context, "a credential that is not ASCII"));
        };
        Presented::read(&values, form).map_err(|error| match error {
            OAuthError::InvalidClient => self.not_a_client(context, "no way of authentication that there is"),
            other => other.into(),
        })
    }

    /// The client that presents this credential.
    ///
    /// Whatever is wrong with a credential is told in one way, after the same work; each failure counts
    /// against the peer, each success against the client.
    pub(super) fn client(&self, presented: &Presented<'_>, context: &Context) -> Result<Client, Problem> {
        match presented {
            Presented::Assertion { assertion, client_id } => {
                let agent = self.agent(assertion, context)?;
                if client_id.is_some_and(|id| id != agent.agent.as_str()) {
                    return Err(self.not_a_client(context, "`client_id` is not the assertion's `sub`"));
                }
                Ok(Client { agent: agent.agent, caller: agent.caller })
            }
            Presented::Secret { readings } => {
                let known = readings.iter().map(|read| self.broker.client_with_secret(&read.id, &read.secret));
                // Every reading is tried, so that the time does not tell which was right.
                let agent = known.fold(None, |found: Option<AgentId>, known| found.or(known));
                let agent = agent.ok_or_else(|| self.not_a_client(context, "no client has this id and secret"))?;
                self.admit_principal(&format!("agent {agent}"), context)?;
                let caller = context.caller(Actor::Agent(agent.clone()));
                Ok(Client { agent, caller })
            }
            _ => Err(self.not_a_client(context, "no credential")),
        }
    }

    fn not_a_client(&self, context: &Context, inside: &str) -> Problem {
        self.limits.note_failure(context.peer);
        Problem::oauth(OAuthError::InvalidClient, inside)
    }
}
