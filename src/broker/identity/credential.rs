//! Credentials: what stands in an `Authorization` header.

/// A credential whose kind is known by its form; nothing about it is believed yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// A JWT: an agent's assertion.
    Assertion(&'a str),
    /// A Biscuit: an operator's token.
    OperatorToken(&'a str),
}

impl<'a> Credential<'a> {
    /// Reads the value of an `Authorization` header.
    ///
    /// `None` for every scheme but `Bearer`, and for a credential with characters that neither form has.
    #[must_use]
    pub fn from_authorization(value: &'a str) -> Option<Self> {
        let (scheme, credential) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") || credential.is_empty() {
            return None;
        }
        let is_of_the_alphabet =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !credential.bytes().all(is_of_the_alphabet) {
            return None;
        }
        Some(if credential.contains('.') {
            Self::Assertion(credential)
        } else {
            Self::OperatorToken(credential)
        })
    }
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Assertion(_) => "Assertion(…)",
            Self::OperatorToken(_) => "OperatorToken(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_tells_the_kind_and_nothing_else_passes() {
        assert_eq!(
            Credential::from_authorization("bearer a.b.c"),
            Some(Credential::Assertion("a.b.c"))
        );
        assert_eq!(
            Credential::from_authorization("Bearer abc_-9"),
            Some(Credential::OperatorToken("abc_-9"))
        );
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  a.b.c",
            "Bearer a.b.c ",
            "Basic abc",
            "Bearer a,b",
            "Bearer a=",
            "Béarer a",
        ] {
            assert_eq!(Credential::from_authorization(bad), None, "{bad:?}");
        }
        assert_eq!(
            format!("{:?}", Credential::OperatorToken("secret")),
            "OperatorToken(…)"
        );
    }
}
