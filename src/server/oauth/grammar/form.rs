//! Forms: the body of a token request (`application/x-www-form-urlencoded`), read strictly.

use std::fmt;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// The parameters of a request. Its values may be secrets: they are wiped when dropped, never printed.
pub struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads a body.
    ///
    /// A parameter without a value counts as absent (RFC 6749 section 3.2), and an unknown one is
    /// left to be ignored.
    ///
    /// # Errors
    ///
    /// Refuses more than [`MAX_PARAMETERS`], a parameter that is given twice and is not in [`REPEATABLE`],
    /// escapes that are none, and what is not UTF-8.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let text = std::str::from_utf8(body).map_err(|_| FormError::Encoding)?;
        let mut parameters: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if parameters.len() >= MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (
                decode(name).ok_or(FormError::Encoding)?,
                decode(value).ok_or(FormError::Encoding)?,
            );
            if !REPEATABLE.contains(&name.as_str())
                && parameters.iter().any(|(earlier, _)| *earlier == *name)
            {
                return Err(FormError::Twice);
            }
            parameters.push((name.to_string(), value));
        }
        Ok(Self(parameters))
    }

    /// The value of the parameter `name`, unless it is absent or empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(other, value)| other == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of the parameter `name` that is not empty.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> + use<'f> {
        let named = self.0.iter().filter(move |(other, _)| other == name);
        named
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({} parameters)", self.0.len())
    }
}

/// A body that is no form. It says nothing of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Escapes that are none, or not UTF-8.
    #[error("the body is not form-encoded UTF-8")]
    Encoding,
    /// The same parameter again.
    #[error("a parameter is given twice")]
    Twice,
    /// More than [`MAX_PARAMETERS`].
    #[error("more than {MAX_PARAMETERS} parameters")]
    TooMany,
}

/// One form-encoded text, decoded; `None` for escapes that are none and for what is not UTF-8.
pub(super) fn decode(text: &str) -> Option<Zeroizing<String>> {
    let mut escapes = text.split('%').skip(1);
    let is_escape = |rest: &str| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(is_escape) {
        return None;
    }
    let spaced = Zeroizing::new(text.replace('+', " "));
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(Zeroizing::new(decoded.into_owned()))
}

/// A form has at most this many parameters.
pub const MAX_PARAMETERS: usize = 32;

/// What may be given more than once: RFC 8707 section 2, RFC 8693 section 2.1.
pub const REPEATABLE: [&str; 2] = ["resource", "audience"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_empty_ones_are_absent() {
        let form = Form::parse(b"a=x%20y+z%2B&b=&c&resource=1&resource=2&&d=a=b%3D").unwrap();
        assert_eq!(form.text("a"), Some("x y z+"));
        assert_eq!(
            (form.text("b"), form.text("c"), form.text("e")),
            (None, None, None)
        );
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(form.text("d"), Some("a=b="));
        assert_eq!(format!("{form:?}"), "Form(6 parameters)");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let many = vec!["a=1"; MAX_PARAMETERS + 1]
            .join("&")
            .replace("a=", "resource=");
        for (body, error) in [
            (&b"scope=a&scope=b"[..], FormError::Twice),
            (b"scope=a&scope=", FormError::Twice),
            (b"scope&sc%6fpe=b", FormError::Twice),
            (b"unknown=1&unknown=1", FormError::Twice),
            (b"a=%", FormError::Encoding),
            (b"a=%4", FormError::Encoding),
            (b"a=%zz", FormError::Encoding),
            (b"a=%ff", FormError::Encoding),
            (b"a=\xff", FormError::Encoding),
            ("a=%é".as_bytes(), FormError::Encoding),
            (many.as_bytes(), FormError::TooMany),
        ] {
            assert_eq!(
                Form::parse(body).unwrap_err(),
                error,
                "{:?}",
                String::from_utf8_lossy(body)
            );
        }
    }
}
