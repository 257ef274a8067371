//! Messages between broker and verifier: signed documents one way, decision reports the other.

pub mod document;
mod read;
pub mod report;

pub use read::{Document, DocumentError, SignedError, parse, read, verify};
