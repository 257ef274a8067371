//! Who asks: what every record is attributed to.

use crate::domain::{
    event::{Actor, Entry, LedgerEvent},
    one_time::UsedAssertion,
};
use hallpass_core::base::{digest::Digest, ids::RequestId, time::Timestamp};

/// Who asks, and by which request: what every record is attributed to.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// The HTTP request.
    pub request: Option<RequestId>,
    /// Its W3C trace id.
    pub trace: Option<String>,
    /// Digest over the caller and its idempotency key.
    pub idempotency: Option<Digest>,
    /// The assertion that proved an agent; recorded with the first thing that it does.
    pub assertion: Option<UsedAssertion>,
}

impl Caller {
    /// The broker itself.
    #[must_use]
    pub const fn broker() -> Self {
        Self {
            actor: Actor::Broker,
            request: None,
            trace: None,
            idempotency: None,
            assertion: None,
        }
    }

    /// The broker itself, for the request of this caller; without its key, since it is no answer to that one.
    pub(crate) fn as_broker(&self) -> Self {
        self.without_key().by(Actor::Broker)
    }

    /// The same request, caused by `actor`.
    pub(crate) fn by(&self, actor: Actor) -> Self {
        Self {
            actor,
            ..self.clone()
        }
    }

    /// The same without its idempotency key: for what a replay is not pointed to.
    pub(crate) fn without_key(&self) -> Self {
        Self {
            idempotency: None,
            ..self.clone()
        }
    }

    pub(crate) fn entries(
        &self,
        at: Timestamp,
        used: Option<&UsedAssertion>,
        events: Vec<LedgerEvent>,
    ) -> Vec<Entry> {
        let used = used.map(|used| LedgerEvent::AssertionUsed {
            agent: used.agent.clone(),
            jti: used.jti,
            expires_at: used.expires_at,
        });
        let last = events.len().checked_sub(1);
        let entry = |event, idempotency| Entry {
            at,
            actor: self.actor.clone(),
            request: self.request.clone(),
            trace: self.trace.clone(),
            idempotency,
            event,
        };
        // The key goes on the last event: the one whose task a replay is pointed to.
        let numbered = events.into_iter().enumerate();
        let events =
            numbered.map(|(at, event)| entry(event, self.idempotency.filter(|_| Some(at) == last)));
        used.map(|event| entry(event, None))
            .into_iter()
            .chain(events)
            .collect()
    }
}
