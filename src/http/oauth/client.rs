//! Clients: who sends a token request, proven by whatever credential it presents.

use axum::http::{HeaderMap, header};

use crate::{
    base::{
        client_url::{ClientUrl, agent_of_client},
        ids::{AgentId, TaskId},
    },
    broker::{Caller, TaskClient},
    http::{App, context::Context, problem::Problem},
    journal::{Actor, client::ClientOrigin},
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

/// Whoever proved itself with its credential.
#[derive(Debug)]
pub(super) enum Proven {
    /// An agent.
    Agent(Client),
    /// A task's own client, whom records are attributed to as such.
    Task(TaskClient, Caller),
}

impl App {
    /// Who presents this credential: an agent or a task's own client.
    pub(super) fn proven(&self, presented: &Presented<'_>, context: &Context) -> Result<Proven, Problem> {
        let Presented::Secret { readings } = presented else {
            return self.client(presented, context).map(Proven::Agent);
        };
        let known = readings.iter().map(|read| {
            let task: TaskId = read.id.parse().ok()?;
            self.broker.authenticate_task_client(&task, &read.secret)
        });
        // Every reading is tried, and an agent looked for besides, so that the time does not tell which it was.
        let client = known.fold(None, |found: Option<TaskClient>, known| found.or(known));
        match client {
            Some(client) => {
                self.admit_principal(&format!("agent {}", client.agent), context)?;
                let caller = context.caller(Actor::TaskClient(client.task.clone()));
                Ok(Proven::Task(client, caller))
            }
            None => self.client(presented, context).map(Proven::Agent),
        }
    }

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
                if client_id.is_some_and(|id| agent_of_client(id).as_ref() != Some(&agent.agent)) {
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

    /// The client that presents this credential, or that says who it is and can do no more: a code or
    /// token that it was given, and nobody else, is then what it proves itself by.
    pub(super) fn persons_client(&self, presented: &Presented<'_>, context: &Context) -> Result<Client, Problem> {
        let Presented::Nothing { client_id: Some(client_id) } = presented else {
            return self.client(presented, context);
        };
        let unknown = || self.not_a_client(context, "no public client has this id");
        let agent = agent_of_client(client_id).ok_or_else(unknown)?;
        let record = self.broker.state().agent(&agent).cloned().ok_or_else(unknown)?;
        let client = record.client.unwrap_or_default();
        // SECURITY: who has a key or a secret shows it, and who has a platform brings its word.
        let is_bare = record.keys.is_empty() && record.secrets.is_empty();
        let is_workload = self.broker.options().workloads.contains(&agent);
        let is_public = is_bare && !is_workload && !client.redirect_uris.is_empty();
        let is_named = match &client.origin {
            ClientOrigin::MetadataDocument { url } => url == client_id,
            _ => !ClientUrl::is_meant(client_id),
        };
        if !is_public || !is_named {
            return Err(unknown());
        }
        let caller = context.caller(Actor::Agent(agent.clone()));
        Ok(Client { agent, caller })
    }

    fn not_a_client(&self, context: &Context, inside: &str) -> Problem {
        self.limits.note_failure(context.peer);
        Problem::oauth(OAuthError::InvalidClient, inside)
    }
}
