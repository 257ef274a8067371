//! The context of one request: its id, its trace, its peer, and the assertion that it used.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request},
    http::{HeaderMap, request::Parts},
};

use super::{App, problem::Problem, share::Share};
use crate::{base::ids::RequestId, broker::Caller, journal::Actor};

/// The context of one request; made by the front, found by handlers in the request's extensions.
#[derive(Debug)]
pub(super) struct Context {
    /// Made here: an id that somebody sends is not believed.
    pub(super) id: RequestId,
    /// The W3C trace id that came with it.
    pub(super) trace: Option<String>,
    pub(super) peer: IpAddr,
    /// Whoever used an assertion.
    user: Mutex<Option<Caller>>,
    /// A piece of the share of whoever asks, held until the request is done.
    share: Mutex<Option<Share>>,
}

impl Context {
    pub(super) fn new(request: &Request) -> Self {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        Self {
            id: RequestId::from_uuid_bytes(*uuid::Uuid::now_v7().as_bytes()),
            trace: trace_id(request.headers()),
            peer: peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            user: Mutex::new(None),
            share: Mutex::new(None),
        }
    }

    /// The caller `actor` of this request.
    pub(super) fn caller(&self, actor: Actor) -> Caller {
        let (request, trace) = (Some(self.id.clone()), self.trace.clone());
        Caller { actor, request, trace, idempotency: None, assertion: None }
    }

    /// Holds `share` until the request is done.
    pub(super) fn hold(&self, share: Share) {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
    }

    /// Notes that `caller` used an assertion, which some record must tell of before the answer.
    pub(super) fn used_assertion(&self, caller: Caller) {
        *self.user.lock().unwrap_or_else(PoisonError::into_inner) = Some(caller);
    }

    /// Whoever used an assertion.
    pub(super) fn take_user(&self) -> Option<Caller> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The context as an extractor.
#[derive(Debug, Clone)]
pub(super) struct Here(pub(super) Arc<Context>);

impl FromRequestParts<Arc<App>> for Here {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or_else(|| Problem::internal("a route without the front layer"))
    }
}

/// The trace id of a W3C `traceparent`, when there is exactly one that is well-formed.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let mut parts = value.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
    // A later version may have more parts; version 00 has four, and ff is none.
    let known = is_hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    (known && is_id(trace, 32) && is_id(span, 16) && is_hex(flags, 2)).then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_well_formed_traceparent_is_taken() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_static(value));
            trace_id(&headers)
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").as_deref(), Some(trace));
        assert_eq!(of("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x").as_deref(), Some(trace));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
