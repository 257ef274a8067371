//! Argument constraints: what one argument of a call must satisfy.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::{
    base::{text::quote, uri::is_canonical_host},
    token::path::path_segments,
};

/// A value that Datalog can hold exactly: a string, a 64-bit integer or a boolean.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
#[expect(
    clippy::exhaustive_enums,
    reason = "token format 1 defines exactly these"
)]
pub enum Scalar {
    /// A boolean.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A string, compared byte for byte.
    Text(String),
}

impl Scalar {
    /// The scalar that `value` is; `None` for null, floats, big integers, arrays and objects.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => number.as_i64().map(Self::Int),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The type's name for messages.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "boolean",
            Self::Int(_) => "integer",
            Self::Text(_) => "string",
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value)
            .ok_or_else(|| D::Error::custom("expected a string, a 64-bit integer or a boolean"))
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Text(text) => write!(f, "\"{}\"", quote(text)),
        }
    }
}

/// What one argument must satisfy. In JSON an object with exactly one of the keys below
/// (`min` and `max` go together).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum Constraint {
    /// `{"min": 0, "max": 100}`: an integer in the closed range; either bound may be left out.
    Range {
        /// The least value allowed.
        min: Option<i64>,
        /// The greatest value allowed.
        max: Option<i64>,
    },
    /// `{"in": ["A1", "A2"]}`: one of these values.
    In(Vec<Scalar>),
    /// `{"prefix": "Q3 "}`: a string with this prefix.
    Prefix(String),
    /// `{"equal": "EUR"}`: exactly this value.
    Equal(Scalar),
    /// `{"under": "/srv/data"}`: a path at or under this one, by whole segments. The manifest must
    /// say that the argument is a path.
    Under(String),
    /// `{"host": ["api.example.com"]}`: a URL with one of these hosts. The manifest must say that
    /// the argument is a URL.
    Host(Vec<String>),
}

/// The constraint of one argument: at least one member.
#[derive(Serialize, Deserialize, Default)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct Raw {
    /// The smallest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min: Option<i64>,
    /// The largest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max: Option<i64>,
    /// The allowed values.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "in")]
    in_: Option<Vec<Scalar>>,
    /// A prefix of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    /// The exact value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    equal: Option<Scalar>,
    /// A path at or below this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    under: Option<String>,
    /// A URL of one of these hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<Vec<String>>,
}

/// The JSON form is that of `Raw`.
#[cfg(feature = "schema")]
impl utoipa::PartialSchema for Constraint {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        Raw::schema()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for Constraint {
    fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
        Raw::schemas(schemas);
    }
}

impl Constraint {
    fn from_raw(raw: Raw) -> Result<Self, &'static str> {
        let Raw {
            min,
            max,
            in_,
            prefix,
            equal,
            under,
            host,
        } = raw;
        let range = (min.is_some() || max.is_some()).then_some(Self::Range { min, max });
        let mut given = [
            range,
            in_.map(Self::In),
            prefix.map(Self::Prefix),
            equal.map(Self::Equal),
            under.map(Self::Under),
            host.map(Self::Host),
        ]
        .into_iter()
        .flatten();
        match (given.next(), given.next()) {
            (Some(constraint), None) => constraint.refuse_contradictions().map(|()| constraint),
            _ => Err("a constraint is exactly one of min/max, in, prefix, equal, under, host"),
        }
    }

    /// The name of the type that it applies to, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Range { .. } => "integer",
            Self::Equal(value) => value.type_name(),
            Self::In(values) => values.first().map_or("string", Scalar::type_name),
            Self::Prefix(_) | Self::Under(_) | Self::Host(_) => "string",
        }
    }

    /// Refuses constraints that no right may hold. JSON input never has one; a holder's check may.
    pub(super) fn refuse_contradictions(&self) -> Result<(), &'static str> {
        match self {
            Self::Range {
                min: None,
                max: None,
            } => Err("a range has `min`, `max` or both"),
            Self::Range {
                min: Some(min),
                max: Some(max),
            } if min > max => Err("`min` is greater than `max`"),
            Self::In(values) if values.is_empty() || values.len() > MAX_VALUES => {
                Err("`in` takes 1 to 100 values")
            }
            Self::In(values) if !is_uniform(values) => {
                Err("the values of `in` must be of one type")
            }
            Self::Prefix(prefix) if prefix.is_empty() => Err("`prefix` must not be empty"),
            Self::Under(path) if path_segments(path).is_none() => Err(
                "`under` takes an absolute path without empty, dot or dot-dot segments, `%` or backslash",
            ),
            Self::Host(hosts) if hosts.is_empty() || hosts.len() > MAX_VALUES => {
                Err("`host` takes 1 to 100 hosts")
            }
            Self::Host(hosts) if !hosts.iter().all(|host| is_canonical_host(host)) => {
                Err("`host` takes lower-case host names, internationalised ones in A-label form")
            }
            _ => Ok(()),
        }
    }
}

