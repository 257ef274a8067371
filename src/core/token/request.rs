//! Request facts: the verifier's facts about one call for the engine.

use std::collections::BTreeSet;

use biscuit_auth::datalog::Term;
use serde_json::{Map, Value};
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    base::{ids::ServerUri, text::is_unsafe_char, time::Timestamp},
    token::{
        HolderChain, NamedRight,
        constraint::Scalar,
        datalog,
        engine::Telling,
        limits::{MAX_ARGUMENT_POINTER_BYTES, MAX_ARGUMENTS, MAX_TEXT_BYTES},
        manifest::Tool,
        path::{path_segments, push_pointer_segment, resource_segments, url_host},
        rights::Kind,
    },
};

/// One call, as the verifier sees it. The pinned manifest says whether the tool is read-only and
/// which arguments are paths.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers must set every field")]
pub struct RequestFacts<'r> {
    /// The current time.
    pub time: Timestamp,
    /// The called server, which is the verifier's own.
    pub me: &'r ServerUri,
    /// The kind of thing that is called.
    pub kind: Kind,
    /// The tool's or prompt's name, or the resource's URI.
    pub name: &'r str,
    /// The arguments.
    pub arguments: &'r Arguments,
    /// Whether the call is read-only.
    pub read_only: bool,
    /// Whether the holder's proof names this call.
    pub call_proven: bool,
}

/// The arguments of a call, flattened to JSON pointers.
///
/// All or nothing per pointer: a pointer whose value cannot be represented exactly, is an ambiguous path or
/// URL, or a text of more than 4,096 bytes, has no fact, so that a constraint on it refuses.
/// The same holds for anything under a name that a server could confuse with its neighbour: `amount` beside `Amount`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    scalars: Vec<(String, Scalar)>,
    paths: Vec<(String, Vec<String>)>,
    hosts: Vec<(String, String)>,
    names: BTreeSet<String>,
    too_many: bool,
    leaves_out: bool,
}

impl Arguments {
    /// Flattens `arguments` (`None` for a call without), as the manifest's `tool` explains them.
    #[must_use]
    pub fn flatten(arguments: Option<&Value>, tool: Option<&Tool>) -> Self {
        let mut flat = Self::default();
        match arguments {
            None => {}
            Some(Value::Object(members)) => {
                flat.members(
                    &mut String::new(),
                    members,
                    Place {
                        tool,
                        is_ambiguous: false,
                    },
                );
            }
            // The whole is one value at a pointer that no pass can name: a closed list refuses it.
            Some(_) => {
                flat.names.insert(String::new());
            }
        }
        if flat.too_many {
            flat = Self {
                too_many: true,
                ..Self::default()
            };
        }
        flat
    }

    /// Whether there were more than [`MAX_ARGUMENTS`], or a pointer was longer than
    /// 1,024 bytes; then there are no facts at all.
    #[must_use]
    pub const fn too_many(&self) -> bool {
        self.too_many
    }

    /// Whether some value has no fact because of its length or its name: a check over all arguments
    /// would not see it.
    pub(super) const fn leaves_out(&self) -> bool {
        self.leaves_out
    }

    /// The scalar at `pointer`, if there is exactly one.
    #[must_use]
    pub fn scalar(&self, pointer: &str) -> Option<&Scalar> {
        self.scalars
            .iter()
            .find(|(at, _)| at == pointer)
            .map(|(_, scalar)| scalar)
    }

