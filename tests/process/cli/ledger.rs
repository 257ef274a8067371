//! A real MCP server with pages of tools, prompts and resources.

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        ListPromptsResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::{Value, json};

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// With sessions, as events.
    Events,
    /// Without sessions, as JSON.
    Json,
}

/// A server that listens until the runtime ends: its URI.
pub(crate) async fn listen(answers: Answers, token: Option<&'static str>) -> String {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = answers == Answers::Events;
    config.json_response = answers == Answers::Json;
    let service = StreamableHttpService::new(
        || Ok(PagedServer),
        LocalSessionManager::default().into(),
        config,
    );
    let guard = from_fn(move |request: Request, next: Next| async move {
        let given = request
            .headers()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        match token {
            Some(token) if given != Some(&format!("Bearer {token}")) => {
                Err(StatusCode::UNAUTHORIZED)
            }
            _ => Ok(next.run(request).await),
        }
    });
    let router = Router::new().route_service("/mcp", service).layer(guard);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    uri
}

#[derive(Clone)]
struct PagedServer;

impl ServerHandler for PagedServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_prompts()
                .enable_resources()
                .build(),
        )
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let page = match request.and_then(|request| request.cursor).as_deref() {
            None => json!({"nextCursor": "more", "tools": [
                {"name": "read_ledger", "description": "Read a year", "annotations": {"readOnlyHint": true},
                 "inputSchema": {"type": "object", "properties": {"year": {"type": "integer"}}}},
            ]}),
            Some("more") => json!({"tools": [
                {"name": "transfer", "inputSchema": {"type": "object", "properties": {"amount": {"type": "integer"}}}},
                {"name": "read_file", "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}}},
            ]}),
            Some(other) => return Err(ErrorData::invalid_params(format!("no page {other}"), None)),
        };
        Ok(of(page))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(of(json!({"prompts": [{"name": "summarise"}]})))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(of(
            json!({"resources": [{"uri": "file:///srv/books", "name": "books"}]}),
        ))
    }
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
