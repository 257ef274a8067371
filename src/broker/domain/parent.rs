//! Parents: the pass that was exchanged for the pass of another task.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use hallpass_core::{
    base::ids::{AgentId, KeyId, RevocationId, StewardId, TaskId},
    token::GrantedDetail,
};

/// The pass that was exchanged for a task, of another agent or the same: that task ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentPass {
    /// Its task.
    pub task: TaskId,
    /// Its agent, in whose place the child's acts.
    pub agent: AgentId,
    /// Its steward.
    pub steward: StewardId,
    /// The root key that signed it.
    pub key: KeyId,
    /// Its blocks, block 0 first.
    pub blocks: Vec<RevocationId>,
    /// The thumbprints (RFC 7638) of the keys that it went through, where it was bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<String>,
    /// The registered agents whose keys these were when it was exchanged.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub delegates: BTreeSet<AgentId>,
    /// Who answered for its agent and for the delegates, besides `steward`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub answered_for_by: BTreeSet<StewardId>,
    /// What was left of it at the servers that were asked for: no pass of the child allows more.
    pub limits: Vec<GrantedDetail>,
}
