//! Operators: from a presented token to a session that may do some operations.
//!
//! A token is authenticated once; each operation is then cleared by itself, since an attenuated
//! token may allow one and not the next, and since time passes.

use std::fmt;

use crate::identity::Operation;
use hallpass_core::{
    base::{
        ReasonCode,
        ids::{KeyId, OperatorId, RevocationId, ServerUri},
        key::PublicKey,
        time::Timestamp,
    },
    token::VerifiedOperator,
};

/// What the caller knows about operators and their root keys.
#[derive(Clone, Copy)]
pub struct OperatorStanding<'a> {
    /// The operator root key with this number; `None` when there is none that is trusted.
    pub key: &'a dyn Fn(KeyId) -> Option<PublicKey>,
    /// Whether this block was revoked.
    pub is_revoked: &'a dyn Fn(&RevocationId) -> bool,
    /// Whether the operator is registered, and was not removed since this token was issued.
    pub is_accepted: &'a dyn Fn(&OperatorId, Timestamp) -> bool,
}

impl fmt::Debug for OperatorStanding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorStanding")
    }
}

/// An operator whose token is genuine and was not revoked.
#[derive(Debug)]
pub struct OperatorSession {
    token: VerifiedOperator,
}

impl OperatorSession {
    /// Authenticates the bearer of the operator token `token`.
    ///
    /// # Errors
    ///
    /// Refuses what is not a genuine operator token under a known key, a token any of whose blocks
    /// was revoked, and one of an operator that is not registered or was removed after it was issued.
    pub fn authenticate(
        token: &str,
        standing: &OperatorStanding<'_>,
    ) -> Result<Self, OperatorError> {
        let token = VerifiedOperator::verify(token, standing.key)
            .map_err(OperatorError::unauthenticated)?;
        if token.blocks().iter().any(standing.is_revoked) {
            return Err(OperatorError::unauthenticated(ReasonCode::RevokedToken));
        }
        if !(standing.is_accepted)(token.operator(), token.issued_at()) {
            return Err(OperatorError::unauthenticated(ReasonCode::Suspended));
        }
        Ok(Self { token })
    }

    /// Clears one operation at `now`.
    ///
    /// # Errors
    ///
    /// Refuses when the token is not valid at `now`, when none of its roles may do `operation`, and
    /// when it was attenuated to others.
    pub fn clear(&self, operation: Operation, now: Timestamp) -> Result<(), OperatorError> {
        self.clear_as(operation, operation.roles(), now)
    }

    /// Clears one operation for `server` at `now`.
    ///
    /// # Errors
    ///
    /// As [`Self::clear`]; a verifier's token must also name the server.
    pub fn clear_at(
        &self,
        operation: Operation,
        server: &ServerUri,
        now: Timestamp,
    ) -> Result<(), OperatorError> {
        if self.token.servers().contains(server) {
            return self.clear(operation, now);
        }
        let roles: Vec<_> = operation
            .roles()
            .iter()
            .copied()
            .filter(|role| *role != VERIFIER)
            .collect();
        self.clear_as(operation, &roles, now)
    }

    /// Who it is.
    #[must_use]
    pub const fn operator(&self) -> &OperatorId {
        self.token.operator()
    }

    /// The genuine token, for what else it says.
    #[must_use]
    pub const fn token(&self) -> &VerifiedOperator {
        &self.token
    }

    fn clear_as(
        &self,
        operation: Operation,
        roles: &[&str],
        now: Timestamp,
    ) -> Result<(), OperatorError> {
        if self.token.permits(operation.as_str(), roles, now) {
            return Ok(());
        }
        // A token that allowed it when it was issued has since expired, which its holder can mend.
        let allowed_once = self
            .token
            .permits(operation.as_str(), roles, self.token.issued_at());
        Err(if allowed_once {
            OperatorError::unauthenticated(ReasonCode::Expired)
        } else {
            OperatorError::FORBIDDEN
        })
    }
}

/// An operator's token that was refused, as a whole or for one operation.
///
/// The sender gets its text and code; the reason is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperatorError {
    reason: ReasonCode,
}

impl OperatorError {
    const FORBIDDEN: Self = Self {
        reason: ReasonCode::Forbidden,
    };

    const fn unauthenticated(reason: ReasonCode) -> Self {
        Self { reason }
    }

    /// Why, for the log: not to be shown outside.
    #[must_use]
    pub const fn reason(&self) -> ReasonCode {
        self.reason
    }

    /// The code that the sender gets: `unauthenticated` or `forbidden`.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        if self.reason == ReasonCode::Forbidden {
            ReasonCode::Forbidden
        } else {
            ReasonCode::Unauthenticated
        }
    }
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.code() {
            ReasonCode::Forbidden => "the operator token does not allow this",
            _ => "the operator token was not accepted",
        })
    }
}

impl std::error::Error for OperatorError {}

/// The role of verifiers: as the operations' table names it.
const VERIFIER: &str = "verifier";
