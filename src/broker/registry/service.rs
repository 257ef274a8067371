//! The registry, and what its use cases share.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    change::Changes,
    domain::client::{ClientSecret, SecretId},
    policy_store::Policies,
    registry::directory::SharedDirectory,
};
use hallpass_core::base::{
    ids::{AgentId, StewardId},
    time::Timestamp,
};

/// Agents, their secrets, servers, stewards and clients.
#[derive(Debug)]
pub struct Registry {
    pub(crate) changes: Arc<Changes>,
    pub(crate) directory: Arc<SharedDirectory>,
    pub(crate) policy: Arc<Policies>,
    /// The agents that a trusted platform proves to be its workloads: they need no key or secret.
    pub(crate) workloads: BTreeSet<AgentId>,
}

/// Stewards that were given a name in the directory and are not recorded yet: a decision that is made again finds the
/// same.
#[derive(Default)]
pub(crate) struct NewStewards(pub(super) Option<StewardId>);

/// A secret of an agent or a server, as shown to operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SecretView {
    /// What to remove it by.
    pub secret_id: SecretId,
    /// When it was added.
    pub added_at: Timestamp,
}

impl SecretView {
    pub(crate) fn of(secret: &ClientSecret) -> Self {
        Self {
            secret_id: secret.id(),
            added_at: secret.added_at,
        }
    }
}
