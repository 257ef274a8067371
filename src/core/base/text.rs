//! Escaping of untrusted text that is shown to people: the one set of unsafe characters.
//!
//! Names, purposes and messages come from agents, operators and peers. Written unescaped to a terminal, a log, a trail or a
//! consent page, some characters end the line, control the terminal, or hide and reorder the text.

use std::{borrow::Cow, fmt::Write as _};

/// Whether `character` is invisible or has an effect beyond being displayed.
///
/// These are: control characters (`Cc`), line and paragraph separators, everything that Unicode calls
/// `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt: marks of direction, joiners, variation selectors,
/// fillers, tags), interlinear annotations, and the specials at the end of the basic plane.
///
/// ```
/// # use hallpass_core::base::text::is_unsafe_char;
/// assert!(is_unsafe_char('\u{1b}') && is_unsafe_char('\u{202e}'));
/// assert!(!is_unsafe_char('ß') && !is_unsafe_char(' '));
/// ```
#[must_use]
pub fn is_unsafe_char(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{ffff}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// `text` with every unsafe character as `\u{1b}`, for logs and terminals.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_with(text, |escaped, character| {
        escaped.extend(character.escape_unicode())
    })
}

/// Untrusted `text` for use between quotes in a message: escaped as Rust writes strings, and every unsafe
/// character that Rust lets through as well.
///
/// ```
/// # use hallpass_core::base::text::quote;
/// assert_eq!(quote("a\"b\n\u{3164}"), "a\\\"b\\n\\u{3164}");
/// ```
#[must_use]
pub fn quote(text: &str) -> String {
    let quoted = format!("{text:?}");
    let inside = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    escape(inside.unwrap_or_default()).into_owned()
}

/// The beginning of `text`, which may be long, as [`quote`] writes it.
#[must_use]
pub fn excerpt(text: &str) -> String {
    quote(&text.chars().take(EXCERPT_CHARS).collect::<String>())
}

/// The longest untrusted text in a message, in characters.
const EXCERPT_CHARS: usize = 80;

/// `text` with every unsafe character as JSON writes it, `\u001b`: for JSON on one line, where such characters
/// stand inside of strings only.
#[must_use]
pub fn escape_json(text: &str) -> Cow<'_, str> {
    escape_with(text, |escaped, character| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn escape_with(text: &str, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(is_unsafe_char) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe_char(character) {
            write(&mut escaped, character);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the four sets that this one replaced held, and what each of them missed.
    #[test]
    fn everything_that_hides_reorders_or_drives_is_unsafe() {
        let unsafe_ones = "\u{0}\n\r\t\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\u{200b}\u{200d}\u{200e}\u{2028}\
            \u{202e}\u{2060}\u{2065}\u{2066}\u{206a}\u{206f}\u{3164}\u{fe0f}\u{feff}\u{ffa0}\u{fff9}\u{fffd}\u{e0001}\u{e007f}\u{e0100}";
        assert_eq!(
            unsafe_ones
                .chars()
                .filter(|character| !is_unsafe_char(*character))
                .collect::<String>(),
            ""
        );
        let plain = " ~aß€字\u{301}\u{1f600}\u{e000}";
        assert_eq!(
            plain
                .chars()
                .filter(|character| is_unsafe_char(*character))
                .collect::<String>(),
            ""
        );
    }

    #[test]
    fn quoted_text_ends_no_quotes_and_hides_nothing() {
        assert_eq!(quote("Käse `x` 字"), "Käse `x` 字");
        // Rust escapes the first five; it lets the others stand, since they are letters or marks.
        let hidden = "\"\\\u{1b}\u{200b}\u{e0001}x\u{34f}\u{115f}\u{3164}\u{fe0f}\u{ffa0}";
        let quoted = quote(hidden);
        assert!(quoted.is_ascii(), "{quoted}");
        assert!(quoted.starts_with("\\\"\\\\\\u{1b}\\u{200b}"), "{quoted}");
        assert_eq!(excerpt(&"x".repeat(200)).len(), EXCERPT_CHARS);
    }

    #[test]
    fn unsafe_characters_are_escaped_and_the_rest_stays() {
        assert_eq!(
            escape("a\u{1b}[31m\nb\u{202e}c"),
            "a\\u{1b}[31m\\u{a}b\\u{202e}c"
        );
        assert_eq!(
            escape_json("\"x\u{9b}y\u{e0001}\""),
            "\"x\\u009by\\udb40\\udc01\""
        );
        assert!(matches!(escape("plain"), Cow::Borrowed("plain")));
    }
}
