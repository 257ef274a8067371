//! Agents: registering, changing, removing and reinstating them.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value;

use crate::{
    api::{
        Page,
        agents::{AgentChange, AgentRequest, AgentWithSecret},
        secret::Secret,
    },
    server::{
        App,
        api::{
            auth::{
                Operator,
                needs::{AgentsDelete, AgentsRead, AgentsWrite, RevocationsReinstate},
            },
            openapi::{Paging, Problems},
        },
        edge::{
            answer::Answer,
            extract::{Input, Named, NamedPair, NoInput, Params},
            idempotency::Once,
            problem::Problem,
        },
    },
};
use hallpass_broker::{
    AgentView, NewAgent,
    domain::{client::SecretId, event::Subject},
    identity::RegisteredKey,
};
use hallpass_core::base::{digest::Digest, ids::AgentId};

/// The JWKs as they are kept, when each is a public key that is accepted.
fn public_keys(keys: &[Value]) -> Result<Vec<Value>, Problem> {
    // Whether an agent can do without is the broker's to say.
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys = RegisteredKey::from_jwks(keys)
        .map_err(|error| Problem::invalid("keys", error.to_string()))?;
    Ok(keys.iter().map(|key| key.jwk().clone()).collect())
}

/// Registers an agent.
#[utoipa::path(post, path = "/v1/agents", operation_id = "agents_create",
    tag = "registry", security(("operator" = [])), request_body = AgentRequest,
    responses((status = 201, description = "The agent", body = AgentWithSecret), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<AgentsWrite>,
    once: Once,
    input: Input<AgentRequest>,
) -> Result<Answer, Problem> {
    let AgentRequest {
        agent,
        steward,
        groups,
        keys,
        secret,
        default_details,
        redirect_uris,
    } = input.value;
    let new = NewAgent {
        agent,
        steward,
        groups,
        keys: public_keys(&keys)?,
        default_details,
        redirect_uris,
    };
    let work = async |caller| {
        if !secret {
            let agent = app.broker.registry.add_agent(&caller, new).await?;
            return Answer::created(&AgentWithSecret {
                agent,
                client_secret: None,
            });
        }
        let (agent, secret) = app
            .broker
            .registry
            .add_agent_with_secret(&caller, new)
            .await?;
        Answer::created(&AgentWithSecret {
            agent,
            client_secret: Some(Secret::new(secret.expose())),
        })
    };
    once.run(&app, (operator.caller, input.digest), work)
        .await
        .map_err(as_spelled_here)
}

/// Agents in the order of their ids.
#[utoipa::path(get, path = "/v1/agents", operation_id = "agents_list", tag = "registry", security(("operator" = [])),
    params(Paging),
    responses((status = 200, description = "A page", body = Page<AgentView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<AgentsRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["limit", "cursor"])?;
    let (list, limit) = (params.list("agents"), params.limit()?);
    let items = app
        .broker
        .registry
        .agents(params.after(&list)?.as_ref(), limit.saturating_add(1));
    Page::answer(&list, items, limit, |agent| agent.agent.clone())
}

/// One agent.
#[utoipa::path(get, path = "/v1/agents/{agent}", operation_id = "agents_show",
    tag = "registry", security(("operator" = [])), params(("agent" = String, Path)),
    responses((status = 200, description = "The agent", body = AgentView), Problems))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Operator<AgentsRead>,
    Named(agent): Named<AgentId>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Answer::ok(&app.broker.registry.agent(&agent)?)
}

/// Changes an agent's steward, groups, keys and default rights; its secrets stay.
#[utoipa::path(put, path = "/v1/agents/{agent}", operation_id = "agents_change",
    tag = "registry", security(("operator" = [])), params(("agent" = String, Path)), request_body = AgentChange,
    responses((status = 200, description = "The agent", body = AgentView), Problems))]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    operator: Operator<AgentsWrite>,
    Named(agent): Named<AgentId>,
    input: Input<AgentChange>,
) -> Result<Answer, Problem> {
    let AgentChange {
        agent: again,
        steward,
        groups,
        keys,
        default_details,
        redirect_uris,
    } = input.value;
    if again.is_some_and(|again| again != agent) {
        return Err(Problem::invalid(
            "agent",
            "not the agent that the path names",
        ));
    }
    let new = NewAgent {
        agent,
        steward,
        groups,
        keys: public_keys(&keys)?,
        default_details,
        redirect_uris,
    };
    let changed = app
        .broker
        .registry
        .change_agent(&operator.caller, new)
        .await;
    Answer::ok(&changed.map_err(|error| as_spelled_here(error.into()))?)
}

fn as_spelled_here(problem: Problem) -> Problem {
    problem.renamed("authorization_details", "default_details")
}

/// Gives an agent another secret, of two at most; the old one stays good until it is removed.
#[utoipa::path(post, path = "/v1/agents/{agent}/secrets", operation_id = "agents_add_secret",
    tag = "registry", security(("operator" = [])), params(("agent" = String, Path)),
    responses((status = 201, description = "The agent and its secret", body = AgentWithSecret), Problems))]
pub(crate) async fn add_secret(
    State(app): State<Arc<App>>,
    operator: Operator<AgentsWrite>,
    Named(agent): Named<AgentId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let (agent, secret) = app.broker.registry.add_secret(&caller, &agent).await?;
        Answer::created(&AgentWithSecret {
            agent,
            client_secret: Some(Secret::new(secret.expose())),
        })
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}

/// Takes a secret from an agent; passes that it was given live on.
#[utoipa::path(delete, path = "/v1/agents/{agent}/secrets/{secret_id}", operation_id = "agents_remove_secret",
    tag = "registry", security(("operator" = [])),
    params(("agent" = String, Path), ("secret_id" = String, Path)),
    responses((status = 200, description = "The agent", body = AgentView), Problems))]
pub(crate) async fn remove_secret(
    State(app): State<Arc<App>>,
    operator: Operator<AgentsWrite>,
    NamedPair(agent, secret): NamedPair<AgentId, SecretId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    Answer::ok(
        &app.broker
            .registry
            .remove_secret(&operator.caller, &agent, &secret)
            .await?,
    )
}

/// Removes an agent; its id stays taken.
#[utoipa::path(delete, path = "/v1/agents/{agent}", operation_id = "agents_remove",
    tag = "registry", security(("operator" = [])), params(("agent" = String, Path)),
    responses((status = 204, description = "Done"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    operator: Operator<AgentsDelete>,
    Named(agent): Named<AgentId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    app.broker
        .registry
        .remove_agent(&operator.caller, &agent)
        .await?;
    Ok(Answer::done())
}

/// Lets a revoked agent be minted for again.
#[utoipa::path(post, path = "/v1/agents/{agent}/reinstate", operation_id = "agents_reinstate",
    tag = "registry", security(("operator" = [])), params(("agent" = String, Path)),
    responses((status = 200, description = "The agent", body = AgentView), Problems))]
pub(crate) async fn reinstate(
    State(app): State<Arc<App>>,
    operator: Operator<RevocationsReinstate>,
    Named(agent): Named<AgentId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let view = app.broker.registry.agent(&agent)?.agent;
        app.broker
            .revocations
            .reinstate(&caller, Subject::Agent(view))
            .await?;
        Answer::ok(&app.broker.registry.agent(&agent)?)
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}
