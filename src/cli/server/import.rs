//! From what a server says that it offers to a manifest that an operator pins.
//!
//! What decides is never believed because the server says so: that a tool only reads is taken over
//! only when the operator says to trust it, and that an argument is a path or a URL is suggested.

use serde_json::{Value, json};

use crate::cli::{
    error::CliError,
    server::{
        mcp::Offer,
        schema::{Arguments, Kind},
    },
};
use hallpass_core::{
    base::{
        ids::{ServerName, ServerUri, ToolName},
        json::canonical_digest,
        text::excerpt,
    },
    token::{
        manifest::{Manifest, ResourceRoot, Tool},
        path::ResourceTree,
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
        for template in &offer.templates {
            import.add_template(template);
        }
        import.note_hints(offer, annotations);
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
        let schema = tool.get("inputSchema").unwrap_or(&Value::Null);
        let arguments = Arguments::of(schema);
        self.refuse_twice("tool", &name, self.manifest.tools.contains_key(&name))?;
        self.note_arguments(&name, &arguments);
        let mut known = Tool::default();
        if arguments.hidden.is_none() {
            known.schema_digest = digest;
            known.arguments = arguments.pointers;
        }
        let destroys = has_hint(tool, "destructiveHint");
        known.read_only =
            annotations == Annotations::Trust && has_hint(tool, "readOnlyHint") && !destroys;
        // Believing it costs proofs of calls where the policy wants them, and gives nothing.
        known.irreversible = destroys;
        self.manifest.tools.insert(name, known);
        Ok(())
    }

    fn note_arguments(&mut self, tool: &ToolName, arguments: &Arguments) {
        if let Some(reason) = arguments.hidden {
            self.notes.push(format!(
                "tool {tool}: {reason}: its arguments are unknown, so that nothing is given of it where a grant pins one"
            ));
        }
        for name in &arguments.unnameable {
            let name = excerpt(name);
            self.notes.push(format!(
                "tool {tool}: its argument `{name}` has a name that no constraint can point to"
            ));
        }
        for kind in [Kind::Path, Kind::Url] {
            let word = kind.as_str();
            let of_kind = arguments.likely.iter().filter(|(_, own)| **own == kind);
            let pointers: Vec<_> = of_kind.map(|(pointer, _)| format!("`{pointer}`")).collect();
            if !pointers.is_empty() {
                let (looks, them) = if pointers.len() == 1 {
                    (format!("looks like a {word}"), "it")
                } else {
                    (format!("look like {word}s"), "them")
                };
                let pointers = pointers.join(", ");
                self.notes.push(format!(
                    "tool {tool}: {pointers} {looks}; list {them} under {word}_arguments to limit {them} as one"
                ));
            }
        }
        let lists: Vec<_> = arguments
            .lists
            .keys()
            .map(|list| format!("`{list}`"))
            .collect();
        if !lists.is_empty() {
            let lists = lists.join(", ");
            self.notes.push(format!(
                "tool {tool}: {lists} holds several paths or URLs, which no constraint limits one by one"
            ));
        }
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

    /// The subtree of every resource that a template can make: all before its first variable, up to a slash.
    fn add_template(&mut self, template: &Value) {
        let text = template
            .get("uriTemplate")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let fixed = text.split('{').next().unwrap_or_default();
        let tree = match fixed.rsplit_once('/') {
            // `file:///{path}`: the whole of a scheme that has no authority, or one of its own, is no subtree.
            Some((above, _)) if !above.ends_with('/') && above.contains("://") => Some(above),
            _ => None,
        };
        match tree.map(str::parse::<ResourceTree>) {
            Some(Ok(tree)) if self.manifest.resources.iter().any(|root| root.uri == tree) => {}
            Some(Ok(tree)) => {
                self.notes.push(format!(
                    "the template {} is registered as the subtree {tree}: every resource below can be granted",
                    excerpt(text)
                ));
                self.manifest.resources.push(ResourceRoot::new(tree));
            }
            _ => self.notes.push(format!(
                "left out the template {}: what comes before its first variable is no subtree",
                excerpt(text)
            )),
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

    fn note_hints(&mut self, offer: &Offer, annotations: Annotations) {
        let named = |wanted: &dyn Fn(&Value) -> bool| {
            let tools = offer.tools.iter().filter(|tool| wanted(tool));
            let names = tools.filter_map(|tool| tool.get("name")?.as_str());
            names.map(excerpt).collect::<Vec<_>>().join(", ")
        };
        let reads = |tool: &Value| has_hint(tool, "readOnlyHint");
        let destroys = |tool: &Value| has_hint(tool, "destructiveHint");
        let both = named(&|tool| reads(tool) && destroys(tool));
        if !both.is_empty() {
            self.notes.push(format!(
                "the server says that these only read, and that they destroy: they are taken for irreversible: {both}"
            ));
        }
        let only_read = named(&|tool| reads(tool) && !destroys(tool));
        if annotations == Annotations::Ignore && !only_read.is_empty() {
            self.notes.push(format!(
                "the server says that these only read, which is not believed without --trust-annotations: {only_read}"
            ));
        }
        let irreversible = named(&destroys);
        if !irreversible.is_empty() {
            self.notes.push(format!(
                "the server says that these destroy; new ones are registered as irreversible, so that a grant can want a proof of each call: {irreversible}"
            ));
        }
    }
}

/// Whether the server gives this hint of the tool (MCP `ToolAnnotations`).
fn has_hint(tool: &Value, hint: &str) -> bool {
    let annotations = tool.get("annotations");
    annotations.and_then(|annotations| annotations.get(hint)) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hallpass_core::token::path::Pointer;

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
    fn a_tool_that_destroys_is_irreversible_and_never_read_only() {
        let mut destroys = tool("drop");
        destroys["annotations"]["destructiveHint"] = json!(true);
        let offer = Offer {
            tools: vec![destroys],
            ..Offer::default()
        };
        for annotations in [Annotations::Ignore, Annotations::Trust] {
            let import = import(&offer, annotations).unwrap();
            let drop = &import.manifest.tools[&"drop".parse().unwrap()];
            assert!(drop.irreversible && !drop.read_only);
            let notes = import.notes.join("\n");
            assert!(
                notes.contains("only read, and that they destroy"),
                "{notes}"
            );
        }
    }

    #[test]
    fn arguments_that_a_schema_hides_are_unknown() {
        let schema = json!({"$ref": "https://schemas.example/tool.json", "properties": {"file_path": {"type": "string"}}});
        let offer = Offer {
            tools: vec![json!({"name": "write", "inputSchema": schema})],
            ..Offer::default()
        };
        let import = import(&offer, Annotations::Ignore).unwrap();
        let write = &import.manifest.tools[&"write".parse().unwrap()];
        assert!(write.arguments.is_empty() && write.schema_digest.is_none());
        assert!(
            import
                .notes
                .iter()
                .any(|note| note.contains("its arguments are unknown"))
        );
    }

    #[test]
    fn a_template_is_the_subtree_before_its_first_variable() {
        let templates = [
            "file:///srv/books/{year}/{month}.csv",
            "demo://resource/dynamic/text/{id}",
            "exported-data://{name}",
            "file:///{path}",
            "{+any}",
        ];
        let offer = Offer {
            templates: templates.map(|text| json!({"uriTemplate": text})).into(),
            ..Offer::default()
        };
        let import = import(&offer, Annotations::Ignore).unwrap();
        let roots = import.manifest.resources.iter();
        let roots: Vec<_> = roots.map(|root| root.uri.to_string()).collect();
        assert_eq!(roots, ["file:///srv/books", "demo://resource/dynamic/text"]);
        assert_eq!(
            import
                .notes
                .iter()
                .filter(|note| note.contains("left out"))
                .count(),
            3
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
