//! What every JWT is checked for, whatever it is: the times at which it says that it is valid.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use hallpass_core::base::time::Timestamp;

/// How far another party's clock may be from ours.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// A member of a header that is there must be a text: `null` is not absence.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// When a JWT holds, as it says itself.
pub(super) struct Times {
    expires_at: Timestamp,
    not_before: Option<Timestamp>,
    pub(super) issued_at: Option<Timestamp>,
}

/// Why a JWT does not hold.
pub(super) enum Untimely {
    Expired,
    TooLongLived,
    NotYetValid,
}

impl Times {
    /// Reads `exp`, which must be there, `nbf` and `iat`. The error is the claim that is no whole number of seconds.
    ///
    /// SECURITY: a time of the wrong type is refused, never taken for absent (CVE-2026-25537).
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, &'static str> {
        let seconds = |name: &'static str| -> Result<_, &'static str> {
            let Some(value) = claims.get(name) else {
                return Ok(None);
            };
            let seconds = value
                .as_u64()
                .filter(|seconds| *seconds <= MAX_SECONDS)
                .ok_or(name)?;
            Ok(Some(Timestamp::from_unix_seconds(seconds)))
        };
        let expires_at = seconds("exp")?.ok_or("exp")?;
        Ok(Self {
            expires_at,
            not_before: seconds("nbf")?,
            issued_at: seconds("iat")?,
        })
    }

    /// Holds them against `now`, give or take [`CLOCK_SKEW`], for a JWT that may live for `longest`. Says from when
    /// on it is expired by every clock: until then a single use must be remembered.
    pub(super) fn hold(&self, longest: Duration, now: Timestamp) -> Result<Timestamp, Untimely> {
        if self.expires_at <= now.minus(CLOCK_SKEW) {
            return Err(Untimely::Expired);
        }
        let lives_from = self.issued_at.map_or(now, |at| at.min(now));
        if self.expires_at > lives_from.plus(longest).plus(CLOCK_SKEW) {
            return Err(Untimely::TooLongLived);
        }
        let ahead = |at: Option<Timestamp>| at.is_some_and(|at| at > now.plus(CLOCK_SKEW));
        if ahead(self.not_before) || ahead(self.issued_at) {
            return Err(Untimely::NotYetValid);
        }
        Ok(self.expires_at.plus(CLOCK_SKEW))
    }
}

/// The end of the year 9999: later times have no RFC 3339 form.
const MAX_SECONDS: u64 = 253_402_300_799;
