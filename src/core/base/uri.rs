//! URIs: the one grammar by which hallpass splits and compares them.
//!
//! [`Uri`] is what RFC 3986 splits a URI into, [`Authority`] is host and port, [`HttpUri`] is the canonical form of a
//! server or issuer. Further restrictions are the callers'. `uri/vectors.json` lists how each caller
//! reads each text. No URL library is used: the verifier's number of dependencies is bounded.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A URI split into its parts (RFC 3986 appendix B). Nothing but the scheme is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uri<'t> {
    /// The scheme, in the case that it was written in.
    pub scheme: &'t str,
    /// The text between `//` and the path.
    pub authority: Option<&'t str>,
    /// The path, with its leading slash.
    pub path: &'t str,
    /// The query, without its question mark.
    pub query: Option<&'t str>,
    /// The fragment, without its hash sign.
    pub fragment: Option<&'t str>,
}

impl<'t> Uri<'t> {
    /// Splits `text`; `None` when it does not begin with a scheme.
    #[must_use]
    pub fn split(text: &'t str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let mut bytes = scheme.bytes();
        let is_scheme = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return None;
        }
        let (rest, fragment) = cut(rest, '#');
        let (rest, query) = cut(rest, '?');
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) =
                    rest.split_at_checked(rest.find('/').unwrap_or(rest.len()))?;
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Some(Self {
            scheme,
            authority,
            path,
            query,
            fragment,
        })
    }

    /// Whether the scheme is in lower case, which is its canonical form.
    #[must_use]
    pub fn has_canonical_scheme(&self) -> bool {
        !self.scheme.bytes().any(|byte| byte.is_ascii_uppercase())
    }

    /// Whether the path is the last part: neither a query nor a fragment follows, not even an empty one.
    #[must_use]
    pub const fn ends_with_path(&self) -> bool {
        self.query.is_none() && self.fragment.is_none()
    }
}

/// `text` before and after the first `separator`.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// An authority split into host and port. Neither is checked.
///
/// User information is not split off: it stays in the host, or in the port, and makes that one malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authority<'t> {
    /// The host; an IPv6 address with its brackets.
    pub host: &'t str,
    /// The text after the colon.
    pub port: Option<&'t str>,
}

impl<'t> Authority<'t> {
    /// Splits `authority`; `None` for a bracket that is not closed, or that something other than a port follows.
    #[must_use]
    pub fn split(authority: &'t str) -> Option<Self> {
        let end = if authority.starts_with('[') {
            authority.find(']')?.checked_add(1)?
        } else {
            authority.find(':').unwrap_or(authority.len())
        };
        let (host, after) = authority.split_at_checked(end)?;
        let port = match after {
            "" => None,
            after => Some(after.strip_prefix(':')?),
        };
        Some(Self { host, port })
    }

    /// The port's number; `None` for no port and for one that is not in canonical form.
    #[must_use]
    pub fn port_number(&self) -> Option<u16> {
        let port = self.port?;
        let number: u16 = port.parse().ok()?;
        (number.to_string() == port).then_some(number)
    }

    /// Whether host and port each have their one canonical form. A default port is allowed, port 0 is not.
    #[must_use]
    pub fn is_canonical(&self) -> bool {
        let port_is_canonical =
            self.port.is_none() || self.port_number().is_some_and(|port| port != 0);
        port_is_canonical && (is_canonical_host(self.host) || is_canonical_ipv6(self.host))
    }
}

/// An absolute http URI in canonical form: how servers and issuers are named.
///
/// `https`, or `http` to this machine; a canonical authority without the default port; no query, no fragment; a path
/// of non-empty segments of unreserved characters, without a trailing slash. Deliberately narrower than RFC 3986: a
/// URI that two parsers could read differently has no place in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HttpUri<'t> {
    /// Scheme and authority, as they stand in the text.
    pub origin: &'t str,
    /// The scheme.
    pub scheme: &'t str,
    /// The host; an IPv6 address with its brackets.
    pub host: &'t str,
    /// The port, when it is not the scheme's own.
    pub port: Option<u16>,
    /// The path; empty, or with a leading slash.
    pub path: &'t str,
}

impl<'t> HttpUri<'t> {
    /// Splits `text`; `None` when it is not canonical.
    #[must_use]
    pub fn split(text: &'t str) -> Option<Self> {
        let uri = Uri::split(text)?;
        let authority = Authority::split(uri.authority?).filter(Authority::is_canonical)?;
        let port = authority.port_number();
        let is_canonical = uri.has_canonical_scheme()
            && (uri.scheme == "https" || is_loopback_host(authority.host))
            && port != Some(default_port(uri.scheme)?)
            && uri.ends_with_path()
            && is_canonical_path(uri.path)
            && text.len() <= MAX_HTTP_URI_BYTES;
        is_canonical.then_some(Self {
            origin: text.strip_suffix(uri.path)?,
            scheme: uri.scheme,
            host: authority.host,
            port,
            path: uri.path,
        })
    }
}

/// An http URL in the form in which two are compared (RFC 9449 section 4.3, RFC 3986 section 6.2): scheme and host
/// in lower case, no default port, a path at least, no query, no fragment.
///
/// `None` for another scheme, no authority, and user information.
#[must_use]
pub fn comparable_url(text: &str) -> Option<String> {
    let uri = Uri::split(text)?;
    let scheme = uri.scheme.to_ascii_lowercase();
    let default_port = format!(":{}", default_port(&scheme)?);
    let authority = uri
        .authority
        .filter(|authority| !authority.is_empty() && !authority.contains('@'))?
        .to_ascii_lowercase();
    let authority = authority
        .strip_suffix(default_port.as_str())
        .unwrap_or(&authority);
    let path = if uri.path.is_empty() { "/" } else { uri.path };
    Some(format!("{scheme}://{authority}{path}"))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    }
}

/// Whether `host` names this machine only.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    host == "localhost"
        || host == "[::1]"
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether `host` is a lower-case DNS name in A-label form, or an IPv4 address.
#[must_use]
pub fn is_canonical_host(host: &str) -> bool {
    let labels_are_valid = host.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    // A name whose last label is a number would be read as an IPv4 address by some (WHATWG URL), so it must be one.
    let last_is_number = host.rsplit('.').next().is_some_and(|label| {
        label.bytes().all(|byte| byte.is_ascii_digit())
            || label
                .strip_prefix("0x")
                .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    });
    host.len() <= 253
        && labels_are_valid
        && (!last_is_number
            || host
                .parse::<Ipv4Addr>()
                .is_ok_and(|address| address.to_string() == host))
}

fn is_canonical_ipv6(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    address.is_some_and(|text| {
        text.parse::<Ipv6Addr>()
            .is_ok_and(|address| address.to_string() == text)
    })
}

fn is_canonical_path(path: &str) -> bool {
    let is_segment = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().any(|byte| byte != b'.')
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    path.is_empty()
        || path
            .strip_prefix('/')
            .is_some_and(|inside| inside.split('/').all(is_segment))
}

/// A server or issuer URI is at most this long, in bytes.
const MAX_HTTP_URI_BYTES: usize = 256;

#[cfg(all(test, feature = "issuer"))]
pub(crate) mod tests;
