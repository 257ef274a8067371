//! Secrets that are returned once: the records hold digests of them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::domain::client::ClientSecret;
use hallpass_core::base::{digest::Digest, random, time::Timestamp};

/// A secret that was just made, to be returned once. Never printed, wiped when dropped.
pub struct OneTimeSecret(Zeroizing<String>);

impl OneTimeSecret {
    /// 256 random bits as 43 of `A-Z a-z 0-9 _ -`, which read the same however a client encodes them, after a `prefix`
    /// that says what it is when it is found.
    #[must_use]
    pub fn token(prefix: &str) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(prefix.len().saturating_add(43)));
        text.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(random::bytes::<32>().as_slice(), &mut text);
        Self(text)
    }

    /// 140 random bits for people to copy: seven times four letters and digits that look like no other.
    pub(crate) fn for_people() -> Self {
        let mut text = Zeroizing::new(String::with_capacity(
            GROUPS.saturating_mul(GROUP.saturating_add(1)),
        ));
        for (at, byte) in random::bytes::<{ GROUPS * GROUP }>().iter().enumerate() {
            if at > 0 && at.is_multiple_of(GROUP) {
                text.push('-');
            }
            // 256 is a multiple of 32: every symbol is as likely.
            let symbol = ALPHABET
                .get(usize::from(byte % 32))
                .copied()
                .unwrap_or_default();
            text.push(char::from(symbol));
        }
        Self(text)
    }

    /// The text, for the one answer that returns it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the text: what is kept of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    /// What the records keep of it as a client's secret, added at `now`.
    #[must_use]
    pub fn recorded(&self, now: Timestamp) -> ClientSecret {
        ClientSecret {
            digest: self.digest(),
            added_at: now,
        }
    }
}

impl fmt::Debug for OneTimeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OneTimeSecret(…)")
    }
}

/// The digest of a typed code for people: case, dashes and blanks do not matter, and
/// letters that look like digits are read as these. `None` when it cannot be one.
pub(crate) fn digest_of_typed(text: &str) -> Option<Digest> {
    let mut read = Zeroizing::new(String::with_capacity(
        GROUPS.saturating_mul(GROUP.saturating_add(1)),
    ));
    let mut symbols = 0_usize;
    for character in text
        .chars()
        .filter(|c| *c != '-' && !c.is_ascii_whitespace())
    {
        let symbol = match character.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        };
        if !ALPHABET.iter().any(|known| char::from(*known) == symbol) || symbols >= GROUPS * GROUP {
            return None;
        }
        if symbols > 0 && symbols.is_multiple_of(GROUP) {
            read.push('-');
        }
        read.push(symbol);
        symbols = symbols.saturating_add(1);
    }
    (symbols == GROUPS * GROUP).then(|| Digest::of(read.as_bytes()))
}

const GROUPS: usize = 7;
const GROUP: usize = 4;

/// Crockford's base 32: no I, L, O or U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = OneTimeSecret::for_people();
        let text = code.expose();
        assert_eq!((text.len(), text.matches('-').count()), (34, 6));
        let typed = [
            text.to_owned(),
            text.to_lowercase(),
            text.replace('-', " "),
            format!(" {}\n", text.replace('-', "")),
        ];
        for typed in typed
            .into_iter()
            .chain([text.replace('0', "o").replace('1', "l")])
        {
            assert_eq!(digest_of_typed(&typed), Some(code.digest()), "{typed:?}");
        }
        let short = text.get(1..).unwrap();
        for other in [
            "",
            "-",
            short,
            &format!("{text}0"),
            &text.replace('-', "_"),
            &format!("U{short}"),
        ] {
            assert_eq!(digest_of_typed(other), None, "{other:?}");
        }
        assert_ne!(OneTimeSecret::for_people().expose(), text);
        assert_eq!(format!("{code:?}"), "OneTimeSecret(…)");
    }
}
