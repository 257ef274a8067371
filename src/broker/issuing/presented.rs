//! Codes and refresh tokens as clients present them, and what they get for them.

use std::{collections::BTreeSet, fmt, sync::Arc};

use crate::{Issued, OneTimeSecret};
use hallpass_core::{
    base::{
        digest::Digest,
        ids::{AgentId, ServerUri},
    },
    token::{Holding, scope::Scope},
};

/// An authorization code, presented.
#[derive(Clone)]
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// The redirect URI that was presented with it.
    pub redirect_uri: Option<&'a str>,
    /// SHA-256 of the verifier.
    pub verifier: Digest,
    /// The servers that the pass is to be for; none: all that were allowed.
    pub servers: BTreeSet<ServerUri>,
    /// The key that passes are to be bound to, proven.
    pub holder: Option<Holding>,
}

/// A refresh token, presented.
#[derive(Clone)]
pub struct Refresh<'a> {
    /// The token.
    pub token: &'a str,
    /// The servers that the pass is to be for; none: all that were allowed.
    pub servers: BTreeSet<ServerUri>,
    /// What the pass is to be for; `None`: all that was allowed.
    pub scope: Option<&'a Scope>,
    /// The key that a proof came with.
    pub holder: Option<Holding>,
}

/// A pass, and what renews it.
#[derive(Debug)]
pub struct Handed {
    /// The pass.
    pub issued: Issued,
    /// The refresh token, good once.
    pub refresh: OneTimeSecret,
    /// Whether the answer names the rights in full.
    pub in_detail: bool,
}

/// A refresh without its token: the same request is one that is equal in this.
#[derive(PartialEq, Eq)]
pub(crate) struct RefreshRequest {
    agent: AgentId,
    servers: BTreeSet<ServerUri>,
    scope: Option<Scope>,
    holder: Option<Holding>,
}

impl RefreshRequest {
    pub(super) fn of(agent: &AgentId, refresh: &Refresh<'_>) -> Self {
        Self {
            agent: agent.clone(),
            servers: refresh.servers.clone(),
            scope: refresh.scope.cloned(),
            holder: refresh.holder.clone(),
        }
    }
}

/// What came of a refresh.
#[derive(Debug)]
pub struct Refreshed {
    /// A pass, and what renews it.
    pub handed: Arc<Handed>,
    /// Whether it was handed out before, to the same request.
    pub is_repeated: bool,
}

impl fmt::Debug for Redemption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redemption")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("servers", &self.servers)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
