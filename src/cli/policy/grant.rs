//! `hallpass policy grant`: a grant in a file of its own.

use std::time::Duration;

use clap::Args;

use crate::{
    api::policy::GrantRequest,
    cli::{
        error::CliError,
        output::{Output, View},
        rights::{ArgumentLimit, limits},
        session::Session,
    },
};
use hallpass_broker::policy::{AgentSelector, ServerSelector};
use hallpass_core::{
    base::ids::GrantId,
    token::{
        path::{Pointer, ResourceTree},
        rights::NamePattern,
    },
};

/// A grant to be written.
#[derive(Debug, Args)]
pub(super) struct NewGrant {
    /// The grant's id, unique over all files.
    #[arg(long)]
    id: GrantId,
    /// To whom: agent ids, group:NAME, or `*` for every agent.
    #[arg(long, value_name = "WHO", required = true, value_delimiter = ',')]
    agents: Vec<AgentSelector>,
    /// On which server: its name or URI.
    #[arg(long = "server", value_name = "SERVER", required = true)]
    servers: Vec<ServerSelector>,
    /// Tools; `*` stands for any characters.
    #[arg(long, value_name = "TOOL", value_delimiter = ',')]
    tools: Vec<NamePattern>,
    /// Resource subtrees.
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    resources: Vec<ResourceTree>,
    /// Prompts; `*` stands for any characters.
    #[arg(long, value_name = "PROMPT", value_delimiter = ',')]
    prompts: Vec<NamePattern>,
    /// How long one pass lives at most, such as 10m.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    max_ttl: Duration,
    /// A limit on an argument, such as 'transfer:/amount={"max":100}'; may be repeated.
    #[arg(long = "constraint", value_name = "TOOL:/ARGUMENT=JSON")]
    constraints: Vec<ArgumentLimit>,
    /// Tools that may be called with their constrained arguments only.
    #[arg(long = "closed", value_name = "TOOL", value_delimiter = ',')]
    closed: Vec<NamePattern>,
    /// Arguments that must equal the task's context value of the same name, such as /customer_id.
    #[arg(long, value_name = "/ARGUMENT", value_delimiter = ',')]
    pin: Vec<Pointer>,
    /// Only tools that the manifest marks read-only.
    #[arg(long)]
    read_only: bool,
    /// Only for passes that are bound to a key, whose possession every use proves.
    #[arg(long)]
    require_proof: bool,
    /// And every call of an irreversible tool needs a proof of the very call.
    #[arg(long)]
    require_call_proof: bool,
}

impl NewGrant {
    pub(super) async fn run(self, session: &Session, output: Output) -> Result<(), CliError> {
        let Ok([server]) = <[_; 1]>::try_from(self.servers) else {
            let hint = "write one grant for each server, with an id of its own";
            return Err(CliError::usage("a grant speaks of one server").hint(hint));
        };
        let grant = GrantRequest {
            id: self.id,
            agents: self.agents,
            server,
            tools: self.tools,
            prompts: self.prompts,
            resources: self.resources,
            max_ttl: humantime::format_duration(self.max_ttl).to_string(),
            closed_arguments: self.closed.into_iter().collect(),
            read_only: self.read_only,
            require_proof: self.require_proof,
            require_call_proof: self.require_call_proof,
            pin: self.pin.into_iter().collect(),
            constraints: limits(&self.constraints)?,
        };
        let answer = session.write_grant(&grant).await?;
        if let Ok(written) = answer.read() {
            for warning in &written.policy.warnings {
                output.note(&format!("warning: {warning}"));
            }
        }
        output.answer(&answer, |written| {
            View::Fields(vec![
                ("grant", grant.id.to_string()),
                ("file", written.file),
                ("in force", "yes".to_owned()),
            ])
        })
    }
}
