//! Introspection: what a pass is worth at one server, for a server that cannot verify it by itself.

use crate::{BrokerError, ServerVerifiers};
use hallpass_core::{
    base::{
        ids::{AgentId, ServerUri, StewardId, ToolName},
        time::Timestamp,
    },
    token::{Call, GrantedDetail, Remaining},
};
use hallpass_verify::{Verifier, broker_side::UnprovenPass};

/// A pass that is alive, as one server may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspected {
    /// The agent whose pass it is.
    pub agent: AgentId,
    /// In whose places it acts, the next first: the agents of the passes that were exchanged for it. Empty when
    /// none was.
    pub on_behalf_of: Vec<AgentId>,
    /// On whose behalf the agent acts: the steward who answers for it, or the person whom the task was proven to be
    /// for.
    pub steward: StewardId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The thumbprint (RFC 7638) of the key whose possession each use must prove, when it is bound to one.
    pub holder: Option<String>,
    /// What is left of it at this server.
    pub rights: Vec<GrantedDetail>,
    /// What of that a server may allow that looks at nothing but names.
    pub plain: GrantedDetail,
}

impl ServerVerifiers {
    /// What `token` is worth at `server`; `None` when that is nothing: it is no pass, is not for this server, was
    /// revoked, has ended, or the server was revoked.
    ///
    /// # Errors
    ///
    /// When it cannot be decided.
    pub fn introspect(
        &self,
        server: &ServerUri,
        token: &str,
    ) -> Result<Option<Introspected>, BrokerError> {
        let Some((verifier, pass)) = self.admitted(server, token)? else {
            return Ok(None);
        };
        let verified = pass.verified();
        let claims = verified.claims();
        let lineage = {
            let state = self.changes().state();
            let Some((live, _)) = state.issued(verified) else {
                return Ok(None);
            };
            state.ancestors(&live.record)
        };
        let Remaining { rights, unsaid, .. } = verified.remaining();
        let rights: Vec<_> = rights
            .into_iter()
            .filter(|detail| detail.server == *server)
            .collect();
        let plain = if unsaid > 0 {
            GrantedDetail::new(server.clone())
        } else {
            plain(server, &rights)
        };
        let plain = cleared(&verifier, &pass, plain);
        Ok(Some(Introspected {
            agent: claims.agent.clone(),
            on_behalf_of: lineage,
            steward: claims.steward.clone(),
            issued_at: claims.issued_at,
            expires_at: verified.valid_until(),
            holder: verified.holder().map(|chain| chain.leaf().thumbprint()),
            rights,
            plain,
        }))
    }
}

/// The names among `rights` that no detail demands anything of but that it reads.
fn plain(server: &ServerUri, rights: &[GrantedDetail]) -> GrantedDetail {
    let is_free = |tool: &ToolName| {
        rights.iter().all(|detail| {
            let constrained = detail.constraints.contains_key(tool);
            !(constrained
                || detail.closed_arguments.contains(tool)
                || detail.call_proof.contains(tool))
        })
    };
    let mut plain = GrantedDetail::new(server.clone());
    for detail in rights {
        plain
            .tools
            .extend(detail.tools.iter().filter(|tool| is_free(tool)).cloned());
        plain.prompts.extend(detail.prompts.iter().cloned());
        plain.resources.extend(detail.resources.iter().cloned());
    }
    plain.tools.sort();
    plain.tools.dedup();
    plain
}

/// What of `plain` the server's own verifier would let through now.
fn cleared(verifier: &Verifier, pass: &UnprovenPass, mut plain: GrantedDetail) -> GrantedDetail {
    let is_allowed = |call: &Call<'_>| pass.would_allow(verifier, call);
    plain
        .tools
        .retain(|tool| is_allowed(&Call::tool(tool.as_str(), None)));
    plain
        .prompts
        .retain(|prompt| is_allowed(&Call::prompt(prompt.as_str(), None)));
    plain
        .resources
        .retain(|tree| is_allowed(&Call::resource(tree.as_str())));
    plain
}
