//! rmcp's own client: this test, started as a process of its own.

use std::process::Command;

use oauth2::ClientSecret;
use rmcp::{
    ClientLifecycleMode, ClientServiceExt as _, RoleClient,
    model::{CallToolRequestParams, ProtocolVersion},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport,
        auth::{
            AuthClient, ClientCredentialsConfig, JwtSigningAlgorithm, OAuthState,
            default_oauth_http_client,
            enterprise::{EmaAuthorizationServer, EmaClientAuthentication, EmaExchangeRequest},
        },
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};

use crate::{
    driver::Driver,
    flows::{Stock, walk_through},
    idp::APPLICATION_SECRET,
};

type Client = RunningService<RoleClient, ()>;
type Result<T> = std::result::Result<T, String>;

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_gets_through() {
    if std::env::var_os(DRIVEN).is_some() {
        return serve().await;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "rmcp_client::rmcp_gets_through", "--nocapture"])
        .env(DRIVEN, "");
    walk_through(&RMCP, Driver::start(command)).await;
}

/// Takes orders until there are no more.
async fn serve() {
    let mut orders = std::io::stdin().lines();
    let mut client = None;
    while let Some(line) = tokio::task::block_in_place(|| orders.next()) {
        let order: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let done = follow(&order, &mut client).await;
        // On a line of its own, whatever the test runner has begun to print.
        println!(
            "\n{}",
            done.map_or_else(|error| json!({"error": error}), |ok| json!({"ok": ok}))
        );
    }
}

async fn follow(order: &Value, client: &mut Option<Client>) -> Result<Value> {
    let there_is = || client.as_ref().ok_or("there is no session");
    match text(order, "do") {
        "versions" => Ok(json!({"rmcp": version()})),
        "connect" => {
            let opened = open(order).await?;
            let protocol = opened
                .peer_info()
                .map(|info| info.protocol_version.to_string());
            *client = Some(opened);
            Ok(json!({"protocol": protocol}))
        }
        "list" => {
            let tools = there_is()?.list_all_tools().await.map_err(told)?;
            Ok(tools.iter().map(|tool| tool.name.as_ref()).collect())
        }
        "call" => {
            let arguments = order["arguments"].as_object().cloned().unwrap_or_default();
            let call = CallToolRequestParams::new(text(order, "tool").to_owned())
                .with_arguments(arguments);
            let answer = there_is()?.call_tool(call).await.map_err(told)?;
            let texts = answer
                .content
                .iter()
                .filter_map(|content| content.as_text().map(|text| text.text.as_str()));
            Ok(json!(texts.collect::<Vec<_>>().join(" ")))
        }
        "close" => {
            if let Some(client) = client.take() {
                client.cancel().await.map_err(told)?;
            }
            Ok(Value::Null)
        }
        other => Err(format!("cannot {other}")),
    }
}

async fn open(order: &Value) -> Result<Client> {
    let url = text(order, "url");
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(told)?;
    if text(order, "flow") == "id_jag" {
        let token = enterprise_token(order).await?;
        let transport = StreamableHttpClientTransport::with_client(http, config.auth_header(token));
        return ().serve_with_lifecycle(transport, lifecycle(order)).await.map_err(told);
    }
    let mut state = OAuthState::new(url, None).await.map_err(told)?;
    state
        .authenticate_client_credentials(credentials(order))
        .await
        .map_err(told)?;
    let manager = state.into_authorization_manager().ok_or("not authorized")?;
    let transport =
        StreamableHttpClientTransport::with_client(AuthClient::new(http, manager), config);
    ().serve_with_lifecycle(transport, lifecycle(order))
        .await
        .map_err(told)
}

fn lifecycle(order: &Value) -> ClientLifecycleMode {
    if text(order, "era") == "legacy" {
        return ClientLifecycleMode::Initialize;
    }
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

fn credentials(order: &Value) -> ClientCredentialsConfig {
    let client_id = text(order, "client_id").to_owned();
    let scopes = scopes(order);
    let resource = Some(text(order, "url").to_owned());
    if text(order, "flow") == "private_key_jwt" {
        ClientCredentialsConfig::PrivateKeyJwt {
            client_id,
            signing_key: text(order, "private_key").as_bytes().to_vec(),
            signing_algorithm: JwtSigningAlgorithm::ES256,
            token_endpoint_audience: None,
            scopes,
            resource,
        }
    } else {
        let client_secret = text(order, "client_secret").to_owned();
        ClientCredentialsConfig::ClientSecret {
            client_id,
            client_secret,
            scopes,
            resource,
        }
    }
}

/// Both exchanges of enterprise-managed authorization.
async fn enterprise_token(order: &Value) -> Result<String> {
    let (idp, client_id) = (&order["idp"], text(order, "client_id"));
    let issuer = text(order, "issuer");
    let secret = |secret: &str| {
        EmaClientAuthentication::ClientSecretPost(ClientSecret::new(secret.to_owned()))
    };
    let http = default_oauth_http_client().map_err(told)?;
    let token = EmaExchangeRequest::new_with_id_token(
        EmaAuthorizationServer::new(text(idp, "issuer"), text(idp, "token_endpoint"), client_id)
            .with_client_authentication(secret(APPLICATION_SECRET)),
        EmaAuthorizationServer::new(issuer, format!("{issuer}/oauth/token"), client_id)
            .with_client_authentication(secret(text(order, "client_secret"))),
        text(order, "url"),
        text(idp, "id_token"),
    )
    .with_scopes(scopes(order))
    .exchange(&http, &http)
    .await
    .map_err(told)?;
    Ok(token.access_token.secret().clone())
}

fn scopes(order: &Value) -> Vec<String> {
    order["scope"]
        .as_str()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn text<'o>(order: &'o Value, name: &str) -> &'o str {
    order[name].as_str().unwrap_or_default()
}

/// With what it wraps, which its text leaves out.
fn told(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// What the lock file says that this is built with.
fn version() -> String {
    let lock: toml::Value = toml::from_str(include_str!("../../Cargo.lock")).unwrap();
    let packages = lock["package"].as_array().unwrap();
    let rmcp = packages
        .iter()
        .find(|package| package["name"].as_str() == Some("rmcp"))
        .unwrap();
    rmcp["version"].as_str().unwrap().to_owned()
}

const RMCP: Stock = Stock {
    client: "`rmcp`",
    package: "rmcp",
    flows: &["client_secret_post", "private_key_jwt", "id_jag"],
    task_flow: "client_secret_post",
    broken: None,
};

const DRIVEN: &str = "HALLPASS_TEST_DRIVES_RMCP";
