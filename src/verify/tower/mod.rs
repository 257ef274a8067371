//! A tower layer that guards an MCP server: every request is verified, every call cleared.
//!
//! [`HallpassLayer`] goes in front of any service that speaks MCP over streamable HTTP: an axum
//! `Router`, rmcp's `StreamableHttpService`, a plain hyper service.
//!
//! ```
//! use std::sync::Arc;
//!
//! use hallpass_verify::{Verifier, tower::HallpassLayer};
//! use tower_layer::Layer;
//!
//! fn guarded<S>(server: S, verifier: Arc<Verifier>) -> impl Sized {
//!     HallpassLayer::new(verifier).layer(server)
//! }
//! ```
//!
//! In this order a request is
//!
//! 1. answered with the server's OAuth metadata (RFC 9728), if it is a GET for that;
//! 2. refused for its HTTP method, its `Origin`, a token in the URL, or no token;
//! 3. verified: the pass, its revocation, end and audience. No body is read before. When a request is refused
//!    here, a short body is drained; with a longer one the connection is closed after the response;
//! 4. refused for its content type, its length, or a body that is not one strict JSON-RPC message;
//! 5. cleared, when its method names a tool, prompt or resource; unknown methods are refused;
//! 6. serialised again and forwarded, without the client's credentials, with the
//!    [`Pass`](crate::Pass) and, for a call, its [`Permit`](crate::Permit) in the request's extensions.
//!
//! All of it, and the server's work, runs in one `tracing` span with the agent, the task, the method,
//! the tool that was cleared and the reason of a refusal; arguments and results stay out. The W3C
//! trace context in `params._meta`, or else that of the HTTP request, is in the extensions as a
//! [`TraceParent`](crate::TraceParent), for servers that continue the trace. An HTTP
//! context beside one in `_meta` stays in its header: a link, not the parent.
//!
//! [`HallpassLayerBuilder::report_to`] sends a report of every decision, for the broker's chain of decisions.
//!
//! Answers that list tools, prompts or resources are filtered to what the pass may be used for.
//! An event stream ends with the first event after the pass ended, was revoked, or the verifier
//! lost its broker; an idle one stays open until its next event. That event is replaced by a JSON-RPC error with the
//! reason. Only the response to a call that was cleared is still delivered for an hour after the pass expired; other
//! messages are dropped meanwhile.
//!
//! Every path that the layer is in front of needs a pass, health checks included: mount those
//! beside it. The metadata is served at `/.well-known/oauth-protected-resource` only if the layer
//! sees that path, so mount it at the root (axum: `Router::layer`, not `nest`), or serve
//! [`HallpassLayer::resource_metadata`] yourself.
//!
//! A session of MCP before 2026-07-28 belongs to the agent that opened it, acting for the same person.
//! A pass may use it if it allows no less than the pass that opened it, and is of the same task or, unless
//! it was narrowed, of a later one. For any other pass, including one that was narrowed further, and after
//! a restart of the layer, the session does not exist (404), and clients open a new one.
//!
//! `Mcp-Param-*` headers (MCP 2026-07-28) are refused when duplicated, and not compared with
//! the arguments: the manifest does not say which argument a header mirrors. What is cleared is the
//! body; nothing behind the layer may route or decide by such a header.

mod answer;
mod body;
mod challenge;
mod gate;
mod guard;
mod mirrored;
mod service;
mod sessions;
mod trace;
mod unread;

use std::{fmt, sync::Arc};

use serde_json::Value;
use tower_layer::Layer;

pub use body::ResponseBody;
pub use service::HallpassService;

use crate::{
    ReportSink, Verifier,
    mcp::{DEFAULT_MAX_MESSAGE_BYTES, Decider},
};
use guard::{Guard, Limits};
use sessions::Sessions;

/// Puts a [`Verifier`] in front of an MCP server. See the [module](self) for what it does.
#[derive(Clone)]
pub struct HallpassLayer(Arc<Guard>);

impl HallpassLayer {
    /// A layer with `verifier` and the default limits.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>) -> Self {
        Self::builder(verifier).build()
    }

    /// Starts to build a layer with other limits.
    #[must_use]
    pub const fn builder(verifier: Arc<Verifier>) -> HallpassLayerBuilder {
        let limits = Limits {
            message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            list_bytes: DEFAULT_MAX_LIST_BYTES,
        };
        HallpassLayerBuilder {
            verifier,
            limits,
            origins: Vec::new(),
            reports: None,
            forwards_roots: false,
        }
    }

    /// The server's OAuth protected resource metadata (RFC 9728): which broker issues passes for
    /// it, and which scopes there are.
    #[must_use]
    pub fn resource_metadata(&self) -> Value {
        challenge::metadata(self.0.verifier())
    }

    /// The URL under which clients look for [`HallpassLayer::resource_metadata`].
    #[must_use]
    pub fn resource_metadata_url(&self) -> &str {
        &self.0.metadata_url
    }
}

impl<S> Layer<S> for HallpassLayer {
    type Service = HallpassService<S>;

    fn layer(&self, inner: S) -> HallpassService<S> {
        HallpassService::new(inner, Arc::clone(&self.0))
    }
}

impl fmt::Debug for HallpassLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Builds a [`HallpassLayer`].
#[derive(Debug)]
pub struct HallpassLayerBuilder {
    verifier: Arc<Verifier>,
    limits: Limits,
    origins: Vec<String>,
    reports: Option<Arc<dyn ReportSink>>,
    forwards_roots: bool,
}

impl HallpassLayerBuilder {
    /// Leaves the client's directories (MCP `roots`) in its messages; without this the server hears that there are none.
    ///
    /// SECURITY: only for a server that takes them for a hint. One that serves the directories that a client lists is moved
    /// out of its own by any agent.
    #[must_use]
    pub const fn forward_roots(mut self) -> Self {
        self.forwards_roots = true;
        self
    }

    /// Refuses messages longer than `bytes`; 1 MiB by default.
    #[must_use]
    pub const fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.limits.message_bytes = bytes;
        self
    }

    /// Refuses to filter, and so to send, lists and events longer than `bytes`; 4 MiB by default.
    #[must_use]
    pub const fn max_list_bytes(mut self, bytes: usize) -> Self {
        self.limits.list_bytes = bytes;
        self
    }

    /// Also accepts requests from pages of `origin` (`https://app.example`), byte for byte as browsers
    /// send it. Pages of the server's own host and of this machine are always accepted.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Sends `reports` a report of every call that is decided, and of every pass of this broker that is
    /// refused before its call was read. Messages that name no tool, prompt or resource are not reported: lists, `initialize`,
    /// `ping`, and messages that cannot be read.
    #[must_use]
    pub fn report_to(mut self, reports: Arc<dyn ReportSink>) -> Self {
        self.reports = Some(reports);
        self
    }

    /// The layer.
    #[must_use]
    pub fn build(self) -> HallpassLayer {
        let decider = Decider::new(self.verifier).max_message_bytes(self.limits.message_bytes);
        let decider = match self.reports {
            Some(reports) => decider.report_to(reports),
            None => decider,
        };
        let decider = if self.forwards_roots {
            decider.forward_roots()
        } else {
            decider
        };
        HallpassLayer(Arc::new(Guard {
            metadata_url: challenge::metadata_url(decider.verifier().server()),
            decider,
            sessions: Sessions::new(),
            limits: self.limits,
            origins: self.origins,
        }))
    }
}

/// The default limit for lists and events; longer ones are not forwarded.
pub const DEFAULT_MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
