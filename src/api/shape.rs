//! Reads a JSON value as a typed one, with an error that is data: which member is missing or unknown,
//! and what was expected.
//!
//! A server reads a request with [`read`], where the type says what becomes of members that it does not know; a client
//! reads an answer with [`read_known`], which leaves them out, or with [`read_whole`], which refuses them.

use std::fmt;

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, IntoDeserializer, Visitor,
        value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};

/// A member that is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {expectation}")]
pub struct Misshapen {
    /// Where: `inner[0].agent`, or `body` for the whole.
    pub field: String,
    /// What would be right, without what was sent.
    pub expectation: String,
}

/// Reads `value` as a `T`, which refuses or ignores unknown members as its type says.
///
/// # Errors
///
/// When a member is missing, of another type, or unknown to a type that refuses such members.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, Misshapen> {
    read_as(value, Unknown::AsTyped)
}

/// Reads all of `value` as a `T`: unknown members are refused, also where `T` itself would ignore them.
///
/// # Errors
///
/// When a member is missing, unknown or of another type.
pub fn read_whole<T: DeserializeOwned>(value: Value) -> Result<T, Misshapen> {
    read_as(value, Unknown::Refused)
}

/// Reads what a `T` knows of `value`: unknown members are ignored, also where `T` itself would refuse them. They are
/// not ignored inside of members that serde flattens.
///
/// # Errors
///
/// When a member is missing or of another type.
pub fn read_known<T: DeserializeOwned>(value: Value) -> Result<T, Misshapen> {
    read_as(value, Unknown::Ignored)
}

/// What becomes of members that a type does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unknown {
    AsTyped,
    Refused,
    Ignored,
}

fn read_as<T: DeserializeOwned>(value: Value, unknown: Unknown) -> Result<T, Misshapen> {
    serde_path_to_error::deserialize(Node { value, unknown }).map_err(|error| {
        let path = error.path().to_string();
        let wrong = error.into_inner();
        let field = match (wrong.member(), path.as_str()) {
            (Some(name), "." | "") => name.to_owned(),
            (Some(name), path) if path.ends_with(name) => path.to_owned(),
            (Some(name), path) => format!("{path}.{name}"),
            (None, "." | "") => "body".to_owned(),
            (None, path) => path.to_owned(),
        };
        let expectation = match wrong {
            Wrong::Missing(_) => "required".to_owned(),
            Wrong::Unknown(_) => "not a member that is known here".to_owned(),
            Wrong::Expected(expected) => format!("expected {expected}"),
            Wrong::Otherwise => "not a value that this member takes".to_owned(),
        };
        Misshapen { field, expectation }
    })
}

/// What is wrong with a member; never the value that was sent.
#[derive(Debug)]
enum Wrong {
    Missing(&'static str),
    Unknown(String),
    Expected(String),
    Otherwise,
}

impl Wrong {
    /// The member that is not named by the path, since it is not there or nothing reads it.
    fn member(&self) -> Option<&str> {
        match self {
            Self::Missing(name) => Some(name),
            Self::Unknown(name) => Some(name),
            Self::Expected(_) | Self::Otherwise => None,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the shape that is expected")
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    /// The types of hallpass say in their errors what was sent first, and what is expected last.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        let expected = message
            .rsplit_once("expected ")
            .map(|(_, expected)| expected);
        expected.map_or(Self::Otherwise, |expected| {
            Self::Expected(expected.to_owned())
        })
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::Expected(expected.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        // As serde spells it.
        match expected {
            [] => Self::Otherwise,
            [one] => Self::Expected(format!("`{one}`")),
            [one, two] => Self::Expected(format!("`{one}` or `{two}`")),
            many => Self::Expected(format!("one of `{}`", many.join("`, `"))),
        }
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::Unknown(field.to_owned())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// A JSON value that is read with [`Wrong`] for an error.
struct Node {
    value: Value,
    unknown: Unknown,
}

impl Node {
    fn object<'de, V: Visitor<'de>>(
        members: Map<String, Value>,
        unknown: Unknown,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let members = members
            .into_iter()
            .map(|(name, value)| (name, Self { value, unknown }));
        let mut members = MapDeserializer::new(members);
        let value = visitor.visit_map(&mut members)?;
        members.end().map(|()| value)
    }
}

impl IntoDeserializer<'_, Wrong> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Node {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                (None, None, None) => Err(Wrong::Otherwise),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => {
                let unknown = self.unknown;
                let items = items.into_iter().map(|value| Self { value, unknown });
                let mut items = SeqDeserializer::new(items);
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Value::Object(members) => Self::object(members, self.unknown, visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Object(mut members) => {
                let is_known = |name: &String| fields.contains(&name.as_str());
                match self.unknown {
                    Unknown::AsTyped => {}
                    Unknown::Ignored => members.retain(|name, _| is_known(name)),
                    Unknown::Refused => {
                        if let Some(name) = members.keys().find(|name| !is_known(name)) {
                            return Err(Wrong::Unknown(name.clone()));
                        }
                    }
                }
                Self::object(members, self.unknown, visitor)
            }
            value => Self { value, ..self }.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Self { value, ..self }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.value {
            Value::String(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Object(members) if members.len() == 1 => {
                let unknown = self.unknown;
                let members = members
                    .into_iter()
                    .map(|(name, value)| (name, Self { value, unknown }));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(members)))
            }
            Value::Object(_) => Err(Wrong::Expected("map with a single key".to_owned())),
            _ => Err(Wrong::Expected("string or map".to_owned())),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        count: u8,
    }

    #[test]
    fn a_server_refuses_what_it_does_not_know_and_a_client_ignores_it() {
        let newer = json!({"inner": [{"count": 1, "new": {}}], "newer": null});
        let refused = read::<Outer>(newer.clone()).unwrap_err();
        assert_eq!(refused.expectation, "not a member that is known here");
        let known = read_known::<Outer>(newer).unwrap();
        assert_eq!(known.inner, [Inner { count: 1 }]);
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Lenient {
        #[serde(rename = "of", alias = "about")]
        inner: Inner,
    }

    #[test]
    fn what_is_read_whole_has_no_member_that_would_be_lost() {
        let newer = json!({"of": {"count": 1}, "newer": null});
        read::<Lenient>(newer.clone()).unwrap();
        let refused = read_whole::<Lenient>(newer).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "`newer`: not a member that is known here"
        );
        read_whole::<Lenient>(json!({"about": {"count": 1}})).unwrap();
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named_by_both() {
        for (value, message) in [
            (json!({}), "`inner`: required"),
            (json!({"inner": [{}]}), "`inner[0].count`: required"),
            (
                json!({"inner": [{"count": 256}]}),
                "`inner[0].count`: expected u8",
            ),
        ] {
            for error in [
                read::<Outer>(value.clone()).unwrap_err(),
                read_known::<Outer>(value.clone()).unwrap_err(),
            ] {
                assert_eq!(error.to_string(), message);
            }
        }
    }
}
