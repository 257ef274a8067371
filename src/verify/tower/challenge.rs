//! `WWW-Authenticate` and the metadata document it points to (RFC 6750, RFC 9728).

use http::HeaderValue;
use serde_json::{Value, json};

use crate::Verifier;
use hallpass_core::{
    base::ids::ServerUri,
    possession::ALGORITHMS,
    token::{manifest::Manifest, rights::Kind, scope::scope_token},
};

/// One challenge, in the form that all stock clients can parse.
///
/// Python and TypeScript clients take the first match of a pattern over the whole header, and one
/// of them wants it to start with `Bearer`. So: one challenge, `Bearer` first, in the order
/// `error`, `scope`, `resource_metadata`, `error_description`, every value quoted, nothing
/// escaped, and no description that could be taken for a parameter.
#[derive(Debug, Clone)]
pub(super) struct Challenge<'a> {
    metadata_url: &'a str,
    scope: Option<String>,
    error: Option<(&'static str, &'static str)>,
    is_dpop: bool,
}

impl<'a> Challenge<'a> {
    /// Points to the metadata at `metadata_url`.
    pub(super) const fn new(metadata_url: &'a str) -> Self {
        Self {
            metadata_url,
            scope: None,
            error: None,
            is_dpop: false,
        }
    }

    /// Names the scope that is needed; `None` leaves it out.
    pub(super) fn with_scope(mut self, scope: Option<String>) -> Self {
        self.scope = scope;
        self
    }

    /// Challenges in the `DPoP` scheme (RFC 9449 section 7.1): for clients that used it in the request.
    pub(super) const fn for_dpop(mut self) -> Self {
        self.is_dpop = true;
        self
    }

    /// Names the error and describes it.
    pub(super) fn with_error(&self, error: &'static str, description: &'static str) -> Self {
        Self {
            error: Some((error, description)),
            ..self.clone()
        }
    }

    /// The header's value; `None` only if it has a character that is invalid in a header.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        let parameters = [
            self.error.map(|(error, _)| format!("error=\"{error}\"")),
            self.scope
                .as_ref()
                .map(|scope| format!("scope=\"{scope}\"")),
            Some(format!("resource_metadata=\"{}\"", self.metadata_url)),
            self.error
                .map(|(_, description)| format!("error_description=\"{description}\"")),
        ];
        let algorithms = self
            .is_dpop
            .then(|| format!("algs=\"{}\"", ALGORITHMS.join(" ")));
        let parameters: Vec<_> = parameters.into_iter().flatten().chain(algorithms).collect();
        let scheme = if self.is_dpop { "DPoP" } else { "Bearer" };
        HeaderValue::from_str(&format!("{scheme} {}", parameters.join(", "))).ok()
    }
}

/// The well-known URL of the server's metadata, in the path-inserted form of RFC 9728 section 3.1.
pub(super) fn metadata_url(server: &ServerUri) -> String {
    let server = server.parts();
    format!("{}{WELL_KNOWN}{}", server.origin, server.path)
}

/// Whether `path` is a well-known path for the metadata of `server`.
pub(super) fn is_metadata_path(server: &ServerUri, path: &str) -> bool {
    path.strip_prefix(WELL_KNOWN)
        .is_some_and(|rest| rest.is_empty() || rest == server.parts().path)
}

/// The metadata document of RFC 9728.
pub(super) fn metadata(verifier: &Verifier) -> Value {
    let manifest = verifier.manifest();
    json!({
        "resource": verifier.server(),
        "resource_name": manifest.name,
        "authorization_servers": [verifier.issuer()],
        "scopes_supported": scopes(&manifest),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ALGORITHMS,
    })
}

fn scopes(manifest: &Manifest) -> Vec<String> {
    let tools = manifest
        .tools
        .keys()
        .map(|name| format!("{}:{name}", Kind::Tool));
    let prompts = manifest
        .prompts
        .keys()
        .map(|name| format!("{}:{name}", Kind::Prompt));
    let resources = manifest
        .resources
        .iter()
        .filter_map(|root| scope_token(Kind::Resource, root.uri.as_str()));
    tools.chain(prompts).chain(resources).collect()
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
