//! What the broker's API reads and answers: one set of types, which the server writes and the command line reads.
//!
//! What the broker shows of its records ([`AgentView`](hallpass_broker::AgentView) and its like) is answered as it
//! is; here is what a request holds, and what an answer holds besides. The OpenAPI document is derived from the same
//! types. A server refuses members that it does not know; a client ignores them, since the broker may be newer.

pub mod agents;
pub mod operators;
pub mod policy;
pub mod problem;
pub mod revocations;
pub mod secret;
pub mod servers;
pub mod shape;
pub mod stewards;
pub mod tasks;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The `cursor` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
