//! Bounded formatting of text that a token's holder wrote, for messages.

use std::fmt::{self, Write as _};

/// `shown` as text, truncated: a holder can make it long at no cost.
pub(super) fn shortened(shown: impl fmt::Display) -> String {
    let mut short = Short(String::new());
    // The only error is that the text was truncated.
    let _ = write!(short, "{shown}");
    short.0
}

struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_BYTES.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(
            text.get(..text.floor_char_boundary(room))
                .unwrap_or_default(),
        );
        self.0.push('…');
        Err(fmt::Error)
    }
}

const MAX_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_two_characters() {
        assert_eq!(shortened("x".repeat(MAX_BYTES)), "x".repeat(MAX_BYTES));
        assert_eq!(
            shortened("x".repeat(MAX_BYTES + 1)),
            "x".repeat(MAX_BYTES) + "…"
        );
        let cut = shortened(format_args!("x{}", "ä".repeat(MAX_BYTES)));
        assert_eq!(cut, format!("x{}…", "ä".repeat((MAX_BYTES - 1) / 2)));
    }
}
