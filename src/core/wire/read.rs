//! Reading documents that another build may have written: the rule of `docs/wire.md`.
//!
//! A reader ignores members that it does not know, in every object of a document. A member that must
//! not be ignored is listed in the member `crit` of the same object, as in JWS (RFC 7515 section
//! 4.1.11); a reader that does not know a listed member refuses the document.
//!
//! The types themselves stay strict: read by serde alone they refuse every unknown member, `crit`
//! too. [`read`] and the functions built on it are the only way to read leniently, so no reader can
//! ignore a member and forget `crit`.

use std::{collections::BTreeSet, fmt, vec};

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, Error as _, Expected, IntoDeserializer as _,
        MapAccess, SeqAccess, Unexpected, Visitor, value::MapAccessDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value, map};

use crate::base::{
    format::Format,
    json::{self, JsonError},
    jws::{self, JwsError},
    key::PublicKey,
    text::is_unsafe_char,
};

/// A type that travels as a document. Its objects are structs, and its maps hold names that are data.
///
/// A struct with a field `v` must be of a format that this build reads. Internally tagged enums
/// (`#[serde(tag)]`) cannot be read this way: serde does not say which struct it reads.
pub trait Document: DeserializeOwned {}

/// Reads a document from JSON that was parsed by [`json`].
///
/// # Errors
///
/// See [`DocumentError`].
pub fn read<T: Document>(value: Value) -> Result<T, DocumentError> {
    T::deserialize(Reader { value, tag: None })
}

/// Reads a document from at most `max_bytes` of JSON.
///
/// # Errors
///
/// See [`DocumentError`].
pub fn parse<T: Document>(bytes: &[u8], max_bytes: usize) -> Result<T, DocumentError> {
    read(json::parse(bytes, max_bytes)?)
}

/// Reads a document from a compact JWS of the type `typ` that `key` signed.
///
/// # Errors
///
/// See [`jws::verify`] and [`DocumentError`].
pub fn verify<T: Document>(key: &PublicKey, typ: &str, text: &str) -> Result<T, SignedError> {
    let payload = jws::verify(key, typ, text)?;
    let value = json::parse_signed(&payload, jws::MAX_JWS_BYTES).map_err(DocumentError::Json)?;
    Ok(read(value)?)
}

/// Reads one of several kinds of object. The caller has taken out the member `tag`, which names the kind.
pub(super) fn read_tagged<T: DeserializeOwned>(
    value: Value,
    tag: &'static str,
) -> Result<T, DocumentError> {
    T::deserialize(Reader {
        value,
        tag: Some(tag),
    })
}

/// Why a document cannot be used. `at` is the path of a member: `manifest.tools.read.labels`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It is not strict JSON.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// It is of a format that this build does not read.
    #[error(
        "`{at}`: the document has format {found}; this build reads format {}",
        known_formats()
    )]
    Format {
        /// The path of the format number.
        at: String,
        /// The format.
        found: u64,
    },
    /// `crit` lists a member that this build does not know.
    #[error("`crit` lists `{at}`, which this build does not know")]
    Critical {
        /// The member.
        at: String,
    },
    /// An invalid `crit`.
    #[error("`{at}`: {problem}")]
    CriticalList {
        /// The path of the `crit`.
        at: String,
        /// The problem.
        problem: &'static str,
    },
    /// A member is missing or malformed.
    #[error("{}{expectation}", Prefix(.at))]
    Shape {
        /// The path; empty for the document itself.
        at: String,
        /// The expected form, without the actual value.
        expectation: String,
    },
}

impl DocumentError {
    /// Whether a later build could read it, so that an upgrade helps.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        matches!(self, Self::Format { .. } | Self::Critical { .. })
    }

    /// The same error, with the path prefixed by the member `segment`.
    pub(super) fn within(mut self, segment: &str) -> Self {
        if let Self::Format { at, .. }
        | Self::Critical { at }
        | Self::CriticalList { at, .. }
        | Self::Shape { at, .. } = &mut self
        {
            let dot = if at.is_empty() || at.starts_with('[') {
                ""
            } else {
                "."
            };
            *at = format!("{}{dot}{at}", shown(segment));
        }
        self
    }

    /// The same error, with the path prefixed by the list index `index`.
    pub(super) fn within_item(self, index: usize) -> Self {
        self.within(&format!("[{index}]"))
    }

    fn expected(expected: impl fmt::Display) -> Self {
        Self::Shape {
            at: String::new(),
            expectation: format!("expected {expected}"),
        }
    }
}

