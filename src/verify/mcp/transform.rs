//! Changes to a server's messages, for the holder of one pass.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    Denial, Pass, Permit, Verifier,
    mcp::{ClientMessage, Purpose, Rejection, ServerMessage},
};

/// Changes a server's messages, or refuses to send them.
///
/// It is pure: it sees one message and the [`Exchange`] that the message belongs to, performs no
/// I/O, and keeps nothing from one message to the next. [`ListFilter`](crate::mcp::ListFilter) is the
/// first implementor.
///
/// Other uses that need no change of the trait:
///
/// - **Masks.** [`Exchange::permit`] and [`Exchange::pass`] say which fields of which tool are to be
///   masked. [`transform`](Self::transform) masks them in `result.structuredContent`, in `result.content`,
///   in `error.data` and in `params` of notifications, all of which
///   [`ServerMessage::members_mut`] reaches, and answers [`Change::Changed`]. Content that it cannot
///   mask with certainty it replaces in the same way, or refuses with a [`Rejection`].
/// - **Limits on results.** [`ServerMessage::received_bytes`] is the length as received. A result
///   that is too long is a [`Rejection`], or its `result` is replaced by an `isError` content.
/// - **Several at once.** A transform of transforms calls each in turn on the same message:
///   it has changed when one changed it, and the first rejection ends it.
pub trait ResponseTransform: fmt::Debug + Send + Sync {
    /// Whether messages of `exchange` need to be transformed. If not, the adapter forwards the bytes
    /// without buffering.
    fn concerns(&self, exchange: &Exchange) -> bool;

    /// Inspects one message and changes it in place.
    ///
    /// # Errors
    ///
    /// A rejection when the message must not be sent: it is sent in place of the message, and in an
    /// event stream nothing follows it. A transform that rejects one message of a stream and lets
    /// the stream continue puts the error into the message and answers [`Change::Changed`].
    fn transform(
        &self,
        exchange: &Exchange,
        message: &mut ServerMessage,
    ) -> Result<Change, Rejection>;

    /// The rejection for bytes that cannot be read, are too long, or are not JSON.
    fn unreadable(&self) -> Rejection {
        Rejection::internal("the server's response cannot be read, so it is not sent")
    }
}

/// Whether a transform changed a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Change {
    /// The received bytes are sent unchanged.
    Unchanged,
    /// The message is serialised again.
    Changed,
}

/// The context of a server's message: the pass, and the request if it is known.
#[derive(Debug, Clone)]
pub struct Exchange {
    verifier: Arc<Verifier>,
    pass: Pass,
    permit: Option<Permit>,
    request: Option<Request>,
}

#[derive(Debug, Clone)]
struct Request {
    id: Value,
    method: Option<String>,
    purpose: Purpose,
}

impl Exchange {
    /// For messages to the holder of `pass` without a known request: a stream that repeats responses
    /// to earlier requests, and messages that the server initiates.
    #[must_use]
    pub const fn of_holder(verifier: Arc<Verifier>, pass: Pass) -> Self {
        Self {
            verifier,
            pass,
            permit: None,
            request: None,
        }
    }

    /// The same for messages that belong to `request`, which was cleared with `permit` when it makes
    /// a call.
    #[must_use]
    pub fn of_request(mut self, request: &ClientMessage, permit: Option<Permit>) -> Self {
        self.request = Some(Request {
            id: request.id(),
            method: request.method().map(str::to_owned),
            purpose: request.purpose().clone(),
        });
        self.permit = permit;
        self
    }

    /// The verifier that admitted the pass.
    #[must_use]
    pub const fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }

    /// The pass of the client.
    #[must_use]
    pub const fn pass(&self) -> &Pass {
        &self.pass
    }

    /// The permit of the call; `None` when the request makes none or is not known.
    #[must_use]
    pub const fn permit(&self) -> Option<&Permit> {
        self.permit.as_ref()
    }

    /// The purpose of the request; `None` when the request is not known.
    #[must_use]
    pub fn purpose(&self) -> Option<&Purpose> {
        self.request.as_ref().map(|request| &request.purpose)
    }

    /// The method of the request; `None` when there is none or it is not known.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.request.as_ref()?.method.as_deref()
    }

    /// The id of the request: null when there is none or it is not known.
    #[must_use]
    pub fn id(&self) -> Value {
        self.request
            .as_ref()
            .map(|request| request.id.clone())
            .unwrap_or_default()
    }

    /// How long the pass may still be used; `None` when it may no longer be used: then nothing more is sent but the
    /// answer that [`admit_answer`](Self::admit_answer) admits.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.verifier.admit(&self.pass).ok()
    }
}

/// What may still be sent to the client.
pub(super) enum Standing {
    /// Everything.
    Valid,
    /// The pass has expired: only the answer to the call that was cleared with it.
    AnswerOnly,
    /// Nothing more, and why.
    Over(Denial),
}

impl Exchange {
    pub(super) fn standing(&self) -> Standing {
        let Err(denial) = self.verifier.admit(&self.pass) else {
            return Standing::Valid;
        };
        if self.permit.is_none() {
            return Standing::Over(denial);
        }
        match self.verifier.admit_answer(&self.pass) {
            Ok(()) => Standing::AnswerOnly,
            Err(denial) => Standing::Over(denial),
        }
    }

    /// Whether the answer to the request may be sent. The answer to a call that was cleared is, for an hour after its
    /// pass expired, so that what was done is told.
    ///
    /// # Errors
    ///
    /// What to send in its place: the pass was revoked, the verifier is stale, or the pass has ended and the request
    /// was no cleared call.
    pub fn admit_answer(&self) -> Result<(), Rejection> {
        match self.standing() {
            Standing::Valid | Standing::AnswerOnly => Ok(()),
            Standing::Over(denial) => Err(self.ended(&denial)),
        }
    }

    /// The error to the request when nothing more may be sent.
    pub(super) fn ended(&self, denial: &Denial) -> Rejection {
        Rejection::of_call(denial).answering(self.id())
    }

    /// Whether the request expects a response.
    pub(super) fn expects_response(&self) -> bool {
        self.purpose()
            .is_some_and(|purpose| !matches!(purpose, Purpose::Notifies | Purpose::Responds))
    }

    /// Whether `message` is the response to the request.
    pub(super) fn is_answered_by(&self, message: &ServerMessage) -> bool {
        self.expects_response() && message.method().is_none() && message.id() == self.id()
    }
}

/// Applies `transform` to one message of at most `max_bytes`; `None` when the received bytes are to be sent unchanged.
///
/// # Errors
///
/// The rejection to send in its place, as the response to the request of the exchange.
pub fn transform_message(
    transform: &dyn ResponseTransform,
    exchange: &Exchange,
    bytes: &[u8],
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, Rejection> {
    let changed = ServerMessage::read(bytes, max_bytes)
        .map_err(|_| transform.unreadable())
        .and_then(
            |mut message| match transform.transform(exchange, &mut message)? {
                Change::Unchanged => Ok(None),
                Change::Changed => message.to_bytes().map(Some),
            },
        );
    changed.map_err(|rejection| rejection.answering(exchange.id()))
}