    fn members(&mut self, pointer: &mut String, members: &Map<String, Value>, place: Place<'_>) {
        // Each member would have its own pointer.
        self.too_many |= members.len() > MAX_ARGUMENTS;
        if self.too_many {
            return;
        }
        let mut folded: Vec<String> = members.keys().map(|name| folded(name)).collect();
        let folded_of_each = folded.clone();
        folded.sort_unstable();
        // SECURITY: `path\0` is `path` to a server that cuts names at NUL, and other unseen characters are dropped by others.
        let has_unseen = members.keys().any(|name| name.contains(is_unsafe_char));
        let is_doubled = |name: &String| {
            let first = folded.partition_point(|other| other < name);
            folded.get(first.saturating_add(1)) == Some(name)
        };
        for ((name, value), folded) in members.iter().zip(&folded_of_each) {
            let is_ambiguous = place.is_ambiguous || has_unseen || is_doubled(folded);
            self.under(
                pointer,
                name,
                value,
                Place {
                    is_ambiguous,
                    ..place
                },
            );
        }
    }

    fn under(&mut self, pointer: &mut String, segment: &str, value: &Value, place: Place<'_>) {
        if self.too_many {
            return;
        }
        let length = pointer.len();
        push_pointer_segment(pointer, segment);
        if self.names.len() >= MAX_ARGUMENTS || pointer.len() > MAX_ARGUMENT_POINTER_BYTES {
            self.too_many = true;
        } else {
            self.names.insert(pointer.clone());
            match value {
                Value::Object(members) => self.members(pointer, members, place),
                Value::Array(items) => {
                    for (index, value) in items.iter().enumerate() {
                        self.under(pointer, &index.to_string(), value, place);
                    }
                }
                _ if place.is_ambiguous => self.leaves_out = true,
                scalar => self.scalar_at(pointer, scalar, place.tool),
            }
        }
        pointer.truncate(length);
    }

    fn scalar_at(&mut self, pointer: &str, value: &Value, tool: Option<&Tool>) {
        let Some(scalar) = Scalar::from_json(value) else {
            return;
        };
        let declared = |list: fn(&Tool) -> &BTreeSet<crate::token::path::Pointer>| {
            tool.is_some_and(|tool| {
                list(tool)
                    .iter()
                    .any(|declared| declared.as_str() == pointer)
            })
        };
        let as_text = if let Scalar::Text(text) = &scalar {
            Some(text.as_str())
        } else {
            None
        };
        if as_text.is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
            self.leaves_out = true;
            return;
        }
        if declared(|tool| &tool.path_arguments) {
            let Some(segments) = as_text.and_then(|path| path_segments(path).map(|_| path)) else {
                return;
            };
            self.paths.push((
                pointer.to_owned(),
                datalog::file_segments(segments).unwrap_or_default(),
            ));
        }
        if declared(|tool| &tool.url_arguments) {
            let Some(host) = as_text.and_then(url_host) else {
                return;
            };
            self.hosts.push((pointer.to_owned(), host.to_owned()));
        }
        self.scalars.push((pointer.to_owned(), scalar));
    }

    fn tell(&self, telling: &mut Telling<'_>) {
        for (pointer, scalar) in &self.scalars {
            telling.fact("arg", |strings| {
                let value = match scalar {
                    Scalar::Bool(value) => Term::Bool(*value),
                    Scalar::Int(value) => Term::Integer(*value),
                    Scalar::Text(value) => strings.text(value),
                };
                vec![strings.text(pointer), value]
            });
        }
        for (pointer, path) in &self.paths {
            let segments = path.iter().map(String::as_str);
            telling.fact("arg_path", |strings| {
                vec![strings.text(pointer), strings.array(segments)]
            });
        }
        for (pointer, host) in &self.hosts {
            telling.fact("arg_host", |strings| {
                vec![strings.text(pointer), strings.text(host)]
            });
        }
        telling.fact("arg_names", |strings| {
            vec![strings.set(self.names.iter().map(String::as_str))]
        });
    }
}

/// A position in the arguments.
#[derive(Clone, Copy)]
struct Place<'t> {
    tool: Option<&'t Tool>,
    is_ambiguous: bool,
}

