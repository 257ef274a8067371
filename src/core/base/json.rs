//! Strict JSON: the only way foreign JSON enters hallpass.
//!
//! `serde_json` keeps the last of two members with one name, silently, when it reads a generic
//! value; a peer may keep the first. The call that is executed must be the call that was decided, so a
//! duplicate is refused here, at any depth, as is JSON that is too deep or too large.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use serde::{
    Deserializer,
    de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::base::{digest::Digest, text::quote};

/// Nesting deeper than this is refused: objects and arrays, the outermost counted as one.
pub const MAX_DEPTH: usize = 32;

/// An object or array with more direct entries than this is refused in foreign JSON.
pub const MAX_ENTRIES: usize = 10_000;

/// Why JSON was refused, with the position if it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    message: String,
    duplicate: Option<String>,
}

impl JsonError {
    /// The name of the duplicate member, when that is the error; cut to 80 characters.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        self.duplicate.as_deref()
    }

    fn new(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            duplicate: None,
        }
    }
}

/// Parses `bytes` as one JSON value.
///
/// # Errors
///
/// Refuses bytes that are longer than `max_bytes`, are not UTF-8, begin with a byte order mark,
/// hold a duplicate member name at any depth, nest deeper than [`MAX_DEPTH`], or carry anything
/// after the value.
pub fn parse(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    parse_with(bytes, max_bytes, Entries::each(MAX_ENTRIES))
}

/// As [`parse`], where all objects and arrays together have at most `max_entries` entries.
///
/// For senders who have proven nothing, or have only a share: what a document costs grows with its entries and not with
/// its bytes alone.
///
/// # Errors
///
/// As [`parse`], and for a document with more entries.
pub fn parse_within(
    bytes: &[u8],
    max_bytes: usize,
    max_entries: usize,
) -> Result<Value, JsonError> {
    let entries = Entries {
        all: max_entries,
        ..Entries::each(MAX_ENTRIES)
    };
    parse_with(bytes, max_bytes, entries)
}

/// Parses `bytes` of a document whose signature was checked. Only the length is bounded, since the
/// signer is trusted.
///
/// # Errors
///
/// As [`parse`] but for the number of entries.
pub fn parse_signed(bytes: &[u8], max_bytes: usize) -> Result<Value, JsonError> {
    parse_with(bytes, max_bytes, Entries::each(usize::MAX))
}

/// Parses `bytes` strictly into a typed value, bounded by their length alone.
///
/// # Errors
///
/// As [`parse_signed`], and when the value does not have the shape of `T`.
pub fn parse_signed_as<T: DeserializeOwned>(
    bytes: &[u8],
    max_bytes: usize,
) -> Result<T, JsonError> {
    T::deserialize(parse_signed(bytes, max_bytes)?).map_err(JsonError::new)
}

/// How many entries a document may have.
#[derive(Clone, Copy)]
struct Entries {
    /// Each object or array.
    each: usize,
    /// All of them together.
    all: usize,
}

impl Entries {
    const fn each(each: usize) -> Self {
        Self {
            each,
            all: usize::MAX,
        }
    }
}

fn parse_with(bytes: &[u8], max_bytes: usize, entries: Entries) -> Result<Value, JsonError> {
    if bytes.len() > max_bytes {
        return Err(too_long(max_bytes));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let (duplicate, left) = (RefCell::default(), Cell::new(entries.all));
    let value = Strict {
        depth: 0,
        max_entries: entries.each,
        left: &left,
        duplicate: &duplicate,
    }
    .deserialize(&mut reader)
    .and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| JsonError {
        message: error.to_string(),
        duplicate: duplicate.take(),
    })
}

fn too_long(max_bytes: usize) -> JsonError {
    JsonError::new(format_args!("longer than {max_bytes} bytes"))
}

/// Parses `bytes` strictly into a typed value.
///
/// # Errors
///
/// As [`parse`], and when the value does not have the shape of `T`.
pub fn parse_as<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, JsonError> {
    T::deserialize(parse(bytes, max_bytes)?).map_err(JsonError::new)
}

