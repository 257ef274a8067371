//! The attacks: each uses up something that there is only so much of, from addresses of its own.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hallpass_core::{
    base::time::{Clock as _, SystemClock},
    token::{PassToken, attenuate_operator},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use support::process::ISSUER;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::flood::Target;

/// A way to flood.
pub struct Attack {
    pub name: &'static str,
    pub begin: fn(&Arc<Target>),
}

/// Those of strangers first, then those of a registered agent.
pub const ATTACKS: &[Attack] = &[
    attack("connections that send nothing", |target| {
        hold(target, (1200, 4), b"");
    }),
    attack("unfinished heads of 60 KB", |target| {
        let mut head = b"POST /v1/tasks HTTP/1.1\r\nhost: a\r\nx: ".to_vec();
        head.resize(60_000, b'a');
        hold(target, (300, 1), &head);
    }),
    attack("unfinished bodies", |target| {
        let head = b"POST /oauth/token HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 200\r\n\r\ngrant_type=";
        hold(target, (600, 1), head);
    }),
    attack("large anonymous JSON", |target| {
        let body = format!("[{}]", vec![r#"{"a":{}}"#; 55_000].join(","));
        repeat(target, 16, STRANGER, move |client, target| {
            let request = client.post(format!("{}/oauth/register", target.url));
            json_body(request, body.clone())
        });
    }),
    attack("anonymous details of 60 KB", |target| {
        let details = format!(
            "[{}]",
            vec![r#"{"type":"mcp","server":"https://a.example"}"#; 1_300].join(",")
        );
        repeat(target, 100, STRANGER, move |client, target| {
            let form = [
                ("grant_type", "client_credentials"),
                ("authorization_details", &details),
            ];
            client
                .post(format!("{}/oauth/token", target.url))
                .form(&form)
        });
    }),
    attack("public documents", |target| {
        repeat(target, 64, STRANGER, |client, target| {
            client.get(format!("{}/v1/keys.json", target.url))
        });
    }),
    attack("HTTP/2 PING frames", |target| {
        for _ in 0..10 {
            let target = Arc::clone(target);
            tokio::spawn(async move { ping(&target).await });
        }
    }),
    attack("an operator's token that has ended", |target| {
        let token = PassToken::from_text(target.admin.clone());
        let ended = attenuate_operator(&token, &[], Some(SystemClock::default().now())).unwrap();
        let ended = Arc::new(ended.token.expose().to_owned());
        for address in [9, 10, 11] {
            let ended = Arc::clone(&ended);
            repeat(
                target,
                8,
                Ipv4Addr::new(127, 0, 0, address),
                move |client, target| {
                    let request = client.post(format!("{}/v1/revocations", target.url));
                    request.bearer_auth(&ended).json(&json!({"task": "tsk_1"}))
                },
            );
        }
    }),
    attack("requests for 200 tools", |target| {
        let task = task(json!([wide(&["t_*"])]));
        as_agent(target, 64, move |_| ("/v1/tasks".to_owned(), task.clone()));
    }),
    attack("refusals with 400 names", |target| {
        let names: Vec<_> = (0..400).map(|at| format!("{at:0>63}")).collect();
        let task = task(json!([wide(
            &names.iter().map(String::as_str).collect::<Vec<_>>()
        )]));
        as_agent(target, 16, move |_| ("/v1/tasks".to_owned(), task.clone()));
    }),
    attack("a context of 0.5 MB", |target| {
        let mut task = task(json!([wide(&["t_1"])]));
        let context = (0..20_000).map(|at| (format!("name_{at}"), json!({"a": {}})));
        task["context"] = Value::Object(context.collect());
        as_agent(target, 16, move |_| ("/v1/tasks".to_owned(), task.clone()));
    }),
    attack("lists of tasks full of delegations", |target| {
        for _ in 0..4 {
            let target = Arc::clone(target);
            tokio::spawn(async move { delegate_and_list(&target).await });
        }
    }),
    attack("completing over and over", |target| {
        for _ in 0..4 {
            let target = Arc::clone(target);
            tokio::spawn(async move { complete(&target).await });
        }
    }),
    attack("idempotency keys", |target| {
        let task = task(json!([wide(&["t_1"])]));
        let client = from(AGENTS);
        for worker in 0..16 {
            let (target, task, client) = (Arc::clone(target), task.clone(), client.clone());
            tokio::spawn(async move {
                for at in 0_u64.. {
                    let request = signed(&client, &target, "/v1/tasks", &task);
                    let key = format!("{worker}-{at}");
                    send(request.header("idempotency-key", key)).await;
                }
            });
        }
    }),
];

const fn attack(name: &'static str, begin: fn(&Arc<Target>)) -> Attack {
    Attack { name, begin }
}

/// Opens `count` connections from each of so many addresses, sends `bytes` and no more, and opens another for each that
/// the broker closes.
fn hold(target: &Arc<Target>, (count, addresses): (usize, u8), bytes: &[u8]) {
    let bytes: Arc<[u8]> = bytes.into();
    for address in 0..addresses {
        for _ in 0..count {
            let (target, bytes) = (Arc::clone(target), Arc::clone(&bytes));
            tokio::spawn(async move {
                loop {
                    let own = Ipv4Addr::new(127, 0, 0, 20 + address);
                    if let Ok(mut stream) = connect(&target, own).await {
                        let _ = stream.write_all(&bytes).await;
                        let _ = stream.read(&mut [0; 512]).await;
                    }
                    AGAIN.wait().await;
                }
            });
        }
    }
}

/// So many clients send one request after the other, until the flood ends.
fn repeat(
    target: &Arc<Target>,
    count: usize,
    own: Ipv4Addr,
    request: impl Fn(&reqwest::Client, &Target) -> RequestBuilder + Send + Sync + 'static,
) {
    let (request, client) = (Arc::new(request), from(own));
    for _ in 0..count {
        let (target, request, client) = (Arc::clone(target), Arc::clone(&request), client.clone());
        tokio::spawn(async move {
            loop {
                send(request(&client, &target)).await;
            }
        });
    }
}

/// The same as the agent, which signs each request.
fn as_agent(
    target: &Arc<Target>,
    count: usize,
    request: impl Fn(&Target) -> (String, Value) + Send + Sync + 'static,
) {
    repeat(target, count, AGENTS, move |client, target| {
        let (path, body) = request(target);
        signed(client, target, &path, &body)
    });
}

/// PING frames (RFC 9113 section 6.7), as many as the connection takes.
async fn ping(target: &Target) {
    let frame = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let many = frame.repeat(200);
    loop {
        PAUSE.wait().await;
        let Ok(stream) = connect(target, STRANGER).await else {
            continue;
        };
        let (mut answers, mut requests) = stream.into_split();
        let mut read = vec![0; 16_384];
        let drain = async { while matches!(answers.read(&mut read).await, Ok(1..)) {} };
        let send = async {
            let _ = requests
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await;
            while requests.write_all(&many).await.is_ok() {}
        };
        tokio::join!(drain, send);
    }
}

/// Opens a task, reports delegations as long as they are taken, and asks for the list of all tasks beside that.
async fn delegate_and_list(target: &Target) {
    let client = from(AGENTS);
    let opened = signed(&client, target, "/v1/tasks", &task(json!([wide(&["t_1"])])));
    let Some(opened) = json_of(opened).await else {
        return;
    };
    let path = format!(
        "/v1/tasks/{}/delegations",
        opened["task_id"].as_str().unwrap_or_default()
    );
    for at in 0_u64.. {
        let id = format!("{at:0>128x}");
        let report = json!({"blocks": [opened["revocation_id"], id], "delegate": "flooder"});
        let list = client
            .get(format!("{}/v1/tasks?limit=200", target.url))
            .bearer_auth(assertion(target));
        send(signed(&client, target, &path, &report)).await;
        send(list).await;
    }
}

/// Completes one task for ever.
async fn complete(target: &Target) {
    let client = from(AGENTS);
    let opened = signed(&client, target, "/v1/tasks", &task(json!([wide(&["t_1"])])));
    let Some(opened) = json_of(opened).await else {
        return;
    };
    let path = format!(
        "/v1/tasks/{}/complete",
        opened["task_id"].as_str().unwrap_or_default()
    );
    loop {
        send(signed(&client, target, &path, &json!({}))).await;
    }
}

/// Sends the request, whatever comes of it.
async fn send(request: RequestBuilder) {
    if let Ok(response) = request.send().await {
        let _ = response.bytes().await;
    }
    PAUSE.wait().await;
}

async fn json_of(request: RequestBuilder) -> Option<Value> {
    request.send().await.ok()?.json().await.ok()
}

fn signed(client: &reqwest::Client, target: &Target, path: &str, body: &Value) -> RequestBuilder {
    let request = client.post(format!("{}{path}", target.url));
    request.bearer_auth(assertion(target)).json(body)
}

fn assertion(target: &Target) -> String {
    let issuer = ISSUER.parse().unwrap();
    let assertion = target
        .flooder
        .assertion(&issuer, SystemClock::default().now());
    assertion.unwrap()
}

fn task(details: Value) -> Value {
    json!({"purpose": "flood", "ttl_seconds": 60, "authorization_details": details})
}

fn wide(tools: &[&str]) -> Value {
    json!({"type": "mcp", "server": "https://wide-0.example/mcp", "tools": tools})
}

fn json_body(request: RequestBuilder, body: String) -> RequestBuilder {
    request
        .header("content-type", "application/json")
        .body(body)
}

fn from(own: Ipv4Addr) -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.local_address(IpAddr::V4(own));
    client.timeout(Duration::from_secs(20)).build().unwrap()
}

async fn connect(target: &Target, own: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(own), 0))?;
    socket.connect(target.address).await
}

/// Between two requests of one client: the flood shares its two cores with the broker, and one that does nothing but
/// flood would measure itself.
struct Pause(Duration);

impl Pause {
    async fn wait(&self) {
        tokio::time::sleep(self.0).await;
    }
}

const PAUSE: Pause = Pause(Duration::from_millis(50));
/// Before a connection that was closed is opened again.
const AGAIN: Pause = Pause(Duration::from_secs(1));
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const AGENTS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);
