//! JSON-RPC bodies at the layer: whatever reaches the server is one message that the pass allows.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hallpass_core::base::json;
use hallpass_verify::{
    mcp::{CallRequest, ClientMessage, ServerMessage},
    tower::{HallpassLayer, HallpassService},
};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneService};

use crate::fuzz::{corpus, fuzz, input::Input};
use support::{Issuer, SERVER, rights};

type Inner = BoxCloneService<Request<Full<Bytes>>, Response<Full<Bytes>>, std::convert::Infallible>;

struct MessageTarget {
    token: String,
    service: HallpassService<Inner>,
    reached: Arc<Mutex<Vec<Bytes>>>,
    runtime: tokio::runtime::Runtime,
    seeds: Vec<Value>,
}

impl MessageTarget {
    fn new() -> Self {
        let issuer = Issuer::new();
        let detail = rights(json!({
            "tools": ["read_ledger", "transfer"], "prompts": ["summary"], "resources": ["file:///srv/data/open"],
            "constraints": {"transfer": {"/amount": {"min": 0, "max": 100}}},
        }));
        let token = issuer.mint(vec![detail]).expose().to_owned();
        let reached = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&reached);
        let inner = service_fn(move |request: Request<Full<Bytes>>| {
            let record = Arc::clone(&record);
            async move {
                let message = request.into_body().collect().await.unwrap().to_bytes();
                record.lock().unwrap().push(message);
                let body = json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
                Ok(Response::builder()
                    .header("content-type", "application/json")
                    .body(Full::new(body.into()))
                    .unwrap())
            }
        });
        // With directories, so that what is forwarded is what was sent.
        let layer = HallpassLayer::builder(Arc::new(issuer.verifier())).forward_roots();
        let service = layer.build().layer(BoxCloneService::new(inner));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Self {
            token,
            service,
            reached,
            runtime,
            seeds: corpus::json("messages"),
        }
    }

    /// What the server gets to see when a client sends `body`.
    fn forwarded(&self, body: Vec<u8>) -> Option<Bytes> {
        let request = Request::post("/mcp")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = self.runtime.block_on(async {
            let response = self.service.clone().oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        });
        assert!(
            !String::from_utf8_lossy(&answer).contains(&self.token),
            "the pass comes back in the answer"
        );
        let mut reached = self.reached.lock().unwrap();
        assert!(reached.len() <= 1);
        reached.pop()
    }
}

/// Whether the pass of the setup allows the message, said once more and simply.
fn is_allowed(message: &Value) -> bool {
    let params = &message["params"];
    let names = |names: &[&str]| {
        params["name"]
            .as_str()
            .is_some_and(|name| names.contains(&name))
    };
    let is_open = |uri: &Value| {
        uri.as_str()
            .is_some_and(|uri| uri.starts_with("file:///srv/data/open") && !uri.contains(".."))
    };
    match message["method"].as_str() {
        Some("tools/call") if params["name"] == "transfer" => params["arguments"]["amount"]
            .as_i64()
            .is_some_and(|amount| (0..=100).contains(&amount)),
        Some("tools/call") => names(&["read_ledger"]),
        Some("prompts/get") => names(&["summary"]),
        Some("resources/read" | "resources/subscribe" | "resources/unsubscribe") => {
            is_open(&params["uri"])
        }
        Some("completion/complete") => {
            params["ref"]["name"] == "summary" || is_open(&params["ref"]["uri"])
        }
        Some(method) => !method.contains("call") && !method.contains("read"),
        None => message.get("result").is_some() != message.get("error").is_some(),
    }
}

#[test]
fn the_seeds_are_good() {
    let setup = MessageTarget::new();
    let reaches =
        |name: &str, text: Vec<u8>| setup.forwarded(text).is_some().then(|| name.to_owned());
    let reached: Vec<String> = corpus::files("messages")
        .into_iter()
        .filter_map(|(name, text)| reaches(&name, text))
        .collect();
    let refused = [
        "batch.json",
        "call_delete.json",
        "call_too_much.json",
        "subscribe.json",
    ];
    assert_eq!(
        reached.len(),
        corpus::files("messages").len() - refused.len(),
        "{reached:?}"
    );
    assert!(
        refused
            .iter()
            .all(|name| !reached.iter().any(|reached| reached == name)),
        "{reached:?}"
    );
}

#[test]
fn only_one_strict_message_that_the_pass_allows_reaches_the_server() {
    assert!(SERVER.starts_with("https://"));
    let seeds = corpus::files("messages").len();
    fuzz!(
        "messages",
        seeds,
        MessageTarget::new(),
        |setup: &mut MessageTarget, input: &mut Input<'_>| {
            let message = input.json_seed(&setup.seeds);
            let text = serde_json::to_vec(&message).unwrap();
            for body in [text.clone(), input.seed(&[text]), input.rest().to_vec()] {
                let Some(forwarded) = setup.forwarded(body.clone()) else {
                    continue;
                };
                // What the server reads is what was judged: no member twice, nothing after the value.
                let read = json::parse(&forwarded, 2_000_000).unwrap();
                assert_eq!(
                    read,
                    json::parse(&body, 2_000_000).unwrap(),
                    "something else than was sent"
                );
                assert!(read.is_object() && read["jsonrpc"] == "2.0");
                assert!(is_allowed(&read), "{read}");
            }
        }
    );
}

/// A call as it can be compared: what it names and with which arguments.
fn called(message: &ClientMessage) -> Option<(String, String, Option<Value>)> {
    let call = message.call()?;
    Some((
        call.kind.to_string(),
        call.name.to_owned(),
        call.arguments.cloned(),
    ))
}

#[test]
fn what_is_executed_is_read_as_the_call_that_was_decided() {
    let contents = corpus::contents("messages");
    let seeds = contents.len();
    fuzz!(
        "messages",
        seeds,
        (contents, corpus::json("messages")),
        |(texts, values): &mut (Vec<Vec<u8>>, Vec<Value>), input: &mut Input<'_>| {
            let message = input.json_seed(values);
            let text = serde_json::to_vec(&message).unwrap();
            for received in [text, input.seed(texts), input.rest().to_vec()] {
                let from_server = ServerMessage::read(&received, MAX_BYTES);
                let _ = from_server.map(|message| message.purpose());
                let Ok(read) = ClientMessage::read(&received, MAX_BYTES) else {
                    continue;
                };
                let executed = read.to_bytes().unwrap();
                let again = ClientMessage::read(&executed, MAX_BYTES).unwrap();
                assert_eq!(called(&read), called(&again));
                assert_eq!(read.purpose(), again.purpose());
                assert_eq!(read.id(), again.id());
                assert_eq!(executed, again.to_bytes().unwrap());
                // A parser that keeps the last of two members reads the same.
                let lax: Value = serde_json::from_slice(&executed).unwrap();
                assert_eq!(lax, json::parse(&executed, MAX_BYTES).unwrap());
                assert_eq!(
                    CallRequest::from_json_rpc(&received).is_ok(),
                    read.call().is_some()
                );
            }
        }
    );
}

const MAX_BYTES: usize = 100_000;
