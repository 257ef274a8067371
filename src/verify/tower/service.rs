//! The service: the order in which a request is judged, and its answer filtered.

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
use serde_json::Value;
use tower_service::Service;
use tracing::{Instrument as _, Span};

use crate::{
    Pass,
    tower::{
        Guard, ResponseBody,
        answer::{self, Answer, REFUSED},
        challenge::{self, Challenge},
        events::EventFilter,
        filter::ListFilter,
        gate::{self, Credential},
        message::{Message, Purpose},
        trace, unread,
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
        // The service that was found ready is the one to be called; its clone may not be ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let guard = Arc::clone(&self.guard);
        let span = trace::span();
        let within = span.clone();
        let work = async move {
            let (request, visit) = match guard.judge(request, &within).await {
                Ok(judged) => judged,
                Err(response) => return Ok(guard.with_nonce((*response).map(ResponseBody::whole))),
            };
            let response = inner.call(request).await?;
            Ok(guard.with_nonce(guard.finish(response, visit).await))
        };
        Box::pin(work.instrument(span))
    }
}

/// What the layer remembers of a request until its answer comes.
struct Visit {
    pass: Pass,
    id: Value,
    purpose: Purpose,
    method: Method,
    session: Option<HeaderValue>,
}

type Refused = Box<Response<Full<Bytes>>>;

impl Guard {
    /// Judges a request; what comes out may be handed to the server.
    async fn judge<B>(
        &self,
        request: Request<B>,
        span: &Span,
    ) -> Result<(Request<Full<Bytes>>, Visit), Refused>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        if parts.method == Method::GET
            && challenge::is_metadata_path(self.verifier.server(), parts.uri.path())
        {
            return Err(Box::new(self.metadata_response()));
        }
        let mut unread = Some(body);
        match self.judge_parts(&mut parts, &mut unread, span).await {
            Ok((body, visit)) => Ok((Request::from_parts(parts, Full::new(body)), visit)),
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

    /// Takes `body` when it is to be read; what is refused before leaves it.
    async fn judge_parts<B>(
        &self,
        parts: &mut Parts,
        body: &mut Option<B>,
        span: &Span,
    ) -> Result<(Bytes, Visit), Answer>
    where
        B: Body,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut caused_by = trace::carried(&parts.headers);
        let pass = self.judge_head(parts, caused_by)?;
        trace::tell_pass(span, &pass);
        let session = self.judge_session(&parts.headers, &pass)?;
        let (bytes, id, purpose) = if parts.method == Method::POST {
            gate::admit_content(&parts.headers)?;
            let message = Message::read(&self.read(body.take()).await?, self.limits.message_bytes)?;
            message.agree_with(&parts.headers)?;
            caused_by = message.trace_parent().or(caused_by);
            self.clear(parts, (&pass, &message), caused_by)?;
            trace::tell_message(span, &message);
            (
                Bytes::from(message.to_bytes()?),
                message.id(),
                message.purpose().clone(),
            )
        } else {
            (Bytes::new(), Value::Null, Purpose::Neutral)
        };
        gate::strip(&mut parts.headers);
        if !bytes.is_empty() {
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        }
        let visit = Visit {
            pass: pass.clone(),
            id,
            purpose,
            method: parts.method.clone(),
            session,
        };
        if visit.is_filtered() {
            // A compressed list could not be read.
            parts.headers.remove(header::ACCEPT_ENCODING);
        }
        if let Some(parent) = caused_by {
            span.record("trace.id", parent.trace_id());
            parts.extensions.insert(parent);
        }
        parts.extensions.insert(pass);
        Ok((bytes, visit))
    }

