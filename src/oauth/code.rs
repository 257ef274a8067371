//! Authorization codes and refresh tokens, as they come to the token endpoint. Secrets until they are
//! used up: wiped when dropped, never printed.

use std::fmt;

use zeroize::Zeroizing;

use super::{Form, OAuthError, pkce};
use crate::base::digest::Digest;

/// An authorization code, with what shows that it came to the right one (RFC 6749 section 4.1.3).
pub struct CodeGrant {
    code: Zeroizing<String>,
    /// Where it was sent.
    pub redirect_uri: Option<String>,
    /// SHA-256 of the verifier (RFC 7636).
    pub verifier: Digest,
}

impl CodeGrant {
    /// Reads the grant.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] without a code, and without a verifier: no code is given out without a
    /// challenge.
    pub fn read(form: &Form) -> Result<Self, OAuthError> {
        let code = form.text("code").ok_or(OAuthError::InvalidRequest)?;
        let verifier = form.text("code_verifier").ok_or(OAuthError::InvalidRequest)?;
        Ok(Self {
            code: Zeroizing::new(code.to_owned()),
            redirect_uri: form.text("redirect_uri").map(str::to_owned),
            verifier: pkce::verifier(verifier).map_err(|_| OAuthError::InvalidRequest)?,
        })
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl fmt::Debug for CodeGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeGrant(…)")
    }
}

/// A refresh token (RFC 6749 section 6).
pub struct RefreshToken(Zeroizing<String>);

impl RefreshToken {
    /// Reads the grant.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] without one.
    pub fn read(form: &Form) -> Result<Self, OAuthError> {
        let token = form.text("refresh_token").ok_or(OAuthError::InvalidRequest)?;
        Ok(Self(Zeroizing::new(token.to_owned())))
    }

    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}
