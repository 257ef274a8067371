//! What a tool's input schema (JSON Schema) says of its arguments: which there are, and which look like paths and URLs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use hallpass_core::token::path::Pointer;

/// The arguments of one tool.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    /// The arguments themselves; their members are below them.
    pub(super) pointers: BTreeSet<Pointer>,
    /// Arguments and members of theirs that look like a path or a URL.
    pub(super) likely: BTreeMap<Pointer, Kind>,
    /// Lists of what looks like paths or URLs, where `*` stands for each element, and lists in one text.
    pub(super) lists: BTreeMap<String, Kind>,
    /// Names that no constraint can point to.
    pub(super) unnameable: Vec<String>,
    /// Why the schema does not say which arguments there are.
    pub(super) hidden: Option<&'static str>,
}

/// What an argument looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Path,
    Url,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Url => "url",
        }
    }
}

impl Arguments {
    /// Reads the schema. Parts that it names by `$ref` are followed inside of it; arguments that stand in `allOf`, `anyOf`,
    /// `oneOf`, `then` and `else` are arguments.
    pub(super) fn of(schema: &Value) -> Self {
        let mut reader = Reader {
            whole: schema,
            found: Self::default(),
        };
        let mut members = BTreeMap::new();
        reader.members(schema, 0, &mut members);
        for (name, schemas) in &members {
            match pointer_of("", name) {
                Some(pointer) => drop(reader.found.pointers.insert(pointer)),
                None => reader.found.unnameable.push((*name).to_owned()),
            }
            reader.look("", name, schemas, 0);
        }
        reader.found
    }
}

/// Properties by name, each with every schema that is said of it.
type Members<'s> = BTreeMap<&'s str, Vec<&'s Value>>;

struct Reader<'s> {
    whole: &'s Value,
    found: Arguments,
}

impl<'s> Reader<'s> {
    /// Adds the members of the objects that `schema` describes.
    fn members(&mut self, schema: &'s Value, depth: usize, members: &mut Members<'s>) {
        if depth > MAX_DEPTH {
            self.found.hidden = Some("its schema leads too deep, or to itself");
            return;
        }
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, schema) in properties {
                members.entry(name).or_default().push(schema);
            }
        }
        for part in self.parts(schema) {
            self.members(part, depth.saturating_add(1), members);
        }
        let takes_any_name = ["additionalProperties", "unevaluatedProperties"]
            .iter()
            .any(|word| {
                schema
                    .get(word)
                    .is_some_and(|value| *value != Value::Bool(false))
            })
            || schema.get("patternProperties").is_some();
        if depth == 0 && takes_any_name && members.is_empty() {
            self.found.hidden = Some("its schema takes arguments of any name");
        }
    }

    /// The schemas that `schema` is put together of.
    fn parts(&mut self, schema: &'s Value) -> Vec<&'s Value> {
        let mut parts = Vec::new();
        for word in ["allOf", "anyOf", "oneOf"] {
            parts.extend(
                schema
                    .get(word)
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten(),
            );
        }
        parts.extend(["then", "else"].iter().filter_map(|word| schema.get(word)));
        for word in ["$ref", "$dynamicRef"] {
            let Some(reference) = schema.get(word).and_then(Value::as_str) else {
                continue;
            };
            // `#/$defs/name`: a JSON pointer into the schema itself.
            let target = reference.strip_prefix('#');
            match target.and_then(|pointer| self.whole.pointer(pointer)) {
                Some(part) => parts.push(part),
                None => self.found.hidden = Some("its schema refers to another document"),
            }
        }
        parts
    }

    /// Notes what the argument `name` below `above` looks like, and its members.
    fn look(&mut self, above: &str, name: &str, schemas: &[&'s Value], depth: usize) {
        if depth > MAX_DEPTH {
            return;
        }
        let all = self.with_parts(schemas);
        let words = words_of(name);
        let path = format!("{above}/{}", escaped(name));
        let is = |kind: &str| all.iter().any(|schema| has_type(schema, kind));
        if is("string")
            && let Some((kind, is_list)) = likely(&words, &all)
        {
            match pointer_of(above, name) {
                Some(pointer) if !is_list && !above.contains('*') => {
                    self.found.likely.insert(pointer, kind);
                }
                _ => drop(self.found.lists.insert(path.clone(), kind)),
            }
        }
        let items: Vec<&Value> = all
            .iter()
            .filter_map(|schema| schema.get("items"))
            .collect();
        let items = self.with_parts(&items);
        let each = format!("{path}/*");
        if items.iter().any(|schema| has_type(schema, "string"))
            && let Some((kind, _)) = likely(&words, &items)
        {
            self.found.lists.insert(each.clone(), kind);
        }
        for (place, schemas) in [(&path, &all), (&each, &items)] {
            let mut members = Members::new();
            for schema in schemas {
                let properties = schema.get("properties").and_then(Value::as_object);
                for (name, schema) in properties.into_iter().flatten() {
                    members.entry(name).or_default().push(schema);
                }
            }
            for (name, schemas) in members {
                self.look(place, name, &schemas, depth.saturating_add(1));
            }
        }
    }

    /// `schemas` and what they are put together of.
    fn with_parts(&mut self, schemas: &[&'s Value]) -> Vec<&'s Value> {
        let mut all = schemas.to_vec();
        let mut at = 0;
        while let Some(schema) = all.get(at).copied() {
            // A schema that leads to itself ends here; what is hidden in an argument hides no argument.
            if at < MAX_PARTS {
                let before = self.found.hidden;
                all.extend(self.parts(schema));
                self.found.hidden = before;
            }
            at = at.saturating_add(1);
        }
        all
    }
}

fn has_type(schema: &Value, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(kind)) => kind == wanted,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
        // Without a type it may be a text.
        _ => wanted == "string" && !COMPOSED.iter().any(|word| schema.get(word).is_some()),
    }
}

/// What an argument of this name and format looks like, and whether it is several in one text.
fn likely(words: &[String], schemas: &[&Value]) -> Option<(Kind, bool)> {
    let formats = schemas
        .iter()
        .filter_map(|schema| schema.get("format")?.as_str());
    for format in formats {
        match format {
            "uri" | "url" | "iri" => return Some((Kind::Url, false)),
            "path" | "file-path" | "directory-path" => return Some((Kind::Path, false)),
            _ => {}
        }
    }
    let last = words.last()?.as_str();
    let before = words.iter().rev().nth(1).map_or("", String::as_str);
    match last {
        "url" | "uri" => Some((Kind::Url, false)),
        "urls" | "uris" => Some((Kind::Url, true)),
        "path" | "file" | "filename" | "filepath" | "dir" | "directory" | "folder" => {
            Some((Kind::Path, false))
        }
        "name" if before == "file" => Some((Kind::Path, false)),
        "paths" | "files" | "filenames" | "filepaths" | "dirs" | "directories" | "folders" => {
            Some((Kind::Path, true))
        }
        _ => None,
    }
}

/// `filePath`, `file_path` and `file-path` are `file` and `path`; `fileURL` is `file` and `url`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || (letter.is_uppercase() && before_is_lower) {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        before_is_lower = letter.is_lowercase() || letter.is_ascii_digit();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn pointer_of(above: &str, name: &str) -> Option<Pointer> {
    format!("{above}/{}", escaped(name)).parse().ok()
}

