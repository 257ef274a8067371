//! The service: checks each request in order, and filters the response.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use tower_service::Service;
use tracing::{Instrument as _, Span};

use crate::{
    Pass, Permit,
    mcp::{
        ClientMessage, EventStream, Exchange, ListFilter, Purpose, Rejection, ResponseTransform,
        WatchedStream, transform_message,
    },
    tower::{
        answer::{self, Answer, Refused},
        body::ResponseBody,
        challenge::{self, Challenge},
        gate::{self, Credential},
        guard::Guard,
        mirrored, trace, unread,
    },
};
use hallpass_core::{
    base::{ReasonCode, media_type::MediaType, trace::TraceParent},
    possession::Presented,
    token::scope::scope_token,
};

/// An MCP server behind a [`HallpassLayer`](crate::tower::HallpassLayer).
#[derive(Debug, Clone)]
pub struct HallpassService<S> {
    inner: S,
    guard: Arc<Guard>,
}

impl<S> HallpassService<S> {
    pub(super) const fn new(inner: S, guard: Arc<Guard>) -> Self {
        Self { inner, guard }
    }
}

impl<S, B, RB> Service<Request<B>> for HallpassService<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<ResponseBody<RB>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // Call the service that was polled ready; its clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let guard = Arc::clone(&self.guard);
        let span = trace::span();
        let within = span.clone();
        let work = async move {
            let (request, accepted) = match guard.accept(request, &within).await {
                Ok(judged) => judged,
                Err(response) => return Ok(guard.with_nonce((*response).map(ResponseBody::whole))),
            };
            let response = inner.call(request).await?;
            Ok(guard.with_nonce(guard.finish(response, accepted).await))
        };
        Box::pin(work.instrument(span))
    }
}

/// The state of a request until its response arrives.
struct Accepted {
    exchange: Exchange,
    method: Method,
    session: Option<HeaderValue>,
}

type RefusedResponse = Box<Response<Full<Bytes>>>;

impl Guard {
    /// Checks a request. The result may be forwarded to the server.
    async fn accept<B>(
        &self,
        request: Request<B>,
        span: &Span,
    ) -> Result<(Request<Full<Bytes>>, Accepted), RefusedResponse>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::GET
            && challenge::is_metadata_path(self.verifier().server(), parts.uri.path())
        {
            return Err(Box::new(self.metadata_response()));
        }
        let mut unread = Some(body);
        match self.judge_parts(&mut parts, &mut unread, span).await {
            Ok((body, accepted)) => Ok((Request::from_parts(parts, Full::new(body)), accepted)),
            Err(answer) => {
                trace::tell_refusal(span, &answer);
                let mut response = answer.into_response();
                if !unread::is_over(unread).await {
                    response
                        .headers_mut()
                        .insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Err(Box::new(response))
            }
        }
    }

    /// Takes `body` when it is read; an earlier refusal leaves it.
    async fn judge_parts<B>(
        &self,
        parts: &mut Parts,
        body: &mut Option<B>,
        span: &Span,
    ) -> Result<(Bytes, Accepted), Answer>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut caused_by = trace::carried(&parts.headers);
        let pass = self.judge_head(parts, caused_by)?;
        trace::tell_pass(span, &pass);
        let session = self.judge_session(&parts.headers, &pass)?;
        let exchange = self.decider.exchange(pass.clone());
        let (bytes, exchange) = if parts.method == Method::POST {
            gate::admit_content(&parts.headers)?;
            let message = self.decider.message(&self.read(body.take()).await?)?;
            mirrored::agree(&parts.headers, &message)?;
            caused_by = message.trace_parent().or(caused_by);
            let permit = self.clear(&pass, &message, caused_by)?;
            trace::tell_message(span, &message);
            if let Some(permit) = &permit {
                parts.extensions.insert(permit.clone());
            }
            let bytes = Bytes::from(message.to_bytes()?);
            (bytes, exchange.of_request(&message, permit))
        } else {
            (Bytes::new(), exchange)
        };
        gate::strip(&mut parts.headers);
        if !bytes.is_empty() {
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        let accepted = Accepted {
            exchange,
            method: parts.method.clone(),
            session,
        };
        if accepted.is_transformed() {
            // A compressed response could not be read.
            parts.headers.remove(header::ACCEPT_ENCODING);
        }
        if let Some(parent) = caused_by {
            span.record("trace.id", parent.trace_id());
            parts.extensions.insert(parent);
        }
        parts.extensions.insert(pass);
        Ok((bytes, accepted))
    }

