//! Names of people: one spelling for what looks the same.

use std::{fmt, str::FromStr};

use unicode_normalization::UnicodeNormalization as _;

use crate::base::text::is_unsafe_char;

/// A person's name in its canonical form: composed (Unicode NFC), without blanks at the ends, one blank between words, and
/// nothing that is invisible or reorders the text.
///
/// Keyboards and systems write one name in several ways: macOS decomposes `é`, a copied name brings blanks along. Compared
/// byte by byte these would be several people, and to revoke one would leave the agents of another.
///
/// ```
/// # use hallpass_core::base::person_name::PersonName;
/// let decomposed: PersonName = " Jose\u{301}  Mu\u{308}ller ".parse()?;
/// assert_eq!(decomposed.as_str(), "José Müller");
/// assert!("al\u{200b}ice".parse::<PersonName>().is_err());
/// # Ok::<(), hallpass_core::base::person_name::PersonNameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonName(String);

/// Why a text is no name of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PersonNameError {
    /// Nothing but blanks, or too long.
    #[error("a name has 1 to {MAX_NAME_BYTES} bytes")]
    Length,
    /// A character that is not seen, or that changes how others are seen.
    #[error("a name has no invisible or reordering characters, and this one has U+{:04X}", u32::from(*.0))]
    Character(char),
}

impl PersonName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PersonName {
    type Err = PersonNameError;

    fn from_str(text: &str) -> Result<Self, PersonNameError> {
        let name = canonical(text);
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            return Err(PersonNameError::Length);
        }
        match name.chars().find(|character| is_unsafe_char(*character)) {
            Some(character) => Err(PersonNameError::Character(character)),
            None => Ok(Self(name)),
        }
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The canonical form of any text, for comparing with names that were registered before there was such a form.
#[must_use]
pub fn canonical(text: &str) -> String {
    let is_blank = |character: char| character.is_whitespace() && !is_unsafe_char(character);
    let words = text.trim().split(is_blank);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").nfc().collect()
}

const MAX_NAME_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_the_same_is_one_name() {
        let name = |text: &str| text.parse::<PersonName>().unwrap();
        for text in [
            "Jos\u{e9} M\u{fc}ller",
            "Jose\u{301} Mu\u{308}ller",
            " Jos\u{e9}\u{a0}M\u{fc}ller\n",
        ] {
            assert_eq!(name(text).as_str(), "Jos\u{e9} M\u{fc}ller", "{text:?}");
        }
        assert_ne!(name("Alice"), name("alice"), "case is part of a name");
    }

    #[test]
    fn what_is_not_seen_or_reorders_is_refused_by_its_code_point() {
        for (text, shown) in [
            ("ab\u{200b}", "U+200B"),
            ("\u{202e}ecila", "U+202E"),
            ("al\u{0}ice", "U+0000"),
            ("a\nb", "U+000A"),
            ("x\u{e0041}", "U+E0041"),
        ] {
            let error = text.parse::<PersonName>().unwrap_err();
            assert!(error.to_string().ends_with(shown), "{error}");
        }
        for text in ["", " \u{a0} ", &"x".repeat(129)] {
            assert_eq!(text.parse::<PersonName>(), Err(PersonNameError::Length));
        }
    }
}
