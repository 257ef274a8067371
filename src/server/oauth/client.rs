//! Clients: who sends a token request, proven by whatever credential it presents.

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::server::{
    App,
    api::auth::Agent,
    edge::{context::Context, limit::network, problem::Problem},
    oauth::grammar::{Form, OAuthError, Presented, client_auth::IdAndSecret},
};
use hallpass_broker::{
    Caller, TaskClient,
    domain::event::Actor,
    identity::{AssertionKeys, assertion::ClaimedSigner, jwk::KeyAlgorithm},
};
use hallpass_core::base::{
    client_url::agent_of_client,
    ids::{AgentId, TaskId},
};

/// A client that proved itself.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// The agent that it is.
    pub(super) agent: AgentId,
    /// Whom records are attributed to.
    pub(super) caller: Caller,
}

/// A client that proved itself with its credential.
#[derive(Debug)]
pub(super) enum Proven {
    /// An agent.
    Agent(Client),
    /// A task's own client, whom records are attributed to as such.
    Task(TaskClient, Caller),
}

impl App {
    /// Who presents this credential: an agent or a task's own client.
    pub(super) async fn proven(
        &self,
        presented: &Presented<'_>,
        context: &Context,
    ) -> Result<Proven, Problem> {
        if let Presented::Secret { readings } = presented {
            // An agent is looked up in both cases, so that the time does not reveal which it was.
            let client = first_known(readings, |read| {
                let task: TaskId = read.id.parse().ok()?;
                self.broker
                    .issuance
                    .authenticate_task_client(&task, &read.secret)
            });
            if let Some(client) = client {
                self.admit(&Actor::Agent(client.agent.clone()), context)?;
                let caller = context.caller(Actor::TaskClient(client.task.clone()));
                return Ok(Proven::Task(client, caller));
            }
        }
        self.client(presented, context).await.map(Proven::Agent)
    }

    /// The credential that a request presents, not looked at yet.
    pub(super) fn presented<'f>(
        &self,
        headers: &HeaderMap,
        form: &'f Form,
        context: &Context,
    ) -> Result<Presented<'f>, Problem> {
        let values = headers
            .get_all(header::AUTHORIZATION)
            .iter()
            .map(|value| value.to_str().ok());
        let Some(values) = values.collect::<Option<Vec<_>>>() else {
            return Err(self.not_a_client(context, "a credential that is not ASCII"));
        };
        Presented::read(&values, form).map_err(|error| match error {
            OAuthError::InvalidClient => {
                self.not_a_client(context, "no way of authentication that there is")
            }
            other => other.into(),
        })
    }

    /// The client that presents this credential.
    ///
    /// Every fault of a credential gives the same answer, after the same work; each failure counts
    /// against the peer, each success against the client.
    pub(super) async fn client(
        &self,
        presented: &Presented<'_>,
        context: &Context,
    ) -> Result<Client, Problem> {
        match presented {
            Presented::Assertion {
                assertion,
                client_id,
            } if self.trust.is_of_platform(assertion) => {
                self.workload(assertion, *client_id, (OAuthError::InvalidClient, context))
                    .await
            }
            Presented::Assertion {
                assertion,
                client_id,
            } => {
                let agent = self.signer(assertion, context).await?;
                if client_id.is_some_and(|id| agent_of_client(id).as_ref() != Some(&agent.agent)) {
                    return Err(
                        self.not_a_client(context, "`client_id` is not the assertion's `sub`")
                    );
                }
                Ok(Client {
                    agent: agent.agent,
                    caller: agent.caller,
                })
            }
            Presented::Secret { readings } => {
                let agent = first_known(readings, |read| {
                    self.broker
                        .registry
                        .client_with_secret(&read.id, &read.secret)
                });
                let agent = agent.ok_or_else(|| {
                    self.not_a_client(context, "no client has this id and secret")
                })?;
                let actor = Actor::Agent(agent.clone());
                self.admit(&actor, context)?;
                let caller = context.caller(actor);
                Ok(Client { agent, caller })
            }
            _ => Err(self.not_a_client(context, "no credential")),
        }
    }

    /// The client that presents this credential, or that says who it is and can do no more: a code or
    /// token that it was given is then what it proves itself by.
    pub(super) async fn persons_client(
        &self,
        presented: &Presented<'_>,
        context: &Context,
    ) -> Result<Client, Problem> {
        let Presented::Nothing {
            client_id: Some(client_id),
        } = presented
        else {
            return self.client(presented, context).await;
        };
        let agent = self.broker.registry.public_client(client_id);
        let agent =
            agent.ok_or_else(|| self.not_a_client(context, "no public client has this id"))?;
        // SECURITY: a sender who knows only the id uses up the share of its own network, and no other.
        let actor = Actor::Agent(agent.clone());
        self.admit_principal(&format!("{actor} at {}", network(context.peer)), context)?;
        let caller = context.caller(actor);
        Ok(Client { agent, caller })
    }

    /// The agent that signed `assertion`: by a key that is registered or, where the client's document says where its
    /// keys are, by one that is there now.
    async fn signer(&self, assertion: &str, context: &Context) -> Result<Agent, Problem> {
        let published = |agent: &AgentId| {
            let state = self.broker.state();
            state.agent(agent)?.client.as_ref()?.published_keys.clone()
        };
        let claimed = ClaimedSigner::of(assertion)
            .and_then(|claimed| Some((published(&claimed.agent)?, claimed)));
        let Some((place, claimed)) = claimed else {
            return self.agent(assertion, context);
        };
        let source = self
            .consents
            .published_keys(&claimed.agent, &place.jwks_uri);
        let Some(source) = source else {
            let inside = "the client publishes its keys, and documents of clients are off (`oauth.client_documents`)";
            return Err(self.not_a_client(context, inside));
        };
        let keys = source.keys(claimed.kid.as_deref()).await;
        let keys = keys.map_err(|error| {
            self.not_believed(error.into(), (OAuthError::InvalidClient, context))
        })?;
        let named = place.signing_algorithm.as_deref();
        let algorithm = named.map(|alg| KeyAlgorithm::from_alg(alg).ok_or(alg));
        let algorithm = algorithm.transpose().map_err(|alg| {
            self.not_a_client(
                context,
                &format!("the client signs with `{alg}`, which is unknown"),
            )
        })?;
        // SECURITY: looked up anew: it may have been removed, or have got other keys, while those were fetched.
        let lookup = |agent: &AgentId| {
            (*agent == claimed.agent && published(agent).as_ref() == Some(&place)).then(|| {
                AssertionKeys::Published {
                    keys: Arc::clone(&keys),
                    algorithm,
                }
            })
        };
        self.agent_with(assertion, context, lookup)
    }

    fn not_a_client(&self, context: &Context, inside: &str) -> Problem {
        self.unproven(context, OAuthError::InvalidClient, inside)
    }

    /// What was presented proves nothing: it counts against the peer, and the client gets `error`.
    pub(super) fn unproven(
        &self,
        context: &Context,
        error: OAuthError,
        inside: impl Into<String>,
    ) -> Problem {
        self.limits.note_failure(context.peer);
        Problem::oauth(error, inside)
    }
}

/// Who is `known` by one of the readings. Every one is tried, so that the time does not reveal which was right.
pub(super) fn first_known<T>(
    readings: &[IdAndSecret],
    known: impl Fn(&IdAndSecret) -> Option<T>,
) -> Option<T> {
    readings.iter().map(known).fold(None, Option::or)
}
