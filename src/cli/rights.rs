//! Rights as flags: one server's authorization detail, or a file of them.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{
    access::{LookUp, json_file, server_uri},
    client::Client,
    error::CliError,
};
use hallpass_core::{
    base::ids::{ServerUri, ToolName},
    token::{
        RequestedDetail,
        constraint::Constraint,
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// What is asked for, or narrowed to.
#[derive(Debug, Args)]
pub(super) struct Rights {
    /// The server, by URI or by its registered name.
    #[arg(long, value_name = "SERVER", conflicts_with = "details")]
    server: Option<String>,
    /// A tool, or a pattern in which `*` stands for any characters; may be repeated.
    #[arg(
        long = "tool",
        value_name = "TOOL",
        requires = "server",
        value_delimiter = ','
    )]
    tools: Vec<NamePattern>,
    /// A resource subtree such as file:///srv/data/; may be repeated.
    #[arg(long = "resource", value_name = "URI", requires = "server")]
    resources: Vec<ResourceTree>,
    /// A prompt, or a pattern; may be repeated.
    #[arg(
        long = "prompt",
        value_name = "PROMPT",
        requires = "server",
        value_delimiter = ','
    )]
    prompts: Vec<NamePattern>,
    /// A limit on an argument, such as 'transfer:/amount={"max":100}'; may be repeated.
    #[arg(
        long = "constraint",
        value_name = "TOOL:/ARGUMENT=JSON",
        requires = "server"
    )]
    constraints: Vec<ArgumentLimit>,
    /// A tool that may be called with its constrained arguments only; may be repeated.
    #[arg(long = "closed", value_name = "TOOL", requires = "server")]
    closed: Vec<ToolName>,
    /// Only what changes nothing.
    #[arg(long)]
    read_only: bool,
    /// Authorization details (RFC 9396) in a JSON file, or `-`: for several servers at once.
    #[arg(long, value_name = "FILE")]
    details: Option<PathBuf>,
}

/// One limit on one argument of one tool.
#[derive(Debug, Clone)]
pub(super) struct ArgumentLimit {
    pub(super) tool: String,
    pub(super) pointer: String,
    pub(super) constraint: Value,
}

impl std::str::FromStr for ArgumentLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected TOOL:/ARGUMENT=JSON, such as transfer:/amount={\"max\":100}";
        let (tool, rest) = text.split_once(':').ok_or(expected)?;
        // A constraint is an object, so its brace marks where the argument's name ends.
        let (pointer, constraint) = rest.split_once("={").ok_or(expected)?;
        let constraint = hallpass_core::base::json::parse(
            format!("{{{constraint}").as_bytes(),
            MAX_CONSTRAINT_BYTES,
        );
        let constraint = constraint.map_err(|error| format!("{expected}: {error}"))?;
        Ok(Self {
            tool: tool.to_owned(),
            pointer: pointer.to_owned(),
            constraint,
        })
    }
}

impl Rights {
    pub(super) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether neither a server nor a file is named.
    pub(super) const fn is_empty(&self) -> bool {
        self.server.is_none() && self.details.is_none()
    }

    /// The authorization details, when any are named: what else is said must be about some.
    pub(super) async fn asked(
        &self,
        client: &Client,
        by: LookUp<'_>,
    ) -> Result<Option<Vec<RequestedDetail>>, CliError> {
        if self.is_empty() && !self.read_only {
            return Ok(None);
        }
        self.resolved(client, by).await.map(Some)
    }

    /// The authorization details; a server's short name is looked up at the broker.
    pub(super) async fn resolved(
        &self,
        client: &Client,
        by: LookUp<'_>,
    ) -> Result<Vec<RequestedDetail>, CliError> {
        if let Some(details) = self.in_file()? {
            return Ok(details);
        }
        let server = server_uri(client, self.server()?, by).await?;
        self.of_server(server)
    }

    /// The authorization details, without a request to the broker: the server must be named by its URI.
    pub(super) fn offline(&self) -> Result<Vec<RequestedDetail>, CliError> {
        if let Some(details) = self.in_file()? {
            return Ok(details);
        }
        let server = self.server()?.parse();
        self.of_server(server.map_err(|error| CliError::usage(format!("--server: {error}")))?)
    }

    fn server(&self) -> Result<&str, CliError> {
        let missing = || {
            CliError::usage("nothing is named")
                .hint("say --server SERVER with --tool, --resource or --prompt, or --details FILE")
        };
        self.server.as_deref().ok_or_else(missing)
    }

    fn in_file(&self) -> Result<Option<Vec<RequestedDetail>>, CliError> {
        let Some(path) = &self.details else {
            return Ok(None);
        };
        let details = match json_file(path)? {
            detail @ Value::Object(_) => Value::Array(vec![detail]),
            details => details,
        };
        let details = serde_json::from_value(details)
            .map_err(|error| CliError::usage(format!("`{}`: {error}", path.display())))?;
        Ok(Some(details))
    }

    fn of_server(&self, server: ServerUri) -> Result<Vec<RequestedDetail>, CliError> {
        let mut detail = RequestedDetail::new(server);
        detail.tools.clone_from(&self.tools);
        detail.resources.clone_from(&self.resources);
        detail.prompts.clone_from(&self.prompts);
        detail.constraints = limits(&self.constraints)?;
        detail.closed_arguments = self.closed.iter().cloned().collect();
        detail.read_only = self.read_only;
        if detail.names_nothing() {
            return Err(CliError::usage("nothing is named on the server")
                .hint("say --tool, --resource or --prompt"));
        }
        Ok(vec![detail])
    }
}

/// Limits by tool, or by pattern of tools, and by argument.
pub(super) fn limits<N: DeserializeOwned + Ord>(
    limits: &[ArgumentLimit],
) -> Result<BTreeMap<N, BTreeMap<Pointer, Constraint>>, CliError> {
    let mut tools: BTreeMap<&str, BTreeMap<&str, &Value>> = BTreeMap::new();
    for limit in limits {
        let arguments = tools.entry(&limit.tool).or_default();
        if arguments
            .insert(&limit.pointer, &limit.constraint)
            .is_some()
        {
            return Err(CliError::usage(format!(
                "--constraint names `{}` of `{}` twice",
                limit.pointer, limit.tool
            )));
        }
    }
    let read = serde_json::to_value(tools).and_then(serde_json::from_value);
    read.map_err(|error| CliError::usage(format!("--constraint: {error}")))
}

const MAX_CONSTRAINT_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_names_tool_argument_and_constraint() {
        let limit: ArgumentLimit = "files/read:/a=b={\"under\":\"/srv\"}".parse().unwrap();
        assert_eq!(
            (limit.tool.as_str(), limit.pointer.as_str()),
            ("files/read", "/a=b")
        );
        assert_eq!(limit.constraint, json!({"under": "/srv"}));
        for bad in [
            "transfer",
            "transfer:/amount",
            "transfer:/amount=5",
            "transfer:/amount={\"max\":1",
            "t:/a={\"x\":1,\"x\":2}",
        ] {
            assert!(bad.parse::<ArgumentLimit>().is_err(), "{bad}");
        }
    }
}