const COMPOSED: [&str; 4] = ["$ref", "allOf", "anyOf", "oneOf"];

/// Deeper than the schemas of all servers that were looked at.
const MAX_DEPTH: usize = 12;
const MAX_PARTS: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(pointers: &BTreeSet<Pointer>) -> Vec<&str> {
        pointers.iter().map(Pointer::as_str).collect()
    }

    #[test]
    fn arguments_are_found_wherever_a_schema_puts_them() {
        let schema = json!({"type": "object", "$defs": {"Paged": {"properties": {"cursor": {}}}, "Again": {"$ref": "#/$defs/Again"}},
            "properties": {"a": {}},
            "allOf": [{"properties": {"b": {}}}, {"$ref": "#/$defs/Paged"}],
            "oneOf": [{"properties": {"c": {}}}, {"properties": {"d": {}}}]});
        let found = Arguments::of(&schema);
        assert_eq!(texts(&found.pointers), ["/a", "/b", "/c", "/cursor", "/d"]);
        assert_eq!(found.hidden, None);
        for hidden in [
            json!({"$ref": "https://schemas.example/tool.json"}),
            json!({"allOf": [{"$ref": "#/$defs/Missing"}]}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "object", "patternProperties": {"^x": {}}}),
            json!({"$ref": "#"}),
        ] {
            assert!(Arguments::of(&hidden).hidden.is_some(), "{hidden}");
        }
        for none in [
            json!({"type": "object"}),
            json!({"type": "object", "properties": {}}),
            json!({"type": "object", "additionalProperties": false}),
        ] {
            let found = Arguments::of(&none);
            assert!(
                found.hidden.is_none() && found.pointers.is_empty(),
                "{none}"
            );
        }
    }

    #[test]
    fn paths_and_urls_are_seen_in_any_spelling_and_below() {
        let text = json!({"type": "string"});
        let optional = json!({"anyOf": [{"type": "string"}, {"type": "null"}]});
        let schema = json!({"type": "object", "$defs": {"Source": {"type": "object", "properties": {"folder": text}}}, "properties": {
            "filePath": text, "file-name": optional, "valuesFile": {"type": ["string", "null"]}, "fileURL": text, "profile": text,
            "link": {"type": "string", "format": "uri"}, "path": {"type": "integer"}, "options": {"properties": {"outputDir": text}},
            "source": {"$ref": "#/$defs/Source"},
            "paths": {"type": "array", "items": text}, "file_paths": text,
            "files": {"type": "array", "items": {"type": "object", "properties": {"path": text}}}}});
        let found = Arguments::of(&schema);
        let likely: Vec<_> = found
            .likely
            .iter()
            .map(|(pointer, kind)| (pointer.as_str(), kind.as_str()))
            .collect();
        assert_eq!(
            likely,
            [
                ("/file-name", "path"),
                ("/filePath", "path"),
                ("/fileURL", "url"),
                ("/link", "url"),
                ("/options/outputDir", "path"),
                ("/source/folder", "path"),
                ("/valuesFile", "path"),
            ]
        );
        let lists: Vec<_> = found.lists.keys().map(String::as_str).collect();
        assert_eq!(lists, ["/file_paths", "/files/*/path", "/paths/*"]);
    }

    #[test]
    fn a_schema_that_leads_to_itself_is_read_to_an_end() {
        let schema = json!({"$defs": {"Node": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Node"}, "path": {"type": "string"}}}},
            "properties": {"node": {"$ref": "#/$defs/Node"}}});
        let found = Arguments::of(&schema);
        assert!(found.hidden.is_none());
        assert!(
            found
                .likely
                .keys()
                .any(|pointer| pointer.as_str() == "/node/child/path")
        );
    }
}
