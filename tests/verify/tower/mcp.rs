//! A stock MCP client and a stock MCP server, with the layer between them, over a socket.

use std::{sync::Arc, time::Duration};

use hallpass_core::wire::document::{RevocationEntry, Subjects};
use hallpass_verify::{Verifier, tower::HallpassLayer};
use rmcp::{
    ClientLifecycleMode, ClientServiceExt as _, RoleClient,
    model::{CallToolRequestParams, ProtocolVersion},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};

use support::ledger;
use support::{Issuer, rights};

async fn serve(verifier: Arc<Verifier>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        axum::serve(listener, ledger::router(HallpassLayer::new(verifier)))
            .await
            .unwrap()
    });
    url
}

fn modes() -> [ClientLifecycleMode; 2] {
    [
        ClientLifecycleMode::Initialize,
        ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    ]
}

async fn connect(
    url: &str,
    token: &str,
    mode: ClientLifecycleMode,
) -> Result<RunningService<RoleClient, ()>, String> {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
    let transport = StreamableHttpClientTransport::from_config(config);
    ().serve_with_lifecycle(transport, mode)
        .await
        .map_err(|error| format!("{error:?}"))
}

fn tool(name: &'static str, arguments: &Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(arguments.as_object().unwrap().clone())
}

#[tokio::test]
async fn a_stock_client_sees_and_calls_what_its_pass_allows_in_both_eras() {
    for mode in modes() {
        let issuer = Issuer::new();
        let verifier = Arc::new(issuer.verifier());
        let url = serve(Arc::clone(&verifier)).await;
        let pass = issuer.mint(vec![rights(json!({
            "tools": ["read_ledger", "transfer"],
            "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}}},
        }))]);
        let client = connect(&url, pass.expose(), mode.clone()).await.unwrap();

        let mut names: Vec<_> = client
            .list_all_tools()
            .await
            .unwrap()
            .into_iter()
            .map(|tool| tool.name.to_string())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["read_ledger", "transfer"], "{mode:?}");

        let read = client
            .call_tool(tool("read_ledger", &json!({"year": 2026})))
            .await
            .unwrap();
        assert!(format!("{read:?}").contains("rent"), "{read:?}");
        let moved = client
            .call_tool(tool("transfer", &json!({"amount": 100, "account": "rent"})))
            .await
            .unwrap();
        assert!(
            format!("{moved:?}").contains("150100; booked by research-bot for tsk_"),
            "{moved:?}"
        );

        // What the pass does not allow is a matter of scope, and what its limits refuse is one of the call.
        for (refused, expected) in [
            (
                tool("transfer", &json!({"amount": 101, "account": "rent"})),
                "must be between 0 and 100",
            ),
            (tool("delete_ledger", &json!({})), "nsufficient"),
        ] {
            let error = format!("{:?}", client.call_tool(refused).await.unwrap_err());
            assert!(error.contains(expected), "{mode:?}: {error}");
        }
        let read = tool("read_ledger", &json!({"year": 2026}));
        client.call_tool(read).await.unwrap();
        client.cancel().await.unwrap();
    }
}

#[tokio::test]
async fn a_revoked_pass_is_refused_at_the_next_call_and_opens_nothing() {
    for mode in modes() {
        let issuer = Issuer::new();
        let verifier = Arc::new(issuer.verifier());
        let url = serve(Arc::clone(&verifier)).await;
        let pass = issuer.mint(vec![rights(json!({"tools": ["read_ledger"]}))]);
        let client = connect(&url, pass.expose(), mode.clone()).await.unwrap();
        client
            .call_tool(tool("read_ledger", &json!({"year": 2026})))
            .await
            .unwrap();

        let subject = Subjects::task(&issuer.content(vec![]).task);
        let expires_at = issuer.now().plus(Duration::from_secs(600));
        issuer.revoke(
            &verifier,
            RevocationEntry {
                subject,
                cut_off: None,
                expires_at,
            },
        );
        let error = format!(
            "{:?}",
            client
                .call_tool(tool("read_ledger", &json!({"year": 2026})))
                .await
                .unwrap_err()
        );
        assert!(error.contains("invalid_token"), "{mode:?}: {error}");

        let error = connect(&url, pass.expose(), mode.clone())
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(error.contains("invalid_token"), "{mode:?}: {error}");
        let error = connect(&url, "x", mode).await.map(|_| ()).unwrap_err();
        assert!(error.contains("invalid_token"), "{error}");
    }
}
