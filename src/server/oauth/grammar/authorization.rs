//! Authorization requests (RFC 6749 section 4.1.1 as OAuth 2.1 has it), read once it is known who asks
//! and where the answer may go.

use crate::server::oauth::grammar::{Asked, Form, OAuthError, pkce};
use hallpass_core::base::digest::Digest;

/// What an authorization request says beside its client and redirect URI.
#[derive(Debug)]
pub struct AuthorizationRequest {
    /// What the SHA-256 of the verifier must be.
    pub challenge: Digest,
    /// The thumbprint of the key that the code is bound to (RFC 9449 section 10).
    pub holder: Option<String>,
    /// What it asks for.
    pub asked: Asked,
}

impl AuthorizationRequest {
    /// Reads a request. Unknown parameters are ignored, `prompt` and `nonce` among them: a
    /// person is asked each time, and there are no ID tokens.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] without `response_type`, for PKCE other than `S256`, a `dpop_jkt` that
    /// is no thumbprint, a `response_mode` other than `query` and requests in JWTs, of which a part would
    /// be overlooked; [`OAuthError::UnsupportedResponseType`] for all but `code`; and as [`Asked::read`].
    pub fn read(form: &Form) -> Result<Self, OAuthError> {
        match form.text("response_type") {
            Some("code") => {}
            Some(_) => return Err(OAuthError::UnsupportedResponseType),
            None => return Err(OAuthError::InvalidRequest),
        }
        let is_elsewhere = ["request", "request_uri"]
            .iter()
            .any(|name| form.text(name).is_some());
        if is_elsewhere
            || form
                .text("response_mode")
                .is_some_and(|mode| mode != "query")
        {
            return Err(OAuthError::InvalidRequest);
        }
        let challenge = pkce::challenge(
            form.text("code_challenge"),
            form.text("code_challenge_method"),
        );
        let challenge = challenge.ok_or(OAuthError::InvalidRequest)?;
        let holder = form.text("dpop_jkt");
        if holder.is_some_and(|thumbprint| Digest::from_base64url(thumbprint).is_none()) {
            return Err(OAuthError::InvalidRequest);
        }
        Ok(Self {
            challenge,
            holder: holder.map(str::to_owned),
            asked: Asked::read(form)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

    fn read(query: &str) -> Result<AuthorizationRequest, OAuthError> {
        AuthorizationRequest::read(&Form::parse(query.as_bytes()).unwrap())
    }

    #[test]
    fn a_request_is_read_and_unknown_parameters_are_ignored() {
        let request = read(&format!(
            "{GOOD}&prompt=none&nonce=x&ui_locales=de&scope=tool:read&state=x"
        ))
        .unwrap();
        assert!(request.asked.names_scope());
        assert_eq!(request.holder, None);
        let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
        assert_eq!(
            read(&format!("{GOOD}&dpop_jkt={jkt}"))
                .unwrap()
                .holder
                .as_deref(),
            Some(jkt)
        );
    }

    #[test]
    fn nothing_weaker_and_nothing_hidden_is_taken() {
        use OAuthError::{InvalidRequest, InvalidScope, UnsupportedResponseType};
        for (query, error) in [
            (GOOD.replace("response_type=code", ""), InvalidRequest),
            (GOOD.replace("=code&", "=token&"), UnsupportedResponseType),
            (
                GOOD.replace("=code&", "=code+id_token&"),
                UnsupportedResponseType,
            ),
            (GOOD.replace("S256", "plain"), InvalidRequest),
            (
                GOOD.replace("&code_challenge_method=S256", ""),
                InvalidRequest,
            ),
            (
                GOOD.replace("code_challenge=E9", "code_challenge="),
                InvalidRequest,
            ),
            (format!("{GOOD}&request=a.b.c"), InvalidRequest),
            (
                format!("{GOOD}&request_uri=https://a.example/x"),
                InvalidRequest,
            ),
            (format!("{GOOD}&response_mode=fragment"), InvalidRequest),
            (format!("{GOOD}&dpop_jkt=x"), InvalidRequest),
            (format!("{GOOD}&scope=admin"), InvalidScope),
        ] {
            assert_eq!(read(&query).unwrap_err(), error, "{query}");
        }
    }
}
