//! Grants: a token request, read.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    Asked, Form, OAuthError, TokenExchange,
    code::{CodeGrant, RefreshToken},
};

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
    /// A token that the client presents (RFC 8693).
    TokenExchange(TokenExchange),
    /// A person's, by the code that the client was sent (RFC 6749 section 4.1.3).
    AuthorizationCode(CodeGrant),
    /// The same, renewed (RFC 6749 section 6).
    RefreshToken(RefreshToken),
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
            TOKEN_EXCHANGE => Grant::TokenExchange(TokenExchange::read(form)?),
            AUTHORIZATION_CODE => Grant::AuthorizationCode(CodeGrant::read(form)?),
            REFRESH_TOKEN => Grant::RefreshToken(RefreshToken::read(form)?),
            JWT_BEARER => {
                let assertion = form.text("assertion").ok_or(OAuthError::InvalidRequest)?;
                Grant::JwtBearer(Assertion(Zeroizing::new(assertion.to_owned())))
            }
            _ => return Err(OAuthError::UnsupportedGrantType),
        };
        Ok(Self { grant, asked: Asked::read(form)? })
    }

    /// Reads a request of a task's own client, who gets what the task was opened for and nothing else: no scope
    /// and no details that it asks for are looked at.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`OAuthError::UnauthorizedClient`] for any other grant than its own.
    pub fn of_task(form: &Form) -> Result<Self, OAuthError> {
        match form.text("grant_type").ok_or(OAuthError::InvalidRequest)? {
            CLIENT_CREDENTIALS => Ok(Self { grant: Grant::ClientCredentials, asked: Asked::read_resources(form)? }),
            _ => Err(OAuthError::UnauthorizedClient),
        }
    }
}

/// The `grant_type` of RFC 6749 section 4.4.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The `grant_type` of RFC 8693 section 2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The `grant_type` of RFC 6749 section 4.1.3.
pub const AUTHORIZATION_CODE: &str = "authorization_code";

/// The `grant_type` of RFC 6749 section 6.
pub const REFRESH_TOKEN: &str = "refresh_token";

/// The `grant_type` of RFC 7523 section 2.1.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
