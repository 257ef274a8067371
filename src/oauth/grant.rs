//! Grants: a token request, read.

use std::fmt;

use zeroize::Zeroizing;

use super::{Asked, Form, OAuthError};

/// A token request.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct TokenRequest {
    /// By what right.
    pub grant: Grant,
    /// What it asks for.
    pub asked: Asked,
}

/// By what right a token is asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Grant {
    /// The client's own (RFC 6749 section 4.4).
    ClientCredentials,
    /// Somebody else's word (RFC 7523 section 2.1).
    JwtBearer(Assertion),
}

/// An assertion that is a grant: a JWT, not looked at yet. Wiped when dropped, never printed.
pub struct Assertion(Zeroizing<String>);

impl Assertion {
    /// The JWT.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Assertion(…)")
    }
}

impl TokenRequest {
    /// Reads a token request. Parameters that nobody knows are ignored (RFC 6749 section 3.2).
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] without a grant type or without a parameter that it needs,
    /// [`OAuthError::UnsupportedGrantType`] for one that there is not, and as [`Asked::read`].
    pub fn read(form: &Form) -> Result<Self, OAuthError> {
        let grant = match form.text("grant_type").ok_or(OAuthError::InvalidRequest)? {
            CLIENT_CREDENTIALS => Grant::ClientCredentials,
            JWT_BEARER => {
                let assertion = form.text("assertion").ok_or(OAuthError::InvalidRequest)?;
                Grant::JwtBearer(Assertion(Zeroizing::new(assertion.to_owned())))
            }
            _ => return Err(OAuthError::UnsupportedGrantType),
        };
        Ok(Self { grant, asked: Asked::read(form)? })
    }
}

/// The `grant_type` of RFC 6749 section 4.4.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The `grant_type` of RFC 7523 section 2.1.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
