//! Scopes: rights as OAuth scope text (RFC 6749 section 3.3), for clients that support nothing else.
//!
//! `tool:NAME`, `prompt:NAME` and `resource:URI`, at the server that is named separately; in a request a tool or
//! prompt may be a pattern (`tool:read_*`). Verifiers' challenges use the same vocabulary, so that a
//! client can request what it was refused.

use std::{collections::BTreeSet, str::FromStr};

use crate::{
    base::ids::{ServerUri, ToolName},
    token::{
        GrantedDetail, RequestedDetail,
        manifest::Manifest,
        path::{ResourceTree, resource_segments},
        rights::{Kind, NamePattern},
    },
};

/// The requested rights of a `scope` parameter; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scope {
    /// Tools, by name or pattern.
    pub tools: Vec<NamePattern>,
    /// Prompts, likewise.
    pub prompts: Vec<NamePattern>,
    /// Resource subtrees.
    pub resources: Vec<ResourceTree>,
}

/// A scope that is malformed or outside the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is `tool:NAME`, `prompt:NAME` and `resource:URI`, one blank between two, at most {MAX_TOKENS}"
)]
pub struct ScopeError;

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let mut scope = Self {
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
        };
        for (at, token) in text.split(' ').enumerate() {
            let (kind, name) = token
                .split_once(':')
                .filter(|_| at < MAX_TOKENS)
                .ok_or(ScopeError)?;
            match kind {
                "tool" => push(&mut scope.tools, name)?,
                "prompt" => push(&mut scope.prompts, name)?,
                "resource" => push(&mut scope.resources, name)?,
                _ => return Err(ScopeError),
            }
        }
        Ok(scope)
    }
}

fn push<T: FromStr + PartialEq>(names: &mut Vec<T>, name: &str) -> Result<(), ScopeError> {
    let name = name.parse().map_err(|_| ScopeError)?;
    if !names.contains(&name) {
        names.push(name);
    }
    Ok(())
}

impl Scope {
    /// The requested rights at `server`.
    #[must_use]
    pub fn at(&self, server: &ServerUri) -> RequestedDetail {
        let mut detail = RequestedDetail::new(server.clone());
        detail.tools.clone_from(&self.tools);
        detail.prompts.clone_from(&self.prompts);
        detail.resources.clone_from(&self.resources);
        detail
    }

    /// The part of `detail` inside this scope, at the server with this `manifest`; `None` when it is empty.
    #[must_use]
    pub fn narrow(&self, detail: &RequestedDetail, manifest: &Manifest) -> Option<RequestedDetail> {
        let mut narrowed = detail.clone();
        narrowed.tools = both(&detail.tools, &self.tools, manifest.tools.keys());
        narrowed.prompts = both(&detail.prompts, &self.prompts, manifest.prompts.keys());
        narrowed.resources = ResourceTree::intersection(&detail.resources, &self.resources);
        let kept: BTreeSet<_> = narrowed
            .tools
            .iter()
            .filter_map(NamePattern::exact)
            .collect();
        narrowed.retain_demands(|tool| kept.contains(tool));
        (!narrowed.names_nothing()).then_some(narrowed)
    }
}

/// The existing names that both sides include.
fn both<'n>(
    ours: &[NamePattern],
    theirs: &[NamePattern],
    names: impl Iterator<Item = &'n ToolName>,
) -> Vec<NamePattern> {
    let wants =
        |side: &[NamePattern], name: &ToolName| side.iter().any(|pattern| pattern.matches(name));
    names
        .filter(|name| wants(ours, name) && wants(theirs, name))
        .cloned()
        .map(NamePattern::from)
        .collect()
}

/// The granted rights as a scope: a coarse form, without servers and constraints. `None` when none of
/// the names can be a scope.
#[must_use]
pub fn granted(rights: &[GrantedDetail]) -> Option<String> {
    let mut tokens = BTreeSet::new();
    for detail in rights {
        let tools = detail.tools.iter().map(|name| (Kind::Tool, name.as_str()));
        let prompts = detail
            .prompts
            .iter()
            .map(|name| (Kind::Prompt, name.as_str()));
        let resources = detail
            .resources
            .iter()
            .map(|tree| (Kind::Resource, tree.as_str()));
        tokens.extend(
            tools
                .chain(prompts)
                .chain(resources)
                .filter_map(|(kind, name)| scope_token(kind, name)),
        );
    }
    (!tokens.is_empty()).then(|| tokens.into_iter().collect::<Vec<_>>().join(" "))
}

/// The scope of one right: `tool:NAME`, `prompt:NAME` or `resource:URI`.
///
/// `None` when the name cannot be a scope, so that no client requests what no broker grants.
#[must_use]
pub fn scope_token(kind: Kind, name: &str) -> Option<String> {
    let is_nameable = match kind {
        Kind::Tool | Kind::Prompt => name.parse::<ToolName>().is_ok(),
        Kind::Resource => name.len() <= MAX_SCOPE_BYTES && resource_segments(name).is_some(),
    };
    // RFC 6749 scope characters without `=`, so that no client's pattern finds a parameter in a name.
    let is_scope = name
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'='));
    (is_nameable && is_scope).then(|| format!("{kind}:{name}"))
}

