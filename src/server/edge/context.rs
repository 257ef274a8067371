//! The context of one request: its id, its trace, its peer, and the assertion that it used.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request},
    http::{HeaderValue, request::Parts},
};

use crate::server::{
    App,
    edge::{describe::Described, per_principal_limit::Share, problem::Problem},
};
use hallpass_broker::{Caller, domain::event::Actor};
use hallpass_core::base::sync::MutexExt as _;
use hallpass_core::base::{
    ids::RequestId,
    trace::{TRACEPARENT, TraceParent},
};

/// The context of one request; made by the middleware, found by handlers in the request's extensions.
#[derive(Debug)]
pub(crate) struct Context {
    /// Made here: an id that a client sends is not used.
    pub(crate) id: RequestId,
    /// The W3C trace id that came with it.
    pub(crate) trace: Option<String>,
    pub(crate) peer: IpAddr,
    /// The caller that used an assertion.
    user: Mutex<Option<Caller>>,
    /// A place among those of the network, and of the principal once it is known; held until the request is done.
    share: Mutex<Option<Share>>,
}

impl Context {
    pub(crate) fn new(request: &Request) -> Self {
        let parents = request.headers().get_all(TRACEPARENT);
        let trace = TraceParent::only(parents.iter().map(HeaderValue::as_bytes));
        let peer = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip());
        Self {
            id: RequestId::from_uuid_bytes(*uuid::Uuid::now_v7().as_bytes()),
            trace: trace.map(|parent| parent.trace_id()),
            peer: peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            user: Mutex::new(None),
            share: Mutex::new(None),
        }
    }

    /// The caller `actor` of this request.
    pub(crate) fn caller(&self, actor: Actor) -> Caller {
        let (request, trace) = (Some(self.id.clone()), self.trace.clone());
        Caller {
            actor,
            request,
            trace,
            idempotency: None,
            assertion: None,
        }
    }

    /// Holds `share` until the request is done.
    pub(crate) fn hold(&self, share: Share) {
        *self.share.locked() = Some(share);
    }

    /// Notes that `caller` used an assertion, which must be recorded before the answer.
    pub(crate) fn used_assertion(&self, caller: Caller) {
        *self.user.locked() = Some(caller);
    }

    /// The caller that used an assertion.
    pub(crate) fn take_user(&self) -> Option<Caller> {
        self.user.locked().take()
    }
}

/// The context as an extractor.
#[derive(Debug, Clone)]
pub(crate) struct Here(pub(crate) Arc<Context>);

impl Described for Here {}

impl FromRequestParts<Arc<App>> for Here {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal("a route without the middleware"))
    }
}
