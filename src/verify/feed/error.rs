//! Why a feed client could not be set up.

use crate::feed::state_file::StateFileError;
use hallpass_core::base::ids::IdError;

/// Why a [`FeedClient`](crate::feed::FeedClient) could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The broker's address cannot be used.
    #[error("the broker's address cannot be used: {0}")]
    Broker(#[from] IdError),
    /// The verifier token is empty or has characters that are invalid in an HTTP header.
    #[error(
        "the verifier token is empty or has characters that are invalid in a header: remove line breaks"
    )]
    Token,
    /// The certificate bundle cannot be read.
    #[error(
        "the root certificates are not a PEM bundle with at least one certificate: give the authority's certificate"
    )]
    RootCertificate,
    /// The HTTP client cannot be set up.
    #[error("cannot set up the HTTP client: {0}")]
    Http(String),
    /// The state file cannot be used.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
}
