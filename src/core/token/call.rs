//! One call of an MCP server, to be checked against a pass.

use serde_json::Value;

use crate::token::rights::Kind;

/// One call at this server, as parsed from the request.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'c> {
    /// The kind of thing that is called.
    pub kind: Kind,
    /// The tool's or prompt's name, or the resource's URI, exactly as the server will look it up.
    pub name: &'c str,
    /// The arguments, exactly as the server will see them; `None` when the request has none.
    pub arguments: Option<&'c Value>,
}

impl<'c> Call<'c> {
    /// A call of `kind`.
    #[must_use]
    pub const fn new(kind: Kind, name: &'c str, arguments: Option<&'c Value>) -> Self {
        Self {
            kind,
            name,
            arguments,
        }
    }

    /// `tools/call`.
    #[must_use]
    pub const fn tool(name: &'c str, arguments: Option<&'c Value>) -> Self {
        Self {
            kind: Kind::Tool,
            name,
            arguments,
        }
    }

    /// `resources/read`.
    #[must_use]
    pub const fn resource(uri: &'c str) -> Self {
        Self {
            kind: Kind::Resource,
            name: uri,
            arguments: None,
        }
    }

    /// `prompts/get`.
    #[must_use]
    pub const fn prompt(name: &'c str, arguments: Option<&'c Value>) -> Self {
        Self {
            kind: Kind::Prompt,
            name,
            arguments,
        }
    }
}