impl de::Error for DocumentError {
    /// hallpass's error texts end with the expected form.
    fn custom<T: fmt::Display>(message: T) -> Self {
        match message.to_string().rsplit_once("expected ") {
            Some((_, expected)) => Self::expected(expected),
            None => Self::Shape {
                at: String::new(),
                expectation: "not a valid value for this member".to_owned(),
            },
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::expected(format_args!("one of `{}`", expected.join("`, `")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Shape {
            at: field.to_owned(),
            expectation: "required".to_owned(),
        }
    }
}

/// Why a signed document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle every case")]
pub enum SignedError {
    /// The signature or the form of the JWS.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// The signature is valid and the content cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            at => write!(f, "`{at}`: "),
        }
    }
}

fn known_formats() -> String {
    Format::ALL.map(|format| format.to_string()).join(" or ")
}

/// A member's name, made safe for messages.
fn shown(name: &str) -> String {
    let plain = |character: &char| !is_unsafe_char(*character);
    name.chars().filter(plain).take(MAX_SHOWN_CHARS).collect()
}

/// Deserializes structs by the rule, and everything else as `serde_json` does.
struct Reader {
    value: Value,
    /// A member that was taken out of the object, so it is known and present.
    tag: Option<&'static str>,
}

impl Reader {
    const fn of(value: Value) -> Self {
        Self { value, tag: None }
    }
}

impl<'de> Deserializer<'de> for Reader {
    type Error = DocumentError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DocumentError> {
        match self.value {
            Value::Array(items) => {
                let mut items = Items {
                    left: items.into_iter(),
                    next: 0,
                };
                let read = visitor.visit_seq(&mut items)?;
                match items.left.next() {
                    Some(_) => Err(DocumentError::expected("fewer items")),
                    None => Ok(read),
                }
            }
            Value::Object(members) => visitor.visit_map(Members {
                left: members.into_iter(),
                known: None,
                current: None,
            }),
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                (None, None, None) => Err(DocumentError::expected("a number")),
            },
            Value::String(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DocumentError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DocumentError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DocumentError> {
        match self.value {
            Value::Object(members) => {
                check_format(&members, known)?;
                check_critical(&members, known, self.tag)?;
                visitor.visit_map(Members {
                    left: members.into_iter(),
                    known: Some(known),
                    current: None,
                })
            }
            Value::Array(_) => Err(DocumentError::invalid_type(Unexpected::Seq, &visitor)),
            leaf => Self::of(leaf).deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DocumentError> {
        match self.value {
            Value::String(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Object(members) if members.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Members {
                    left: members.into_iter(),
                    known: None,
                    current: None,
                }))
            }
            _ => Err(DocumentError::expected(
                "a string, or an object with one member",
            )),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// Checked first: a later format may change everything, including `crit`.
fn check_format(members: &Map<String, Value>, known: &[&str]) -> Result<(), DocumentError> {
    if !known.contains(&FORMAT) {
        return Ok(());
    }
    match members.get(FORMAT).and_then(Value::as_u64) {
        Some(found) if Format::of_number(found).is_none() => Err(DocumentError::Format {
            at: FORMAT.to_owned(),
            found,
        }),
        // The field's type decides whether it may be absent.
        _ => Ok(()),
    }
}

fn check_critical(
    members: &Map<String, Value>,
    known: &[&str],
    tag: Option<&str>,
) -> Result<(), DocumentError> {
    let Some(list) = members.get(CRITICAL) else {
        return Ok(());
    };
    let refuse = |problem| DocumentError::CriticalList {
        at: CRITICAL.to_owned(),
        problem,
    };
    let names: Option<Vec<&str>> = list
        .as_array()
        .and_then(|names| names.iter().map(Value::as_str).collect());
    let names = names.ok_or_else(|| refuse("expected a list of member names"))?;
    if names.is_empty() {
        return Err(refuse("an empty list"));
    }
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        return Err(refuse("a name is listed twice"));
    }
    for name in names {
        let is_tag = tag == Some(name);
        if name == CRITICAL {
            return Err(refuse("it names itself"));
        }
        if !is_tag && !members.contains_key(name) {
            return Err(refuse("it names a member that the object does not have"));
        }
        if !is_tag && !known.contains(&name) {
            return Err(DocumentError::Critical { at: shown(name) });
        }
    }
    Ok(())
}

struct Items {
    left: vec::IntoIter<Value>,
    next: usize,
}

impl<'de> SeqAccess<'de> for &mut Items {
    type Error = DocumentError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DocumentError> {
        let Some(item) = self.left.next() else {
            return Ok(None);
        };
        let index = self.next;
        self.next = index.saturating_add(1);
        seed.deserialize(Reader::of(item))
            .map(Some)
            .map_err(|error| error.within_item(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

struct Members {
    left: map::IntoIter,
    /// The members of a struct; `None` for a map, whose names are data.
    known: Option<&'static [&'static str]>,
    current: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = DocumentError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DocumentError> {
        let known = self.known;
        let is_read = |name: &str| known.is_none_or(|known| known.contains(&name));
        let Some((name, value)) = self.left.find(|(name, _)| is_read(name)) else {
            return Ok(None);
        };
        let key = seed
            .deserialize(name.as_str().into_deserializer())
            .map_err(|error: DocumentError| error.within(&name))?;
        self.current = Some((name, value));
        Ok(Some(key))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, DocumentError> {
        let (name, value) = self
            .current
            .take()
            .ok_or_else(|| DocumentError::expected("a name before a value"))?;
        seed.deserialize(Reader::of(value))
            .map_err(|error| error.within(&name))
    }
}

const FORMAT: &str = "v";
const CRITICAL: &str = "crit";
const MAX_SHOWN_CHARS: usize = 80;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        v: Format,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        list: Vec<Inner>,
        #[serde(default)]
        named: BTreeMap<String, Inner>,
    }

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u8,
    }

    impl Document for Outer {}

    fn given() -> Value {
        json!({"v": 1, "inner": {"a": 1}, "list": [{"a": 2}], "named": {"crit": {"a": 3}}})
    }

    /// `given()`, changed in the object at `pointer`.
    fn with(pointer: &str, members: Value) -> Value {
        let mut value = given();
        let object = value.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.extend(members.as_object().unwrap().clone());
        value
    }

    const OBJECTS: [(&str, &str); 4] = [
        ("", ""),
        ("/inner", "inner."),
        ("/list/0", "list[0]."),
        ("/named/crit", "named.crit."),
    ];

    #[test]
    fn unknown_members_are_ignored_in_every_object_and_by_serde_alone_refused() {
        let plain: Outer = read(given()).unwrap();
        assert_eq!(serde_json::from_value::<Outer>(given()).unwrap(), plain);
        for (pointer, _) in OBJECTS {
            let more = with(pointer, json!({"b": {"crit": ["x"]}, "c": [{"v": 9}]}));
            assert_eq!(read::<Outer>(more.clone()).unwrap(), plain, "{pointer}");
            assert!(serde_json::from_value::<Outer>(more).is_err(), "{pointer}");
        }
    }

    #[test]
    fn an_unknown_critical_member_is_refused_and_named_in_every_object() {
        for (pointer, path) in OBJECTS {
            let error = read::<Outer>(with(pointer, json!({"b": 1, "crit": ["b"]}))).unwrap_err();
            let at = format!("{path}b");
            assert_eq!(error, DocumentError::Critical { at });
            assert!(error.is_newer());
        }
    }

    #[test]
    fn a_critical_list_is_as_strict_as_that_of_jws() {
        let known = |pointer, crit: Value| read::<Outer>(with(pointer, json!({"crit": crit})));
        assert_eq!(known("", json!(["v"])).unwrap(), read(given()).unwrap());
        assert_eq!(
            known("", json!(["list", "inner"])).unwrap(),
            read(given()).unwrap()
        );
        assert_eq!(
            known("/inner", json!(["a"])).unwrap(),
            read(given()).unwrap()
        );
        for bad in [
            json!([]),
            json!(["v", "v"]),
            json!(["crit"]),
            json!(["absent"]),
            json!("v"),
            json!([1]),
            json!(null),
            json!({}),
        ] {
            let error = known("/inner", bad.clone()).unwrap_err();
            assert!(
                matches!(&error, DocumentError::CriticalList { at, .. } if at == "inner.crit"),
                "{bad}: {error:?}"
            );
            assert!(!error.is_newer());
        }
    }

    #[test]
    fn another_format_is_refused_before_anything_else_is_looked_at() {
        for found in [0, 2, u64::MAX] {
            let value = json!({"v": found, "inner": 7, "crit": "whatever"});
            let at = "v".to_owned();
            assert_eq!(
                read::<Outer>(value).unwrap_err(),
                DocumentError::Format { at, found }
            );
        }
        for bad in [json!(-1), json!("1"), json!(1.5), json!(null)] {
            let error = read::<Outer>(json!({"v": bad})).unwrap_err();
            assert!(matches!(error, DocumentError::Shape { .. }), "{bad}");
        }
        let message = read::<Outer>(json!({})).unwrap_err().to_string();
        assert_eq!(message, "`v`: required");
    }

    #[test]
    fn a_wrong_shape_names_its_place() {
        for (value, message) in [
            (
                json!({"v": 1, "list": [{"a": 1}, {"a": "x"}]}),
                "`list[1].a`: expected u8",
            ),
            (json!({"v": 1, "inner": [1]}), "`inner`: "),
            (json!({"v": 1, "named": {"n": {}}}), "`named.n.a`: required"),
            (json!([1]), "expected struct Outer"),
            (json!(7), "expected struct Outer"),
        ] {
            let error = read::<Outer>(value).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
