//! A registered manifest and what the server lists now: what people decided stays, and every difference is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Value, json};

use crate::cli::output::View;
use hallpass_core::token::manifest::{Manifest, ResourceRoot, Tool};

/// How one manifest differs from another.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What the policy may look at now and did not before.
    pub(super) added: Vec<String>,
    /// What has changed, and weakens nothing.
    pub(super) changed: Vec<String>,
    /// What was protected or offered before and is not any more.
    pub(super) weakened: Vec<String>,
}

/// Takes over from `before` what an import cannot know: labels, flags, kinds of arguments, aliases, region, and roots
/// that people added. The lists, arguments and digests are those of `imported`.
pub(super) fn merged(before: &Manifest, imported: Manifest) -> Manifest {
    let mut merged = imported;
    merged.aliases.clone_from(&before.aliases);
    merged.region.clone_from(&before.region);
    for (name, tool) in &mut merged.tools {
        if let Some(known) = before.tools.get(name) {
            tool.read_only = known.read_only;
            tool.irreversible = known.irreversible;
            tool.labels.clone_from(&known.labels);
            tool.path_arguments.clone_from(&known.path_arguments);
            tool.url_arguments.clone_from(&known.url_arguments);
        }
    }
    for (name, prompt) in &mut merged.prompts {
        if let Some(known) = before.prompts.get(name) {
            prompt.labels.clone_from(&known.labels);
        }
    }
    let known = |root: &ResourceRoot| before.resources.iter().any(|own| own.uri == root.uri);
    let new: Vec<_> = merged
        .resources
        .iter()
        .filter(|root| !known(root))
        .cloned()
        .collect();
    merged.resources = before.resources.iter().cloned().chain(new).collect();
    merged
}

impl Difference {
    /// From `before` to `after`.
    pub(super) fn between(before: &Manifest, after: &Manifest) -> Self {
        let mut found = Self::default();
        found.names(
            "tool",
            (before.tools.keys(), after.tools.keys()),
            |name| before.tools.contains_key(name),
            |name| after.tools.contains_key(name),
        );
        found.names(
            "prompt",
            (before.prompts.keys(), after.prompts.keys()),
            |name| before.prompts.contains_key(name),
            |name| after.prompts.contains_key(name),
        );
        for (name, old) in &before.tools {
            if let Some(new) = after.tools.get(name) {
                found.tool(&format!("tool {name}"), old, new);
            }
        }
        for (name, old) in &before.prompts {
            if let Some(new) = after.prompts.get(name) {
                found.labels(&format!("prompt {name}"), &old.labels, &new.labels);
            }
        }
        found.roots(before, after);
        for alias in before.aliases.difference(&after.aliases) {
            found.weakened.push(format!("alias {alias} is gone"));
        }
        for alias in after.aliases.difference(&before.aliases) {
            found.added.push(format!("alias {alias}"));
        }
        if before.region != after.region {
            let region = |region: &Option<String>| region.clone().unwrap_or("none".to_owned());
            found.weakened.push(format!(
                "region: {} becomes {}",
                region(&before.region),
                region(&after.region)
            ));
        }
        found
    }

