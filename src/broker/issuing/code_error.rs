//! Codes and refresh tokens that are refused, and why.

use crate::BrokerError;

/// A code or refresh token that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// It is none that counts here; which, is for the log.
    #[error("{0}")]
    Refused(CodeReason),
    /// One of the servers is none that was allowed.
    #[error("a server that was not allowed")]
    Target,
    /// Some of what is wanted was not allowed.
    #[error("more than was allowed")]
    Scope,
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Why a code or refresh token was refused: for the log, never for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeReason {
    /// Never made here, or forgotten, or its task, agent or steward was ended.
    #[error("no such code or token, or what it was for has ended")]
    Unknown,
    /// It was used before; what came of it is revoked.
    #[error("used twice: what came of it is revoked")]
    UsedTwice,
    /// Its time is over.
    #[error("it has ended")]
    Ended,
    /// It was made for another client.
    #[error("it is another client's")]
    OtherClient,
    /// Not the redirect URI of the request.
    #[error("not the redirect URI that it was sent to")]
    RedirectUri,
    /// Not the verifier of the challenge.
    #[error("the verifier is not that of the challenge")]
    Verifier,
    /// Not the key that it is bound to.
    #[error("no proof by the key that it is bound to")]
    Holder,
}

impl From<CodeReason> for CodeError {
    fn from(reason: CodeReason) -> Self {
        Self::Refused(reason)
    }
}
