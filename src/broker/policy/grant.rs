//! Grants: what may be given, to whom, on which server and for how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize, Serializer};

use hallpass_core::{
    base::ids::{AgentId, GrantId, GroupName, IdError, ServerName, ServerUri, ToolName},
    token::{
        constraint::Constraint,
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// One grant: whatever no grant gives is refused. What must hold always belongs in a guardrail,
/// since another grant may give the same right under other conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Its id, unique over all files.
    pub id: GrantId,
    /// To whom: one of these must match.
    pub agents: Vec<AgentSelector>,
    /// On which server.
    pub server: ServerSelector,
    /// Tools that may be called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<NamePattern>,
    /// Prompts that may be fetched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<NamePattern>,
    /// Resource subtrees of which any part may be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceTree>,
    /// How long one pass lives at most; whole seconds.
    #[serde(serialize_with = "write_duration")]
    pub max_ttl: Duration,
    /// Tools whose calls may hold no argument but the constrained ones.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub closed_arguments: BTreeSet<NamePattern>,
    /// Whether it gives only tools that the manifest marks read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Whether a pass must be bound to a holder key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_proof: bool,
    /// As `require_proof`; and every call of a tool that the manifest marks irreversible needs a
    /// proof of the very call. Both hold whichever grant covers the right, when this one permits it too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_call_proof: bool,
    /// Arguments that must equal the task's context value of the same name, on every tool that has them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub pin: BTreeSet<Pointer>,
    /// Per tool and argument: what the argument must satisfy. A tool is held to every key that matches it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub constraints: BTreeMap<NamePattern, BTreeMap<Pointer, Constraint>>,
}

impl Grant {
    /// A grant with every member at its default.
    #[must_use]
    pub fn new(id: GrantId, server: ServerSelector, max_ttl: Duration) -> Self {
        Self {
            id,
            agents: Vec::new(),
            server,
            tools: Vec::new(),
            prompts: Vec::new(),
            resources: Vec::new(),
            max_ttl,
            closed_arguments: BTreeSet::new(),
            read_only: false,
            require_proof: false,
            require_call_proof: false,
            pin: BTreeSet::new(),
            constraints: BTreeMap::new(),
        }
    }

    /// Every constraint it puts on `tool`.
    pub(super) fn constraints_on<'g>(
        &'g self,
        tool: &'g ToolName,
    ) -> impl Iterator<Item = (&'g Pointer, &'g Constraint)> {
        self.constraints
            .iter()
            .filter(|(pattern, _)| pattern.matches(tool))
            .flat_map(|(_, per_argument)| per_argument)
    }

    /// Whether calls of `tool` may hold constrained arguments only.
    pub(super) fn closes(&self, tool: &ToolName) -> bool {
        self.closed_arguments
            .iter()
            .any(|pattern| pattern.matches(tool))
    }
}

/// The `[[grant]]` block that means `grant`, to be appended to a grant file.
///
/// # Errors
///
/// When the grant cannot be written as TOML, which no grant that could be read is.
pub fn grant_toml(grant: &Grant) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct File<'g> {
        grant: [&'g Grant; 1],
    }
    toml::to_string(&File { grant: [grant] })
}

/// To whom a grant gives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AgentSelector {
    /// `*`: every agent.
    Any,
    /// An agent by its id.
    Agent(AgentId),
    /// `group:NAME`: every agent in that group.
    Group(GroupName),
}

impl FromStr for AgentSelector {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.strip_prefix("group:") {
            _ if text == "*" => Ok(Self::Any),
            Some(group) => group.parse().map(Self::Group),
            None => text.parse().map(Self::Agent).map_err(|_| {
                IdError::new(
                    "grantee",
                    text,
                    "an agent id, group:NAME, or * for every agent",
                )
            }),
        }
    }
}

impl fmt::Display for AgentSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Agent(agent) => agent.fmt(f),
            Self::Group(group) => write!(f, "group:{group}"),
        }
    }
}

#[cfg(feature = "schema")]
hallpass_core::string_schema! {
    AgentSelector = "AgentSelector", "To whom a grant gives: an agent's id, `group:NAME`, or `*`.";
    ServerSelector = "ServerSelector", "On which server a grant gives, by name or URI.";
}

/// On which server a grant gives; resolved whenever a decision is made, so that a server may be
/// registered after the grant was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServerSelector {
    /// By canonical URI.
    Uri(ServerUri),
    /// By registered name.
    Name(ServerName),
}

impl FromStr for ServerSelector {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.contains(':') {
            text.parse().map(Self::Uri)
        } else {
            text.parse().map(Self::Name)
        }
    }
}

impl fmt::Display for ServerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => uri.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

macro_rules! text_conversions {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(selector: $name) -> Self {
                selector.to_string()
            }
        }
    )+};
}

text_conversions!(AgentSelector, ServerSelector);

fn write_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// What `hallpass serve` writes into a new policy directory: grants, explained and commented out.
pub const EXAMPLE_GRANTS: &str = include_str!("example.toml");
