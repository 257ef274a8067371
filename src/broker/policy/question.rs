//! Questions: what an agent asks for, and the single rights that it comes to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use hallpass_core::{
    base::ids::{AgentId, GroupName, ServerUri, StewardId, ToolName},
    token::{RequestedDetail, path::ResourceTree, rights::Kind},
};

/// What an agent asks for, and what is known about it. The caller has made sure who the agent is,
/// which groups it is in and who its steward is.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Who asks.
    pub agent: AgentId,
    /// The groups that the agent is in.
    pub groups: BTreeSet<GroupName>,
    /// The human who answers for the agent.
    pub steward: StewardId,
    /// The human on whose behalf it asks.
    pub behalf: Behalf,
    /// What for, in the agent's words.
    pub purpose: String,
    /// What is asked for; names may be patterns.
    pub requested: Vec<RequestedDetail>,
    /// How long the task is to last, in seconds.
    pub ttl_seconds: u64,
    /// The task's context: strings, 64-bit integers and booleans by name.
    pub context: BTreeMap<String, Value>,
    /// Whether the pass will be bound to a holder key.
    pub holder_bound: bool,
    /// Whether rights that are refused may be left out of the answer.
    pub allow_partial: bool,
}

/// The human on whose behalf an agent asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behalf {
    /// Who.
    pub steward: StewardId,
    /// Whether that person proved it; otherwise the agent says so.
    pub verified: bool,
    /// The groups of the person, as a trusted issuer has them; none when it is not verified.
    pub groups: BTreeSet<String>,
}

/// One exact right on one server: what is decided, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The server, by its canonical URI.
    pub server: ServerUri,
    /// The tool, prompt or resource subtree.
    pub name: RightName,
}

impl Right {
    /// Which kind of thing it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.name {
            RightName::Tool(_) => Kind::Tool,
            RightName::Prompt(_) => Kind::Prompt,
            RightName::Resource(_) => Kind::Resource,
        }
    }
}

/// The right in words, without its server: `tool read_ledger`.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name.as_str())
    }
}

/// What a right names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RightName {
    /// A tool.
    Tool(ToolName),
    /// A resource subtree.
    Resource(ResourceTree),
    /// A prompt.
    Prompt(ToolName),
}

impl RightName {
    /// The name or URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(name) | Self::Prompt(name) => name.as_str(),
            Self::Resource(tree) => tree.as_str(),
        }
    }
}
