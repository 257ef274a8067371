//! Client authentication: which one credential a request presents (RFC 6749 section 2.3, RFC 7521
//! section 4.2). Whether it is any good is asked elsewhere.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use crate::server::oauth::grammar::{Form, OAuthError, form::decode};
use hallpass_core::base::ids::TaskId;

/// The credential of a request.
pub enum Presented<'r> {
    /// `client_secret_basic` or `client_secret_post`.
    Secret {
        /// What it may mean, in the order in which it is tried. Some clients form-encode what they put
        /// into the header, as RFC 6749 wants, and some do not: that can be two.
        readings: Vec<IdAndSecret>,
    },
    /// `private_key_jwt`: who it is stands in the assertion.
    Assertion {
        /// The JWT.
        assertion: &'r str,
        /// The `client_id` beside it, which must then be the same.
        client_id: Option<&'r str>,
    },
    /// Nothing: at most the client's word who it is.
    Nothing {
        /// The `client_id`.
        client_id: Option<&'r str>,
    },
}

/// A client's id and its secret.
pub struct IdAndSecret {
    /// The id.
    pub id: String,
    /// The secret, wiped when dropped.
    pub secret: Zeroizing<String>,
}

impl<'r> Presented<'r> {
    /// Reads the credential from the values of the `Authorization` headers and from the body.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidRequest`] for two ways of authentication at once and for one that is incomplete;
    /// [`OAuthError::InvalidClient`] for a way that there is not.
    pub fn read(authorization: &[&str], form: &'r Form) -> Result<Self, OAuthError> {
        let client_id = form.text("client_id");
        let secret = form.text("client_secret");
        let assertion = (
            form.text("client_assertion"),
            form.text("client_assertion_type"),
        );
        match (authorization, secret, assertion) {
            ([], None, (None, None)) => Ok(Self::Nothing { client_id }),
            ([header], None, (None, None)) => Self::basic(header, client_id),
            ([], Some(secret), (None, None)) => {
                let id = client_id.ok_or(OAuthError::InvalidRequest)?.to_owned();
                Ok(Self::Secret {
                    readings: vec![IdAndSecret {
                        id,
                        secret: Zeroizing::new(secret.to_owned()),
                    }],
                })
            }
            ([], None, (Some(assertion), Some(JWT_BEARER))) => Ok(Self::Assertion {
                assertion,
                client_id,
            }),
            ([], None, (Some(_), Some(_))) => Err(OAuthError::InvalidClient),
            _ => Err(OAuthError::InvalidRequest),
        }
    }

    /// Whether it may be that of a task's own client.
    #[must_use]
    pub fn names_task(&self) -> bool {
        let is_task = |read: &IdAndSecret| read.id.parse::<TaskId>().is_ok();
        matches!(self, Self::Secret { readings } if readings.iter().any(is_task))
    }

    fn basic(header: &str, client_id: Option<&str>) -> Result<Self, OAuthError> {
        let (scheme, encoded) = header.split_once(' ').ok_or(OAuthError::InvalidClient)?;
        if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_BASIC_BYTES {
            return Err(OAuthError::InvalidClient);
        }
        let bytes = Zeroizing::new(
            BASE64
                .decode(encoded.trim())
                .map_err(|_| OAuthError::InvalidClient)?,
        );
        let text = std::str::from_utf8(&bytes).map_err(|_| OAuthError::InvalidClient)?;
        let (id, secret) = text.split_once(':').ok_or(OAuthError::InvalidClient)?;
        let encoded = decode(id)
            .zip(decode(secret))
            .filter(|read| (read.0.as_str(), read.1.as_str()) != (id, secret));
        let raw = IdAndSecret {
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        };
        let encoded = encoded.map(|(id, secret)| IdAndSecret {
            id: id.to_string(),
            secret,
        });
        let mut readings: Vec<_> = encoded.into_iter().chain([raw]).collect();
        if let Some(client_id) = client_id {
            readings.retain(|reading| reading.id == client_id);
        }
        if readings.is_empty() {
            Err(OAuthError::InvalidRequest)
        } else {
            Ok(Self::Secret { readings })
        }
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret { .. } => "Secret(…)",
            Self::Assertion { .. } => "Assertion(…)",
            Self::Nothing { .. } => "Nothing",
        })
    }
}

