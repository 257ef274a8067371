//! From a request to a pass.

pub(crate) mod code_error;
pub(crate) mod codes;
pub(crate) mod confine;
pub(crate) mod consent;
pub(crate) mod decision_queue;
pub(crate) mod exchange;
pub(crate) mod issue;
pub(crate) mod keyed_locks;
pub(crate) mod narrow;
pub(crate) mod opening;
pub(crate) mod pipeline;
pub(crate) mod repeats;
pub(crate) mod request;
pub(crate) mod revoke_token;
pub(crate) mod task_clients;
pub(crate) mod tasks;