    fn judge_head(&self, parts: &Parts, caused_by: Option<TraceParent>) -> Result<Pass, Answer> {
        gate::admit_method(&parts.method)?;
        gate::admit_origin(&parts.headers, self.verifier.server(), &self.origins)?;
        let challenge = Challenge::new(&self.metadata_url);
        let (token, verified, challenge) = match gate::credential(parts, &challenge)? {
            Credential::Bearer(token) => (token, self.verifier.verify(token), challenge),
            Credential::Dpop { token, proof } => {
                let presented = Presented {
                    proof,
                    method: parts.method.as_str(),
                };
                (
                    token,
                    self.verifier.verify_with_proof(token, &presented),
                    challenge.for_dpop(),
                )
            }
        };
        let pass = verified.map_err(|denial| {
            self.report_refused_token(token, &denial, caused_by);
            answer::pass_denied(&denial, &challenge)
        })?;
        self.verifier.admit(&pass).map_err(|denial| {
            self.report_refused_pass(&pass, &denial, caused_by);
            answer::pass_denied(&denial, &challenge)
        })?;
        Ok(pass)
    }

    /// The session that the request is in, if any: it must be one that this pass may go on with.
    fn judge_session(
        &self,
        headers: &HeaderMap,
        pass: &Pass,
    ) -> Result<Option<HeaderValue>, Answer> {
        let mut ids = headers.get_all(SESSION_HEADER).iter();
        match (ids.next(), ids.next()) {
            (None, _) => Ok(None),
            (Some(id), None) if self.sessions.may_use(id.as_bytes(), pass) => Ok(Some(id.clone())),
            // 404 is how a client learns that it must open a new session.
            _ => Err(
                Answer::error(StatusCode::NOT_FOUND, REFUSED, "session not found").because(
                    ReasonCode::NotFound,
                    "no such session for this pass: open a new one",
                ),
            ),
        }
    }

