//! From what a server says that it offers to a manifest that an operator pins.
//!
//! What decides is never believed because the server says so: that a tool only reads is taken over
//! only when the operator says to trust it, and that an argument is a path or a URL is suggested.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cli::{error::CliError, server::mcp::Offer};
use hallpass_core::{
    base::{
        ids::{ServerName, ServerUri, ToolName},
        json::canonical_digest,
    },
    token::{
        manifest::{Manifest, ResourceRoot, Tool},
        path::{Pointer, ResourceTree},
    },
};

/// Whether what a server says of its tools' effects is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Annotations {
    Ignore,
    Trust,
}

/// A manifest made of an offer, and what the operator should look at.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) manifest: Manifest,
    pub(super) notes: Vec<String>,
}

impl Import {
    /// Reads `offer`. What has no place in a manifest is left out and pointed out: no pass can name it.
    ///
    /// # Errors
    ///
    /// When two tools have one name: a verifier could not distinguish them.
    pub(super) fn of(
        (server, name): (ServerUri, ServerName),
        offer: &Offer,
        annotations: Annotations,
    ) -> Result<Self, CliError> {
        let mut import = Self {
            manifest: Manifest::new(server, name),
            notes: Vec::new(),
        };
        for tool in &offer.tools {
            import.add_tool(tool, annotations)?;
        }
        for prompt in &offer.prompts {
            import.add_prompt(prompt)?;
        }
        for resource in &offer.resources {
            import.add_resource(resource);
        }
        import.suggest_read_only(offer, annotations);
        Ok(import)
    }

    fn add_tool(&mut self, tool: &Value, annotations: Annotations) -> Result<(), CliError> {
        let Some(name) = self.name("tool", tool) else {
            return Ok(());
        };
        let pinned = json!({"name": tool.get("name"), "description": tool.get("description"), "inputSchema": tool.get("inputSchema")});
        let digest = canonical_digest(&pinned);
        if digest.is_none() {
            self.notes.push(format!(
                "tool {name}: its schema has numbers that no digest can pin"
            ));
        }
        let mut arguments = BTreeSet::new();
        for (argument, schema) in tool
            .pointer("/inputSchema/properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let escaped = argument.replace('~', "~0").replace('/', "~1");
            let Ok(pointer) = format!("/{escaped}").parse::<Pointer>() else {
                self.notes
                    .push(format!("tool {name}: its argument `{argument}` has a name that no constraint can point to"));
                continue;
            };
            if let Some(kind) = suggested_kind(argument, schema) {
                self.notes.push(format!(
                    "tool {name}: `{pointer}` looks like a {kind}; list it under {kind}_arguments to limit it as one"
                ));
            }
            arguments.insert(pointer);
        }
        self.refuse_twice("tool", &name, self.manifest.tools.contains_key(&name))?;
        let read_only = annotations == Annotations::Trust && says_read_only(tool);
        let mut known = Tool::default();
        known.schema_digest = digest;
        known.arguments = arguments;
        known.read_only = read_only;
        self.manifest.tools.insert(name, known);
        Ok(())
    }

    fn add_prompt(&mut self, prompt: &Value) -> Result<(), CliError> {
        let Some(name) = self.name("prompt", prompt) else {
            return Ok(());
        };
        self.refuse_twice("prompt", &name, self.manifest.prompts.contains_key(&name))?;
        self.manifest.prompts.insert(name, Default::default());
        Ok(())
    }

    fn add_resource(&mut self, resource: &Value) {
        let uri = resource
            .get("uri")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match uri.parse::<ResourceTree>() {
            Ok(tree) if self.manifest.resources.iter().any(|root| root.uri == tree) => {}
            Ok(tree) => {
                self.manifest.resources.push(ResourceRoot::new(tree));
            }
            Err(error) => self
                .notes
                .push(format!("left out, no pass can name it: {error}")),
        }
    }