impl fmt::Debug for IdAndSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdAndSecret(…)")
    }
}

/// The one type of `client_assertion` (RFC 7523 section 2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The content of a Basic header is at most this long.
const MAX_BASIC_BYTES: usize = 2048;

/// With padding or without: some clients leave it off.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'f>(headers: &[&str], form: &'f Form) -> Result<String, OAuthError> {
        let shown = |read: Presented<'f>| match read {
            Presented::Secret { readings } => readings
                .iter()
                .map(|read| format!("{}:{}", read.id, read.secret.as_str()))
                .collect::<Vec<_>>()
                .join(" "),
            Presented::Assertion {
                assertion,
                client_id,
            } => format!("{assertion} {client_id:?}"),
            Presented::Nothing { client_id } => format!("{client_id:?}"),
        };
        Presented::read(headers, form).map(shown)
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", BASE64.encode(pair))
    }

    fn form(body: &str) -> Form {
        Form::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn a_secret_in_the_header_is_read_form_encoded_and_raw() {
        let none = form("");
        assert_eq!(read(&[&basic("bot:s-_1")], &none).unwrap(), "bot:s-_1");
        assert_eq!(
            read(&[&basic("bot%2D1:a%2Bb+c")], &none).unwrap(),
            "bot-1:a+b c bot%2D1:a%2Bb+c"
        );
        assert_eq!(read(&[&basic("bot:100%")], &none).unwrap(), "bot:100%");
        assert_eq!(read(&[&basic("bot:a:b")], &none).unwrap(), "bot:a:b");
        assert_eq!(read(&["basic Ym90OnM"], &none).unwrap(), "bot:s");
        let named = form("client_id=bot-1");
        assert_eq!(read(&[&basic("bot%2D1:x")], &named).unwrap(), "bot-1:x");
        assert_eq!(
            read(&[&basic("other:x")], &named),
            Err(OAuthError::InvalidRequest)
        );
    }

    #[test]
    fn one_way_at_a_time_and_whole() {
        let jwt = "client_assertion=a.b.c&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        let (bot, invalid) = (basic("bot:s"), Err(OAuthError::InvalidRequest));
        assert_eq!(read(&[], &form(jwt)).unwrap(), "a.b.c None");
        assert_eq!(
            read(&[], &form(&format!("{jwt}&client_id=bot"))).unwrap(),
            "a.b.c Some(\"bot\")"
        );
        assert_eq!(
            read(&[], &form("client_id=bot&client_secret=s%2B")).unwrap(),
            "bot:s+"
        );
        assert_eq!(
            read(&[], &form("client_id=bot&client_secret=")).unwrap(),
            "Some(\"bot\")"
        );
        assert_eq!(read(&[], &form("")).unwrap(), "None");
        for (headers, body) in [
            (&[&*bot][..], "client_secret=s"),
            (&[&*bot], "client_id=bot&client_secret=s"),
            (&[&*bot], jwt),
            (&[&*bot, &*bot], ""),
            (&[], "client_secret=s"),
            (&[], "client_assertion=a.b.c"),
            (&[], "client_assertion_type=x"),
            (&[], &format!("{jwt}&client_id=bot&client_secret=s")),
        ] {
            assert_eq!(read(headers, &form(body)), invalid, "{headers:?} {body}");
        }
        for header in [
            "Bearer a.b.c",
            "Basic",
            "Basic ?",
            "Basic Ym90",
            "Basic /w==",
        ] {
            assert_eq!(
                read(&[header], &form("")),
                Err(OAuthError::InvalidClient),
                "{header}"
            );
        }
        assert_eq!(
            read(&[], &form("client_assertion=a&client_assertion_type=saml")),
            Err(OAuthError::InvalidClient)
        );
    }

    #[test]
    fn nothing_prints_a_secret() {
        let form = form("client_id=bot&client_secret=CANARY");
        let presented = Presented::read(&[], &form).unwrap();
        let Presented::Secret { readings } = &presented else {
            panic!("{presented:?}")
        };
        assert!(!format!("{presented:?} {form:?} {readings:?}").contains("CANARY"));
    }
}
