//! A guarded server that records what reaches it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hallpass_core::base::json;
use hallpass_verify::{
    Verifier,
    tower::{HallpassLayer, HallpassService},
};
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneService};

use support::{self, Issuer, rights};

type Inner = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, std::convert::Infallible>;
type Record = Arc<Mutex<Vec<(Parts, Bytes)>>>;

/// A broker's keys, a verifier that hears from it, and a server behind the layer.
pub struct Guarded {
    pub issuer: Issuer,
    pub verifier: Arc<Verifier>,
    pub layer: HallpassLayer,
    reached: Record,
    service: HallpassService<Inner>,
}

/// What came back.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Guarded {
    /// Answers every request with an empty JSON-RPC result.
    pub fn new() -> Self {
        Self::answering(|_| json_response(&json!({"jsonrpc": "2.0", "id": 1, "result": {}})))
    }

    pub fn answering(
        answer: impl Fn(&Parts) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let issuer = Issuer::new();
        let verifier = Arc::new(issuer.verifier());
        Self::with_layer(
            issuer,
            HallpassLayer::new(Arc::clone(&verifier)),
            verifier,
            answer,
        )
    }

    pub fn with_layer(
        issuer: Issuer,
        layer: HallpassLayer,
        verifier: Arc<Verifier>,
        answer: impl Fn(&Parts) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let reached = Record::default();
        let (record, answer) = (Arc::clone(&reached), Arc::new(answer));
        let inner = service_fn(move |request: Request<Full<Bytes>>| {
            let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let response = answer(&parts);
                record.lock().unwrap().push((parts, body));
                Ok(response)
            }
        });
        let service = layer.layer(BoxCloneService::new(inner));
        Self {
            issuer,
            verifier,
            layer,
            reached,
            service,
        }
    }

    /// A pass for reading and searching the ledger, transfers up to 100, a subtree and the prompt.
    pub fn pass(&self) -> String {
        let detail = rights(json!({
            "tools": ["read_ledger", "transfer"],
            "resources": ["file:///srv/data/open"],
            "prompts": ["summary"],
            "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}}},
        }));
        self.issuer.mint(vec![detail]).expose().to_owned()
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answered {
        let response = self.service.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// Sends `body` with the usual headers and a good pass.
    pub async fn post(&self, body: impl Into<Bytes>) -> Answered {
        self.send(request(&self.pass(), body)).await
    }

    /// What reached the server since the last time this was asked.
    pub fn reached(&self) -> Vec<(Parts, Bytes)> {
        std::mem::take(&mut self.reached.lock().unwrap())
    }

    /// The one message that reached the server.
    pub fn forwarded(&self) -> Value {
        let reached = self.reached();
        assert_eq!(reached.len(), 1);
        strict(&reached[0].1)
    }
}

impl Answered {
    pub fn json(&self) -> Value {
        strict(self.text.as_bytes())
    }

    pub fn reason(&self) -> String {
        self.json()["error"]["data"]["reason"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// One JSON value, strictly: what the layer writes has no member twice.
pub fn strict(bytes: &[u8]) -> Value {
    json::parse(bytes, 4_000_000)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(bytes)))
}

/// A POST of `body` as a stock client sends it.
pub fn request(token: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/mcp")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .body(Full::new(body.into()))
        .unwrap()
}

pub fn call(name: &str, arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}})
        .to_string()
}

pub fn message(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

pub fn json_response(body: &Value) -> Response<Full<Bytes>> {
    response("application/json", body.to_string())
}

pub fn response(content_type: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap()
}

/// A pass for another server of the same broker.
pub fn foreign_pass(issuer: &Issuer) -> String {
    let mut detail = rights(json!({"tools": ["read_ledger"]}));
    detail.server = "https://other.example/mcp".parse().unwrap();
    issuer.mint(vec![detail]).expose().to_owned()
}

pub const METADATA: &str = "https://ledger.example/.well-known/oauth-protected-resource/mcp";

#[tokio::test]
async fn a_good_call_reaches_the_server() {
    let guarded = Guarded::new();
    let answered = guarded
        .post(call("read_ledger", &json!({"year": 2026})))
        .await;
    assert_eq!(
        (answered.status, guarded.reached().len()),
        (StatusCode::OK, 1),
        "{}",
        answered.text
    );
    assert_eq!(guarded.verifier.server().as_str(), support::SERVER);
}