fn is_uniform(values: &[Scalar]) -> bool {
    values
        .windows(2)
        .all(|pair| matches!(pair, [left, right] if left.type_name() == right.type_name()))
}

impl Serialize for Constraint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = Raw::default();
        match self.clone() {
            Self::Range { min, max } => (raw.min, raw.max) = (min, max),
            Self::In(values) => raw.in_ = Some(values),
            Self::Prefix(prefix) => raw.prefix = Some(prefix),
            Self::Equal(value) => raw.equal = Some(value),
            Self::Under(path) => raw.under = Some(path),
            Self::Host(hosts) => raw.host = Some(hosts),
        }
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Constraint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_raw(Raw::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: Vec<String>| values.join(", ");
        match self {
            Self::Range {
                min: Some(min),
                max: Some(max),
            } => write!(f, "between {min} and {max}"),
            Self::Range {
                min: Some(min),
                max: None,
            } => write!(f, "at least {min}"),
            Self::Range {
                max: Some(max),
                min: None,
            } => write!(f, "at most {max}"),
            Self::Range {
                min: None,
                max: None,
            } => f.write_str("an integer"),
            Self::In(values) => write!(
                f,
                "one of {}",
                list(values.iter().map(ToString::to_string).collect())
            ),
            Self::Prefix(prefix) => write!(f, "beginning with \"{}\"", quote(prefix)),
            Self::Equal(value) => write!(f, "equal to {value}"),
            Self::Under(path) => write!(f, "at or under \"{}\"", quote(path)),
            Self::Host(hosts) => {
                // Read back from a token, these texts are untrusted.
                let hosts = hosts.iter().map(|host| quote(host)).collect();
                write!(f, "a URL with host {}", list(hosts))
            }
        }
    }
}

const MAX_VALUES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_round_trip_and_contradictions_are_refused() {
        for good in [
            r#"{"min":0,"max":100}"#,
            r#"{"max":5}"#,
            r#"{"in":["A1","A2"]}"#,
            r#"{"prefix":"Q3 "}"#,
            r#"{"equal":true}"#,
            r#"{"under":"/srv/data"}"#,
            r#"{"host":["api.example.com"]}"#,
        ] {
            let constraint: Constraint = serde_json::from_str(good).unwrap();
            assert_eq!(serde_json::to_string(&constraint).unwrap(), good);
        }
        for bad in [
            "{}",
            r#"{"min":2,"max":1}"#,
            r#"{"min":1,"equal":1}"#,
            r#"{"in":[]}"#,
            r#"{"in":[1,"a"]}"#,
            r#"{"in":[1.5]}"#,
            r#"{"equal":null}"#,
            r#"{"equal":9223372036854775808}"#,
            r#"{"prefix":""}"#,
            r#"{"under":"srv"}"#,
            r#"{"under":"/a/../b"}"#,
            r#"{"host":["API.example"]}"#,
            r#"{"regex":"."}"#,
            "null",
            "[]",
        ] {
            assert!(serde_json::from_str::<Constraint>(bad).is_err(), "{bad}");
        }
    }
}
