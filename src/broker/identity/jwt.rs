//! What every JWT is checked for, whatever it is: its header, and the times at which it says that it is valid.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use hallpass_core::base::time::Timestamp;

/// How far another party's clock may be from ours.
///
/// FAPI 2.0 Security Profile section 5.3.2.1 asks servers to accept ten seconds.
pub const CLOCK_SKEW: Duration = Duration::from_secs(10);

/// The longest `jti`, in characters.
pub const MAX_JTI_CHARS: usize = 128;

/// The protected header of a JWT, whoever signed it.
///
/// SECURITY: closed, so that no header names a key, a certificate to be fetched or an extension (RFC 8725 section 3.10).
/// Thumbprints of certificates are what many libraries add to `kid`; they are not looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) typ: Option<String>,
    pub(super) kid: Option<String>,
    #[serde(rename = "x5t")]
    _x5t: Option<String>,
    #[serde(rename = "x5t#S256")]
    _x5t_s256: Option<String>,
}

impl Header {
    /// Whether `typ` is one of these, in any case of letters (RFC 7515 section 4.1.9).
    pub(super) fn is_typed(&self, types: &[&str]) -> bool {
        let typ = self.typ.as_deref();
        typ.is_some_and(|typ| types.iter().any(|known| known.eq_ignore_ascii_case(typ)))
    }
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
    /// Reads `exp`, which must be there, `nbf` and `iat`. The error is the claim that is no number of seconds. A fraction (RFC 7519
    /// section 2) is left out.
    ///
    /// SECURITY: a time of the wrong type is refused, never taken for absent (CVE-2026-25537).
    pub(super) fn read(claims: &Map<String, Value>) -> Result<Self, &'static str> {
        let seconds = |name: &'static str| -> Result<_, &'static str> {
            let Some(value) = claims.get(name) else {
                return Ok(None);
            };
            let seconds = whole_seconds(value)
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

/// The whole seconds of a NumericDate; `None` for what is no number, or a negative one.
fn whole_seconds(value: &Value) -> Option<u64> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds);
    }
    // The text of a number, since no conversion from a float refuses what does not fit.
    let number = value.as_f64().filter(|number| *number >= 0.0)?;
    format!("{:.0}", number.floor()).parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_numeric_date_is_rounded_down_and_nothing_else_is_one() {
        for (value, seconds) in [
            (json!(1_796_086_638_u64), Some(1_796_086_638)),
            (json!(1_796_086_638.25), Some(1_796_086_638)),
            (json!(1_796_086_638.999), Some(1_796_086_638)),
            (json!(0.5), Some(0)),
            (json!(-1), None),
            (json!(-0.5), None),
            (json!("1796086638"), None),
            (json!(null), None),
            (json!(true), None),
            (json!(1e300), None),
        ] {
            assert_eq!(whole_seconds(&value), seconds, "{value}");
        }
    }
}
