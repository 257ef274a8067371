//! The OAuth door: what clients that know nothing of ours send, and what they are told.

mod behalf;
mod browser;
mod client;
mod documents;
mod exchange;
mod grants;
mod introspection;
mod keys;
mod metadata;
mod page;
mod people;
mod proofs;
mod provider;
mod revocation;
mod secrets;
mod sign_in;
mod strangers;
mod task_clients;
mod token;
mod workloads;
