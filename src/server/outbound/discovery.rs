//! The discovery document of an issuer (OpenID Connect Discovery 1.0 section 4).

use serde_json::Value;

use crate::server::outbound::{FetchError, Fetcher};

/// Why there is no discovery document.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// It cannot be fetched.
    #[error("its discovery document {0}")]
    Fetch(FetchError),
    /// It is another issuer's.
    #[error("its discovery document names another issuer")]
    Issuer,
}

/// Fetches the discovery document of `issuer`.
///
/// # Errors
///
/// As [`Fetcher::json`], and when the document names another issuer.
pub(super) async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<Value, DiscoveryError> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let fetched = fetcher.json(&url, MAX_DOCUMENT_BYTES).await;
    let document = fetched.map_err(DiscoveryError::Fetch)?.json;
    // SECURITY: to the letter; a document of another issuer names another issuer's keys and endpoints.
    if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err(DiscoveryError::Issuer);
    }
    Ok(document)
}

/// What an issuer answers is at most this long, in bytes: discovery document, key set, tokens.
pub(super) const MAX_DOCUMENT_BYTES: usize = 64 * 1024;
