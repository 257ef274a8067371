//! The routes below `/v1`, one file for each resource, and the operational ones.

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod decisions;
pub(crate) mod feed;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod openapi;
pub(crate) mod operators;
pub(crate) mod policy;
pub(crate) mod proofs;
pub(crate) mod reports;
pub(crate) mod revocations;
pub(crate) mod servers;
pub(crate) mod stewards;
pub(crate) mod subject;
pub(crate) mod tasks;
