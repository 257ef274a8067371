//! Agents: registering, changing, removing and reinstating them.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::server::{
    App,
    api::{
        auth::{
            Operator,
            needs::{AgentsDelete, AgentsRead, AgentsWrite, RevocationsReinstate},
        },
        openapi::{IdempotencyKey, Paging, Problems},
        schema,
    },
    edge::{
        answer::{Answer, Page},
        extract::{Input, Named, NamedPair, NoInput, Params},
        idempotency::Once,
        problem::Problem,
    },
};
use hallpass_broker::{
    AgentView, NewAgent,
    domain::{client::SecretId, event::Subject},
    identity::RegisteredKey,
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, GroupName},
        redirect::RedirectUri,
    },
    token::RequestedDetail,
};

/// An agent to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentRequest {
    /// Its id.
    #[schema(value_type = String)]
    agent: AgentId,
    /// Who answers for it, by name or id; a new name is registered.
    steward: String,
    /// Its groups.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs: Ed25519, P-256, P-384 or RSA. May be left out with `secret`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
    /// Whether to make a secret for it, for programs that know OAuth and no keys.
    #[serde(default)]
    secret: bool,
    /// What a token request of it asks for that names no scope.
    #[serde(default)]
    #[schema(value_type = Vec<schema::AuthorizationDetail>)]
    default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent: https, http to loopback on any port, or a scheme of an
    /// app's own. A client without keys and secrets is a public one.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    redirect_uris: Vec<RedirectUri>,
}

/// An agent as it is to be from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentChange {
    /// When given, the id that the path names.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    agent: Option<AgentId>,
    /// Who answers for it, by name or id; a new name is registered.
    steward: String,
    /// Its groups.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    groups: BTreeSet<GroupName>,
    /// Its public keys as JWKs: Ed25519, P-256, P-384 or RSA. May be left out when it has a secret.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Value>,
    /// What a token request of it asks for that names no scope.
    #[serde(default)]
    #[schema(value_type = Vec<schema::AuthorizationDetail>)]
    default_details: Vec<RequestedDetail>,
    /// Where authorization codes may be sent; of no effect for clients that say so themselves.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    redirect_uris: Vec<RedirectUri>,
}

/// An agent with the secret that was just made for it.
#[derive(Serialize)]
struct WithSecret<'a> {
    #[serde(flatten)]
    agent: &'a AgentView,
    client_secret: &'a str,
}

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
    params(IdempotencyKey),
    responses((status = 201, description = "The agent", body = schema::AgentView), Problems))]
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
            return Answer::created(&app.broker.registry.add_agent(&caller, new).await?);
        }
        let (agent, secret) = app
            .broker
            .registry
            .add_agent_with_secret(&caller, new)
            .await?;
        Answer::created(&WithSecret {
            agent: &agent,
            client_secret: secret.expose(),
        })
    };
    once.run(&app, (operator.caller, input.digest), work)
        .await
        .map_err(as_spelled_here)
}

/// Agents in the order of their ids.
#[utoipa::path(get, path = "/v1/agents", operation_id = "agents_list", tag = "registry", security(("operator" = [])),
    params(Paging),
    responses((status = 200, description = "A page", body = Page<schema::AgentView>), Problems))]
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
    responses((status = 200, description = "The agent", body = schema::AgentView), Problems))]
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
    responses((status = 200, description = "The agent", body = schema::AgentView), Problems))]
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
    tag = "registry", security(("operator" = [])), params(("agent" = String, Path), IdempotencyKey),
    responses((status = 201, description = "The agent and its secret", body = schema::AgentView), Problems))]
pub(crate) async fn add_secret(
    State(app): State<Arc<App>>,
    operator: Operator<AgentsWrite>,
    Named(agent): Named<AgentId>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let (agent, secret) = app.broker.registry.add_secret(&caller, &agent).await?;
        Answer::created(&WithSecret {
            agent: &agent,
            client_secret: secret.expose(),
        })
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}

/// Takes a secret from an agent; passes that it was given live on.
#[utoipa::path(delete, path = "/v1/agents/{agent}/secrets/{secret_id}", operation_id = "agents_remove_secret",
    tag = "registry", security(("operator" = [])),
    params(("agent" = String, Path), ("secret_id" = String, Path)),
    responses((status = 200, description = "The agent", body = schema::AgentView), Problems))]
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
    responses((status = 200, description = "The agent", body = schema::AgentView), Problems))]
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
