//! A broker on a real socket that says what each test tells it to.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use hallpass_core::wire::document::KeyDocument;
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::feed_client::LONG;

/// A broker on a runtime of its own, so that it can be killed with every connection that it has.
pub(crate) struct ScriptedBroker {
    address: SocketAddr,
    scheme: &'static str,
    keys: Arc<Mutex<String>>,
    pub(crate) asked: mpsc::UnboundedReceiver<Asked>,
    runtime: Option<Runtime>,
}

impl ScriptedBroker {
    pub(crate) async fn start(document: &KeyDocument) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), document).await
    }

    pub(crate) async fn start_at(address: SocketAddr, document: &KeyDocument) -> Self {
        let (mut broker, router) = Self::new(document);
        let listener = broker
            .runtime()
            .spawn(TcpListener::bind(address))
            .await
            .unwrap()
            .unwrap();
        broker.address = listener.local_addr().unwrap();
        broker
            .runtime()
            .spawn(async move { axum::serve(listener, router).await.unwrap() });
        broker
    }

    pub(crate) async fn start_tls(
        document: &KeyDocument,
        certified: &rcgen::CertifiedKey<rcgen::KeyPair>,
    ) -> Self {
        let (mut broker, router) = Self::new(document);
        let (address, served) = support::tls::serve(certified, router);
        (broker.address, broker.scheme) = (address, "https");
        broker.runtime().spawn(served);
        broker
    }

    fn new(document: &KeyDocument) -> (Self, Router) {
        let (sender, asked) = mpsc::unbounded_channel();
        let keys = Arc::new(Mutex::new(serde_json::to_string(document).unwrap()));
        let router = Router::new()
            .route("/v1/keys.json", get(answer_keys))
            .route("/v1/feed", get(answer_feed))
            .with_state((Arc::clone(&keys), sender));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        (
            Self {
                address,
                scheme: "http",
                keys,
                asked,
                runtime: Some(runtime),
            },
            router,
        )
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        let host = if self.scheme == "https" {
            "localhost".to_owned()
        } else {
            self.address.ip().to_string()
        };
        format!("{}://{host}:{}", self.scheme, self.address.port())
    }

    pub(crate) fn publish(&self, document: &KeyDocument) {
        self.publish_text(serde_json::to_string(document).unwrap());
    }

    pub(crate) fn publish_text(&self, text: String) {
        *self.keys.lock().unwrap() = text;
    }

    /// The next request for the feed.
    pub(crate) async fn asked(&mut self) -> Asked {
        timeout(LONG, self.asked.recv())
            .await
            .expect("nobody asked for the feed")
            .unwrap()
    }

    /// Ends the broker and every connection; returns its address, which is then free.
    pub(crate) async fn kill(&mut self) -> SocketAddr {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(LONG))
            .await
            .unwrap();
        self.address
    }
}

impl Drop for ScriptedBroker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Shared = (Arc<Mutex<String>>, mpsc::UnboundedSender<Asked>);

async fn answer_keys(State((keys, _)): State<Shared>, headers: HeaderMap) -> Response {
    assert!(
        !headers.contains_key(header::AUTHORIZATION),
        "the key document is public"
    );
    (
        [(header::CONTENT_TYPE, "application/json")],
        keys.lock().unwrap().clone(),
    )
        .into_response()
}

async fn answer_feed(
    State((_, sender)): State<Shared>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let (reply, answer) = oneshot::channel();
    sender
        .send(Asked {
            query,
            headers,
            reply,
        })
        .unwrap();
    answer
        .await
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// A request for the feed, which the test answers.
pub(crate) struct Asked {
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    reply: oneshot::Sender<Response>,
}

impl Asked {
    pub(crate) fn since(&self) -> Option<u64> {
        self.query
            .iter()
            .find(|(name, _)| name == "since")
            .map(|(_, value)| value.parse().unwrap())
    }

    pub(crate) fn answer(self, response: Response) {
        self.reply.send(response).unwrap();
    }

    pub(crate) fn stream(self) -> Stream {
        let (sender, receiver) = mpsc::unbounded_channel();
        let chunks = futures_util::stream::unfold(receiver, async |mut receiver| {
            Some((receiver.recv().await?, receiver))
        });
        self.answer(
            (
                [(header::CONTENT_TYPE, "text/event-stream")],
                Body::from_stream(chunks),
            )
                .into_response(),
        );
        Stream(sender)
    }
}

/// An open stream of events; it ends when this is dropped.
pub(crate) struct Stream(pub(crate) mpsc::UnboundedSender<Result<Bytes, std::convert::Infallible>>);

impl Stream {
    pub(crate) fn raw(&self, text: impl Into<Bytes>) {
        self.0.send(Ok(text.into())).unwrap();
    }

    pub(crate) fn frame(&self, jws: &str) {
        self.raw(crate::feed_client::event(jws));
    }
}
