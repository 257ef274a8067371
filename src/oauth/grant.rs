//! Grants: a token request, read.

use std::fmt;

use zeroize::Zeroizing;

use super::{Asked, Form, OAuthError, pkce};
use crate::base::digest::Digest;

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
#[non_exhaustive]
pub enum Grant {
    /// The client's own (RFC 6749 section 4.4).
    ClientCredentials,
    /// A person's, by the code that the client was sent (RFC 6749 section 4.1.3).
    AuthorizationCode(CodeGrant),
    /// The same, renewed (RFC 6749 section 6).
    RefreshToken(Zeroizing<String>),
}

/// An authorization code, with what shows that it came to the right one.
#[expect(clippy::exhaustive_structs, reason = "a plain record")]
pub struct CodeGrant {
    /// The code.
    pub code: Zeroizing<String>,
    /// Where it was sent.
    pub redirect_uri: Option<String>,
    /// SHA-256 of the verifier (RFC 7636).
    pub verifier: Digest,
}

impl CodeGrant {
    fn read(form: &Form) -> Result<Self, OAuthError> {
        let code = form.text("code").ok_or(OAuthError::InvalidRequest)?;
        let verifier = form.text("code_verifier").ok_or(OAuthError::InvalidRequest)?;
        Ok(Self {
            code: Zeroizing::new(code.to_owned()),
            redirect_uri: form.text("redirect_uri").map(str::to_owned),
            verifier: pkce::verifier(verifier).map_err(|_| OAuthError::InvalidRequest)?,
        })
    }
}

impl fmt::Debug for CodeGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeGrant(…)")
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientCredentials => CLIENT_CREDENTIALS,
            Self::AuthorizationCode(_) => AUTHORIZATION_CODE,
            Self::RefreshToken(_) => REFRESH_TOKEN,
        })
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
            AUTHORIZATION_CODE => Grant::AuthorizationCode(CodeGrant::read(form)?),
            REFRESH_TOKEN => {
                let token = form.text("refresh_token").ok_or(OAuthError::InvalidRequest)?;
                Grant::RefreshToken(Zeroizing::new(token.to_owned()))
            }
            _ => return Err(OAuthError::UnsupportedGrantType),
        };
        Ok(Self { grant, asked: Asked::read(form)? })
    }
}

/// The `grant_type` of RFC 6749 section 4.4.
pub const CLIENT_CREDENTIALS: &str = "client_credentials";

/// The `grant_type` of RFC 6749 section 4.1.3.
pub const AUTHORIZATION_CODE: &str = "authorization_code";

/// The `grant_type` of RFC 6749 section 6.
pub const REFRESH_TOKEN: &str = "refresh_token";
