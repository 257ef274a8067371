//! What is recorded, and what the records add up to. Pure.

mod about;
pub mod client;
pub mod consent;
pub mod decision;
pub mod descendants;
pub(crate) mod eligibility;
pub mod event;
pub(crate) mod lineage;
pub(crate) mod one_time;
pub(crate) mod one_time_secret;
pub mod parent;
pub mod state;
pub mod subjects;
pub(crate) mod verified;
mod words;
