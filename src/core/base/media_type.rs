//! Media types: the value of a `Content-Type` header (RFC 9110 section 8.3).

/// A `Content-Type` header's value, split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaType<'t> {
    essence: &'t str,
    parameters: Option<&'t str>,
}

impl<'t> MediaType<'t> {
    /// Splits a header's value.
    #[must_use]
    pub fn split(text: &'t str) -> Self {
        let (essence, parameters) = match text.split_once(';') {
            Some((essence, parameters)) => (essence, Some(parameters.trim())),
            None => (text, None),
        };
        Self {
            essence: essence.trim(),
            parameters,
        }
    }

    /// Whether it is `essence`, such as `text/event-stream`, whatever its parameters.
    #[must_use]
    pub fn is(&self, essence: &str) -> bool {
        self.essence.eq_ignore_ascii_case(essence)
    }

    /// Whether it is JSON, or a format that is written as JSON (RFC 6839), whatever its parameters.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let essence = self.essence.to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    /// Whether it is `essence` in UTF-8: without parameters, or with `charset=utf-8` alone.
    ///
    /// SECURITY: for received bodies. A body in another encoding could be read in two ways.
    #[must_use]
    pub fn is_in_utf8(&self, essence: &str) -> bool {
        let is_utf8 = |parameters: &str| {
            ["charset=utf-8", "charset=\"utf-8\""]
                .iter()
                .any(|known| parameters.eq_ignore_ascii_case(known))
        };
        self.is(essence) && self.parameters.is_none_or(is_utf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_charset_stands_beside_what_is_expected() {
        let admitted = |text| MediaType::split(text).is_in_utf8("application/json");
        for good in [
            "application/json",
            " Application/JSON ",
            "application/json;charset=utf-8",
            "application/json ; Charset=\"UTF-8\" ",
        ] {
            assert!(admitted(good), "{good}");
        }
        for bad in [
            "",
            "application/json;",
            "application/json; charset=utf-16",
            "application/json; charset=utf-8; charset=utf-8",
            "application/json; charset=utf-8; charset=utf-16",
            "application/json; charset=utf-8;",
            "application/json; charset =utf-8",
            "application/json; charset=\"\"utf-8\"\"",
            "application/json; version=1",
            "application/json, application/json",
            "application/jsonx",
            "text/json",
        ] {
            assert!(!admitted(bad), "{bad}");
        }
    }

    #[test]
    fn answers_are_known_by_their_essence() {
        assert!(MediaType::split("Text/Event-Stream; charset=utf-8; x=y").is("text/event-stream"));
        for json in ["application/json", "application/jwk-set+JSON; v=1"] {
            assert!(MediaType::split(json).is_json(), "{json}");
        }
        for other in ["", "text/json", "application/x", "image/svg+json", "+json"] {
            assert!(!MediaType::split(other).is_json(), "{other}");
        }
    }
}
