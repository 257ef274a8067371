//! Extractors: strict, once, at the edge. What a handler gets is valid.
//!
//! SECURITY: an answer never repeats a value that was sent, which may be a secret in the wrong
//! place; it names the member and says what is expected there.

use std::{error::Error as _, str::FromStr, sync::Arc};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
};
use http_body_util::LengthLimitError;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    api::shape,
    server::{
        App,
        edge::{cursor::ListId, describe::Described, problem::Problem},
        oauth::grammar::{Form, OAuthError},
    },
};
use hallpass_core::{
    base::{ReasonCode, digest::Digest, format::Format, json, media_type::MediaType},
    wire::DocumentError,
};

/// A JSON body of the shape `T`, with the digest of its bytes. It has at most `MAX_BYTES`, and no more than the
/// configuration allows.
#[derive(Debug)]
pub(crate) struct Input<T, const MAX_BYTES: usize = { usize::MAX }> {
    pub(crate) value: T,
    pub(crate) digest: Digest,
}

impl<T: DeserializeOwned, const MAX_BYTES: usize> FromRequest<Arc<App>> for Input<T, MAX_BYTES> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        refuse_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, (body, app.max_body.min(MAX_BYTES)), app).await?;
        refuse_other_types(&parts.headers, JSON)?;
        Ok(Self {
            value: parse(&bytes)?,
            digest: Digest::of(&bytes),
        })
    }
}

/// No body, or an empty object: for routes without input.
#[derive(Debug)]
pub(crate) struct NoInput;

impl FromRequest<Arc<App>> for NoInput {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        refuse_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let bytes = read(&parts.headers, (body, app.max_body), app).await?;
        if bytes.is_empty() {
            return Ok(Self);
        }
        refuse_other_types(&parts.headers, JSON)?;
        parse::<Empty>(&bytes).map(|Empty {}| Self)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// A form-encoded body, as OAuth requests have it.
#[derive(Debug)]
pub(crate) struct FormInput(pub(crate) Form);

impl FromRequest<Arc<App>> for FormInput {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        // SECURITY: what stands in a URL ends up in logs; a credential there is refused, not used.
        refuse_query(request.uri())?;
        let (parts, body) = request.into_parts();
        let bytes = read(
            &parts.headers,
            (body, app.max_body.min(MAX_FORM_BYTES)),
            app,
        )
        .await?;
        refuse_other_types(&parts.headers, FORM)?;
        let form = Form::parse(&bytes);
        form.map(Self)
            .map_err(|error| Problem::oauth(OAuthError::InvalidRequest, error.to_string()))
    }
}

/// The one parameter in the path.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<T: FromStr> FromRequestParts<Arc<App>> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<App>) -> Result<Self, Problem> {
        let bad = || Problem::invalid("path", "not UTF-8");
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad())?;
        let (name, text) = params.iter().next().ok_or_else(bad)?;
        text.parse()
            .map(Self)
            .map_err(|_| Problem::invalid(name, "not an identifier of this kind"))
    }
}

/// The two parameters in the path.
#[derive(Debug)]
pub(crate) struct NamedPair<A, B>(pub(crate) A, pub(crate) B);

impl<A: FromStr, B: FromStr> FromRequestParts<Arc<App>> for NamedPair<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<App>) -> Result<Self, Problem> {
        let bad = || Problem::invalid("path", "not two identifiers of these kinds");
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| bad())?;
        let mut texts = params.iter().map(|(_, text)| text);
        let pair = texts
            .next()
            .and_then(|text| text.parse().ok())
            .zip(texts.next().and_then(|text| text.parse().ok()));
        pair.map(|(first, second)| Self(first, second))
            .ok_or_else(bad)
    }
}

/// The query's parameters, each at most once.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        if parts
            .uri
            .query()
            .is_some_and(|query| query.len() > MAX_QUERY_BYTES)
        {
            return Err(Problem::invalid(
                "query",
                format!("longer than {MAX_QUERY_BYTES} bytes"),
            ));
        }
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::invalid("query", "not form-encoded UTF-8"))?;
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                return Err(Problem::invalid(shown(name), "given twice"));
            }
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(Problem::invalid(
                    shown(name),
                    "empty, or with control characters",
                ));
            }
        }
        Ok(Self(pairs))
    }
}

impl Params {
    /// Refuses every parameter that is not in `known`.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        match self
            .0
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            Some((name, _)) => Err(Problem::invalid(
                shown(name),
                "not a parameter of this route",
            )),
            None => Ok(self),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| Problem::invalid(name, "not a value of this parameter"))
        };
        self.text(name).map(parse).transpose()
    }

    /// The page size that is asked for.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.parsed::<usize>("limit")?.unwrap_or(DEFAULT_LIMIT);
        if (1..=MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::invalid("limit", format!("1 to {MAX_LIMIT}")))
    }

    /// Behind which item of `list` the page begins.
    pub(crate) fn after<T: FromStr>(&self, list: &ListId) -> Result<Option<T>, Problem> {
        self.text("cursor")
            .map(|cursor| list.position(cursor))
            .transpose()
    }

    /// The list that these parameters ask for: its kind, and all of them that are not about paging.
    pub(crate) fn list(&self, kind: &str) -> ListId {
        let mut filter: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        filter.retain(|(name, _)| !matches!(*name, "limit" | "cursor"));
        filter.sort_unstable();
        ListId::new(kind, &filter)
    }
}

impl<T> Described for Input<T> {}
impl Described for NoInput {}
impl Described for FormInput {}
impl<T> Described for Named<T> {}
impl<A, B> Described for NamedPair<A, B> {}
impl Described for Params {}