/// Reads back JSON that serde has just written, to check that [`parse_as`] would accept it, at a third of the cost.
///
/// SECURITY: not for foreign bytes. Duplicate members are not detected; serde writes none.
///
/// # Errors
///
/// As [`parse_as`], but for duplicates.
pub fn read_back_as<T: DeserializeOwned>(bytes: &[u8], max_bytes: usize) -> Result<T, JsonError> {
    if bytes.len() > max_bytes {
        return Err(too_long(max_bytes));
    }
    Bounds { depth: 0 }
        .deserialize(&mut serde_json::Deserializer::from_slice(bytes))
        .map_err(JsonError::new)?;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(&mut reader).map_err(JsonError::new)?;
    reader.end().map_err(JsonError::new)?;
    Ok(value)
}

/// Parses a file that this program wrote and whose digest was checked, without bounds.
///
/// # Errors
///
/// When it is not one JSON value of the shape of `T`.
pub fn parse_own_as<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(&mut reader).map_err(JsonError::new)?;
    reader.end().map_err(JsonError::new)?;
    Ok(value)
}

/// The SHA-256 of `value` in canonical form (RFC 8785); `None` when it has none.
///
/// A number that a double cannot hold exactly has no canonical form: two implementations would
/// round it differently, and a digest that both accept would then cover two different calls.
#[must_use]
pub fn canonical_digest(value: &Value) -> Option<Digest> {
    if !all_numbers_are_exact(value) {
        return None;
    }
    serde_json_canonicalizer::to_vec(value)
        .ok()
        .map(|bytes| Digest::of(&bytes))
}

fn all_numbers_are_exact(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => is_exact(number),
        Value::Array(items) => items.iter().all(all_numbers_are_exact),
        Value::Object(members) => members.values().all(all_numbers_are_exact),
    }
}

fn is_exact(number: &Number) -> bool {
    if let Some(integer) = number.as_i64() {
        return integer.unsigned_abs() <= MAX_SAFE_INTEGER;
    }
    // A large integer literal arrives as a double with no fraction; its digits are already lost.
    number
        .as_f64()
        .is_some_and(|double| double.is_finite() && double.abs() <= MAX_SAFE_DOUBLE)
}

/// The largest integer up to which every integer has its own double: 2^53 - 1.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
const MAX_SAFE_DOUBLE: f64 = 9_007_199_254_740_991.0;

struct Strict<'a> {
    depth: usize,
    max_entries: usize,
    /// How many entries more there may be in the whole document.
    left: &'a Cell<usize>,
    /// Carries the name of a duplicate member out of serde, whose errors are text only.
    duplicate: &'a RefCell<Option<String>>,
}

impl Strict<'_> {
    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        Ok(Self {
            depth: one_deeper(self.depth)?,
            ..*self
        })
    }

    fn count<E: de::Error>(&self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        let left = left.ok_or_else(|| E::custom("too many members and items altogether"))?;
        self.left.set(left);
        Ok(())
    }
}

