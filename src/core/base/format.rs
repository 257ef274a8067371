//! The format of a document on the wire: its member `v`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A format that this build reads and writes. In JSON it is a number, the member `v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Format {
    /// Format 1.
    #[default]
    One,
}

impl Format {
    /// Every format that this build reads and writes, the oldest first.
    pub const ALL: [Self; 1] = [Self::One];

    /// The format's number.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::One => 1,
        }
    }

    /// The format with this number, when this build reads and writes it.
    #[must_use]
    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.number() == number)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.to_string() == text)
            .ok_or(UnknownFormat)
    }
}

/// An unknown format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the error carries no data")]
pub struct UnknownFormat;

impl std::error::Error for UnknownFormat {}

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = Format::ALL.map(|format| format.to_string()).join(", ");
        write!(f, "unknown format: expected {numbers}")
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        Self::of_number(number).ok_or_else(|| {
            let numbers = Self::ALL.map(|format| format.to_string()).join(" or ");
            de::Error::custom(format_args!("format {number}, expected {numbers}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_its_number_and_no_other_spelling_of_it() {
        for format in Format::ALL {
            let text = format.to_string();
            assert_eq!(serde_json::to_string(&format).unwrap(), text);
            assert_eq!(serde_json::from_str::<Format>(&text).unwrap(), format);
            assert_eq!(text.parse(), Ok(format));
        }
        for other in [
            "0",
            "2",
            "-1",
            "1.0",
            "\"1\"",
            "null",
            "18446744073709551615",
        ] {
            assert!(serde_json::from_str::<Format>(other).is_err(), "{other}");
        }
        for other in ["", "0", "2", "01", "+1", " 1", "1.0"] {
            assert_eq!(other.parse::<Format>(), Err(UnknownFormat), "{other}");
        }
    }
}