    fn name(&mut self, kind: &str, entry: &Value) -> Option<ToolName> {
        let text = entry
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.notes
                    .push(format!("left out a {kind}, no pass can name it: {error}"));
                None
            }
        }
    }

    fn refuse_twice(&self, kind: &str, name: &ToolName, is_there: bool) -> Result<(), CliError> {
        if is_there {
            return Err(CliError::failed(format!(
                "the server at {} lists the {kind} `{name}` twice",
                self.manifest.server
            )));
        }
        Ok(())
    }

    fn suggest_read_only(&mut self, offer: &Offer, annotations: Annotations) {
        let said: Vec<_> = offer
            .tools
            .iter()
            .filter(|tool| says_read_only(tool))
            .filter_map(|tool| tool.get("name")?.as_str())
            .collect();
        if annotations == Annotations::Ignore && !said.is_empty() {
            self.notes.push(format!(
                "the server says that these only read, which is not believed without --trust-annotations: {}",
                said.join(", ")
            ));
        }
    }
}

fn says_read_only(tool: &Value) -> bool {
    tool.pointer("/annotations/readOnlyHint") == Some(&Value::Bool(true))
}

/// What an argument looks like by its name or format: `path` or `url`.
fn suggested_kind(argument: &str, schema: &Value) -> Option<&'static str> {
    let is_text = schema.get("type").is_none_or(|kind| kind == "string");
    let format = schema
        .get("format")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let name = argument.to_ascii_lowercase();
    let ends = |word: &str| {
        name == word
            || name
                .strip_suffix(word)
                .is_some_and(|rest| rest.ends_with(['_', '-']))
    };
    if !is_text {
        return None;
    }
    if matches!(format, "uri" | "url" | "iri") || ends("url") || ends("uri") {
        return Some("url");
    }
    (format == "path"
        || ["path", "file", "filename", "dir", "directory"]
            .into_iter()
            .any(ends))
    .then_some("path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(offer: &Offer, annotations: Annotations) -> Result<Import, CliError> {
        let server = "https://ledger.example/mcp".parse().unwrap();
        Import::of((server, "ledger".parse().unwrap()), offer, annotations)
    }

    fn tool(name: &str) -> Value {
        json!({"name": name, "annotations": {"readOnlyHint": true}, "inputSchema": {"type": "object", "properties": {
            "file_path": {"type": "string"}, "a/b": {"type": "integer"}, "url": {"type": "integer"},
        }}})
    }

    #[test]
    fn what_a_server_says_of_its_tools_is_not_believed() {
        let offer = Offer {
            tools: vec![tool("read")],
            ..Offer::default()
        };
        let ignoring = import(&offer, Annotations::Ignore).unwrap();
        let read = &ignoring.manifest.tools[&"read".parse().unwrap()];
        assert!(!read.read_only && read.path_arguments.is_empty() && read.schema_digest.is_some());
        assert_eq!(
            read.arguments
                .iter()
                .map(Pointer::as_str)
                .collect::<Vec<_>>(),
            ["/a~1b", "/file_path", "/url"]
        );
        assert_eq!(ignoring.notes.len(), 2, "{:?}", ignoring.notes);
        let trusting = import(&offer, Annotations::Trust).unwrap();
        assert!(trusting.manifest.tools[&"read".parse().unwrap()].read_only);
    }

    #[test]
    fn what_no_pass_can_name_is_left_out_and_told() {
        let resources =
            ["file:///srv/a", "file:///srv/../b", "file:///srv/a"].map(|uri| json!({"uri": uri}));
        let offer = Offer {
            tools: vec![tool("läs"), tool("ok")],
            resources: resources.into(),
            ..Offer::default()
        };
        let import = import(&offer, Annotations::Trust).unwrap();
        assert_eq!(import.manifest.tools.len(), 1);
        assert_eq!(import.manifest.resources.len(), 1);
        assert_eq!(
            import
                .notes
                .iter()
                .filter(|note| note.contains("left out"))
                .count(),
            2
        );
    }

    #[test]
    fn two_tools_of_one_name_refuse_the_import() {
        let offer = Offer {
            tools: vec![tool("a"), tool("a")],
            ..Offer::default()
        };
        assert!(import(&offer, Annotations::Ignore).is_err());
    }
}