fn one_deeper<E: de::Error>(depth: usize) -> Result<usize, E> {
    if depth >= MAX_DEPTH {
        let message = format_args!("nested deeper than {MAX_DEPTH} levels");
        return Err(E::custom(message));
    }
    Ok(depth + 1)
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self.deeper()?)? {
            if items.len() >= self.max_entries {
                return Err(de::Error::custom(format_args!(
                    "an array of more than {} items",
                    self.max_entries
                )));
            }
            self.count()?;
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            self.count()?;
            let value = access.next_value_seed(self.deeper()?)?;
            if members.len() >= self.max_entries {
                return Err(de::Error::custom(format_args!(
                    "an object of more than {} members",
                    self.max_entries
                )));
            }
            if members.contains_key(&name) {
                let name: String = name.chars().take(80).collect();
                let error =
                    de::Error::custom(format_args!("duplicate member \"{}\"", quote(&name)));
                self.duplicate.replace(Some(name));
                return Err(error);
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// Checks the bounds of [`Strict`] without building a value.
struct Bounds {
    depth: usize,
}

impl Bounds {
    fn deeper<E: de::Error>(&self) -> Result<Self, E> {
        Ok(Self {
            depth: one_deeper(self.depth)?,
        })
    }

    fn counted<E: de::Error>(count: &mut usize) -> Result<(), E> {
        *count = count.saturating_add(1);
        if *count > MAX_ENTRIES {
            Err(E::custom(format_args!("more than {MAX_ENTRIES} entries")))
        } else {
            Ok(())
        }
    }
}

impl<'de> DeserializeSeed<'de> for Bounds {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounds {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut count = 0;
        while access.next_element_seed(self.deeper()?)?.is_some() {
            Self::counted(&mut count)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let mut count = 0;
        while access.next_key::<de::IgnoredAny>()?.is_some() {
            access.next_value_seed(self.deeper()?)?;
            Self::counted(&mut count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicates_are_refused_at_any_depth() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":[{"a":1,"\u0061":2}]}"#,
            r#"[{"":0,"":0}]"#,
        ] {
            assert!(
                parse(bad.as_bytes(), 1000)
                    .unwrap_err()
                    .to_string()
                    .contains("duplicate member"),
                "{bad}"
            );
        }
        assert_eq!(
            parse(br#"{"a":{"a":1},"A":2}"#, 1000).unwrap(),
            json!({"a": {"a": 1}, "A": 2})
        );
    }

    #[test]
    fn depth_and_size_are_bounded_at_the_limit_and_one_past() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes(), 1000).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes(), 1000).is_err());
        assert!(parse(nested(100_000).as_bytes(), 1_000_000).is_err());
        assert!(parse(b"[1]", 3).is_ok());
        assert!(parse(b"[1]", 2).is_err());
    }

    #[test]
    fn the_entries_of_a_whole_document_are_bounded() {
        let nested = |count: usize| format!("[{}]", vec![r#"{"a":[]}"#; count].join(","));
        // Each item has a member.
        assert!(parse_within(nested(500).as_bytes(), 100_000, 1000).is_ok());
        let refused = parse_within(nested(501).as_bytes(), 100_000, 1000).unwrap_err();
        assert!(refused.to_string().contains("altogether"), "{refused}");
        assert!(parse(nested(501).as_bytes(), 100_000).is_ok());
    }

    #[test]
    #[cfg(feature = "issuer")]
    fn what_is_read_back_is_what_would_be_parsed() {
        let deep = |depth: usize| {
            (0..depth).fold(json!(1), |inner, n| {
                if n % 2 == 0 {
                    json!([inner])
                } else {
                    json!({"a": inner})
                }
            })
        };
        let wide = |entries: usize| json!({"a": vec![0; entries], "b": {"c": -1.5, "d": [null, true, "x"]}});
        for value in [
            deep(MAX_DEPTH),
            deep(MAX_DEPTH + 1),
            wide(MAX_ENTRIES),
            wide(MAX_ENTRIES + 1),
        ] {
            let bytes = serde_json::to_vec(&value).unwrap();
            let parsed = parse_as::<Value>(&bytes, bytes.len());
            let read_back = read_back_as::<Value>(&bytes, bytes.len());
            assert_eq!(read_back.as_ref().ok(), parsed.as_ref().ok());
            assert!(read_back_as::<Value>(&bytes, bytes.len() - 1).is_err());
        }
    }

    #[test]
    fn what_is_not_exactly_one_json_value_is_refused() {
        for bad in [
            &b""[..],
            b"1 2",
            b"\xef\xbb\xbf1",
            b"NaN",
            b"1e999",
            b"{\"a\":\"\xff\"}",
            b"{a:1}",
            b"\"\\ud800\"",
            b"[1,]",
        ] {
            assert!(parse(bad, 1000).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_that_a_double_cannot_hold_have_no_digest() {
        for inexact in [
            "9007199254740992",
            "-9007199254740993",
            "18446744073709551616",
            "1e300",
            r#"{"a":[9007199254740993]}"#,
        ] {
            assert_eq!(
                canonical_digest(&parse(inexact.as_bytes(), 1000).unwrap()),
                None,
                "{inexact}"
            );
        }
        let left = parse(br#"{"b":1,"a":[1.5,true]}"#, 1000).unwrap();
        let right = parse(br#"{ "a" : [15e-1, true], "b" : 1 }"#, 1000).unwrap();
        assert_eq!(canonical_digest(&left), canonical_digest(&right));
        assert_eq!(canonical_digest(&json!({})).unwrap(), Digest::of(b"{}"));
    }
}
