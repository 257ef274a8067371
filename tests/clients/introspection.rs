//! An MCP server on fastmcp that knows nothing of Biscuits: it asks the broker about every token.

use serde_json::json;

use crate::{
    broker_and_server::BrokerAndServer,
    driver::Driver,
    packages::{Fetched, Packages},
};

/// A server that waits to be told whom to ask, and its URL.
async fn started(fetched: &Fetched) -> (Driver, String) {
    let mut server = Driver::start(fetched.python("introspecting_server.py"));
    let origin = server.hear().await["origin"].as_str().unwrap().to_owned();
    (server, format!("{origin}/mcp"))
}

/// One `tools/call` with `pass`: the status and the text.
async fn call(fixture: &BrokerAndServer, url: &str, pass: &str) -> (u16, String) {
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
    "name": "read_note", "arguments": {"name": "rent"}, "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }}});
    let request = fixture.http().post(url).bearer_auth(pass).json(&message);
    let request = request
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "read_note");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// A fixture with such a server, called `notes`, and the URL of that.
async fn with_notes(fixture: &BrokerAndServer, fetched: &Fetched) -> (Driver, String) {
    let (mut server, url) = started(fetched).await;
    fixture.register_server(&url, "notes", &["read_note"]).await;
    fixture.grant_at("notes", "notes", &["read_note"]).await;
    let told = json!({
        "issuer": fixture.issuer(),
        "introspection_endpoint": format!("{}/oauth/introspect", fixture.issuer()),
        "client_id": "notes",
        "client_secret": fixture.server_secret("notes"),
        "client_auth_method": "client_secret_basic",
        "required_scopes": ["tool:read_note"],
    });
    assert_eq!(server.tell(&told).await.unwrap(), "serving");
    (server, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fastmcp_server_takes_a_pass_on_the_brokers_word_and_refuses_a_revoked_one() {
    let Some(fetched) = Packages::Mcp2.fetched() else {
        return;
    };
    let fixture = BrokerAndServer::open().await;
    let (_server, url) = with_notes(&fixture, &fetched).await;
    let agent = fixture.register_agent("reader").await;

    let pass = fixture.token(&agent, &url, "tool:read_note").await;
    let (status, text) = call(&fixture, &url, &pass).await;
    assert!(
        status == 200 && text.contains("the note rent"),
        "{status}: {text}"
    );

    // A pass of the same agent for another server.
    let foreign = fixture
        .token(&agent, fixture.server(), "tool:read_ledger")
        .await;
    assert_eq!(call(&fixture, &url, &foreign).await.0, 401);
    assert_eq!(call(&fixture, &url, "no-pass-at-all").await.0, 401);

    fixture.revoke(&json!({"agent": agent.id})).await;
    let (status, text) = call(&fixture, &url, &pass).await;
    assert_eq!(status, 401, "{text}");
}

/// The issuer has a path: to a bare host fastmcp adds a slash, and stock clients then find another issuer there than
/// the one they were sent to.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_finds_the_broker_through_a_fastmcp_server_and_calls_a_tool() {
    let Some(fetched) = Packages::Mcp2.fetched() else {
        return;
    };
    let fixture = BrokerAndServer::open_with_path().await;
    let (_server, url) = with_notes(&fixture, &fetched).await;
    let agent = fixture.register_agent("reader").await;
    let mut client = Driver::start(fetched.python("mcp2.py"));
    let order = json!({"do": "connect", "flow": "client_secret_basic", "url": url, "issuer": fixture.issuer(),
        "client_id": agent.id, "client_secret": agent.secret, "era": "newest"});
    client.tell(&order).await.unwrap();
    assert_eq!(client.list().await.unwrap(), ["read_note"]);
    assert_eq!(
        client
            .call("read_note", json!({"name": "rent"}))
            .await
            .unwrap(),
        "the note rent"
    );
    client.close().await;
}
