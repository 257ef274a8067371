//! Identity: who is asking. Agents prove a key with a signed assertion, operators present a token.
//!
//! Nothing here knows HTTP, reads a clock or keeps state: the caller brings the time, the registry
//! and the memory of assertions already used. Whatever is refused here is refused with one text
//! for everybody outside; the reason inside is for the log.

pub mod agent_key;
pub mod assertion;
pub mod credential;
pub mod issuer;
pub mod jwk;
mod jwt;
pub mod operation;
pub mod operator;

pub use agent_key::{AgentKey, AgentKeyError};
pub use assertion::{AssertionError, AssertionKeys, AssertionReason, VerifiedAssertion};
pub use credential::Credential;
pub use jwk::{JwkError, RegisteredKey};
pub use jwt::{CLOCK_SKEW, MAX_JTI_CHARS};
pub use operation::Operation;
pub use operator::{OperatorError, OperatorSession, OperatorStanding};
