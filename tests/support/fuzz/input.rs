//! A fuzzer's bytes, read as a list of decisions: which seed to take and what to change in it.
//!
//! Random bytes hardly ever are a token; a few random changes to a real one come far. An engine that
//! learns from coverage learns the decisions.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// How long a target runs unless `BOLERO_RANDOM_TEST_TIME_MS` says otherwise.
pub const BRIEFLY: Duration = Duration::from_secs(1);

/// The decisions; all of them are 0 when the bytes have run out.
pub struct Input<'i> {
    rest: &'i [u8],
}

/// The bytes that pick seed number `seed` and change nothing.
pub fn picking(seed: usize) -> [u8; 2] {
    u16::try_from(seed).unwrap().to_le_bytes()
}

impl<'i> Input<'i> {
    pub const fn new(bytes: &'i [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What was not used yet, as it is.
    pub fn rest(&mut self) -> &'i [u8] {
        std::mem::take(&mut self.rest)
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        *first
    }

    /// Once in `bound` times: never when the bytes have run out, so that a seed stays itself.
    pub fn one_in(&mut self, bound: u8) -> bool {
        self.byte() % bound == 1
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = u16::from_le_bytes([self.byte(), self.byte()]);
        usize::from(number) % bound.max(1)
    }

    pub fn one_of<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        all[self.below(all.len())]
    }

    /// The header and the claims of a JWS that is a changed seed; sometimes their bytes are changed too.
    pub fn jws_parts(&mut self, seeds: &[Value]) -> (Vec<u8>, Vec<u8>) {
        let seed = self.json_seed(seeds);
        let bytes = |value: &Value| serde_json::to_vec(value).unwrap();
        let (header, claims) = (bytes(&seed["header"]), bytes(&seed["claims"]));
        if self.one_in(4) {
            (self.seed(&[header]), self.seed(&[claims]))
        } else {
            (header, claims)
        }
    }

    /// A seed, and where the next decisions say so, changed.
    pub fn seed<S: AsRef<[u8]>>(&mut self, seeds: &[S]) -> Vec<u8> {
        let mut seed = seeds[self.below(seeds.len())].as_ref().to_vec();
        for _ in 0..self.below(6) {
            let other = self.below(seeds.len());
            self.change(&mut seed, seeds[other].as_ref());
        }
        seed
    }

    /// One change: a bit, a byte, a range gone, doubled, put in, or taken from another seed.
    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len());
        let (from, length) = (self.below(other.len()), 1 + self.below(64));
        let own = at..(at + length).min(bytes.len());
        let foreign = &other[from.min(other.len())..(from + length).min(other.len())];
        match self.below(8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.byte(),
            2 => drop(bytes.drain(own)),
            3 => {
                let doubled = bytes[own].to_vec();
                bytes.splice(at..at, doubled);
            }
            4 => drop(bytes.splice(at..at, foreign.iter().copied())),
            5 => drop(bytes.splice(own, foreign.iter().copied())),
            6 => bytes.truncate(at),
            _ => {
                let word = self.one_of(WORDS);
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }

    /// A JSON seed, changed in its structure.
    pub fn json_seed(&mut self, seeds: &[Value]) -> Value {
        let mut value = seeds[self.below(seeds.len())].clone();
        for _ in 0..self.below(5) {
            let other = seeds[self.below(seeds.len())].clone();
            self.change_json(&mut value, &other);
        }
        value
    }

    fn change_json(&mut self, value: &mut Value, other: &Value) {
        // Down to some place, most of the time.
        if !self.one_in(4) {
            match value {
                Value::Object(members) if !members.is_empty() => {
                    let at = self.below(members.len());
                    let name = members.keys().nth(at).cloned().unwrap();
                    let likewise = other.get(&name).unwrap_or(other);
                    return self.change_json(&mut members[&name], likewise);
                }
                Value::Array(items) if !items.is_empty() => {
                    let at = self.below(items.len());
                    return self.change_json(&mut items[at], other.get(at).unwrap_or(other));
                }
                _ => {}
            }
        }
        match (self.below(6), value) {
            (0, Value::Object(members)) => self.change_members(members),
            (1, Value::Array(items)) => {
                let at = self.below(items.len());
                if self.one_in(2) && !items.is_empty() {
                    items.remove(at);
                } else {
                    items.push(other.clone());
                }
            }
            (2, Value::String(text)) => {
                let bytes = self.seed(&[text.as_bytes()]);
                *text = String::from_utf8_lossy(&bytes).into_owned();
            }
            (3, Value::Number(number)) => {
                let nearby = number
                    .as_i64()
                    .unwrap_or_default()
                    .wrapping_add(i64::from(self.byte()) - 128);
                *number = nearby.into();
            }
            (4, value) => *value = other.clone(),
            (_, value) => *value = self.odd_value(),
        }
    }

    fn change_members(&mut self, members: &mut Map<String, Value>) {
        let name = members.keys().nth(self.below(members.len())).cloned();
        match (self.byte() % 3, name) {
            (0, Some(name)) => drop(members.remove(&name)),
            (1, Some(name)) => {
                let value = members.remove(&name).unwrap_or_default();
                members.insert(name.to_uppercase(), value);
            }
            _ => drop(members.insert(self.one_of(NAMES).to_owned(), self.odd_value())),
        }
    }

    fn odd_value(&mut self) -> Value {
        let odd = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
            json!(0.5),
            json!(""),
            json!("*"),
            json!("\u{0}\u{202e}"),
            json!("x".repeat(5_000)),
            json!([]),
            json!({}),
            json!([[[[[[[[]]]]]]]]),
            json!({"": {"": {"": {}}}}),
        ];
        odd[self.below(odd.len())].clone()
    }
}

/// What makes a difference in one of the forms that are read.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",
    b"\"",
    b"\\u0000",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b".",
    b"=",
    b"\n",
    b"\r\n",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"_",
    b"-",
    b"+",
    b"/",
    b"%2f",
    b"..",
    b"*",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\"\"\"",
    b"[[grant]]\n",
    b"forbid (principal, action, resource);\n",
    b"permit (principal, action, resource);\n",
    b"\"id\":1,",
    b"\"method\":\"tools/call\",",
];

const NAMES: &[&str] = &[
    "",
    "id",
    "name",
    "arguments",
    "crit",
    "b64",
    "jwk",
    "alg",
    "kid",
    "nonce",
    "hallpass_call",
    "since",
    "manifest",
];