/// A scope has at most as many words as a pass has rights.
const MAX_TOKENS: usize = crate::token::MAX_RIGHTS;

/// A longer resource URI is not a scope: some clients limit header lines, which carry challenges.
pub const MAX_SCOPE_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_value(json!({"server": "https://a.example/mcp", "name": "a",
            "tools": {"read_a": {}, "read_b": {}, "write_a": {}}, "prompts": {"sum": {}},
            "resources": [{"uri": "file:///srv/data"}]}))
        .unwrap()
    }

    fn detail(members: &serde_json::Value) -> RequestedDetail {
        let mut detail = json!({"type": "mcp", "server": "https://a.example/mcp"});
        detail
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        serde_json::from_value(detail).unwrap()
    }

    #[test]
    fn the_vocabulary_is_three_kinds_of_words() {
        let scope: Scope = "tool:read_* prompt:sum tool:x/y resource:file:///srv/data/ tool:x/y"
            .parse()
            .unwrap();
        let expected = detail(
            &json!({"tools": ["read_*", "x/y"], "prompts": ["sum"], "resources": ["file:///srv/data"]}),
        );
        assert_eq!(scope.at(&expected.server), expected);
        let many = vec!["tool:a"; MAX_TOKENS + 1].join(" ");
        for bad in [
            "",
            " ",
            "tool:",
            "tool",
            "tool:a  tool:b",
            " tool:a",
            "tool:a ",
            "tool:a\ttool:b",
            "openid",
            "offline_access",
            "Tool:a",
            "tool:é",
            "tool:a\"",
            "resource:nonsense",
            "resource:file:///srv/../etc",
            "tool:*****",
            &many,
        ] {
            assert_eq!(bad.parse::<Scope>(), Err(ScopeError), "{bad:?}");
        }
    }

    #[test]
    fn beside_details_a_scope_only_narrows() {
        let narrow = |scope: &str, members: serde_json::Value| {
            scope
                .parse::<Scope>()
                .unwrap()
                .narrow(&detail(&members), &manifest())
        };
        let wide = json!({"tools": ["*"], "prompts": ["*"], "resources": ["file:///srv/data"]});
        assert_eq!(
            narrow("tool:read_a", wide.clone()),
            Some(detail(&json!({"tools": ["read_a"]})))
        );
        assert_eq!(
            narrow("tool:read_*", json!({"tools": ["*_a"]})),
            Some(detail(&json!({"tools": ["read_a"]})))
        );
        assert_eq!(
            narrow("tool:*", json!({"tools": ["read_a"]})),
            Some(detail(&json!({"tools": ["read_a"]})))
        );
        assert_eq!(narrow("prompt:read_a", json!({"tools": ["read_a"]})), None);
        assert_eq!(narrow("tool:unknown", wide.clone()), None);
        let within = Some(detail(&json!({"resources": ["file:///srv/data/x"]})));
        assert_eq!(narrow("resource:file:///srv/data/x", wide), within);
        assert_eq!(
            narrow(
                "resource:file:///srv",
                json!({"resources": ["file:///srv/data/x"]})
            ),
            within
        );
        assert_eq!(
            narrow(
                "resource:file:///srv/other",
                json!({"resources": ["file:///srv/data"]})
            ),
            None
        );
    }

    #[test]
    fn a_demand_goes_with_its_tool_and_never_without() {
        let asked = json!({"tools": ["read_a", "write_a"], "constraints": {"write_a": {"/x": {"max": 1}}}, "read_only": true});
        let narrowed = |scope: &str| {
            scope
                .parse::<Scope>()
                .unwrap()
                .narrow(&detail(&asked), &manifest())
                .unwrap()
        };
        assert_eq!(
            narrowed("tool:read_a"),
            detail(&json!({"tools": ["read_a"], "read_only": true}))
        );
        let kept = json!({"tools": ["write_a"], "constraints": {"write_a": {"/x": {"max": 1}}}, "read_only": true});
        assert_eq!(narrowed("tool:write_a"), detail(&kept));
    }

    #[test]
    fn what_was_granted_reads_as_a_scope_again() {
        let rights: GrantedDetail = serde_json::from_value(json!({"type": "mcp", "server": "https://a.example/mcp",
            "tools": ["read_b", "read_a"], "prompts": ["sum"], "resources": ["file:///srv/a b", "file:///srv/data"]}))
        .unwrap();
        let text = granted(&[rights.clone(), rights]).unwrap();
        assert_eq!(
            text,
            "prompt:sum resource:file:///srv/data tool:read_a tool:read_b"
        );
        text.parse::<Scope>().unwrap();
        assert_eq!(granted(&[]), None);
    }
}
