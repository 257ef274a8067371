//! Checks of a request's head, before its body is read.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::tower::{
    answer::{self, Answer, Refused},
    challenge::Challenge,
    mirrored::{self, MCP_METHOD, MCP_NAME},
};
use hallpass_core::{
    base::{
        ReasonCode,
        ids::ServerUri,
        media_type::MediaType,
        uri::{Authority, Uri, is_loopback_host},
    },
    token::{rights::Kind, scope::scope_token},
};

/// POST carries messages; GET and DELETE belong to the sessions of MCP before 2026-07-28.
///
/// # Errors
///
/// Refuses every other method.
pub(super) fn admit_method(method: &Method) -> Result<(), Answer> {
    if matches!(*method, Method::POST | Method::GET | Method::DELETE) {
        return Ok(());
    }
    Err(Answer::from(Refused {
        status: StatusCode::METHOD_NOT_ALLOWED,
        message: "method not allowed",
        reason: ReasonCode::HttpMethodNotAllowed,
        detail: "this server accepts POST, GET and DELETE".into(),
    })
    .header(header::ALLOW, HeaderValue::from_static("POST, GET, DELETE")))
}

/// SECURITY: a page in a browser may reach servers that its author cannot (DNS rebinding). It
/// cannot forge its `Origin`.
///
/// # Errors
///
/// Refuses an origin that is not the server's own, of this machine, or in `allowed`.
pub(super) fn admit_origin(
    headers: &HeaderMap,
    server: &ServerUri,
    allowed: &[String],
) -> Result<(), Answer> {
    let is_known = |origin: &HeaderValue| {
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        allowed.iter().any(|allowed| allowed == origin)
            || origin_host(origin)
                .is_some_and(|host| host == server.parts().host || is_loopback_host(host))
    };
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if is_known(origin) => Ok(()),
        _ => Err(Refused {
            status: StatusCode::FORBIDDEN,
            message: "origin not allowed",
            reason: ReasonCode::Forbidden,
            detail: "requests from pages of this origin are not accepted".into(),
        }
        .into()),
    }
}

/// The host of an `Origin` header; `None` for `null` and for an invalid origin.
fn origin_host(origin: &str) -> Option<&str> {
    let uri = Uri::split(origin)?;
    let is_origin = matches!(uri.scheme, "http" | "https") && uri.path.is_empty();
    let authority = Authority::split(uri.authority?)?;
    let port_is_valid = authority
        .port
        .is_none_or(|port| port.parse::<u16>().is_ok());
    (is_origin && uri.ends_with_path() && port_is_valid).then_some(authority.host)
}

/// The token of a request, with its proof of possession for the `DPoP` scheme (RFC 9449).
pub(super) enum Credential<'p> {
    Bearer(&'p str),
    Dpop { token: &'p str, proof: &'p str },
}

/// The token of the one `Authorization` header, and the proof of the one `DPoP` header beside it.
///
/// # Errors
///
/// Refuses a token anywhere else, more than one such header, a missing token, and a missing proof
/// with the `DPoP` scheme.
pub(super) fn credential<'p>(
    parts: &'p Parts,
    challenge: &Challenge<'_>,
) -> Result<Credential<'p>, Answer> {
    if parts.uri.query().is_some_and(names_a_token) {
        return Err(bad_request(
            challenge,
            "send the token in the `Authorization` header, never in the URL",
        ));
    }
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(bad_request(
            challenge,
            "more than one `Authorization` header",
        ));
    }
    let credential = first
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '));
    match credential {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Credential::Bearer(token.trim_matches(' ')))
        }
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("dpop") => {
            let mut proofs = parts.headers.get_all(&DPOP).iter();
            match (
                proofs.next().and_then(|proof| proof.to_str().ok()),
                proofs.next(),
            ) {
                (Some(proof), None) => Ok(Credential::Dpop {
                    token: token.trim_matches(' '),
                    proof,
                }),
                _ => Err(answer::proof_missing(&challenge.clone().for_dpop())),
            }
        }
        _ => Err(Answer::from(Refused {
            status: StatusCode::UNAUTHORIZED,
            message: "a pass is needed",
            reason: ReasonCode::TokenMissing,
            detail: "send `Authorization: Bearer` and a pass, or `DPoP` and a bound one".into(),
        })
        .challenge(&challenge.clone().with_scope(hinted_scope(&parts.headers)))),
    }
}

/// The call of a client without a token, according to its headers: only a hint for the scope in the
/// challenge.
fn hinted_scope(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let name = text(&MCP_NAME).and_then(mirrored::decode)?;
    let kind = match text(&MCP_METHOD)? {
        "tools/call" => Kind::Tool,
        "prompts/get" => Kind::Prompt,
        "resources/read" => Kind::Resource,
        _ => return None,
    };
    scope_token(kind, &name)
}

fn names_a_token(query: &str) -> bool {
    let names = query
        .split(['&', ';'])
        .map(|pair| pair.split('=').next().unwrap_or_default());
    names
        .into_iter()
        .any(|name| percent_decoded(name).eq_ignore_ascii_case(b"access_token"))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = if *first == b'%' {
            after.split_at_checked(2)
        } else {
            None
        };
        let byte = escaped.and_then(|(digits, after)| {
            let mut byte = [0; 1];
            hex::decode_to_slice(digits, &mut byte)
                .ok()
                .map(|()| (byte, after))
        });
        match byte {
            Some(([byte], after)) => {
                decoded.push(byte);
                rest = after;
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

/// The body must be JSON in UTF-8, and not compressed: a body with a content encoding could be read in
/// two ways.
///
/// # Errors
///
/// Refuses any other content type, and any content encoding.
pub(super) fn admit_content(headers: &HeaderMap) -> Result<(), Answer> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let is_json = match (types.next(), types.next()) {
        (Some(only), None) => only.to_str().is_ok_and(is_json_in_utf8),
        _ => false,
    };
    if is_json && !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    Err(Refused {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        message: "unsupported media type",
        reason: ReasonCode::UnsupportedMediaType,
        detail: "send one `Content-Type: application/json`, in UTF-8 and not compressed".into(),
    }
    .into())
}

fn is_json_in_utf8(content_type: &str) -> bool {
    MediaType::split(content_type).is_in_utf8("application/json")
}

/// Removes headers for the layer and hop-by-hop headers: the server behind must not be able to use
/// the client's credentials elsewhere.
pub(super) fn strip(headers: &mut HeaderMap) {
    let for_this_hop: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in for_this_hop.iter().chain(&STRIPPED) {
        headers.remove(name);
    }
}

fn bad_request(challenge: &Challenge<'_>, detail: &'static str) -> Answer {
    let challenge = challenge.with_error("invalid_request", "one pass in the Authorization header");
    Answer::from(Refused {
        status: StatusCode::BAD_REQUEST,
        message: "malformed authorization",
        reason: ReasonCode::InvalidRequest,
        detail: detail.into(),
    })
    .challenge(&challenge)
}

/// The header of a proof of possession (RFC 9449 section 4.1).
const DPOP: HeaderName = HeaderName::from_static("dpop");

static STRIPPED: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    DPOP,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_LENGTH,
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn origins_are_read_as_the_vectors_of_uris_say() {
        let rows = include_str!("../../core/base/uri/vectors.json");
        let rows: Vec<Value> = serde_json::from_str(rows).unwrap();
        let own = |host: &&str| *host == "ledger.example" || is_loopback_host(host);
        for row in &rows {
            let text = row["text"].as_str().unwrap();
            let host = row.get("origin").and_then(Value::as_str);
            assert_eq!(origin_host(text).filter(own), host, "{text:?}");
        }
    }
}
