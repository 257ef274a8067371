//! Rights, as they are requested, granted and written into a pass (RFC 9396 authorization details).
//!
//! One shape serves the request, the response and the token. A request may hold name
//! patterns; granted rights hold exact names only, and the types keep the two apart:
//! [`RequestedDetail`] and [`GrantedDetail`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{
    base::ids::{IdError, ServerUri, ToolName},
    token::{
        constraint::Constraint,
        path::{Pointer, ResourceTree},
    },
};

/// The requested rights on one server; names may be patterns.
pub type RequestedDetail = AuthorizationDetail<NamePattern>;

/// The granted rights on one server; every name is exact.
pub type GrantedDetail = AuthorizationDetail<ToolName>;

/// Rights on one MCP server, in the shape of RFC 9396 section 2. Unknown members are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
#[serde(bound(deserialize = "N: Deserialize<'de> + Ord"))]
#[non_exhaustive]
pub struct AuthorizationDetail<N> {
    /// Always `mcp`.
    #[serde(rename = "type")]
    pub detail_type: DetailType,
    /// The server, by its canonical resource URI.
    pub server: ServerUri,
    /// Tools that may be called; in a request a name may hold `*`.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub tools: Vec<N>,
    /// Resource subtrees that may be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceTree>,
    /// Prompts that may be fetched; in a request a name may hold `*`.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub prompts: Vec<N>,
    /// The constraints by tool and argument. An absent argument is refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub constraints: BTreeMap<ToolName, BTreeMap<Pointer, Constraint>>,
    /// Tools whose calls may have only the constrained arguments.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub closed_arguments: BTreeSet<ToolName>,
    /// Whether only tools that the manifest marks read-only may be called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Tools whose every call needs a proof of possession that names the call.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub call_proof: BTreeSet<ToolName>,
    // Members of the format that no verifier enforces yet. They are read, so that a request with one is refused by
    // name. Nothing offers them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    mask: BTreeMap<ToolName, BTreeSet<Pointer>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    max_calls: BTreeMap<ToolName, u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schema(ignore))]
    forbid_after: BTreeMap<ToolName, BTreeSet<ToolName>>,
}

impl<N> AuthorizationDetail<N> {
    /// No rights on `server` yet.
    #[must_use]
    pub fn new(server: ServerUri) -> Self {
        Self {
            detail_type: DetailType::Mcp,
            server,
            tools: Vec::new(),
            resources: Vec::new(),
            prompts: Vec::new(),
            constraints: BTreeMap::new(),
            closed_arguments: BTreeSet::new(),
            read_only: false,
            call_proof: BTreeSet::new(),
            mask: BTreeMap::new(),
            max_calls: BTreeMap::new(),
            forbid_after: BTreeMap::new(),
        }
    }

    /// The present members that no verifier enforces. Rights with one must be refused, never granted without it.
    pub fn unsupported_obligations(&self) -> impl Iterator<Item = &'static str> {
        let obligations = [
            ("mask", self.mask.is_empty()),
            ("max_calls", self.max_calls.is_empty()),
            ("forbid_after", self.forbid_after.is_empty()),
        ];
        obligations
            .into_iter()
            .filter(|(_, is_empty)| !is_empty)
            .map(|(name, _)| name)
    }

    /// Keeps only the demands on the tools for which `keeps` is true: a demand is removed with its tool.
    pub fn retain_demands(&mut self, keeps: impl Fn(&ToolName) -> bool) {
        self.constraints.retain(|tool, _| keeps(tool));
        self.closed_arguments.retain(&keeps);
        self.call_proof.retain(&keeps);
        self.mask.retain(|tool, _| keeps(tool));
        self.max_calls.retain(|tool, _| keeps(tool));
        self.forbid_after.retain(|tool, _| keeps(tool));
    }

    /// Whether nothing at all is named.
    #[must_use]
    pub fn names_nothing(&self) -> bool {
        self.tools.is_empty() && self.resources.is_empty() && self.prompts.is_empty()
    }
}

/// The one type of authorization details that hallpass knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DetailType {
    /// Rights on an MCP server.
    #[default]
    Mcp,
}

/// The kind of thing that a right or a call names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::exhaustive_enums,
    reason = "token format 1 defines exactly these"
)]
pub enum Kind {
    /// `tools/call`.
    Tool,
    /// `resources/read`.
    Resource,
    /// `prompts/get`.
    Prompt,
}

impl Kind {
    /// The kind as text, as in tokens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
        }
    }
}

impl FromStr for Kind {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        [Self::Tool, Self::Resource, Self::Prompt]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| IdError::new("kind", text, "tool, resource or prompt"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tool or prompt name in which `*` stands for any run of characters.
///
/// A pattern never reaches a token: it is expanded to the exact names of the server's catalogue,
/// and each of those is decided by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(Box<str>);

impl NamePattern {
    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The exact name, when there is no `*` in it.
    #[must_use]
    pub fn exact(&self) -> Option<ToolName> {
        self.0.parse().ok()
    }

    /// Whether `name` matches, byte for byte outside the `*`.
    #[must_use]
    pub fn matches(&self, name: &ToolName) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.as_str().strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            match rest.split_once(piece) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl FromStr for NamePattern {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let expected = "a tool name in which * may stand for any characters, at most 4 times";
        let stars = text.bytes().filter(|byte| *byte == b'*').count();
        // A pattern is valid when some name matches it: replace each star by one letter.
        let spelled: Result<ToolName, _> = text.replace('*', "x").parse();
        if stars <= MAX_STARS && spelled.is_ok() {
            Ok(Self(text.into()))
        } else {
            Err(IdError::new("name pattern", text, expected))
        }
    }
}

impl TryFrom<String> for NamePattern {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0.into()
    }
}

impl From<ToolName> for NamePattern {
    fn from(name: ToolName) -> Self {
        Self(String::from(name).into())
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MAX_STARS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let matches = |pattern: &str, name: &str| {
            pattern
                .parse::<NamePattern>()
                .unwrap()
                .matches(&name.parse().unwrap())
        };
        assert!(matches("read_*", "read_ledger"));
        assert!(matches("read_*", "read_"));
        assert!(matches("*", "anything"));
        assert!(matches("a*b*c", "a1b2c"));
        assert!(matches("read", "read"));
        assert!(!matches("read", "read_ledger"));
        assert!(!matches("read_*", "Read_ledger"));
        assert!(!matches("a*b*c", "a1c2b"));
        assert!(!matches("ab*b", "ab"));
    }

    #[test]
    fn unknown_members_of_a_detail_are_refused() {
        let text = r#"{"type":"mcp","server":"https://a.example/mcp","tools":["x"],"tolls":["y"]}"#;
        assert!(serde_json::from_str::<RequestedDetail>(text).is_err());
        let text = r#"{"type":"http","server":"https://a.example/mcp","tools":["x"]}"#;
        assert!(serde_json::from_str::<RequestedDetail>(text).is_err());
        let text = r#"{"type":"mcp","server":"https://a.example/mcp","tools":["read_*"]}"#;
        assert!(serde_json::from_str::<RequestedDetail>(text).is_ok());
        assert!(serde_json::from_str::<GrantedDetail>(text).is_err());
    }
}