    /// Whether there is none.
    pub(super) const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.weakened.is_empty()
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        json!({"added": self.added, "changed": self.changed, "weakened": self.weakened})
    }

    /// For people, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let marked = |mark: &'static str, lines: &[String]| {
            let lines: Vec<_> = lines.iter().map(|line| format!("{mark} {line}")).collect();
            lines
        };
        [
            marked("+", &self.added),
            marked("~", &self.changed),
            marked("!", &self.weakened),
        ]
        .concat()
    }

    /// As the answer of a command.
    pub(super) fn view(&self) -> View {
        if self.is_empty() {
            return View::Lines(vec!["no difference".to_owned()]);
        }
        View::Lines(self.lines())
    }

    fn names<'n, N: fmt::Display + 'n>(
        &mut self,
        kind: &str,
        (before, after): (impl Iterator<Item = &'n N>, impl Iterator<Item = &'n N>),
        was_there: impl Fn(&N) -> bool,
        is_there: impl Fn(&N) -> bool,
    ) {
        for name in before.filter(|name| !is_there(name)) {
            self.weakened
                .push(format!("{kind} {name} is not listed any more"));
        }
        for name in after.filter(|name| !was_there(name)) {
            self.added.push(format!("{kind} {name}"));
        }
    }

    fn tool(&mut self, what: &str, old: &Tool, new: &Tool) {
        self.labels(what, &old.labels, &new.labels);
        // More may be given by a tool that counts as reading.
        match (old.read_only, new.read_only) {
            (false, true) => self
                .weakened
                .push(format!("{what}: read_only becomes true")),
            (true, false) => self
                .changed
                .push(format!("{what}: read_only becomes false")),
            _ => {}
        }
        match (old.irreversible, new.irreversible) {
            (true, false) => self
                .weakened
                .push(format!("{what}: irreversible becomes false")),
            (false, true) => self
                .changed
                .push(format!("{what}: irreversible becomes true")),
            _ => {}
        }
        let kinds = [
            ("path_arguments", &old.path_arguments, &new.path_arguments),
            ("url_arguments", &old.url_arguments, &new.url_arguments),
        ];
        for (kind, old, new) in kinds {
            for gone in old.difference(new) {
                self.weakened
                    .push(format!("{what}: `{gone}` is not in {kind} any more"));
            }
            for more in new.difference(old) {
                self.changed.push(format!("{what}: `{more}` is in {kind}"));
            }
        }
        let list = |pointers: BTreeSet<_>| {
            let texts: Vec<String> = pointers.into_iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        let (more, gone): (BTreeSet<_>, BTreeSet<_>) = (
            new.arguments.difference(&old.arguments).collect(),
            old.arguments.difference(&new.arguments).collect(),
        );
        if !more.is_empty() {
            self.changed
                .push(format!("{what}: new arguments {}", list(more)));
        }
        if !gone.is_empty() {
            self.changed
                .push(format!("{what}: arguments that are gone {}", list(gone)));
        }
        if old.schema_digest != new.schema_digest {
            self.changed.push(format!(
                "{what}: another description or schema: read what it does now"
            ));
        }
    }

    fn labels(
        &mut self,
        what: &str,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) {
        for (name, value) in old {
            match new.get(name) {
                Some(same) if same == value => {}
                Some(other) => self.weakened.push(format!(
                    "{what}: label {name} = \"{value}\" becomes \"{other}\""
                )),
                None => self
                    .weakened
                    .push(format!("{what}: label {name} = \"{value}\" is gone")),
            }
        }
        for (name, value) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
            self.changed
                .push(format!("{what}: label {name} = \"{value}\""));
        }
    }

    fn roots(&mut self, before: &Manifest, after: &Manifest) {
        for old in &before.resources {
            let what = format!("resource {}", old.uri);
            match after.resources.iter().find(|root| root.uri == old.uri) {
                Some(new) => self.labels(&what, &old.labels, &new.labels),
                None => self.weakened.push(format!("{what} is not listed any more")),
            }
        }
        for new in &after.resources {
            if !before.resources.iter().any(|root| root.uri == new.uri) {
                self.added.push(format!("resource {}", new.uri));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(json: Value) -> Manifest {
        serde_json::from_value(json).unwrap()
    }

    fn reviewed() -> Manifest {
        manifest(json!({
            "server": "https://s.example/mcp", "name": "s", "region": "eu", "aliases": ["https://alias.example/mcp"],
            "tools": {
                "read": {"read_only": true, "arguments": ["/path"], "path_arguments": ["/path"], "labels": {"risk": "low"}},
                "transfer": {"irreversible": true, "arguments": ["/amount"], "labels": {"risk": "high"}},
            },
            "prompts": {"sum": {"labels": {"risk": "low"}}},
            "resources": [{"uri": "file:///srv/hand-made", "labels": {"risk": "high"}}],
        }))
    }

    fn imported() -> Manifest {
        manifest(json!({
            "server": "https://s.example/mcp", "name": "s",
            "tools": {
                "read": {"arguments": ["/path", "/encoding"]},
                "transfer": {"arguments": ["/amount"]},
                "wipe": {},
            },
            "prompts": {"sum": {}},
            "resources": [{"uri": "file:///srv/listed"}],
        }))
    }

    #[test]
    fn an_import_keeps_what_people_decided_and_takes_the_lists() {
        let merged = merged(&reviewed(), imported());
        let tool = |name: &str| &merged.tools[&name.parse().unwrap()];
        assert!(tool("read").read_only && tool("transfer").irreversible);
        assert_eq!(tool("transfer").labels["risk"], "high");
        assert_eq!(tool("read").path_arguments.len(), 1);
        assert_eq!(tool("read").arguments.len(), 2);
        assert!(!tool("wipe").read_only);
        assert_eq!(merged.region.as_deref(), Some("eu"));
        let roots: Vec<_> = merged
            .resources
            .iter()
            .map(|root| root.uri.as_str())
            .collect();
        assert_eq!(roots, ["file:///srv/hand-made", "file:///srv/listed"]);
        let difference = Difference::between(&reviewed(), &merged);
        assert_eq!(difference.weakened, Vec::<String>::new());
        assert_eq!(
            difference.added,
            ["tool wipe", "resource file:///srv/listed"]
        );
        assert_eq!(difference.changed, ["tool read: new arguments /encoding"]);
        assert!(Difference::between(&merged, &merged).is_empty());
    }

    #[test]
    fn whatever_protected_and_is_gone_weakens() {
        let difference = Difference::between(&reviewed(), &imported());
        assert_eq!(
            difference.weakened,
            [
                "tool read: label risk = \"low\" is gone",
                "tool read: `/path` is not in path_arguments any more",
                "tool transfer: label risk = \"high\" is gone",
                "tool transfer: irreversible becomes false",
                "prompt sum: label risk = \"low\" is gone",
                "resource file:///srv/hand-made is not listed any more",
                "alias https://alias.example/mcp is gone",
                "region: eu becomes none",
            ]
        );
        let mut fewer = reviewed();
        fewer.tools.remove(&"transfer".parse().unwrap());
        assert_eq!(
            Difference::between(&reviewed(), &fewer).weakened,
            ["tool transfer is not listed any more"]
        );
    }
}
