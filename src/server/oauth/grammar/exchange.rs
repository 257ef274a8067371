//! Token exchange: what a request for one presents (RFC 8693 section 2.1).

use crate::server::oauth::grammar::{Form, OAuthError};

/// What is exchanged, and by whom.
pub struct TokenExchange<'f> {
    /// The token of the party that the new one acts for.
    pub subject: &'f str,
    /// What the subject token is.
    pub subject_type: TokenType,
    /// A pass of the client's own, when it presents one.
    pub actor: Option<&'f str>,
    /// Names of the services that the token is for, besides `resource`.
    pub audience: Vec<&'f str>,
}

/// Types of tokens that can be subject tokens (RFC 8693 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenType {
    /// A pass of this broker's.
    AccessToken,
    /// A person's ID token, of a trusted issuer.
    IdToken,
}

impl<'f> TokenExchange<'f> {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] when the subject token or its type is missing, a type is none that there is,
    /// an actor token comes without its type or a type without its token, or something else than an access token
    /// is wanted.
    pub fn read(form: &'f Form) -> Result<Self, OAuthError> {
        let bad = OAuthError::InvalidRequest;
        let text = |name| form.text(name).ok_or(bad);
        if !matches!(form.text("requested_token_type"), None | Some(ACCESS_TOKEN)) {
            return Err(bad);
        }
        let subject_type = match text("subject_token_type")? {
            ACCESS_TOKEN => TokenType::AccessToken,
            ID_TOKEN => TokenType::IdToken,
            _ => return Err(bad),
        };
        let actor = match (form.text("actor_token"), form.text("actor_token_type")) {
            (None, None) => None,
            (Some(actor), Some(ACCESS_TOKEN)) => Some(actor),
            _ => return Err(bad),
        };
        Ok(Self {
            subject: text("subject_token")?,
            subject_type,
            actor,
            audience: form.all("audience").collect(),
        })
    }
}

/// Never a token.
impl std::fmt::Debug for TokenExchange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            subject_type,
            audience,
            ..
        } = self;
        f.debug_struct("TokenExchange")
            .field("subject_type", subject_type)
            .field("audience", audience)
            .finish_non_exhaustive()
    }
}

/// The type of a pass (RFC 8693 section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The type of an ID token (RFC 8693 section 3).
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Form {
        Form::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn tokens_come_with_their_types_and_no_token_is_shown() {
        let subject = format!("subject_token=SECRET&subject_token_type={ACCESS_TOKEN}");
        let actor = format!("actor_token=HIDDEN&actor_token_type={ACCESS_TOKEN}");
        let whole = form(&format!(
            "{subject}&{actor}&requested_token_type={ACCESS_TOKEN}&audience=a&audience=b"
        ));
        let good = TokenExchange::read(&whole).unwrap();
        assert_eq!((good.subject, good.actor), ("SECRET", Some("HIDDEN")));
        assert_eq!(good.audience, ["a", "b"]);
        let shown = format!("{good:?}");
        assert!(
            !shown.contains("SECRET") && !shown.contains("HIDDEN"),
            "{shown}"
        );
        assert!(TokenExchange::read(&form(&subject)).is_ok_and(|read| read.actor.is_none()));
        let person = form(&format!("subject_token=x&subject_token_type={ID_TOKEN}"));
        assert_eq!(
            TokenExchange::read(&person).unwrap().subject_type,
            TokenType::IdToken
        );
        let id_token = "urn:ietf:params:oauth:token-type:saml2";
        for bad in [
            "subject_token=x".to_owned(),
            format!("subject_token_type={ACCESS_TOKEN}"),
            format!("subject_token=&subject_token_type={ACCESS_TOKEN}"),
            format!("subject_token=x&subject_token_type={id_token}"),
            format!("{subject}&actor_token=x"),
            format!("{subject}&actor_token_type={ACCESS_TOKEN}"),
            format!("{subject}&actor_token=x&actor_token_type={id_token}"),
            format!("{subject}&requested_token_type={id_token}"),
        ] {
            assert_eq!(
                TokenExchange::read(&form(&bad)).unwrap_err(),
                OAuthError::InvalidRequest,
                "{bad}"
            );
        }
    }
}
