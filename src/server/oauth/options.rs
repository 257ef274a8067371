//! How the OAuth endpoints are run.

use std::time::Duration;

/// How the OAuth endpoints are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OAuthOptions {
    /// The task that a token request opens lasts this long, and its pass no longer.
    pub token_ttl: Duration,
    /// Whether clients may register themselves.
    pub dynamic_registration: bool,
}

impl Default for OAuthOptions {
    fn default() -> Self {
        Self {
            token_ttl: Duration::from_secs(300),
            dynamic_registration: false,
        }
    }
}