    /// Clears the call that the message makes, if it makes one.
    fn clear(
        &self,
        parts: &mut Parts,
        (pass, message): (&Pass, &Message),
        caused_by: Option<TraceParent>,
    ) -> Result<(), Answer> {
        let Some(call) = message.call() else {
            return Ok(());
        };
        let cleared = self.verifier.clear(pass, &call);
        self.report_call((pass, message, &call), &cleared, caused_by);
        let permit = cleared.map_err(|denial| {
            let challenge =
                Challenge::new(&self.metadata_url).with_scope(scope_token(call.kind, call.name));
            let challenge = if pass.verified().holder().is_some() {
                challenge.for_dpop()
            } else {
                challenge
            };
            answer::call_denied(&denial, &challenge).to(message.id())
        })?;
        parts.extensions.insert(permit);
        Ok(())
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
        // What is left of it is not waited for, so nothing may follow it.
        let too_large = || {
            Answer::error(StatusCode::PAYLOAD_TOO_LARGE, REFUSED, "message too large")
                .because(
                    ReasonCode::MessageTooLarge,
                    format!("longer than {max} bytes"),
                )
                .header(header::CONNECTION, HeaderValue::from_static("close"))
        };
        // An honest `Content-Length` saves both sides the transfer.
        if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(too_large());
        }
        match Limited::new(body, max).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(_) => Err(
                Answer::error(StatusCode::BAD_REQUEST, REFUSED, "message incomplete")
                    .because(ReasonCode::MessageMalformed, "the body broke off"),
            ),
        }
    }

    /// Makes the server's answer fit for the holder of the pass.
    async fn finish<RB>(&self, response: Response<RB>, visit: Visit) -> Response<ResponseBody<RB>>
    where
        RB: Body<Data = Bytes>,
        RB::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.note_session(&response, &visit);
        let filter = ListFilter::new(Arc::clone(&self.verifier), visit.pass.clone());
        let is_encoded = response.headers().contains_key(header::CONTENT_ENCODING);
        match (media_type(response.headers()), visit.is_filtered()) {
            // What is compressed although nobody asked for that cannot be read.
            (Media::Json | Media::Events, true) if is_encoded => unfilterable(&visit),
            (Media::Events, true) => filtered_events(
                response,
                EventFilter::new(filter, self.limits.list_bytes),
                &visit,
            ),
            (Media::Events, false) => response.map(|body| ResponseBody::watched(body, filter)),
            (Media::Json, true) => self.filtered_list(response, &filter, &visit).await,
            (Media::Other, _) if visit.must_be_a_list(&response) => unfilterable(&visit),
            (Media::Json | Media::Other, _) => response.map(ResponseBody::untouched),
        }
    }

    fn note_session<RB>(&self, response: &Response<RB>, visit: &Visit) {
        if !response.status().is_success() {
            return;
        }
        match (&visit.session, response.headers().get(SESSION_HEADER)) {
            (None, Some(id)) if visit.purpose == Purpose::Initializes => {
                self.sessions.open(id.as_bytes(), &visit.pass)
            }
            (Some(id), _) if visit.method == Method::DELETE => self.sessions.close(id.as_bytes()),
            _ => {}
        }
    }

    async fn filtered_list<RB>(
        &self,
        response: Response<RB>,
        filter: &ListFilter,
        visit: &Visit,
    ) -> Response<ResponseBody<RB>>
    where
        RB: Body<Data = Bytes>,
        RB::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (mut parts, body) = response.into_parts();
        let max = self.limits.list_bytes;
        let Ok(collected) = Limited::new(body, max).collect().await else {
            return unfilterable(visit);
        };
        let bytes = collected.to_bytes();
        let bytes = match filter.apply(&bytes, max) {
            Ok(Some(filtered)) => filtered.into(),
            Ok(None) => bytes,
            Err(_) => return unfilterable(visit),
        };
        settle_headers(&mut parts.headers);
        Response::from_parts(parts, ResponseBody::whole(Full::new(bytes)))
    }

    /// Tells the client the nonce for its next proof, where proofs need one (RFC 9449 section 8.2).
    fn with_nonce<RB>(&self, mut response: Response<RB>) -> Response<RB> {
        let nonce = self
            .verifier
            .proof_nonce()
            .and_then(|nonce| HeaderValue::from_str(&nonce).ok());
        if let Some(nonce) = nonce {
            response.headers_mut().insert(DPOP_NONCE, nonce);
        }
        response
    }

    fn metadata_response(&self) -> Response<Full<Bytes>> {
        let mut response =
            Response::new(Full::from(challenge::metadata(&self.verifier).to_string()));
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

impl Visit {
    /// Whether the answer may hold lists. A GET stream may: it repeats answers of earlier requests.
    fn is_filtered(&self) -> bool {
        self.purpose == Purpose::Lists || self.method == Method::GET
    }

    /// Whether `response` has a body where a list is due.
    fn must_be_a_list<RB: Body>(&self, response: &Response<RB>) -> bool {
        self.purpose == Purpose::Lists
            && response.status().is_success()
            && !response.body().is_end_stream()
    }
}

fn filtered_events<RB>(
    mut response: Response<RB>,
    filter: EventFilter,
    visit: &Visit,
) -> Response<ResponseBody<RB>> {
    settle_headers(response.headers_mut());
    let filter = if visit.purpose == Purpose::Lists {
        filter.with_farewell(&cannot_filter(visit).to_json())
    } else {
        filter
    };
    response.map(|body| ResponseBody::filtered(body, filter))
}

/// SECURITY: a list that cannot be read is not sent on unfiltered.
fn unfilterable<RB>(visit: &Visit) -> Response<ResponseBody<RB>> {
    cannot_filter(visit)
        .into_response()
        .map(ResponseBody::whole)
}

fn cannot_filter(visit: &Visit) -> Answer {
    answer::broken("the server's list cannot be filtered, and so is not sent").to(visit.id.clone())
}

/// The server's statements about the bytes of its body no longer hold, and the list is for one
/// holder only.
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

const SESSION_HEADER: &str = "mcp-session-id";
const DPOP_NONCE: &str = "dpop-nonce";
