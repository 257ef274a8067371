//! What is shown of the past, and how long it is kept.

pub(crate) mod calls;
pub(crate) mod decisions;
pub(crate) mod entitlements;
pub(crate) mod error;
pub(crate) mod lookup;
pub(crate) mod proofs;
pub(crate) mod reports;
pub(crate) mod retention;
