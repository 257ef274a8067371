//! A real MCP server with pages of tools, prompts and resources.

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn},
    routing::post,
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

/// A server of MCP 2026-07-28 alone, behind a header of its own.
pub(crate) async fn listen_stateless() -> String {
    let answer = |headers: HeaderMap, Json(message): Json<Value>| async move {
        let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let text = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let error = |status, code, words: &str| {
            let error = json!({"code": code, "message": words});
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
            (status, Json(answer))
        };
        if given("notion-token") != Some("sesame") {
            return error(
                StatusCode::UNAUTHORIZED,
                -32000,
                "a Notion-Token is wanted\u{1b}[2J",
            );
        }
        let method = text("/method").unwrap();
        if method == "initialize" {
            return error(StatusCode::NOT_FOUND, -32601, "Method not found");
        }
        let version = "2026-07-28";
        let is_of_version = given("mcp-protocol-version") == Some(version)
            && given("mcp-method") == Some(method)
            && text("/params/_meta/io.modelcontextprotocol~1protocolVersion") == Some(version);
        if !is_of_version {
            return error(
                StatusCode::BAD_REQUEST,
                -32020,
                "the headers differ from the body",
            );
        }
        let samples =
            message.pointer("/params/_meta/io.modelcontextprotocol~1clientCapabilities/sampling");
        let result = match method {
            "server/discover" => json!({"capabilities": {"tools": {}, "resources": {}}}),
            "tools/list" if samples.is_some() => {
                json!({"tools": [{"name": "sample", "inputSchema": {"type": "object"}}]})
            }
            "resources/list" => json!({"resources": []}),
            "resources/templates/list" => {
                json!({"resourceTemplates": [{"name": "page", "uriTemplate": "notion://pages/{id}"}]})
            }
            _ => return error(StatusCode::NOT_FOUND, -32601, "Method not found"),
        };
        (
            StatusCode::OK,
            Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})),
        )
    };
    let router = Router::new().route("/mcp", post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    uri
}
