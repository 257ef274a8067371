//! Doors: how a path treats browsers, and in which words it refuses.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};

use crate::server::{
    edge::problem::Dialect,
    oauth::grammar::metadata::{AUTHORIZE, INTROSPECT, JWKS, REGISTER, REVOKE, SIGN_IN, TOKEN},
};
use hallpass_core::base::ids::IssuerUri;

/// What kind of path was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointKind {
    /// The API: no browsers.
    Api,
    /// An OAuth endpoint that clients in browsers use too.
    Client,
    /// An OAuth endpoint for servers: no browsers.
    Server,
    /// What is for everybody to read.
    Public,
    /// A page for a person, which posts to itself.
    Page,
}

impl EndpointKind {
    /// The endpoint at `path`, which may lie below the path of `issuer`.
    pub(crate) fn of(path: &str, issuer: &IssuerUri) -> Self {
        if path.starts_with(PUBLIC) {
            return Self::Public;
        }
        let prefix = issuer.parts().path;
        match path.strip_prefix(prefix).unwrap_or(path) {
            TOKEN | REVOKE | REGISTER => Self::Client,
            INTROSPECT => Self::Server,
            AUTHORIZE | SIGN_IN => Self::Page,
            JWKS => Self::Public,
            path if path.starts_with(PUBLIC) => Self::Public,
            _ => Self::Api,
        }
    }

    /// In which words it refuses.
    pub(crate) const fn dialect(self) -> Dialect {
        match self {
            Self::Client | Self::Server => Dialect::OAuth,
            Self::Api | Self::Public | Self::Page => Dialect::Problem,
        }
    }

    /// Whether a request with these `Origin` headers may pass.
    pub(crate) fn admits_origins<'h>(
        self,
        mut origins: impl Iterator<Item = &'h HeaderValue>,
        issuer: &IssuerUri,
    ) -> bool {
        match self {
            // SECURITY: nothing is answered on the strength of a cookie, so that no page acts for its visitor.
            Self::Client | Self::Public => true,
            Self::Page => {
                let own = Some(issuer.parts().origin);
                origins.all(|origin| origin.to_str().ok() == own)
            }
            Self::Api | Self::Server => origins.next().is_none(),
        }
    }

    /// Whether a browser asks what pages of others may do here.
    pub(crate) fn is_preflight(self, method: &Method) -> bool {
        self.is_for_all() && *method == Method::OPTIONS
    }

    /// What pages of others may do here.
    pub(crate) fn preflight(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let methods = if self == Self::Public {
            "GET, OPTIONS"
        } else {
            "POST, OPTIONS"
        };
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(methods),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(HEADERS),
        );
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("86400"),
        );
        response
    }

    /// Lets pages of others read the answer, where they may, and keeps old caches from keeping it (RFC 6749
    /// section 5.1).
    pub(crate) fn set_headers(self, headers: &mut HeaderMap) {
        if self.dialect() == Dialect::OAuth {
            headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        }
        if self.is_for_all() {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            );
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("Retry-After, X-Request-Id"),
            );
        }
    }

    const fn is_for_all(self) -> bool {
        matches!(self, Self::Client | Self::Public)
    }
}

const PUBLIC: &str = "/.well-known/";

/// What stock clients send.
const HEADERS: &str = "Accept, Authorization, Content-Type, DPoP, MCP-Protocol-Version";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oauth_endpoints_are_open_to_browsers_whatever_the_issuers_path() {
        let origin = HeaderValue::from_static("https://page.example");
        for issuer in ["https://broker.example", "https://broker.example/at/work"] {
            let issuer: IssuerUri = issuer.parse().unwrap();
            let endpoint = |path: &str| EndpointKind::of(path, &issuer);
            let below =
                |path: &str| EndpointKind::of(&format!("{}{path}", issuer.parts().path), &issuer);
            for path in [
                "/oauth/token",
                "/oauth/revoke",
                "/oauth/register",
                "/.well-known/openid-configuration",
            ] {
                for endpoint in [endpoint(path), below(path)] {
                    assert!(
                        endpoint.admits_origins([&origin].into_iter(), &issuer),
                        "{path}"
                    );
                    assert!(
                        endpoint.is_preflight(&Method::OPTIONS)
                            && !endpoint.is_preflight(&Method::POST)
                    );
                }
            }
            for path in [
                "/v1/tasks",
                "/oauth/introspect",
                "/oauth/authorize",
                "/oauth/token/",
                "/oauth/tokens",
                "/",
            ] {
                for endpoint in [endpoint(path), below(path)] {
                    assert!(
                        !endpoint.admits_origins([&origin].into_iter(), &issuer),
                        "{path}"
                    );
                    assert!(endpoint.admits_origins([].into_iter(), &issuer), "{path}");
                    assert!(!endpoint.is_preflight(&Method::OPTIONS), "{path}");
                }
            }
            let own = HeaderValue::from_static("https://broker.example");
            let page = endpoint("/oauth/authorize");
            assert!(page.admits_origins([&own].into_iter(), &issuer));
            assert!(!page.admits_origins([&own, &origin].into_iter(), &issuer));
        }
    }
}
