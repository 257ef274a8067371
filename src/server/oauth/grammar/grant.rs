//! Grants: a token request, read.

use std::fmt;

use crate::server::oauth::grammar::{Asked, Form, OAuthError, TokenExchange, pkce};
use hallpass_core::base::digest::Digest;

/// A token request. The secrets in it are those of its [`Form`], which wipes them.
#[derive(Debug)]
pub struct TokenRequest<'f> {
    /// By what right.
    pub grant: Grant<'f>,
    /// What it asks for.
    pub asked: Asked,
}

/// By what right a token is asked for. Never printed but for its kind.
pub enum Grant<'f> {
    /// The client's own (RFC 6749 section 4.4).
    ClientCredentials,
    /// A token that the client presents (RFC 8693).
    TokenExchange(TokenExchange<'f>),
    /// A person's, by the code that the client was sent (RFC 6749 section 4.1.3).
    AuthorizationCode {
        /// The code.
        code: &'f str,
        /// Where it was sent.
        redirect_uri: Option<&'f str>,
        /// SHA-256 of the verifier (RFC 7636): no code is given out without a challenge.
        verifier: Digest,
    },
    /// The same, renewed by a refresh token (RFC 6749 section 6).
    RefreshToken(&'f str),
    /// A JWT of a trusted issuer (RFC 7523 section 2.1), not verified yet.
    JwtBearer(&'f str),
}

impl fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientCredentials => "ClientCredentials",
            Self::TokenExchange(_) => "TokenExchange(…)",
            Self::AuthorizationCode { .. } => "AuthorizationCode(…)",
            Self::RefreshToken(_) => "RefreshToken(…)",
            Self::JwtBearer(_) => "JwtBearer(…)",
        })
    }
}

impl<'f> TokenRequest<'f> {
    /// Reads a token request. Unknown parameters are ignored (RFC 6749 section 3.2).
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] without a grant type or without a parameter that it needs,
    /// [`OAuthError::UnsupportedGrantType`] for one that there is not, and as [`Asked::read`].
    pub fn read(form: &'f Form) -> Result<Self, OAuthError> {
        let text = |name| form.text(name).ok_or(OAuthError::InvalidRequest);
        let grant = match text("grant_type")? {
            CLIENT_CREDENTIALS => Grant::ClientCredentials,
            TOKEN_EXCHANGE => Grant::TokenExchange(TokenExchange::read(form)?),
            AUTHORIZATION_CODE => Grant::AuthorizationCode {
                code: text("code")?,
                redirect_uri: form.text("redirect_uri"),
                verifier: pkce::verifier(text("code_verifier")?)
                    .ok_or(OAuthError::InvalidRequest)?,
            },
            REFRESH_TOKEN => Grant::RefreshToken(text("refresh_token")?),
            JWT_BEARER => Grant::JwtBearer(text("assertion")?),
            _ => return Err(OAuthError::UnsupportedGrantType),
        };
        Ok(Self {
            grant,
            asked: Asked::read(form)?,
        })
    }

    /// Reads a request of a task's own client, who gets what the task was opened for and nothing else: no scope
    /// and no details that it asks for are looked at.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read), and [`OAuthError::UnauthorizedClient`] for any other grant than its own.
    pub fn of_task(form: &'f Form) -> Result<Self, OAuthError> {
        match form.text("grant_type").ok_or(OAuthError::InvalidRequest)? {
            CLIENT_CREDENTIALS => Ok(Self {
                grant: Grant::ClientCredentials,
                asked: Asked::read_resources(form)?,
            }),
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