/// The name as servers read it that match names without regard to case or form, by whatever rule: `ſ` is an `s` to
/// some, and `ｐ` a `p` (Unicode NFKC).
fn folded(name: &str) -> String {
    name.nfkc()
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

impl RequestFacts<'_> {
    /// Whether one of the `rights` names this call.
    pub(super) fn is_named_by(&self, rights: &[NamedRight]) -> bool {
        let asked = self.segments();
        rights.iter().any(|right| match right {
            NamedRight::Names {
                server,
                kind,
                names,
            } => server == self.me && *kind == self.kind && names.contains(self.name),
            NamedRight::Subtree { server, segments } => {
                server == self.me
                    && asked
                        .as_ref()
                        .is_some_and(|asked| asked.starts_with(segments))
            }
        })
    }

    /// Adds every fact of this request that some check mentions.
    pub(super) fn tell(&self, telling: &mut Telling<'_>, holder: Option<&HolderChain>) {
        Self::tell_time(self.time, telling);
        telling.fact("me", |strings| vec![strings.text(self.me.as_str())]);
        telling.fact("call", |strings| {
            vec![
                strings.text(self.me.as_str()),
                strings.text(self.kind.as_str()),
                strings.text(self.name),
            ]
        });
        telling.fact("read_only", |_| vec![Term::Bool(self.read_only)]);
        telling.fact("call_proven", |_| vec![Term::Bool(self.call_proven)]);
        let depth = holder.map_or(0, |chain| chain.hops().len());
        telling.fact("depth", |_| {
            vec![Term::Integer(i64::try_from(depth).unwrap_or(i64::MAX))]
        });
        if let Some(chain) = holder {
            telling.fact("holder", |strings| {
                vec![strings.text(&chain.leaf().to_string())]
            });
        }
        if let Some(segments) = self.segments() {
            let segments = segments.iter().map(String::as_str);
            telling.fact("call_path", |strings| vec![strings.array(segments)]);
        }
        self.arguments.tell(telling);
    }

    pub(super) fn tell_time(time: Timestamp, telling: &mut Telling<'_>) {
        telling.fact("time", |_| vec![Term::Date(time.unix_seconds())]);
    }

    /// The segments of the resource that is read; `None` for any other call, and for a resource
    /// whose URI is in doubt.
    pub(super) fn segments(&self) -> Option<Vec<String>> {
        if self.kind == Kind::Resource {
            resource_segments(self.name)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool() -> Tool {
        serde_json::from_value(
            json!({"path_arguments": ["/path", "/paths", "/paths/0"], "url_arguments": ["/url"]}),
        )
        .unwrap()
    }

    #[test]
    fn what_cannot_be_represented_has_a_name_and_no_fact() {
        let call = json!({"s": "x", "i": 1, "b": true, "f": 1.5, "n": null, "big": 9_223_372_036_854_775_808_u64, "o": {"x": 1}, "e": {}, "a/b": 2});
        let flat = Arguments::flatten(Some(&call), None);
        let mut scalars: Vec<_> = flat
            .scalars
            .iter()
            .map(|(pointer, _)| pointer.as_str())
            .collect();
        // The order of a JSON object's members depends on a feature of `serde_json` that others turn on.
        scalars.sort_unstable();
        assert_eq!(scalars, ["/a~1b", "/b", "/i", "/o/x", "/s"]);
        let names: Vec<_> = flat.names.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "/a~1b", "/b", "/big", "/e", "/f", "/i", "/n", "/o", "/o/x", "/s"
            ]
        );
    }

    #[test]
    fn a_path_in_doubt_has_no_fact_at_all() {
        let flat = Arguments::flatten(
            Some(&json!({"path": "/srv/../etc", "url": "https://u@x.example/"})),
            Some(&tool()),
        );
        assert_eq!(
            (flat.scalars.len(), flat.paths.len(), flat.hosts.len()),
            (0, 0, 0)
        );
        let flat = Arguments::flatten(
            Some(&json!({"path": "/srv/data", "url": "https://x.example/"})),
            Some(&tool()),
        );
        assert_eq!(
            (flat.scalars.len(), flat.paths.len(), flat.hosts.len()),
            (2, 1, 1)
        );
    }

    #[test]
    fn a_list_at_a_path_argument_is_no_path() {
        let flat = Arguments::flatten(
            Some(&json!({"paths": ["/srv/data/a", "/etc/passwd"]})),
            Some(&tool()),
        );
        assert!(flat.paths.iter().all(|(pointer, _)| pointer != "/paths"));
    }

    #[test]
    fn a_text_too_long_to_be_searched_has_a_name_and_no_fact() {
        let flat =
            |bytes: usize| Arguments::flatten(Some(&json!({"s": "x".repeat(bytes), "i": 1})), None);
        let (fits, long) = (flat(MAX_TEXT_BYTES), flat(MAX_TEXT_BYTES + 1));
        assert_eq!(
            (fits.scalars.len(), fits.names.len(), fits.leaves_out()),
            (2, 2, false)
        );
        assert_eq!(
            (long.scalars.len(), long.names.len(), long.leaves_out()),
            (1, 2, true)
        );
    }

    #[test]
    fn names_that_a_server_could_confuse_have_no_facts() {
        let scalars = |call: Value| {
            let flat = Arguments::flatten(Some(&call), None);
            let mut scalars: Vec<_> = flat
                .scalars
                .iter()
                .map(|(pointer, _)| pointer.clone())
                .collect();
            scalars.sort_unstable();
            (scalars.join(" "), flat.names.len(), flat.leaves_out())
        };
        assert_eq!(
            scalars(json!({"amount": 1, "Amount": 2, "b": 3})),
            ("/b".to_owned(), 3, true)
        );
        assert_eq!(
            scalars(json!({"AMOUNT": 1, "Amount": 2, "amount": {"x": 3}})),
            (String::new(), 4, true)
        );
        assert_eq!(
            scalars(json!({"o": {"x": 1, "X": {"y": [2]}, "z": 3}})),
            ("/o/z".to_owned(), 6, true)
        );
        assert_eq!(
            scalars(json!({"paſs": 1, "pass": 2})),
            (String::new(), 2, true)
        );
        assert_eq!(
            scalars(json!({"b": 2, "o": {"path": "/srv/a", "path\0": "/etc/shadow"}})),
            ("/b".to_owned(), 4, true)
        );
        assert_eq!(
            scalars(json!({"path": 1, "pa\u{200b}th": 2})),
            (String::new(), 2, true)
        );
        assert_eq!(
            scalars(json!({"path": 1, "\u{ff50}ath": 2, "b": 3})),
            ("/b".to_owned(), 3, true)
        );
        assert_eq!(
            scalars(json!({"a": {"x": 1}, "b": {"X": 2}, "Amount": 3})),
            ("/Amount /a/x /b/X".to_owned(), 5, false)
        );
    }

    #[test]
    fn too_many_arguments_leave_no_fact() {
        let many = |count: usize| {
            Value::Object(
                (0..count)
                    .map(|index| (format!("a{index}"), json!(1)))
                    .collect(),
            )
        };
        assert!(!Arguments::flatten(Some(&many(MAX_ARGUMENTS)), None).too_many());
        let flat = Arguments::flatten(Some(&many(MAX_ARGUMENTS + 1)), None);
        assert!(flat.too_many() && flat.scalars.is_empty() && flat.names.is_empty());
    }

    #[test]
    fn a_name_too_long_to_repeat_leaves_no_fact() {
        let named = |bytes: usize| json!({"n".repeat(bytes): {"a": 1, "b": 2}});
        assert!(!Arguments::flatten(Some(&named(MAX_ARGUMENT_POINTER_BYTES - 3)), None).too_many());
        let flat = Arguments::flatten(Some(&named(MAX_ARGUMENT_POINTER_BYTES - 2)), None);
        assert!(flat.too_many() && flat.scalars.is_empty() && flat.names.is_empty());
    }
}
