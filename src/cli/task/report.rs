//! `hallpass task delegations report`: what was handed on.

use clap::Args;

use crate::{
    api::tasks::DelegationRequest,
    cli::{access::token_argument, error::CliError},
};
use hallpass_core::{
    base::ids::{RevocationId, TaskId},
    token::UnverifiedPass,
};

/// A report of a narrowed pass.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// The task's id.
    pub(super) task: TaskId,
    #[command(flatten)]
    chain: Chain,
    /// Whom it was given to, in your words.
    #[arg(long, value_name = "NAME")]
    delegate: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Chain {
    /// The narrowed pass, or `-` for stdin: only its block ids are sent.
    #[arg(long)]
    token: Option<String>,
    /// The narrowed pass's revocation ids, block 0 first; may be repeated.
    #[arg(long = "block", value_name = "REVOCATION_ID")]
    blocks: Vec<RevocationId>,
}

impl Report {
    /// What the broker is sent: block ids, never the pass.
    pub(super) fn to_request(&self) -> Result<DelegationRequest, CliError> {
        let mut request = DelegationRequest {
            blocks: self.chain.blocks.clone(),
            delegate: self.delegate.clone(),
            delegate_key: None,
        };
        let Some(token) = &self.chain.token else {
            return Ok(request);
        };
        let token = token_argument(token)?;
        let pass = UnverifiedPass::parse(&token)
            .map_err(|error| CliError::usage(format!("not a pass: {error}")))?;
        let blocks = pass.dangerous_unverified_summary().blocks;
        request.blocks = blocks.iter().map(|block| block.revocation_id).collect();
        let mut hops = blocks.iter().rev();
        if let Some(hop) = hops.find_map(|block| block.delegation.as_ref()) {
            request.delegate_key = Some(hop.key.clone());
            request.delegate.get_or_insert_with(|| hop.to.clone());
        }
        Ok(request)
    }
}
