//! Floor 2: policy. Grants say what may be given, guardrails what must not; one engine decides.
//!
//! [`PolicySet::load`] reads a directory once: grants from `*.toml`, guardrails from `*.cedar`.
//! Whatever is wrong is collected with file, line and reason, and nothing half-read is ever used.
//! [`PolicySet::decide`] is pure: no clock, no randomness, no I/O. It never mints, so it serves a
//! dry run as it serves the real one.
//!
//! The set is compiled once and does not depend on the registered servers: their manifests become
//! Cedar entities with every question, so a server that is registered or changed needs no reload.

mod assemble;
mod candidates;
mod catalogue;
mod check;
mod compiled;
mod decide;
mod engine;
mod entitled;
mod expand;
mod finding;
mod fit;
mod grant;
mod grant_file;
mod guardrail;
mod question;
mod reason;
mod set;
mod source;

pub(crate) use crate::policy::source::POLICY_ENDINGS;
pub use crate::policy::{
    catalogue::{Catalogue, CatalogueError},
    decide::{DecidedBy, Decision, Granted},
    engine::SCHEMA,
    entitled::{Entitlement, EntitlementAnswer, EntitlementProof, Entitlements},
    finding::{Finding, PolicyErrors},
    grant::{AgentSelector, EXAMPLE_GRANTS, Grant, ServerSelector, grant_toml},
    question::{Behalf, Question, Right, RightName},
    reason::{Reason, Source},
    set::PolicySet,
    source::PolicyFile,
};
