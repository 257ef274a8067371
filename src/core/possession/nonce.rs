//! Nonces that this server issues (RFC 9449 section 9), without storing them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::base::{random, time::Timestamp};

/// Issues one nonce for each minute, the MAC of the minute's number, and accepts those of this minute and the last.
pub struct Nonces {
    secret: Zeroizing<[u8; 32]>,
}

impl Nonces {
    /// Nonces under a new random secret.
    #[must_use]
    pub fn generate() -> Self {
        Self {
            secret: random::bytes(),
        }
    }

    /// The nonce to use from now on.
    #[must_use]
    pub fn current(&self, now: Timestamp) -> String {
        self.of(now.unix_seconds() / SECONDS)
    }

    pub(super) fn knows(&self, nonce: &str, now: Timestamp) -> bool {
        let number = now.unix_seconds() / SECONDS;
        let is = |number: u64| bool::from(self.of(number).as_bytes().ct_eq(nonce.as_bytes()));
        is(number) || is(number.saturating_sub(1))
    }

    fn of(&self, number: u64) -> String {
        // INVARIANT: HMAC takes a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_slice()) else {
            return String::new();
        };
        mac.update(b"hallpass nonce");
        mac.update(&number.to_le_bytes());
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(…)")
    }
}

const SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_nonce_is_valid_for_one_to_two_minutes_at_the_server_that_issued_it() {
        let now = Timestamp::from_unix_seconds(6_000_000);
        let (ours, theirs) = (Nonces::generate(), Nonces::generate());
        let nonce = ours.current(now);
        for (later, good) in [(0, true), (59, true), (119, true), (120, false)] {
            assert_eq!(
                ours.knows(&nonce, now.plus(Duration::from_secs(later))),
                good,
                "after {later} s"
            );
        }
        assert!(!theirs.knows(&nonce, now) && !ours.knows("", now));
        assert!(
            !ours.knows(&ours.current(now.plus(Duration::from_secs(60))), now),
            "a nonce from the future"
        );
    }
}
