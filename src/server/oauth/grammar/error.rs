//! Errors: the codes of the OAuth RFCs, each with one text, so that no answer reveals more than its code.

use std::fmt;

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $text:literal;)+) => {
        /// Why an OAuth request was refused, as the client sees it.
        ///
        /// SECURITY: the text is the code's, never the request's: what else there is to say is for the log.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum OAuthError {
            $($(#[$doc])* $name,)+
        }

        impl OAuthError {
            /// Every code, in the order of this page.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The `error`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The `error_description`.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status of an answer of an endpoint for programs.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

errors! {
    // --- RFC 6749 section 5.2
    /// A parameter is missing, doubled or malformed, or two ways of authentication are used.
    InvalidRequest = "invalid_request", 400, "a parameter is missing, given twice or malformed, or the client authenticates in two ways";
    /// The client did not prove itself. The same for an unknown client, a wrong secret, a wrong signature.
    InvalidClient = "invalid_client", 401, "the client is unknown or did not prove itself";
    /// The code, refresh token or assertion is no good.
    InvalidGrant = "invalid_grant", 400, "the grant is not valid, not for this client, or was used before";
    /// The client may not have this.
    UnauthorizedClient = "unauthorized_client", 400, "the client may not have what it asks for";
    /// No such grant type.
    UnsupportedGrantType = "unsupported_grant_type", 400, "this grant type is not supported";
    /// The scope is malformed, outside the vocabulary, or not granted at all.
    InvalidScope = "invalid_scope", 400, "the scope is missing, not one of this server's, or not granted";
    // --- RFC 6749 section 4.1.2.1
    /// The person or the broker said no.
    AccessDenied = "access_denied", 403, "access was denied";
    /// No such response type.
    UnsupportedResponseType = "unsupported_response_type", 400, "this response type is not supported";
    /// A fault of the broker's.
    ServerError = "server_error", 500, "a fault of the authorization server";
    /// Not now.
    TemporarilyUnavailable = "temporarily_unavailable", 503, "the authorization server cannot do this now: try again later";
    // --- RFC 8707 section 2
    /// The resource is not a registered server.
    InvalidTarget = "invalid_target", 400, "the resource is missing, malformed or not known";
    // --- RFC 9396 section 5
    /// The authorization details are malformed, of an unknown type, or have unknown members.
    InvalidAuthorizationDetails = "invalid_authorization_details", 400, "the authorization details are malformed, of an unknown type, or have members that are not known";
    // --- RFC 9449 section 5
    /// The DPoP proof is no good.
    InvalidDpopProof = "invalid_dpop_proof", 400, "the DPoP proof is not valid for this request";
    // --- RFC 7591 section 3.2.2
    /// A redirect URI is no good.
    InvalidRedirectUri = "invalid_redirect_uri", 400, "a redirect URI is not valid";
    /// The client's metadata are no good.
    InvalidClientMetadata = "invalid_client_metadata", 400, "the client's metadata are not valid";
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for OAuthError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_every_client_can_carry() {
        for error in OAuthError::ALL {
            // RFC 6749 section 5.2: no quotes and no backslashes; and no text that a client's pattern takes for a parameter.
            let plain = |text: &str| {
                text.bytes()
                    .all(|byte| matches!(byte, 0x20..=0x7e) && !b"\"\\=".contains(&byte))
            };
            assert!(
                plain(error.as_str()) && plain(error.description()),
                "{error}"
            );
            assert!((400..600).contains(&error.status()));
        }
    }
}
