//! Manifests: the tools, prompts and resources of an MCP server, as pinned by an operator.
//!
//! Whether a tool only reads, and which arguments are paths or URLs, decides what a pass allows.
//! So it is read from the manifest, never from the server or the caller at run time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    base::{
        digest::Digest,
        format::Format,
        ids::{ServerName, ServerUri, ToolName},
        json::{self, JsonError},
    },
    token::path::{Pointer, ResourceTree},
};

/// The tools, prompts and resources of one MCP server, as registered. Unknown members are refused.
// A typing error of an operator's must not be ignored. The reader of a frame does ignore unknown members
// of the manifest in it (`docs/wire.md`), and is another than serde alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// The format that it is written in; absent means 1, and it is not answered.
    #[serde(default, skip_serializing_if = "its_document_says_so")]
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub v: Format,
    /// The server's canonical resource URI, which passes name.
    pub server: ServerUri,
    /// A short name for people.
    pub name: ServerName,
    /// Other URIs under which clients reach the same server.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub aliases: BTreeSet<ServerUri>,
    /// The tools, by exact name.
    #[serde(default)]
    pub tools: BTreeMap<ToolName, Tool>,
    /// The prompts, by exact name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompts: BTreeMap<ToolName, Prompt>,
    /// Resource roots; a pass's subtree lies inside exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceRoot>,
    /// Where the server runs, for guardrails: `eu`, `us-east`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A manifest does not write its format: a frame that it travels in does, and nothing else needs it.
const fn its_document_says_so(_: &Format) -> bool {
    true
}

impl Manifest {
    /// Reads a manifest from JSON, as registered with the broker: strictly, and at most 1 MiB.
    ///
    /// # Errors
    ///
    /// Refuses duplicate member names, unknown members, and what is not a manifest.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JsonError> {
        json::parse_as(bytes, MAX_MANIFEST_BYTES)
    }

    /// A server that offers nothing yet.
    #[must_use]
    pub fn new(server: ServerUri, name: ServerName) -> Self {
        Self {
            v: Format::One,
            server,
            name,
            aliases: BTreeSet::new(),
            tools: BTreeMap::new(),
            prompts: BTreeMap::new(),
            resources: Vec::new(),
            region: None,
        }
    }

    /// The root that `tree` lies in, when it is exactly one and no other root lies inside `tree`.
    ///
    /// A subtree that contained another root would bypass that root's labels, and so the guardrails
    /// that use them.
    #[must_use]
    pub fn root_of(&self, tree: &ResourceTree) -> Option<&ResourceRoot> {
        let inner_root = self
            .resources
            .iter()
            .any(|root| tree.contains(&root.uri) && root.uri != *tree);
        if inner_root {
            return None;
        }
        // Roots may nest; the innermost one that holds the tree is the one whose labels apply.
        self.resources
            .iter()
            .filter(|root| root.uri.contains(tree))
            .max_by_key(|root| root.uri.segments().len())
    }
}

/// A tool, as pinned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tool {
    /// SHA-256 over the canonical JSON of name, description and input schema when it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_digest: Option<Digest>,
    /// The names of the top-level arguments, when the schema was known; `pin` checks them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub arguments: BTreeSet<Pointer>,
    /// Whether it is read-only.
    #[serde(default)]
    pub read_only: bool,
    /// Whether its effect cannot be undone.
    #[serde(default)]
    pub irreversible: bool,
    /// Arguments that are file system paths.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub path_arguments: BTreeSet<Pointer>,
    /// Arguments that are URLs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub url_arguments: BTreeSet<Pointer>,
    /// Labels for guardrails, such as `risk = "high"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A prompt, as pinned.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Prompt {
    /// Labels for guardrails.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A resource root, as pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ResourceRoot {
    /// The subtree.
    pub uri: ResourceTree,
    /// Labels for guardrails.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ResourceRoot {
    /// The root of the tree `uri`, without labels.
    #[must_use]
    pub const fn new(uri: ResourceTree) -> Self {
        Self {
            uri,
            labels: BTreeMap::new(),
        }
    }
}

const MAX_MANIFEST_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_that_holds_another_root_has_no_root() {
        let mut manifest = Manifest::new(
            "https://a.example/mcp".parse().unwrap(),
            "a".parse().unwrap(),
        );
        for uri in ["file:///srv", "file:///srv/data/secret"] {
            manifest.resources.push(ResourceRoot {
                uri: uri.parse().unwrap(),
                labels: BTreeMap::new(),
            });
        }
        let root = |uri: &str| {
            manifest
                .root_of(&uri.parse().unwrap())
                .map(|root| root.uri.to_string())
        };
        assert_eq!(root("file:///srv/other").as_deref(), Some("file:///srv"));
        assert_eq!(root("file:///srv/data"), None);
        assert_eq!(root("file:///srv"), None);
        assert_eq!(
            root("file:///srv/data/secret/x").as_deref(),
            Some("file:///srv/data/secret")
        );
        assert_eq!(root("file:///etc"), None);
    }
}