/// Parses a strict JSON value of the shape `T`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // The bytes were bounded when they were read.
    let value = json::parse_within(bytes, bytes.len(), MAX_BODY_ENTRIES).map_err(|error| {
        match error.duplicate() {
            Some(name) => Problem::invalid(shown(name), "given twice"),
            // The parser's own words hold places and no content.
            None => Problem::invalid("body", format!("not one strict JSON value: {error}")),
        }
    })?;
    shape::read(value).map_err(|wrong| Problem::invalid(shown(&wrong.field), wrong.expectation))
}

/// What is answered for a document that cannot be read. The field is `v` or ends in `crit` when a later build
/// of the broker could read it, and in no other case: verifiers keep such reports.
pub(crate) fn unreadable(error: &DocumentError) -> Problem {
    match error {
        DocumentError::Format { at, .. } => {
            let known = Format::ALL.map(|format| format.to_string()).join(" or ");
            Problem::invalid(shown(at), format!("expected {known}"))
        }
        DocumentError::Critical { at } => {
            let (object, member) = at.rsplit_once('.').unwrap_or(("", at));
            let dot = if object.is_empty() { "" } else { "." };
            let member = shown(member);
            Problem::invalid(
                shown(&format!("{object}{dot}crit")),
                format!("it names `{member}`, which this broker does not know"),
            )
        }
        DocumentError::CriticalList { at, problem } => {
            let object = at.rsplit_once('.').map_or("body", |(object, _)| object);
            Problem::invalid(shown(object), format!("`crit`: {problem}"))
        }
        DocumentError::Shape { at, expectation } => {
            let field = if at.is_empty() { "body" } else { at };
            Problem::invalid(shown(field), expectation.clone())
        }
        other => Problem::invalid("body", other.to_string()),
    }
}

/// A member's or parameter's name as an answer may repeat it: short, and of plain characters.
fn shown(name: &str) -> String {
    let plain =
        |character: &char| character.is_ascii_alphanumeric() || "_-.[]/:*".contains(*character);
    name.chars().filter(plain).take(MAX_SHOWN_CHARS).collect()
}

async fn read(
    headers: &HeaderMap,
    (body, max_bytes): (Body, usize),
    app: &App,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("a body has at most {max_bytes} bytes");
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ReasonCode::RequestTooLarge,
            detail,
        )
        .field("body")
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared
        .is_some_and(|length| usize::try_from(length).map_or(true, |length| length > max_bytes))
    {
        return Err(too_large());
    }
    // SECURITY: a body that comes slowly must not hold its permit for as long as it likes.
    let limit = app.times.head.min(app.times.request);
    let bytes = tokio::time::timeout(limit, to_bytes(body, max_bytes))
        .await
        .map_err(|_| Problem::timeout(limit))?;
    bytes.map_err(|error| {
        let over = error
            .source()
            .is_some_and(|source| source.is::<LengthLimitError>());
        if over {
            too_large()
        } else {
            Problem::invalid("body", "it did not arrive whole")
        }
    })
}

fn refuse_other_types(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let refuse = |field: &str| {
        let detail = format!("send `Content-Type: {expected}`, UTF-8, not encoded otherwise");
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ReasonCode::UnsupportedMediaType,
            detail,
        )
        .field(field)
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(refuse("Content-Encoding"));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let is_expected = |value: &str| MediaType::split(value).is_in_utf8(expected);
    match (
        types.next().and_then(|value| value.to_str().ok()),
        types.next(),
    ) {
        (Some(value), None) if is_expected(value) => Ok(()),
        _ => Err(refuse("Content-Type")),
    }
}

fn refuse_query(uri: &Uri) -> Result<(), Problem> {
    match uri.query() {
        Some(query) if !query.is_empty() => {
            Err(Problem::invalid("query", "this route takes no parameters"))
        }
        _ => Ok(()),
    }
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Room for authorization details of the size that the broker takes, encoded.
const MAX_FORM_BYTES: usize = 256 * 1024;
const MAX_QUERY_BYTES: usize = 8 * 1024;
const MAX_SHOWN_CHARS: usize = 100;
const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;

/// More than the manifest of a server with hundreds of tools has, or a full batch of reports.
const MAX_BODY_ENTRIES: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Shape {
        ttl_seconds: u64,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Inner {
        agent: hallpass_core::base::ids::AgentId,
    }

    #[test]
    fn the_member_is_named_and_what_was_sent_is_not_repeated() {
        for (body, field) in [
            (r#"{"ttl_seconds":"CANARY expected CANARY"}"#, "ttl_seconds"),
            (
                r#"{"ttl_seconds":1,"inner":[{"agent":"CANARY"}]}"#,
                "inner[0].agent",
            ),
            (r#"{"ttl_seconds":1,"inner":[{}]}"#, "inner[0].agent"),
            (
                r#"{"ttl_seconds":1,"inner":[{"agent":"a","x":"CANARY"}]}"#,
                "inner[0].x",
            ),
            (r#"{"inner":[]}"#, "ttl_seconds"),
            (r#"{"ttl_seconds":1,"other":"CANARY"}"#, "other"),
            (r#"{"ttl_seconds":1,"ttl_seconds":2}"#, "ttl_seconds"),
            (r#""CANARY""#, "body"),
            (r#"{"ttl_seconds":CANARY}"#, "body"),
        ] {
            let problem = parse::<Shape>(body.as_bytes()).unwrap_err();
            let text = format!("{problem:?}");
            assert!(
                text.contains(&format!("field: Some(\"{field}\")")),
                "{body}: {text}"
            );
            assert!(!text.contains("CANARY"), "{body}: {text}");
        }
    }
}
