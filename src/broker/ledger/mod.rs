//! Where records become durable, and what is derived from them.

pub mod audit;
pub mod file;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod receipt;
pub mod record;
mod seam;
pub mod tree;
pub mod views;

pub use receipt::{Draft, NotRecorded, Receipt};
pub use seam::{AppendError, Appending, Ledger, Position, ReadRecords};
