//! Who and what is registered: agents, servers, stewards, operators, clients.

pub(crate) mod agents;
pub(crate) mod client_secrets;
pub(crate) mod directory;
pub(crate) mod dynamic_clients;
pub(crate) mod operators;
pub(crate) mod server_secrets;
pub(crate) mod service;
pub(crate) mod sign_in;
pub(crate) mod stewards;