    fn judge_head(&self, parts: &Parts, caused_by: Option<TraceParent>) -> Result<Pass, Answer> {
        gate::admit_method(&parts.method)?;
        gate::admit_origin(&parts.headers, self.verifier().server(), &self.origins)?;
        let challenge = Challenge::new(&self.metadata_url);
        let (token, proof, challenge) = match gate::credential(parts, &challenge)? {
            Credential::Bearer(token) => (token, None, challenge),
            Credential::Dpop { token, proof } => (token, Some(proof), challenge.for_dpop()),
        };
        let method = parts.method.as_str();
        let presented = proof.map(|proof| Presented::new(proof, method));
        self.decider
            .admit(token, presented.as_ref(), caused_by)
            .map_err(|denial| answer::pass_denied(&denial, &challenge))
    }

    /// The session of the request, if any; the pass must be allowed to use it.
    fn judge_session(
        &self,
        headers: &HeaderMap,
        pass: &Pass,
    ) -> Result<Option<HeaderValue>, Answer> {
        let mut ids = headers.get_all(SESSION_HEADER).iter();
        match (ids.next(), ids.next()) {
            (None, _) => Ok(None),
            (Some(id), None) if self.sessions.may_use(id.as_bytes(), pass) => Ok(Some(id.clone())),
            // 404 signals to the client that it must open a new session.
            _ => Err(Refused {
                status: StatusCode::NOT_FOUND,
                message: "session not found",
                reason: ReasonCode::NotFound,
                detail: "no such session for this pass: open a new one".into(),
            }
            .into()),
        }
    }

    /// Clears the call that the message makes, if it makes one.
    fn clear(
        &self,
        pass: &Pass,
        message: &ClientMessage,
        caused_by: Option<TraceParent>,
    ) -> Result<Option<Permit>, Answer> {
        self.decider
            .clear(pass, message, caused_by)
            .map_err(|denial| {
                let scope = message
                    .call()
                    .and_then(|call| scope_token(call.kind, call.name));
                let challenge = Challenge::new(&self.metadata_url).with_scope(scope);
                let challenge = if pass.verified().holder().is_some() {
                    challenge.for_dpop()
                } else {
                    challenge
                };
                answer::call_denied(&denial, &challenge).to(message.id())
            })
    }

