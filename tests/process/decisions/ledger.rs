//! A guarded MCP server that reports what it decides to a broker in a process of its own.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use hallpass_core::base::time::{Clock as _, ManualClock, SystemClock};
use hallpass_verify::{
    Verifier,
    feed::{FeedClient, FeedHandle, Reports, ReportsStatus},
    tower::{HallpassLayer, HallpassService},
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneService};

use support::process::{BrokerProcess, ISSUER, setup::Setup};

pub const BOUND: Duration = Duration::from_secs(30);

/// What must happen happens soon; this only ends a test that would wait for ever.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server behind the layer, on the feed of a broker, reporting to it.
pub struct ReportingServer {
    /// Stands still, so that an outage lasts as long as the test says.
    pub clock: Arc<ManualClock>,
    pub verifier: Arc<Verifier>,
    pub feed: FeedHandle,
    pub reports: Arc<Reports>,
    service: HallpassService<
        BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, std::convert::Infallible>,
    >,
}

impl ReportingServer {
    /// Starts it and waits until it is current.
    pub async fn start(setup: &Setup, broker: &str, spool: &Path) -> Self {
        Self::start_with(setup, (broker, spool), 1_000_000).await
    }

    pub async fn start_with(
        setup: &Setup,
        (broker, spool): (&str, &Path),
        max_spool_bytes: u64,
    ) -> Self {
        let ledger = Self::start_blind(setup, (broker, spool), max_spool_bytes);
        timeout(PATIENCE, ledger.feed.ready())
            .await
            .unwrap()
            .unwrap();
        ledger
    }

    /// Starts it and waits for nothing.
    pub fn start_blind(
        setup: &Setup,
        (broker, spool): (&str, &Path),
        max_spool_bytes: u64,
    ) -> Self {
        let clock = Arc::new(ManualClock::new(SystemClock::default().now()));
        let builder = Verifier::builder(
            ISSUER.parse().unwrap(),
            &setup.feed_key,
            setup.manifest.clone(),
        );
        let verifier = Arc::new(builder.clock(clock.clone()).staleness_bound(BOUND).build());
        let client = FeedClient::builder(Arc::clone(&verifier), broker, &setup.verifier_token)
            .build()
            .unwrap();
        let reports = Arc::new(
            client
                .reports(spool)
                .max_spool_bytes(max_spool_bytes)
                .spawn()
                .unwrap(),
        );
        let inner = service_fn(|_: Request<Full<Bytes>>| async {
            let body = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}).to_string();
            Ok(Response::builder()
                .header("content-type", "application/json")
                .body(Full::from(body))
                .unwrap())
        });
        let layer = HallpassLayer::builder(Arc::clone(&verifier))
            .report_to(reports.clone())
            .build();
        let service = layer.layer(BoxCloneService::new(inner));
        Self {
            clock,
            verifier,
            feed: client.spawn(),
            reports,
            service,
        }
    }

    /// Calls a tool: `cleared`, or why not.
    pub async fn call(&self, pass: &str, tool: &str) -> String {
        self.call_with(pass, tool, json!({})).await
    }

    pub async fn call_with(&self, pass: &str, tool: &str, meta: Value) -> String {
        let params = json!({"name": tool, "arguments": {"year": 2026}, "_meta": meta});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let request = Request::post("/mcp")
            .header("authorization", format!("Bearer {pass}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(Bytes::from(message.to_string())))
            .unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        if body.get("result").is_some() {
            return "cleared".to_owned();
        }
        body["error"]["data"]["reason"].as_str().unwrap().to_owned()
    }

    pub async fn until(&self, condition: impl FnMut(&ReportsStatus) -> bool) -> ReportsStatus {
        match timeout(PATIENCE, self.reports.wait_for(condition)).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("still {:?}", self.reports.status()),
        }
    }

    pub async fn until_delivered(&self, count: u64) {
        let status = self.until(|status| status.delivered >= count).await;
        assert_eq!(status.delivered, count, "{status:?}");
    }
}

/// What the broker has of the calls that the query asks for, the oldest first.
pub async fn calls(broker: &BrokerProcess, query: &str) -> Vec<Value> {
    let page = broker
        .as_admin(
            "GET",
            &format!("/v1/decisions?limit=200&order=oldest{query}"),
            None,
        )
        .await
        .unwrap();
    assert!(page["next"].is_null(), "{page}");
    page["items"].as_array().unwrap().clone()
}
