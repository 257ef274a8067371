//! Servers: their manifests, pinned by an operator.

use std::{str::FromStr, sync::Arc};

use axum::extract::State;

use crate::{
    api::{
        Page,
        secret::Secret,
        servers::{ServerNames, ServerWithSecret},
    },
    server::{
        App,
        api::{
            auth::{
                Operator, Reader,
                needs::{RevocationsReinstate, ServersDelete, ServersRead, ServersWrite},
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
    ServerView,
    domain::{client::SecretId, event::Subject},
};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{IdError, ServerName, ServerUri},
    },
    token::manifest::Manifest,
};

/// A server's short name or, percent-encoded in a path, its URI.
#[derive(Debug)]
pub(crate) struct ServerText(String);

impl FromStr for ServerText {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.contains(':') {
            text.parse::<ServerUri>()?;
        } else {
            text.parse::<ServerName>()?;
        }
        Ok(Self(text.to_owned()))
    }
}

/// Registers a server, or replaces its manifest.
#[utoipa::path(put, path = "/v1/servers", operation_id = "servers_set", tag = "registry", security(("operator" = [])),
    request_body = Manifest,
    responses((status = 200, description = "The server", body = ServerView), Problems))]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    operator: Operator<ServersWrite>,
    input: Input<Manifest>,
) -> Result<Answer, Problem> {
    Answer::ok(
        &app.broker
            .registry
            .set_server(&operator.caller, input.value)
            .await?,
    )
}

/// Registers a server that is not registered yet.
#[utoipa::path(post, path = "/v1/servers", operation_id = "servers_create",
    tag = "registry", security(("operator" = [])), request_body = Manifest,
    responses((status = 201, description = "The server", body = ServerView), Problems))]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    operator: Operator<ServersWrite>,
    once: Once,
    input: Input<Manifest>,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        Answer::created(&app.broker.registry.add_server(&caller, input.value).await?)
    };
    once.run(&app, (operator.caller, input.digest), work).await
}

/// Servers in the order of their URIs.
#[utoipa::path(get, path = "/v1/servers", operation_id = "servers_list",
    tag = "registry", security(("operator" = [])), params(Paging),
    responses((status = 200, description = "A page", body = Page<ServerView>), Problems))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _: Operator<ServersRead>,
    params: Params,
) -> Result<Answer, Problem> {
    let params = params.only(&["limit", "cursor"])?;
    let (list, limit) = (params.list("servers"), params.limit()?);
    let items = app
        .broker
        .registry
        .servers(params.after(&list)?.as_ref(), limit.saturating_add(1));
    Page::answer(&list, items, limit, |server| server.manifest.server.clone())
}

/// One server.
#[utoipa::path(get, path = "/v1/servers/{name}", operation_id = "servers_show",
    tag = "registry", security(("operator" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The server", body = ServerView), Problems))]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    _: Operator<ServersRead>,
    Named(ServerText(server)): Named<ServerText>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    Answer::ok(&app.broker.registry.server(&server)?)
}

/// What a server is called: the URI that a request for a task names, for its short name.
///
/// An agent is answered for servers that a grant in force speaks of for it, and 404 for every other.
#[utoipa::path(get, path = "/v1/servers/{name}/uri", operation_id = "servers_uri",
    tag = "registry", security(("agent" = []), ("operator" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "Its URI and name", body = ServerNames), Problems))]
pub(crate) async fn uri(
    State(app): State<Arc<App>>,
    reader: Reader<ServersRead>,
    Named(ServerText(server)): Named<ServerText>,
    params: Params,
) -> Result<Answer, Problem> {
    params.only(&[])?;
    let (server, name) = match reader.confined_to() {
        Some(agent) => {
            let manifest = app.broker.policy.server_for(agent, &server)?;
            (manifest.server.clone(), manifest.name.clone())
        }
        None => {
            let manifest = app.broker.registry.server(&server)?.manifest;
            (manifest.server, manifest.name)
        }
    };
    Answer::ok(&ServerNames { server, name })
}

/// Gives a server another secret, of two at most, to ask about passes with; the old one stays good until it is
/// removed.
#[utoipa::path(post, path = "/v1/servers/{name}/secrets", operation_id = "servers_add_secret",
    tag = "registry", security(("operator" = [])), params(("name" = String, Path)),
    responses((status = 201, description = "The server and its secret", body = ServerWithSecret), Problems))]
pub(crate) async fn add_secret(
    State(app): State<Arc<App>>,
    operator: Operator<ServersWrite>,
    Named(ServerText(server)): Named<ServerText>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let (server, secret) = app
            .broker
            .registry
            .add_server_secret(&caller, &server)
            .await?;
        Answer::created(&ServerWithSecret {
            client_id: Some(server.manifest.name.clone()),
            client_secret: Some(Secret::new(secret.expose())),
            server,
        })
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}

/// Takes a secret from a server.
#[utoipa::path(delete, path = "/v1/servers/{name}/secrets/{secret_id}", operation_id = "servers_remove_secret",
    tag = "registry", security(("operator" = [])),
    params(("name" = String, Path), ("secret_id" = String, Path)),
    responses((status = 200, description = "The server", body = ServerView), Problems))]
pub(crate) async fn remove_secret(
    State(app): State<Arc<App>>,
    operator: Operator<ServersWrite>,
    NamedPair(ServerText(server), secret): NamedPair<ServerText, SecretId>,
    _: NoInput,
) -> Result<Answer, Problem> {
    Answer::ok(
        &app.broker
            .registry
            .remove_server_secret(&operator.caller, &server, &secret)
            .await?,
    )
}

/// Removes a server: nothing is minted for it any more.
#[utoipa::path(delete, path = "/v1/servers/{name}", operation_id = "servers_remove",
    tag = "registry", security(("operator" = [])),
    params(("name" = String, Path)), responses((status = 204, description = "Done"), Problems))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    operator: Operator<ServersDelete>,
    Named(ServerText(server)): Named<ServerText>,
    _: NoInput,
) -> Result<Answer, Problem> {
    app.broker
        .registry
        .remove_server(&operator.caller, &server)
        .await?;
    Ok(Answer::done())
}

/// Lets a revoked server be minted for again.
#[utoipa::path(post, path = "/v1/servers/{name}/reinstate", operation_id = "servers_reinstate",
    tag = "registry", security(("operator" = [])),
    params(("name" = String, Path)),
    responses((status = 200, description = "The server", body = ServerView), Problems))]
pub(crate) async fn reinstate(
    State(app): State<Arc<App>>,
    operator: Operator<RevocationsReinstate>,
    Named(ServerText(server)): Named<ServerText>,
    once: Once,
    _: NoInput,
) -> Result<Answer, Problem> {
    let work = async |caller| {
        let subject = Subject::Server(app.broker.registry.server(&server)?.manifest.server);
        app.broker.revocations.reinstate(&caller, subject).await?;
        Answer::ok(&app.broker.registry.server(&server)?)
    };
    once.run(&app, (operator.caller, Digest::ZERO), work).await
}