    async fn read<B>(&self, body: Option<B>) -> Result<Bytes, Answer>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Some(body) = body else {
            return Ok(Bytes::new());
        };
        let max = self.limits.message_bytes;
        // The rest is not read, so the connection cannot be reused.
        let too_large = || {
            Answer::from(Refused {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                message: "message too large",
                reason: ReasonCode::MessageTooLarge,
                detail: format!("longer than {max} bytes").into(),
            })
            .header(header::CONNECTION, HeaderValue::from_static("close"))
        };
        // An honest `Content-Length` saves both sides the transfer.
        if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        match Limited::new(body, max).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(_) => Err(Refused {
                status: StatusCode::BAD_REQUEST,
                message: "message incomplete",
                reason: ReasonCode::MessageMalformed,
                detail: "the body was cut short".into(),
            }
            .into()),
        }
    }

    /// Filters the server's response for the holder of the pass.
    async fn finish<RB>(
        &self,
        response: Response<RB>,
        accepted: Accepted,
    ) -> Response<ResponseBody<RB>>
    where
        RB: Body<Data = Bytes>,
        RB::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.note_session(&response, &accepted);
        let is_encoded = response.headers().contains_key(header::CONTENT_ENCODING);
        let media = media_type(response.headers());
        if accepted.exchange.permit().is_some()
            && matches!(media, Media::Json)
            && let Err(rejection) = accepted.exchange.admit_answer()
        {
            return rejected(rejection);
        }
        match (media, accepted.is_transformed()) {
            // A response that is compressed although the request did not allow it cannot be read.
            (Media::Json | Media::Events, true) if is_encoded => accepted.unreadable(),
            (Media::Events, true) => transformed_events(response, self.limits.list_bytes, accepted),
            (Media::Events, false) => {
                let events = WatchedStream::new(accepted.exchange, self.limits.list_bytes);
                response.map(|body| ResponseBody::watched(body, events))
            }
            (Media::Json, true) => self.transformed(response, &accepted).await,
            (Media::Other, _) if accepted.must_be_readable(&response) => accepted.unreadable(),
            (Media::Json | Media::Other, _) => response.map(ResponseBody::untouched),
        }
    }

    fn note_session<RB>(&self, response: &Response<RB>, accepted: &Accepted) {
        if !response.status().is_success() {
            return;
        }
        match (&accepted.session, response.headers().get(SESSION_HEADER)) {
            (None, Some(id)) if accepted.exchange.purpose() == Some(&Purpose::Initializes) => {
                self.sessions.open(id.as_bytes(), accepted.exchange.pass())
            }
            (Some(id), _) if accepted.method == Method::DELETE => {
                self.sessions.close(id.as_bytes())
            }
            _ => {}
        }
    }

    async fn transformed<RB>(
        &self,
        response: Response<RB>,
        accepted: &Accepted,
    ) -> Response<ResponseBody<RB>>
    where
        RB: Body<Data = Bytes>,
        RB::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, body) = response.into_parts();
        let max = self.limits.list_bytes;
        let Ok(collected) = Limited::new(body, max).collect().await else {
            return accepted.unreadable();
        };
        let bytes = collected.to_bytes();
        let bytes = match transform_message(&TRANSFORM, &accepted.exchange, &bytes, max) {
            Ok(Some(changed)) => changed.into(),
            Ok(None) => bytes,
            Err(rejection) => return rejected(rejection),
        };
        settle_headers(&mut parts.headers);
        Response::from_parts(parts, ResponseBody::whole(Full::new(bytes)))
    }

    /// Sends the client the nonce for its next proof, where proofs need one (RFC 9449 section 8.2).
    fn with_nonce<RB>(&self, mut response: Response<RB>) -> Response<RB> {
        let nonce = self
            .verifier()
            .proof_nonce()
            .and_then(|nonce| HeaderValue::from_str(&nonce).ok());
        if let Some(nonce) = nonce {
            response.headers_mut().insert(DPOP_NONCE, nonce);
        }
        response
    }

    fn metadata_response(&self) -> Response<Full<Bytes>> {
        let mut response =
            Response::new(Full::from(challenge::metadata(self.verifier()).to_string()));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        );
        response
    }
}

impl Accepted {
    /// Whether the response is to be filtered. A GET stream is, since it repeats responses to earlier requests.
    fn is_transformed(&self) -> bool {
        self.method != Method::DELETE && TRANSFORM.concerns(&self.exchange)
    }

    /// Whether `response` has a body of a kind that is filtered.
    fn must_be_readable<RB: Body>(&self, response: &Response<RB>) -> bool {
        self.is_transformed()
            && self.exchange.purpose().is_some()
            && response.status().is_success()
            && !response.body().is_end_stream()
    }

    /// SECURITY: a body that must be filtered and cannot be read is not sent.
    fn unreadable<RB>(&self) -> Response<ResponseBody<RB>> {
        rejected(TRANSFORM.unreadable().answering(self.exchange.id()))
    }
}

fn transformed_events<RB>(
    mut response: Response<RB>,
    max_bytes: usize,
    accepted: Accepted,
) -> Response<ResponseBody<RB>> {
    settle_headers(response.headers_mut());
    let events = EventStream::new(Arc::new(TRANSFORM), accepted.exchange, max_bytes);
    response.map(|body| ResponseBody::transformed(body, events))
}

fn rejected<RB>(rejection: Rejection) -> Response<ResponseBody<RB>> {
    Answer::from(rejection)
        .into_response()
        .map(ResponseBody::whole)
}

/// Removes the server's headers about the bytes of its body, which have changed, and marks the list
/// as private to one holder.
fn settle_headers(headers: &mut HeaderMap) {
    for name in [
        header::CONTENT_LENGTH,
        header::ETAG,
        header::LAST_MODIFIED,
        header::EXPIRES,
    ] {
        headers.remove(name);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

enum Media {
    Json,
    Events,
    Other,
}

fn media_type(headers: &HeaderMap) -> Media {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match MediaType::split(given) {
        given if given.is("application/json") => Media::Json,
        given if given.is("text/event-stream") => Media::Events,
        _ => Media::Other,
    }
}

/// The transform for responses.
const TRANSFORM: ListFilter = ListFilter::new();

const SESSION_HEADER: &str = "mcp-session-id";
const DPOP_NONCE: &str = "dpop-nonce";
